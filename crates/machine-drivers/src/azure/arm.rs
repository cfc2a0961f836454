//! The Resource Manager: things with an id, made by PUT, removed by DELETE, each of which may take a while.
//!
//! Source: "Resource Manager asynchronous operations" and "Resource provider API reference" of Microsoft's.

use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Event, Reporter};
use machine_http::Url;
use machine_http::api::{Answer, Api, ApiError, Call, Poll, Refusal, Seen};
use machine_http::header::{HeaderValue, IF_NONE_MATCH};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::credentials::Granted;
use super::model::List;
use super::trouble::{READING, dialect, is_gone};
use crate::cloud;

/// Versions of the APIs: of those that Microsoft's clouds all have, the newest. Source: Azure/azure-rest-api-specs,
/// `specification/*/resource-manager/*/stable`.
const COMPUTE: &str = "2024-11-01";
const DISKS: &str = "2024-03-02";
const SKUS: &str = "2021-07-01";
const GALLERIES: &str = "2023-07-03";
const NETWORK: &str = "2024-07-01";
const RESOURCES: &str = "2024-11-01";
const STORAGE: &str = "2023-05-01";
/// That of subscriptions, which is asked without a token too.
pub(super) const SUBSCRIPTIONS: &str = "2022-12-01";

/// How long a network interface, an address or a group of rules may take until it is there.
const MAKING: Duration = Duration::from_secs(300);
/// How long an operation may take.
const OPERATION: Duration = Duration::from_secs(900);
/// How long the registration of a resource provider may take.
const REGISTRATION: Duration = Duration::from_secs(600);
/// The pauses between two looks at an operation that asks for none.
const FIRST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(3);
/// The longest pause that an operation is given between two looks, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(30);

/// The version of the API for what is below this id.
fn version(id: &str) -> &'static str {
    let lower = id.to_ascii_lowercase();
    let provider = lower.rsplit_once("/providers/").map_or("", |(_, rest)| rest);
    let kind = provider.split('/').nth(1).unwrap_or_default();
    match provider.split('/').next().unwrap_or_default() {
        "microsoft.compute" if kind == "disks" => DISKS,
        "microsoft.compute" if kind == "skus" => SKUS,
        "microsoft.compute" if kind == "galleries" => GALLERIES,
        "microsoft.compute" => COMPUTE,
        "microsoft.network" => NETWORK,
        "microsoft.storage" => STORAGE,
        _ => RESOURCES,
    }
}

/// The namespace of what is below an id, e.g. `Microsoft.Compute`.
fn namespace(id: &str) -> Option<&str> {
    id.split_once("/providers/").and_then(|(_, rest)| rest.split('/').next())
}

/// A subscription at the Resource Manager, and who asks.
pub(super) struct Arm<'a> {
    access: Granted<'a>,
    pub(super) report: &'a dyn Reporter,
    /// The subscription's id as a path: `/subscriptions/…`.
    pub(super) subscription: String,
}

/// What a PUT gave.
pub(super) struct Put {
    answer: Answer,
    /// The thing as it is now.
    body: Value,
}

impl<'a> Arm<'a> {
    /// Whoever signed in, at a subscription.
    pub(super) fn new(access: Granted<'a>, subscription: &str, report: &'a dyn Reporter) -> Self {
        Self { access, report, subscription: format!("/subscriptions/{subscription}") }
    }

