//! The calls of Hetzner's API that the driver makes, typed. Source: <https://docs.hetzner.cloud/reference/cloud>.

use std::collections::BTreeMap;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Reporter};
use machine_http::api::{Answer, Api, ApiError, Call, Poll, Refusal, Seen, Token};
use machine_http::{Client, Method};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::zero_if_null;
use crate::cloud::{self, Reading, hint, trouble};

/// Where Hetzner's API is.
pub(super) const ENDPOINT: &str = "https://api.hetzner.cloud/v1";
/// More pages than any project has.
const MOST_PAGES: i64 = 500;
/// How long something may be in use, or busy with something else: a backup takes minutes. More than a call is tried, so that
/// what Hetzner says is heard.
const BUSY_LIMIT: Duration = Duration::from_secs(200);
/// The largest page that Hetzner gives.
const PER_PAGE: &str = "50";

/// How Hetzner's refusals are read. Source of the codes: "Error Codes" of the reference, and those of the calls.
pub(super) const READING: Reading = Reading {
    credentials: "give a token that may read and write with --hetzner-api-token or HETZNER_API_TOKEN: Hetzner's console makes \
                  one under Security > API tokens of the project",
    refine: |refusal| {
        Some(match refusal.code.as_str() {
            "resource_limit_exceeded" | "limit_reached" => (ErrorKind::Quota, hint::QUOTA),
            "resource_unavailable" | "placement_error" => (
                ErrorKind::Quota,
                "there is no room for this server type there now: take another --hetzner-server-location or \
                 --hetzner-server-type, or try again later",
            ),
            "uniqueness_error" => (
                ErrorKind::Precreate,
                "something of this name is in the project already: choose another name, or remove it in Hetzner's console",
            ),
            "invalid_input" | "json_error" => (ErrorKind::Config, ""),
            "token_readonly" => (ErrorKind::Credentials, "make a token that may read and write"),
            "maintenance" => (ErrorKind::Unavailable, hint::DOWN),
            "locked" | "conflict" => (
                ErrorKind::Unavailable,
                "something else is being done with it, a backup perhaps: try again in a few minutes",
            ),
            "protected" => (ErrorKind::Other, "take the protection away in Hetzner's console"),
            _ => return None,
        })
    },
};

/// A refusal as Hetzner has it. What is locked by an action that is under way has not been touched: it is asked again.
/// `RateLimit-Reset` is when the whole quota of an hour is back; one request more may be made each second.
fn dialect(answer: &Answer) -> Refusal {
    let mut refusal = Refusal::of(answer);
    refusal.throttled |= is_busy(&refusal.code) || refusal.code == "rate_limit_exceeded";
    if answer.header("retry-after").is_empty() {
        refusal.retry_after = None;
    }
    if refusal.request_id.is_empty() {
        answer.header("x-correlation-id").clone_into(&mut refusal.request_id);
    }
    refusal
}

/// Whether something takes no order because another is being carried out.
fn is_busy(code: &str) -> bool {
    matches!(code, "locked" | "conflict")
}

/// Something with a number and a name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub id: i64,
    #[serde(deserialize_with = "zero_if_null")]
    pub name: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub labels: BTreeMap<String, String>,
    /// Of keys.
    pub public_key: String,
    /// Of images and server types.
    #[serde(deserialize_with = "zero_if_null")]
    pub architecture: String,
    /// Of placement groups.
    #[serde(deserialize_with = "zero_if_null")]
    pub servers: Vec<i64>,
    /// Of server types: where they can be had.
    #[serde(deserialize_with = "zero_if_null")]
    pub locations: Vec<Offer>,
    /// Of primary IPs.
    pub ip: String,
}

/// A location where something can be had.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Offer {
    pub id: i64,
    pub name: String,
    pub deprecation: Option<Deprecation>,
}

/// That something will not be had for ever.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deprecation {
    /// RFC 3339.
    pub unavailable_after: String,
}

