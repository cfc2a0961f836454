//! What can go wrong between us and a provider.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::{Answer, retry};
use crate::HttpError;

/// How much of a body is shown that is not what was expected, characters.
const SHOWN: usize = 200;

/// Why a call failed. No text has secrets in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// There was no answer.
    #[error("{call}: {source}")]
    Transport {
        /// What was asked.
        call: String,
        /// Whether the provider may have acted on it.
        sent: bool,
        /// What happened.
        #[source]
        source: HttpError,
    },
    /// The provider refused.
    #[error("{call}: {refusal}")]
    Refused {
        /// What was asked.
        call: String,
        /// What it answered.
        refusal: Box<Refusal>,
    },
    /// The answer is not what the provider's description says.
    #[error("{call}: the answer can't be read: {why}")]
    Unreadable {
        /// What was asked.
        call: String,
        /// What is wrong with it.
        why: String,
    },
    /// There are no credentials to be had.
    #[error("{why}")]
    NoAccess {
        /// Why not.
        why: String,
    },
}

impl ApiError {
    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// What the provider answered, where it refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// The provider's code of a refusal; empty where there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.refusal().map_or("", |refusal| &refusal.code)
    }

    /// Whether what was asked for does not exist (404, 410).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.status(), Some(404 | 410))
    }

    /// Whether nobody knows if the provider acted on the call: its answer got lost, or it failed while it worked.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Transport { sent, .. } => *sent,
            Self::Refused { refusal, .. } => refusal.status >= 500 && !refusal.throttled && !refusal.lasting,
            Self::Unreadable { .. } => true,
            Self::NoAccess { .. } => false,
        }
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.may_pass(),
            Self::Refused { refusal, .. } => refusal.may_pass(),
            Self::Unreadable { .. } | Self::NoAccess { .. } => false,
        }
    }

    /// What happened, without the call.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Transport { source, .. } => source.to_string(),
            Self::Refused { refusal, .. } => refusal.to_string(),
            Self::Unreadable { why, .. } | Self::NoAccess { why } => why.clone(),
        }
    }
}

/// A provider's no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The status, e.g. 422.
    pub status: u16,
    /// The provider's word for it, e.g. `unprocessable_entity`; empty where it has none.
    pub code: String,
    /// The provider's explanation, in one line.
    pub message: String,
    /// By which the provider's support finds the call; empty where it gives none.
    pub request_id: String,
    /// Whether it says that we ask too often; it did not act on the call then.
    pub throttled: bool,
    /// Whether it says that asking again soon is of no use, whatever its status: EC2 is out of capacity with status 500.
    /// It did not act on the call then.
    pub lasting: bool,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// Headers in which providers put the id of a request.
const REQUEST_IDS: [&str; 6] = [
    "x-request-id",
    "x-amzn-requestid",
    "x-ms-request-id",
    "x-openstack-request-id",
    "x-compute-request-id",
    "x-goog-request-id",
];

impl Refusal {
    /// What an answer says in its status, its headers, and a JSON body in one of the usual shapes: `{"error": {"code",
    /// "message"}}`, `{"id", "message", "request_id"}`, `{"SOMETHING": {"code", "message"}}`. A dialect refines it.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        let mut refusal = Self {
            status: answer.status,
            throttled: answer.status == 429,
            retry_after: retry::wanted(answer),
            ..Self::default()
        };
        if let Some(id) = REQUEST_IDS.iter().map(|name| answer.header(name)).find(|id| !id.is_empty()) {
            id.clone_into(&mut refusal.request_id);
        }
        match answer.json::<Value>() {
            Ok(body) => refusal.read(&body),
            Err(_) => refusal.message = one_line(&answer.text()),
        }
        refusal
    }

    fn read(&mut self, body: &Value) {
        let only = body.as_object().filter(|map| map.len() == 1).and_then(|map| map.values().next());
        let inner = body.get("error").filter(|error| error.is_object()).or(only.filter(|v| v.is_object()));
        let inner = inner.unwrap_or(body);
        let word = |key: &str| match inner.get(key) {
            Some(Value::String(text)) => one_line(text),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let first = |keys: &[&str]| keys.iter().map(|key| word(key)).find(|text| !text.is_empty());
        self.code = first(&["code", "id", "error", "status"]).unwrap_or_default();
        self.message = first(&["message", "error_description", "title", "detail"])
            .unwrap_or_else(|| one_line(&body.to_string()));
        if let Some(id) = first(&["request_id"]) {
            self.request_id = id;
        }
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.throttled || (!self.lasting && matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.code.is_empty() && self.code != self.status.to_string() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if !self.request_id.is_empty() {
            write!(f, " (request id {})", self.request_id)?;
        }
        Ok(())
    }
}

/// A text without line breaks and control characters, cut where it is long.
fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
