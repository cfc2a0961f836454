//! The calls to Compute Engine's API (v1), typed as far as they are used.

use std::collections::BTreeMap;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Reporter};
use machine_http::api::{Answer, Api, ApiError, Call, Poll, Seen};
use machine_http::{Client, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::credentials::Session;
use super::state::{Backoff, GoogleState};
use super::{location, trouble};
use crate::cloud;

/// Google's address.
const ENDPOINT: &str = "https://compute.googleapis.com";
/// What stands after it.
const VERSION: &str = "/compute/v1";
/// How many things a page has; more is not possible.
const PAGE: &str = "500";
/// The shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long an operation is waited for where the user sets no limit.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The API, in one project.
pub(super) struct Compute<'a> {
    api: Api<'a>,
    base: String,
    project: &'a str,
    backoff: Backoff,
    report: &'a dyn Reporter,
}

/// Something long that was begun.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) status: String,
    zone: String,
    region: String,
    pub(super) target_id: String,
    http_error_status_code: u16,
    error: Option<OperationFaults>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OperationFaults {
    errors: Vec<OperationFault>,
}

/// Why it ended badly.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OperationFault {
    pub(super) code: String,
    pub(super) message: String,
}

impl Operation {
    fn is_done(&self) -> bool {
        self.status == "DONE"
    }

    /// What it did is done, or the error.
    pub(super) fn well(&self, doing: &str) -> Result<(), DriverError> {
        let Some(faults) = &self.error else { return Ok(()) };
        let unsaid =
            OperationFault { code: "unknown".to_owned(), message: "Google does not say why".to_owned() };
        let first = faults.errors.first().unwrap_or(&unsaid);
        Err(trouble::operation(doing, first, self.http_error_status_code))
    }
}

/// An instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) zone: String,
    pub(super) machine_type: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) tags: Tags,
    pub(super) metadata: Value,
    pub(super) disks: Vec<Attached>,
    network_interfaces: Vec<Interface>,
}

/// Network tags.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tags {
    pub(super) items: Vec<String>,
    pub(super) fingerprint: String,
}

/// A disk as an instance has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Attached {
    pub(super) source: String,
    pub(super) auto_delete: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Interface {
    #[serde(rename = "networkIP")]
    network_ip: String,
    network: String,
    access_configs: Vec<AccessConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AccessConfig {
    #[serde(rename = "natIP")]
    nat_ip: String,
}

impl Instance {
    /// The address at which it is reached; empty where it has none now.
    pub(super) fn address(&self, internal: bool) -> &str {
        let Some(first) = self.network_interfaces.first() else { return "" };
        if internal {
            return &first.network_ip;
        }
        first.access_configs.first().map_or("", |access| &access.nat_ip)
    }

    /// The path of its network.
    pub(super) fn network(&self) -> &str {
        self.network_interfaces.first().map_or("", |first| &first.network)
    }
}

/// A disk.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Disk {
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) users: Vec<String>,
}

/// A firewall rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Firewall {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) network: String,
    pub(super) target_tags: Vec<String>,
    pub(super) allowed: Vec<Value>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
    #[serde(default)]
    next_page_token: String,
}

/// A page of a list of all zones.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aggregated<T> {
    #[serde(default = "BTreeMap::new")]
    items: BTreeMap<String, T>,
    #[serde(default)]
    next_page_token: String,
}

impl<'a> Compute<'a> {
    /// The API in the project of a state.
    pub(super) fn new(
        session: &'a Session,
        client: Client,
        state: &'a GoogleState,
        report: &'a dyn Reporter,
    ) -> Result<Self, DriverError> {
        let given = cloud::endpoint("google-endpoint", &state.endpoint, ENDPOINT)?;
        let has_path = given.split("://").nth(1).is_some_and(|rest| rest.contains('/'));
        let base = if has_path { given } else { format!("{given}{VERSION}") };
        let backoff = state.operation_backoff_factory.unwrap_or_default();
        let api = cloud::api(client, trouble::dialect, session, report);
        Ok(Self { api, base, project: &state.project, backoff, report })
    }

