//! HTTP requests over one connection to an engine, kept open between calls.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::dial::{dial, tls_error};
use crate::endpoint::Endpoint;
use crate::{ApiVersion, EngineError, TlsConfig};

/// The largest answer that is read into memory, in bytes. `info` of a large Swarm is tens of KiB.
const MAX_ANSWER: usize = 8 << 20;

/// One engine's address with the connection to it, if one is open.
pub(crate) struct Connection {
    endpoint: Endpoint,
    tls: Option<TlsConfig>,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// One request. It has its own time limit, connecting included.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// With version and query, e.g. `/v1.47/version`.
    pub(crate) path: &'a str,
    /// A JSON body; empty for none.
    pub(crate) body: Vec<u8>,
    pub(crate) limit: Duration,
}

impl Connection {
    pub(crate) fn new(endpoint: Endpoint, tls: Option<TlsConfig>) -> Self {
        Self { endpoint, tls, sender: Mutex::new(None) }
    }

    pub(crate) fn silent(&self, waited_for: String, limit: Duration) -> EngineError {
        EngineError::Silent {
            network: self.endpoint.network(),
            address: self.endpoint.address(),
            waited_for,
            limit,
        }
    }

    pub(crate) fn protocol(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Protocol { address: self.endpoint.address(), reason: reason.into() }
    }

    /// Finds out what a failed read of a body means.
    pub(crate) fn body_error(&self, error: &(dyn std::error::Error + 'static)) -> EngineError {
        tls_error(&self.endpoint, error)
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, EngineError> {
        let waited_for = format!("answer to {} {}", call.method, call.path);
        let (limit, deadline) = (call.limit, Instant::now() + call.limit);
        let response = self.send(call).await?;
        let (head, body) = response.into_parts();
        let body = timeout_at(deadline, Limited::new(body, MAX_ANSWER).collect())
            .await
            .map_err(|_| self.silent(waited_for, limit))?
            .map_err(|error| self.body_error(error.as_ref()))?
            .to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Sends a request and gives its answer as far as it has come.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Response<Incoming>, EngineError> {
        let Call { method, path, body, limit } = call;
        let deadline = Instant::now() + limit;
        let waited_for = format!("answer to {method} {path}");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.endpoint.host_header())
            .header(USER_AGENT, concat!("docker-machine/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.protocol(format!("the request {path} can't be made: {error}")))?;
        let mut sender = self.sender.lock().await;
        let ready = match sender.as_mut() {
            // An engine may close a connection that rested.
            Some(open) => open.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            *sender = Some(self.connect(deadline.saturating_duration_since(Instant::now())).await?);
        }
        let Some(open) = sender.as_mut() else { return Err(self.protocol("no connection")) };
        match timeout_at(deadline, open.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                *sender = None;
                Err(tls_error(&self.endpoint, &error))
            }
            Err(_) => {
                *sender = None;
                Err(self.silent(waited_for, limit))
            }
        }
    }

    async fn connect(&self, limit: Duration) -> Result<SendRequest<Full<Bytes>>, EngineError> {
        let stream = dial(&self.endpoint, self.tls.as_ref(), limit).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| tls_error(&self.endpoint, &error))?;
        // It ends with the sender; its errors come out of the request that they break.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the engine ended");
            }
        });
        Ok(sender)
    }
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Turns an error status into an error with the engine's message.
    pub(crate) fn ok(self, ours: ApiVersion) -> Result<Self, EngineError> {
        if self.status.is_success() { Ok(self) } else { Err(http_error(self.status, &self.body, ours)) }
    }
}

/// The error of an answer with an error status.
pub(crate) fn http_error(status: StatusCode, body: &[u8], ours: ApiVersion) -> EngineError {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let message = match serde_json::from_slice::<Message>(body) {
        Ok(Message { message }) => message,
        Err(_) => String::from_utf8_lossy(body).trim().chars().take(500).collect(),
    };
    // "client version 1.51 is too old. Minimum supported API version is 1.60, …"; "client version 1.24 is too new.
    // Maximum supported API version is 1.22"; before 1.13 "client is newer than server (…)"
    if status == StatusCode::BAD_REQUEST
        && (message.contains("supported API version is") || message.contains("client is newer than server"))
    {
        return EngineError::ApiVersion { ours, message };
    }
    let message = if message.is_empty() {
        status.canonical_reason().unwrap_or("no message").to_owned()
    } else {
        message
    };
    EngineError::Http { status: status.as_u16(), message }
}
