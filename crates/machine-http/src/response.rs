//! Answers.

use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED};

use crate::{Bytes, HttpError, Url};

/// An answer; its body comes piece by piece.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    url: Url,
    silence: Duration,
    offset: u64,
    total: Option<u64>,
    /// How many bytes are still to come, where the server says so.
    missing: Option<u64>,
}

impl Response {
    pub(crate) fn whole(inner: reqwest::Response, url: &Url, silence: Duration) -> Result<Self, HttpError> {
        let total = inner.content_length();
        Ok(Self { inner, url: url.clone(), silence, offset: 0, total, missing: total })
    }

    pub(crate) fn rest(
        inner: reqwest::Response,
        url: &Url,
        silence: Duration,
        from: u64,
    ) -> Result<Self, HttpError> {
        let range = content_range(&inner).filter(|range| range.first == Some(from)).ok_or_else(|| {
            HttpError::Nonsense {
                url: crate::shown(url),
                why: format!("a part that does not begin at {from}"),
            }
        })?;
        let total = range.total;
        let missing = inner.content_length().or_else(|| total?.checked_sub(from));
        Ok(Self { inner, url: url.clone(), silence, offset: from, total, missing })
    }

    /// Where in the whole the body begins: 0, or what was asked for.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the whole, bytes, where the server says so.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// What changes when the content changes: a strong ETag, else the time of the last change (RFC 9110, 13.1.5).
    #[must_use]
    pub fn validator(&self) -> Option<String> {
        let etag = self.header(&ETAG).filter(|tag| !tag.starts_with("W/"));
        etag.or_else(|| self.header(&LAST_MODIFIED)).map(str::to_owned)
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::Silent`], [`HttpError::Cut`]: also where less came than was promised.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let piece = self.inner.chunk().await;
        let piece = piece.map_err(|error| HttpError::of(error, &self.url, self.silence))?;
        match (&piece, &mut self.missing) {
            (Some(piece), Some(missing)) => *missing = missing.saturating_sub(piece.len() as u64),
            (None, Some(missing)) if *missing > 0 => {
                return Err(HttpError::Cut {
                    url: crate::shown(&self.url),
                    why: format!("{missing} bytes are missing"),
                });
            }
            _ => {}
        }
        Ok(piece)
    }

    /// The whole body as text; bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Self::chunk`], and [`HttpError::Nonsense`] where it is longer than `max` bytes.
    pub async fn text(mut self, max: usize) -> Result<String, HttpError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.chunk().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > max {
                let why = format!("more than {max} bytes where a short text is expected");
                return Err(HttpError::Nonsense { url: crate::shown(&self.url), why });
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.inner.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

/// What `Content-Range` says (RFC 9110, 14.4): `bytes 5-9/10`, `bytes 5-9/*`, `bytes */10`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: Option<u64>,
    pub(crate) total: Option<u64>,
}

pub(crate) fn content_range(answer: &reqwest::Response) -> Option<ContentRange> {
    parse_range(answer.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

fn parse_range(text: &str) -> Option<ContentRange> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let first = match range.split_once('-') {
        Some((first, _)) => Some(first.trim().parse().ok()?),
        None => None,
    };
    let total = if total == "*" { None } else { Some(total.trim().parse().ok()?) };
    Some(ContentRange { first, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, want) in [
            ("bytes 5-9/10", Some((Some(5), Some(10)))),
            ("bytes 5-9/*", Some((Some(5), None))),
            ("bytes */10", Some((None, Some(10)))),
            ("bytes x-9/10", None),
            ("lines 5-9/10", None),
            ("", None),
        ] {
            let want = want.map(|(first, total)| ContentRange { first, total });
            assert_eq!(parse_range(text), want, "{text}");
        }
    }
}