    fn call(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<Call, DriverError> {
        let segments: Vec<&str> = path.split('/').collect();
        Ok(Call::new(method, cloud::url(&self.base, &segments, query)?))
    }

    /// The path of something in the project.
    pub(super) fn own(&self, path: &str) -> String {
        format!("projects/{}/{path}", self.project)
    }

    /// The error for a call that failed.
    pub(super) fn fault(&self, doing: &str, error: &ApiError) -> DriverError {
        trouble::fault(self.project, doing, error)
    }

    async fn send(&self, doing: &str, call: &Call) -> Result<Answer, DriverError> {
        self.api.send(call).await.map_err(|error| self.fault(doing, &error))
    }

    fn read<T: DeserializeOwned>(&self, doing: &str, answer: &Answer) -> Result<T, DriverError> {
        answer.json().map_err(|error| self.fault(doing, &error))
    }

    /// What is at a path; `None` where there is nothing.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
        fields: &str,
    ) -> Result<Option<T>, DriverError> {
        let query = [("fields", fields)];
        let call = self.call(Method::GET, path, if fields.is_empty() { &[] } else { &query })?;
        match self.api.send(&call).await {
            Ok(answer) => self.read(doing, &answer).map(Some),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(self.fault(doing, &error)),
        }
    }

    /// Begins something, known again by its id; the API's own error, where the caller looks into it.
    pub(super) async fn begin(
        &self,
        method: Method,
        path: &str,
        id: &str,
        body: Option<&Value>,
    ) -> Result<Operation, Begun> {
        let call = self.call(method, path, &[("requestId", id)])?.repeatable();
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = self.api.send(&call).await?;
        Ok(answer.json()?)
    }

    /// Begins to do something with an instance that may be done twice without harm: `start`, `stop`.
    pub(super) async fn act(
        &self,
        doing: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Operation, DriverError> {
        let call = self.call(Method::POST, path, query)?.repeatable();
        let answer = self.send(doing, &call).await?;
        self.read(doing, &answer)
    }

    /// Deletes and waits; "gone" is success.
    pub(super) async fn delete(&self, doing: &str, path: &str) -> Result<(), DriverError> {
        let call = self.call(Method::DELETE, path, &[])?;
        let begun: Operation = match self.api.send(&call).await {
            Ok(answer) => self.read(doing, &answer)?,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(self.fault(doing, &error)),
        };
        match self.finish(doing, &begun).await?.well(doing) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Waits until an operation is done, well or badly. The provider answers when it is, or after two minutes.
    pub(super) async fn finish(&self, doing: &str, operation: &Operation) -> Result<Operation, DriverError> {
        if operation.is_done() {
            return Ok(operation.clone());
        }
        let at = match (operation.zone.as_str(), operation.region.as_str()) {
            ("", "") => "global".to_owned(),
            ("", region) => format!("regions/{}", location::last(region)),
            (zone, _) => format!("zones/{}", location::last(zone)),
        };
        let path = self.own(&format!("{at}/operations/{}/wait", operation.name));
        let call = self.call(Method::POST, &path, &[])?.repeatable();
        let what = format!("Google's operation {} to be done", operation.name);
        let time = Duration::from_nanos;
        // In GitLab's driver 0 is no limit; a wait without one would be no help to anybody.
        let limit = match self.backoff.max_elapsed_time {
            0 => LONGEST_WAIT,
            nanos => time(nanos),
        };
        let wait = Poll {
            first: time(self.backoff.initial_interval).max(SHORTEST),
            longest: time(self.backoff.max_interval).max(SHORTEST),
            growth: self.backoff.multiplier,
            chance: self.backoff.randomization_factor,
            ..Poll::new(&what, limit)
        };
        let look = || async {
            match self.api.send(&call).await {
                Ok(answer) => {
                    let now: Operation = self.read(doing, &answer)?;
                    let seen = format!("it is {}", now.status);
                    Ok(if now.is_done() { Seen::Done(now) } else { Seen::NotYet(seen) })
                }
                // A new operation is not known everywhere at once; and an answer may take longer than silence is borne.
                Err(error) if error.is_not_found() || matches!(error, ApiError::Transport { .. }) => {
                    Ok(Seen::NotYet(error.to_string()))
                }
                Err(error) => Err(self.fault(doing, &error)),
            }
        };
        cloud::wait_as(self.report, &wait, look).await
    }

    /// Waits for an operation and says what it was for where it ended badly.
    pub(super) async fn done(&self, doing: &str, operation: &Operation) -> Result<(), DriverError> {
        self.finish(doing, operation).await?.well(doing)
    }

    /// All things of a list, page by page. `fields` of one of them.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
        filter: &str,
        fields: &str,
    ) -> Result<Vec<T>, DriverError> {
        let fields = format!("items({fields}),nextPageToken");
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let page: Page<T> = self.page(doing, path, filter, &fields, &token).await?;
            all.extend(page.items);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            token = page.next_page_token;
        }
    }

