//! Who we are.

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::ApiError;
use crate::{Bytes, Url};

/// A request that is about to be sent.
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a Method,
    /// The address.
    pub url: &'a Url,
    /// The headers so far; what proves who we are is to be added, marked as sensitive.
    pub headers: &'a mut HeaderMap,
    /// The body; empty for none.
    pub body: &'a Bytes,
}

/// Proves who we are: a token, a signature.
#[async_trait]
pub trait Access: Send + Sync {
    /// Adds the proof. Called for each try.
    ///
    /// # Errors
    /// [`ApiError::NoAccess`] where there is none to be had.
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError>;

    /// The provider answered 401. Whether another proof can be had, so that the call is worth another try.
    async fn renew(&self) -> bool {
        false
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl Access for Anonymous {
    async fn grant(&self, _request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Whoever has a token that stands in a header.
#[derive(Clone, Debug)]
pub struct Token {
    name: HeaderName,
    value: HeaderValue,
}

impl Token {
    /// `Authorization: Bearer TOKEN` (RFC 6750).
    ///
    /// # Errors
    /// [`ApiError::NoAccess`] where the token has characters that can't stand in a header.
    pub fn bearer(token: &str) -> Result<Self, ApiError> {
        Self::in_header(reqwest::header::AUTHORIZATION, &format!("Bearer {}", token.trim()))
    }

    /// The token alone in a header of this name.
    ///
    /// # Errors
    /// As [`Self::bearer`].
    pub fn in_header(name: HeaderName, value: &str) -> Result<Self, ApiError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| ApiError::NoAccess {
            why: "the token has characters in it that no token has".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

#[async_trait]
impl Access for Token {
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        request.headers.insert(self.name.clone(), self.value.clone());
        Ok(())
    }
}