/// A server, as far as it is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub id: i64,
    pub name: String,
    pub status: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub labels: BTreeMap<String, String>,
    pub public_net: PublicNet,
    #[serde(deserialize_with = "zero_if_null")]
    pub private_net: Vec<PrivateNet>,
    #[serde(deserialize_with = "zero_if_null")]
    pub volumes: Vec<i64>,
    pub placement_group: Option<Named>,
}

/// Its public addresses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PublicNet {
    pub ipv4: Option<Address>,
    pub ipv6: Option<Address>,
}

/// An address, or a network of IPv6.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Address {
    pub ip: String,
}

/// An address in a private network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PrivateNet {
    pub ip: String,
    pub network: i64,
}

/// Something that Hetzner is doing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    pub id: i64,
    pub command: String,
    pub status: String,
    pub progress: i64,
    pub error: Option<ActionError>,
}

/// Why it failed.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ActionError {
    pub code: String,
    pub message: String,
}

/// A server that was made.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    pub server: Server,
    pub action: Action,
    #[serde(default, deserialize_with = "zero_if_null")]
    pub next_actions: Vec<Action>,
}

/// A key that was made.
#[derive(Debug, Deserialize)]
pub(super) struct CreatedKey {
    pub ssh_key: Named,
}

/// A placement group that was made. An action may stand beside it.
#[derive(Debug, Deserialize)]
pub(super) struct CreatedGroup {
    pub placement_group: Named,
}

/// A body of `POST /servers`.
#[derive(Debug, Default, Serialize)]
pub(super) struct NewServer {
    pub name: String,
    pub server_type: String,
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub ssh_keys: Vec<String>,
    pub user_data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_group: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub firewalls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_net: Option<Value>,
}

/// A connection to a project.
pub(super) struct Project<'a> {
    client: Client,
    endpoint: String,
    token: Token,
    pause: Duration,
    report: &'a dyn Reporter,
}

impl<'a> Project<'a> {
    /// `pause` is the longest between two looks at what is waited for.
    pub(super) fn new(
        client: Client,
        endpoint: String,
        token: Token,
        pause: Duration,
        report: &'a dyn Reporter,
    ) -> Self {
        Self { client, endpoint, token, pause, report }
    }