    fn api(&self) -> Api<'_> {
        cloud::api(self.access.sign_in.client.clone(), dialect, &self.access, self.report)
    }

    fn url(&self, id: &str, query: &[(&str, &str)]) -> Result<Url, DriverError> {
        let segments: Vec<&str> = id.split('/').filter(|part| !part.is_empty()).collect();
        let query: Vec<(&str, &str)> =
            std::iter::once(("api-version", version(id))).chain(query.iter().copied()).collect();
        cloud::url(&self.access.sign_in.endpoint, &segments, &query)
    }

    /// An address that the provider gave. Our token goes to the Resource Manager only.
    fn given(&self, url: &str) -> Result<Url, DriverError> {
        let home = Url::parse(&self.access.sign_in.endpoint).map(|url| url.origin());
        match (Url::parse(url), home) {
            (Ok(url), Ok(home)) if url.origin() == home => Ok(url),
            _ => Err(DriverError::new(
                ErrorKind::Other,
                format!("Azure sends us on to {url:?}, which is not the Resource Manager"),
            )),
        }
    }

    /// Makes a call; where the subscription was never used for this kind of thing, it is registered for it, once.
    async fn send(&self, id: &str, call: &Call) -> Result<Answer, ApiError> {
        let failed = match self.api().send(call).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let unregistered = ["MissingSubscriptionRegistration", "SubscriptionNotRegistered"];
        match namespace(id) {
            Some(namespace) if unregistered.contains(&failed.code()) => {
                self.register(namespace).await.map_err(|why| {
                    self.report.report(Event::Debug(format!("azure: {why}")));
                    failed
                })?;
                self.api().send(call).await
            }
            _ => Err(failed),
        }
    }

    async fn register(&self, namespace: &str) -> Result<(), DriverError> {
        self.report.report(Event::DriverLine(format!("Registering the subscription for {namespace}...")));
        let id = format!("{}/providers/{namespace}", self.subscription);
        let call = Call::post(self.url(&format!("{id}/register"), &[])?).repeatable();
        let doing = format!("the subscription can't be registered for {namespace}");
        self.api().send(&call).await.map_err(|error| trouble(&doing, &error))?;
        let call = Call::get(self.url(&id, &[])?);
        cloud::wait_for(self.report, &format!("the registration for {namespace}"), REGISTRATION, || async {
            let answer = self.api().send(&call).await.map_err(|error| trouble(&doing, &error))?;
            let body: Value = answer.json().map_err(|error| trouble(&doing, &error))?;
            let state = body.get("registrationState").and_then(Value::as_str).unwrap_or_default();
            Ok(if state == "Registered" { Seen::Done(()) } else { Seen::NotYet(state.to_owned()) })
        })
        .await
    }

    /// What is at an id; `None` where nothing is.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        doing: &str,
        id: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<T>, DriverError> {
        match self.send(id, &Call::get(self.url(id, query)?)).await {
            Ok(answer) => answer.json().map(Some).map_err(|error| trouble(doing, &error)),
            Err(error) if nothing_there(&error) => Ok(None),
            Err(error) => Err(trouble(doing, &error)),
        }
    }

    /// All of a list, page by page.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        doing: &str,
        id: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Vec<T>>, DriverError> {
        let (mut all, mut url) = (Vec::new(), self.url(id, query)?);
        loop {
            let answer = match self.send(id, &Call::get(url)).await {
                Err(error) if nothing_there(&error) && all.is_empty() => return Ok(None),
                answer => answer.map_err(|error| trouble(doing, &error))?,
            };
            let page: List<T> = answer.json().map_err(|error| trouble(doing, &error))?;
            all.extend(page.value);
            match page.next_link.filter(|link| !link.is_empty()) {
                Some(link) => url = self.given(&link)?,
                None => return Ok(Some(all)),
            }
        }
    }

    /// Makes something what it should be, and does not wait until it is.
    pub(super) async fn put(&self, doing: &str, id: &str, body: &Value) -> Result<Put, DriverError> {
        let answer = self.send(id, &Call::put(self.url(id, &[])?).json(body)).await;
        let answer = answer.map_err(|error| trouble(doing, &error))?;
        let body = answer.json().map_err(|error| trouble(doing, &error))?;
        Ok(Put { answer, body })
    }

    /// As [`Self::put`], where nothing is there yet; `None` where something is.
    pub(super) async fn put_new(
        &self,
        doing: &str,
        id: &str,
        body: &Value,
    ) -> Result<Option<Put>, DriverError> {
        let call =
            Call::put(self.url(id, &[])?).json(body).header(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let answer = match self.send(id, &call).await {
            Err(error) if error.status() == Some(412) => return Ok(None),
            answer => answer.map_err(|error| trouble(doing, &error))?,
        };
        let body = answer.json().map_err(|error| trouble(doing, &error))?;
        Ok(Some(Put { answer, body }))
    }

    /// Makes something what it should be, and waits until it is.
    pub(super) async fn make<T: DeserializeOwned>(
        &self,
        doing: &str,
        id: &str,
        body: &Value,
    ) -> Result<T, DriverError> {
        let put = self.put(doing, id, body).await?;
        let body = self.made(doing, id, put).await?;
        T::deserialize(body).map_err(|error| {
            DriverError::new(ErrorKind::Other, format!("{doing}: the answer can't be read: {error}"))
        })
    }

    /// Waits until what was put is there. It is looked at itself, not the operation, which wants to be asked every ten
    /// seconds only and knows no more, but why it failed.
    async fn made(&self, doing: &str, id: &str, put: Put) -> Result<Value, DriverError> {
        match provisioning(&put.body) {
            "" | "Succeeded" => return Ok(put.body),
            "Failed" | "Canceled" => return Err(self.why(doing, &put).await),
            _ => {}
        }
        let what = id.rsplit('/').next().unwrap_or_default();
        cloud::wait_for(self.report, &format!("{what} to be made"), MAKING, || async {
            let Some(body) = self.get::<Value>(doing, id, &[]).await? else {
                return Ok(Seen::NotYet("it is not there yet".to_owned()));
            };
            match provisioning(&body) {
                "" | "Succeeded" => Ok(Seen::Done(body)),
                "Failed" | "Canceled" => Err(self.why(doing, &put).await),
                state => Ok(Seen::NotYet(state.to_owned())),
            }
        })
        .await
    }

    /// Why the operation of a PUT failed.
    async fn why(&self, doing: &str, put: &Put) -> DriverError {
        match self.operation(doing, &put.answer).await {
            Err(error) => error,
            Ok(()) => DriverError::new(ErrorKind::Other, format!("{doing}: Azure does not say why"))
                .with_hint("look at the resource group's activity log in Azure's portal"),
        }
    }

    /// Removes something, and waits until it is gone. Whether it was there.
    pub(super) async fn delete(
        &self,
        doing: &str,
        id: &str,
        query: &[(&str, &str)],
    ) -> Result<bool, DriverError> {
        match self.try_delete(doing, id, query).await? {
            Ok(was_there) => Ok(was_there),
            Err(error) => Err(trouble(doing, &error)),
        }
    }

    /// As [`Self::delete`], with the refusal for the caller to judge.
    pub(super) async fn try_delete(
        &self,
        doing: &str,
        id: &str,
        query: &[(&str, &str)],
    ) -> Result<Result<bool, ApiError>, DriverError> {
        match self.send(id, &Call::delete(self.url(id, query)?)).await {
            Ok(answer) if answer.status == 202 => {
                self.operation(doing, &answer).await?;
                Ok(Ok(true))
            }
            Ok(answer) => Ok(Ok(answer.status != 204)),
            Err(error) if nothing_there(&error) => Ok(Ok(false)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Orders something that may be ordered twice, e.g. that a machine be started.
    pub(super) async fn order(
        &self,
        doing: &str,
        id: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, DriverError> {
        let call = Call::post(self.url(id, query)?).repeatable();
        self.send(id, &call).await.map_err(|error| trouble(doing, &error))
    }

    /// Waits until an operation has ended, asking no more often than it wants to be asked.
    pub(super) async fn operation(&self, doing: &str, begun: &Answer) -> Result<(), DriverError> {
        let by_status = begun.header("azure-asyncoperation");
        let address = if by_status.is_empty() { begun.header("location") } else { by_status };
        if address.is_empty() {
            return Ok(());
        }
        let call = Call::get(self.given(address)?);
        let every = pause(begun).max(FIRST);
        let wait =
            Poll { first: every, longest: every.max(SLOWEST), ..Poll::new("Azure to do it", OPERATION) };
        tokio::time::sleep(every).await;
        cloud::wait_as(self.report, &wait, || async {
            let answer = match self.api().send(&call).await {
                // Where what it was about is gone, it may be, too.
                Err(error) if nothing_there(&error) => return Ok(Seen::Done(())),
                answer => answer.map_err(|error| trouble(doing, &error))?,
            };
            if by_status.is_empty() {
                let done = answer.status != 202;
                return Ok(if done { Seen::Done(()) } else { Seen::NotYet("it goes on".to_owned()) });
            }
            let body: Value = answer.json().map_err(|error| trouble(doing, &error))?;
            match body.get("status").and_then(Value::as_str).unwrap_or_default() {
                "Succeeded" => Ok(Seen::Done(())),
                "Failed" | "Canceled" => Err(failed(doing, &call, &body)),
                state => Ok(Seen::NotYet(state.to_owned())),
            }
        })
        .await
    }
}

impl Put {
    /// The thing as it is now.
    pub(super) fn body(&self) -> &Value {
        &self.body
    }
}

/// Whether a call failed because nothing is there.
fn nothing_there(error: &ApiError) -> bool {
    error.refusal().is_some_and(is_gone)
}

/// How long an answer wants us to wait.
fn pause(answer: &Answer) -> Duration {
    let seconds = answer.header("retry-after").trim().parse().unwrap_or_default();
    Duration::from_secs(seconds).min(LONGEST)
}

fn provisioning(body: &Value) -> &str {
    body.pointer("/properties/provisioningState").and_then(Value::as_str).unwrap_or_default()
}

/// The error of an operation that has failed, read as a refusal.
fn failed(doing: &str, call: &Call, body: &Value) -> DriverError {
    let word = |key: &str| {
        body.pointer(&format!("/error/{key}")).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let refusal = Refusal { status: 409, code: word("code"), message: word("message"), ..Refusal::default() };
    trouble(doing, &ApiError::Refused { call: call.to_string(), refusal: Box::new(refusal) })
}

/// An error for what Azure says of something that it could not do, with its code as of a refusal.
pub(super) fn trouble_of(doing: &str, code: &str, message: &str) -> DriverError {
    let refusal =
        Refusal { status: 409, code: code.to_owned(), message: message.to_owned(), ..Refusal::default() };
    trouble(doing, &ApiError::Refused { call: "Azure".to_owned(), refusal: Box::new(refusal) })
}

/// An error for a call that failed.
pub(super) fn trouble(doing: &str, error: &ApiError) -> DriverError {
    cloud::trouble(&READING, doing, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_version() {
        let group = "/subscriptions/s/resourceGroups/g";
        assert_eq!(version(group), RESOURCES);
        assert_eq!(version(&format!("{group}/providers/Microsoft.Compute/virtualMachines/x")), COMPUTE);
        assert_eq!(version(&format!("{group}/providers/microsoft.compute/disks/x")), DISKS);
        assert_eq!(version(&format!("{group}/providers/Microsoft.Network/publicIPAddresses/x")), NETWORK);
        assert_eq!(version("/subscriptions/s/providers/Microsoft.Compute/skus"), SKUS);
        assert_eq!(version("/subscriptions/s/providers/Microsoft.Compute"), COMPUTE);
        let image = "providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0";
        assert_eq!(version(&format!("{group}/{image}")), GALLERIES);
        assert_eq!(version(&format!("{group}/providers/Microsoft.Compute/images/i")), COMPUTE);
        assert_eq!(namespace("/subscriptions/s/providers/Microsoft.Compute/skus"), Some("Microsoft.Compute"));
    }
}