    /// All things of one kind in all zones, page by page.
    pub(super) async fn list_everywhere<T: DeserializeOwned>(
        &self,
        kind: &str,
        filter: &str,
        fields: &str,
    ) -> Result<Vec<T>, DriverError> {
        let (doing, path) =
            (format!("the {kind} of the project can't be listed"), format!("aggregated/{kind}"));
        let fields = format!("items/*/{kind}({fields}),nextPageToken");
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let page: Aggregated<BTreeMap<String, Value>> =
                self.page(&doing, &self.own(&path), filter, &fields, &token).await?;
            for mut scope in page.items.into_values() {
                let Some(found) = scope.remove(kind) else { continue };
                let found: Vec<T> = serde_json::from_value(found).map_err(|error| {
                    DriverError::new(ErrorKind::Other, format!("{doing}: the answer can't be read: {error}"))
                })?;
                all.extend(found);
            }
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            token = page.next_page_token;
        }
    }

    async fn page<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
        filter: &str,
        fields: &str,
        token: &str,
    ) -> Result<T, DriverError> {
        let mut query = vec![("maxResults", PAGE), ("fields", fields)];
        if !filter.is_empty() {
            query.push(("filter", filter));
        }
        if !token.is_empty() {
            query.push(("pageToken", token));
        }
        let call = self.call(Method::GET, path, &query)?;
        let answer = self.send(doing, &call).await?;
        self.read(doing, &answer)
    }
}

/// Whether it is the thing itself that is not there, and not its project.
fn is_gone(error: &ApiError) -> bool {
    error.is_not_found() && !error.refusal().is_some_and(|refusal| is_project(&refusal.message))
}

/// Whether a refusal says that the project is not there: `The resource 'projects/NAME' was not found`.
fn is_project(message: &str) -> bool {
    let named = message.split('\'').nth(1).unwrap_or_default();
    named.strip_prefix("projects/").is_some_and(|name| !name.contains('/'))
        || message.contains("Failed to find project")
}

/// Why something could not be begun.
#[derive(Debug)]
pub(super) enum Begun {
    /// The API said so.
    Api(ApiError),
    /// It was not asked.
    Other(DriverError),
}

impl From<ApiError> for Begun {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<DriverError> for Begun {
    fn from(error: DriverError) -> Self {
        Self::Other(error)
    }
}

impl Begun {
    /// Whether there is something of this name.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Api(error) if error.status() == Some(409))
    }

    /// Whether nobody knows what came of it.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Api(error) if error.outcome_unknown())
    }

    /// The driver's error.
    pub(super) fn into_error(self, compute: &Compute<'_>, doing: &str) -> DriverError {
        match self {
            Self::Api(error) => compute.fault(doing, &error),
            Self::Other(error) => error,
        }
    }
}