    async fn send(
        &self,
        doing: &str,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failed> {
        let mut call = Call::new(method, cloud::url(&self.endpoint, path, query).map_err(Failed::Other)?);
        if let Some(body) = body {
            call = call.json(body);
        }
        let api: Api<'_> = cloud::api(self.client.clone(), dialect, &self.token, self.report);
        api.send(&call).await.map_err(|error| Failed::Api { doing: doing.to_owned(), error })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Failed> {
        let answer = self.send(doing, Method::GET, path, query, None).await?;
        answer.json().map_err(|error| Failed::Api { doing: doing.to_owned(), error })
    }

    /// Everything of a kind that fits a query, page by page. `kind` is the word in the path and in the answer.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        kind: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, DriverError> {
        let doing = format!("{} can't be listed", kind.replace('_', " "));
        let (mut found, mut page) = (Vec::new(), 1);
        loop {
            let number = page.to_string();
            let query = [query, &[("per_page", PER_PAGE), ("page", &number)]].concat();
            let mut answer: Value = self.read(&doing, &[kind], &query).await?;
            let next = answer["meta"]["pagination"]["next_page"].as_i64();
            let items = answer[kind].take();
            let items: Vec<T> = serde_json::from_value(items).map_err(|error| {
                DriverError::new(ErrorKind::Other, format!("{doing}: the answer can't be read: {error}"))
            })?;
            found.extend(items);
            match next {
                None => return Ok(found),
                Some(next) if next > page && next <= MOST_PAGES => page = next,
                Some(next) => {
                    let text = format!("{doing}: the list does not end: page {next} comes after page {page}");
                    return Err(DriverError::new(ErrorKind::Other, text));
                }
            }
        }
    }

    /// Something by its number or name; `None` where there is none.
    pub(super) async fn find(&self, kind: &str, given: &str) -> Result<Option<Named>, DriverError> {
        if given.parse::<i64>().is_ok()
            && let Some(found) = self.by_number(kind, given).await?
        {
            return Ok(Some(found));
        }
        Ok(self.all(kind, &[("name", given)]).await?.into_iter().next())
    }

    async fn by_number(&self, kind: &str, number: &str) -> Result<Option<Named>, DriverError> {
        let doing = format!("{} {number} can't be looked at", kind.replace('_', " "));
        let found = self.read::<BTreeMap<String, Named>>(&doing, &[kind, number], &[]).await;
        Ok(or_none(found)?.and_then(|found| found.into_values().next()))
    }

    /// A server; `None` where it is gone.
    pub(super) async fn server(&self, id: i64) -> Result<Option<Server>, DriverError> {
        let doing = format!("server {id} can't be looked at");
        let found = self.read::<BTreeMap<String, Server>>(&doing, &["servers", &id.to_string()], &[]).await;
        Ok(or_none(found)?.and_then(|found| found.into_values().next()))
    }

    /// Makes something of a kind.
    pub(super) async fn make<T: DeserializeOwned>(
        &self,
        kind: &str,
        body: &Value,
    ) -> Result<Made<T>, DriverError> {
        let doing = format!("{} can't be made", singular(kind));
        match self.send(&doing, Method::POST, &[kind], &[], Some(body)).await {
            Ok(answer) => Ok(Made::New(answer.json().map_err(|error| Failed::Api { doing, error })?)),
            Err(Failed::Api { doing, error })
                if error.outcome_unknown() || error.code() == "uniqueness_error" =>
            {
                Ok(Made::Perhaps(trouble(&READING, &doing, &error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes something; "gone" is success. Waits while something else still uses it.
    pub(super) async fn remove(&self, kind: &str, id: i64) -> Result<(), DriverError> {
        let (doing, number) = (format!("{} {id} can't be removed", singular(kind)), id.to_string());
        let what = format!("{} {id} to be free", singular(kind));
        let answer = cloud::wait_for(self.report, &what, BUSY_LIMIT, async || {
            match self.send(&doing, Method::DELETE, &[kind, &number], &[], None).await {
                Ok(answer) => Ok(Seen::Done(Some(answer))),
                Err(Failed::Api { error, .. }) if error.is_not_found() => Ok(Seen::Done(None)),
                Err(Failed::Api { error, .. })
                    if error.code() == "resource_in_use" || is_busy(error.code()) =>
                {
                    Ok(Seen::NotYet(error.to_string()))
                }
                Err(error) => Err(error.into()),
            }
        });
        let Some(answer) = answer.await? else { return Ok(()) };
        // Only the removal of a server takes its time.
        match answer.json::<BTreeMap<String, Action>>().ok().and_then(|mut body| body.remove("action")) {
            Some(action) => self.wait(&[action], Duration::from_secs(120)).await,
            None => Ok(()),
        }
    }

    /// Has something done, and waits until it is. Waits before that while something else is being done.
    pub(super) async fn act(
        &self,
        kind: &str,
        id: i64,
        action: &str,
        body: Option<&Value>,
    ) -> Result<(), DriverError> {
        let doing = format!("{} {id}: {action} failed", singular(kind));
        let (number, what) = (id.to_string(), format!("{} {id} to be free", singular(kind)));
        let path = [kind, &number, "actions", action];
        let answer = cloud::wait_for(self.report, &what, BUSY_LIMIT, async || {
            match self.send(&doing, Method::POST, &path, &[], body).await {
                Ok(answer) => Ok(Seen::Done(answer)),
                Err(Failed::Api { error, .. }) if is_busy(error.code()) => {
                    Ok(Seen::NotYet(error.to_string()))
                }
                Err(error) => Err(error.into()),
            }
        });
        let answer = answer.await?;
        let body: Value = answer.json().map_err(|error| Failed::Api { doing: doing.clone(), error })?;
        let actions = body.get("actions").cloned().unwrap_or_else(|| json!([body["action"]]));
        let actions: Vec<Action> = serde_json::from_value(actions).map_err(|error| {
            DriverError::new(ErrorKind::Other, format!("{doing}: the answer can't be read: {error}"))
        })?;
        self.wait(&actions, Duration::from_secs(120)).await
    }

    /// What is being done with a server.
    pub(super) async fn running_actions(&self, server: i64) -> Result<Vec<Action>, DriverError> {
        let doing = format!("what is done with server {server} can't be looked at");
        let path = ["servers", &server.to_string(), "actions"];
        let mut found: Value =
            self.read(&doing, &path, &[("status", "running"), ("per_page", PER_PAGE)]).await?;
        serde_json::from_value(found["actions"].take()).map_err(|error| {
            DriverError::new(ErrorKind::Other, format!("{doing}: the answer can't be read: {error}"))
        })
    }

    /// Waits until actions have ended.
    ///
    /// # Errors
    /// Why one of them failed.
    pub(super) async fn wait(&self, actions: &[Action], limit: Duration) -> Result<(), DriverError> {
        let open = unfinished(actions)?;
        if open.is_empty() {
            return Ok(());
        }
        let what = open.iter().map(|action| action.command.replace('_', " ")).collect::<Vec<_>>().join(", ");
        let numbers: Vec<String> = open.iter().map(|action| action.id.to_string()).collect();
        let query: Vec<(&str, &str)> = numbers.iter().map(|number| ("id", number.as_str())).collect();
        let what = format!("Hetzner to {what}");
        let wait = Poll { longest: self.pause, ..Poll::new(&what, limit) };
        cloud::wait_as(self.report, &wait, || self.look_at_actions(&query)).await
    }

    async fn look_at_actions(&self, query: &[(&str, &str)]) -> Result<Seen<()>, DriverError> {
        let mut now: Value = self.read("actions can't be looked at", &["actions"], query).await?;
        let now: Vec<Action> = serde_json::from_value(now["actions"].take()).unwrap_or_default();
        Ok(match unfinished(&now)?.first() {
            Some(action) => Seen::NotYet(format!("{} at {} %", action.command, action.progress)),
            None => Seen::Done(()),
        })
    }
}

/// What came of making something.
pub(super) enum Made<T> {
    /// It is there.
    New(T),
    /// One of this name is there already, or may be by now because the answer got lost: who wants it looks. If it is not
    /// there, this is the error.
    Perhaps(DriverError),
}

/// The actions that go on; an error for one that failed.
fn unfinished(actions: &[Action]) -> Result<Vec<Action>, DriverError> {
    for action in actions {
        if let Some(error) = action.error.as_ref().filter(|_| action.status == "error") {
            let refusal = Refusal { code: error.code.clone(), ..Refusal::default() };
            let (kind, hint) = (READING.refine)(&refusal).unwrap_or((ErrorKind::Other, ""));
            let text = format!("Hetzner could not {}: {} ({})", action.command, error.message, error.code);
            let wrong = DriverError::new(kind, text);
            return Err(if hint.is_empty() { wrong } else { wrong.with_hint(hint) });
        }
    }
    Ok(actions.iter().filter(|action| action.status == "running").cloned().collect())
}

/// A call that failed, while the provider's code still matters.
#[derive(Debug)]
pub(super) enum Failed {
    Api { doing: String, error: ApiError },
    Other(DriverError),
}

impl From<Failed> for DriverError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Api { doing, error } => trouble(&READING, &doing, &error),
            Failed::Other(error) => error,
        }
    }
}

fn or_none<T>(found: Result<T, Failed>) -> Result<Option<T>, DriverError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Failed::Api { error, .. }) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The word for one of a kind.
pub(super) fn singular(kind: &str) -> String {
    kind.trim_end_matches('s').replace('_', " ")
}
