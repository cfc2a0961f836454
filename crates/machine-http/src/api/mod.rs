//! Calls of a provider's API: who we are, what may be asked again, how long, and what a refusal means.
//!
//! In: an [`Api`] (a [`Client`], a [`Dialect`], an [`Access`]) and [`Call`]s. Out: [`Answer`]s, or an [`ApiError`] that names
//! the call, the provider's code, message and request id. Requests are made again only where that can't make anything twice:
//! see [`Repeat`].

mod access;
mod call;
mod error;
mod poll;
mod retry;

use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

pub use access::{Access, Anonymous, Outgoing, Token};
pub use call::{Answer, Call, Repeat};
pub use error::{ApiError, Refusal};
pub use poll::{Poll, PollError, Seen, poll};
pub use retry::Retries;

use crate::{Client, HttpError};
use retry::Tries;

/// The longest answer that is read, bytes. A page of a thousand instances has about a megabyte.
const LONGEST_ANSWER: usize = 64 << 20;

/// Reads a provider's refusal: any answer that is no success. [`Refusal::of`] knows what stands in headers everywhere.
pub type Dialect = fn(&Answer) -> Refusal;

/// One try of a call and what came of it, for logs: nothing of it is secret.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// Method, host and path, e.g. `POST api.example.com/v2/droplets`.
    pub call: &'a str,
    /// The status; `None` where there was no answer.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// Which try it was, from 1 on.
    pub tried: u32,
    /// What went wrong, where something did.
    pub trouble: Option<String>,
}

impl std::fmt::Display for Exchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.call)?;
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("no answer")?,
        }
        write!(f, ", {} ms", self.took.as_millis())?;
        if self.tried > 1 {
            write!(f, ", try {}", self.tried)?;
        }
        match &self.trouble {
            Some(trouble) => write!(f, " ({trouble})"),
            None => Ok(()),
        }
    }
}

/// A provider's API.
pub struct Api<'a> {
    client: Client,
    dialect: Dialect,
    access: &'a dyn Access,
    retries: Retries,
    tell: Box<dyn Fn(&Exchange<'_>) + Send + Sync + 'a>,
}

impl<'a> Api<'a> {
    /// An API that nobody listens to, with the usual [`Retries`].
    #[must_use]
    pub fn new(client: Client, dialect: Dialect, access: &'a dyn Access) -> Self {
        Self { client, dialect, access, retries: Retries::default(), tell: Box::new(|_| ()) }
    }

    /// Has each exchange told.
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(&Exchange<'_>) + Send + Sync + 'a) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Has calls tried again in another way.
    #[must_use]
    pub fn retrying(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Makes a call, again where that is safe and may help.
    ///
    /// # Errors
    /// All of [`ApiError`]; an answer that is no success is [`ApiError::Refused`].
    pub async fn send(&self, call: &Call) -> Result<Answer, ApiError> {
        let mut tries = Tries::new(&self.retries);
        let mut renewed = false;
        loop {
            tries.count += 1;
            let failed = match self.exchange(call, tries.count).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if failed.status() == Some(401) && !renewed && self.access.renew().await {
                renewed = true;
                continue;
            }
            let Some(pause) = tries.pause_before_next(&failed, call.repeat()) else {
                return Err(failed);
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn exchange(&self, call: &Call, tried: u32) -> Result<Answer, ApiError> {
        let named = call.to_string();
        let start = Instant::now();
        let outcome = self.once(call, &named).await;
        let (status, trouble) = match &outcome {
            Ok(answer) => (Some(answer.status), None),
            Err(error) => (error.status(), Some(error.why())),
        };
        (self.tell)(&Exchange { call: &named, status, took: start.elapsed(), tried, trouble });
        outcome
    }

    async fn once(&self, call: &Call, named: &str) -> Result<Answer, ApiError> {
        let mut headers: HeaderMap = call.headers.clone();
        let mut outgoing =
            Outgoing { method: &call.method, url: &call.url, headers: &mut headers, body: &call.body };
        self.access.grant(&mut outgoing).await?;
        let sent = |sent, source| ApiError::Transport { call: named.to_owned(), sent, source };
        let response = self.client.request(call.method.clone(), &call.url, headers, call.body.clone());
        let response = response.await.map_err(|failed| sent(failed.sent, failed.source))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = self.client.body(response, &call.url, LONGEST_ANSWER).await;
        let body = body.map_err(|source: HttpError| sent(true, source))?;
        let answer = Answer { call: named.to_owned(), status, headers, body };
        if (200..300).contains(&status) { Ok(answer) } else { Err(self.refused(answer)) }
    }

    fn refused(&self, answer: Answer) -> ApiError {
        let refusal = (self.dialect)(&answer);
        ApiError::Refused { call: answer.call, refusal: Box::new(refusal) }
    }
}
