//! What is asked, and what is answered.

use std::fmt;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::{Bytes, Url};

/// Whether a call may be made again when nobody knows what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It may: it only reads, makes something what it should be, or carries a token by which the provider knows it again.
    Safe,
    /// It may make something twice: only where the provider has certainly not acted on it (no connection came about, or
    /// it said that we ask too often).
    Once,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    repeat: Repeat,
    name: &'static str,
}

impl Call {
    /// A call of this method. GET, HEAD, PUT and DELETE may be made again (RFC 9110, 9.2.2), the others only once.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        let idempotent =
            [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS].contains(&method);
        let repeat = if idempotent { Repeat::Safe } else { Repeat::Once };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Self { method, url, headers, body: Bytes::new(), repeat, name: "" }
    }

    /// GET.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// POST.
    #[must_use]
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// PUT.
    #[must_use]
    pub fn put(url: Url) -> Self {
        Self::new(Method::PUT, url)
    }

    /// DELETE.
    #[must_use]
    pub fn delete(url: Url) -> Self {
        Self::new(Method::DELETE, url)
    }

    /// With a JSON body.
    ///
    /// # Panics
    /// Where the value is a map whose keys are no texts: a mistake in the caller's types.
    #[must_use]
    pub fn json(self, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("a body of texts, numbers, lists and objects");
        self.body("application/json", body)
    }

    /// With a form as its body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in pairs {
            form.append_pair(key.as_ref(), value.as_ref());
        }
        self.body("application/x-www-form-urlencoded; charset=utf-8", form.finish().into_bytes())
    }

    /// With a body of this content type.
    #[must_use]
    pub fn body(self, content_type: &'static str, body: Vec<u8>) -> Self {
        let mut call = self.header(CONTENT_TYPE, HeaderValue::from_static(content_type));
        call.body = Bytes::from(body);
        call
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Made again where nobody knows what came of it: it carries a token by which the provider knows it again, or does no
    /// harm twice.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Safe;
        self
    }

    /// With the name of what is asked for, in logs and errors: for APIs where all calls go to the same address.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Whether it may be made again.
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// Method, host and path: `GET api.example.com/v2/droplets`, and the name where there is one: `POST ec2.example.com/
/// RunInstances`. The query may have secrets in it.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.url.host_str().unwrap_or_default(), self.url.path())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked, for errors.
    pub(super) call: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`ApiError::Unreadable`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The error for an answer that is not what the provider's description says.
    #[must_use]
    pub fn unreadable(&self, why: &str) -> ApiError {
        ApiError::Unreadable { call: self.call.clone(), why: why.to_owned() }
    }
}
