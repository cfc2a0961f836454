//! Requests.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, StatusCode, redirect};

use crate::{Bytes, HttpError, Response, Url, response, tls};

/// The variable of the environment that names a file with further root certificates, PEM.
pub const EXTRA_CA: &str = "MACHINE_EXTRA_CA_CERTS";

/// How many times a server may send us on.
const REDIRECTS: usize = 10;

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long a server may say nothing while an answer is awaited or comes.
    pub silence: Duration,
    /// A file with certificates in PEM that are trusted besides the system's.
    pub extra_ca: Option<PathBuf>,
    /// How often a request that failed for a reason that may pass is made at most. It is for the caller to make it
    /// again.
    pub tries: u32,
    /// The pause before the second try; it doubles with each further one.
    pub pause: Duration,
    /// Whether `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count.
    pub proxies: bool,
    /// Whether servers are believed whatever their certificates say. Anybody on the way can then read and change what is
    /// sent: only for those who were told so by the user.
    pub insecure: bool,
    /// Whether to go where servers send us. Not where requests carry credentials: they are for one server only.
    pub redirects: bool,
}

impl Default for Settings {
    /// 30 s for a connection, 60 s of silence, 5 tries with pauses from 0.5 s on, proxies and [`EXTRA_CA`] as the
    /// environment says.
    fn default() -> Self {
        let extra_ca = std::env::var_os(EXTRA_CA).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self {
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(60),
            extra_ca,
            tries: 5,
            pause: Duration::from_millis(500),
            proxies: true,
            insecure: false,
            redirects: true,
        }
    }
}

/// Makes requests, and keeps connections for the next ones. Copies share them.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    /// Why HTTPS can't be used.
    tls_problem: Option<String>,
    silence: Duration,
    tries: u32,
    pause: Duration,
}

/// A request without an answer.
pub(crate) struct Unanswered {
    /// Whether it may have reached the server.
    pub sent: bool,
    /// What happened.
    pub source: HttpError,
}

/// Where a transfer that broke off is to go on.
#[derive(Clone, Copy, Debug)]
pub struct Resume<'a> {
    /// How many bytes are there already.
    pub offset: u64,
    /// [`Response::validator`] of the answer that they came with. Without it a server may send the rest of
    /// something else: only for those who compare a checksum in the end.
    pub validator: Option<&'a str>,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// [`HttpError::ExtraCa`], [`HttpError::Setup`].
    pub fn new(settings: &Settings) -> Result<Self, HttpError> {
        let judge = if settings.insecure {
            tls::believe_anybody()?
        } else {
            tls::judge(settings.extra_ca.as_deref())?
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(judge.config)
            .user_agent(concat!("docker-machine/", env!("CARGO_PKG_VERSION")))
            .redirect(if settings.redirects { Policy::custom(follow) } else { Policy::none() })
            .referer(false)
            .connect_timeout(settings.connect)
            .read_timeout(settings.silence);
        if !settings.proxies {
            builder = builder.no_proxy();
        }
        let inner = builder.build().map_err(|error| HttpError::Setup { why: error.to_string() })?;
        let (silence, tries, pause) = (settings.silence, settings.tries, settings.pause);
        Ok(Self { inner, tls_problem: judge.problem, silence, tries, pause })
    }

    /// How long to wait before the same request is made again, after so many failures in a row; `None` where it was
    /// tried often enough.
    #[must_use]
    pub fn pause_after(&self, failures: u32) -> Option<Duration> {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        (failures < self.tries).then(|| self.pause.saturating_mul(doubled))
    }

    /// Asks for what is at an address.
    ///
    /// # Errors
    /// All of [`HttpError`]; an answer that is no success is one too.
    pub async fn get(&self, url: &Url) -> Result<Response, HttpError> {
        self.send(url, HeaderMap::new(), None).await
    }

    /// Asks for the rest of what is at an address. Where it is no longer what it was, or the server can't send
    /// parts, the answer begins at the beginning: see [`Response::offset`].
    ///
    /// # Errors
    /// As [`Self::get`], and [`HttpError::NothingThere`].
    pub async fn get_rest(&self, url: &Url, resume: Resume<'_>) -> Result<Response, HttpError> {
        let mut headers = HeaderMap::new();
        let validator = resume.validator.map(HeaderValue::from_str);
        // A validator that can't stand in a header would never fit: everything is asked for.
        if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", resume.offset))
            && let Ok(validator) = validator.transpose()
        {
            headers.insert(RANGE, range);
            headers.extend(validator.map(|validator| (IF_RANGE, validator)));
        }
        self.send(url, headers, Some(resume.offset)).await
    }

    /// Makes a request once; whatever is answered is an answer.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, Unanswered> {
        self.can_speak(url).map_err(|source| Unanswered { sent: false, source })?;
        let request = self.inner.request(method, url.clone()).headers(headers).body(body);
        request.send().await.map_err(|error| Unanswered {
            sent: !error.is_connect(),
            source: HttpError::of(error, url, self.silence),
        })
    }

    /// The whole body of an answer.
    pub(crate) async fn body(
        &self,
        mut answer: reqwest::Response,
        url: &Url,
        max: usize,
    ) -> Result<Bytes, HttpError> {
        let mut bytes = Vec::new();
        while let Some(piece) =
            answer.chunk().await.map_err(|error| HttpError::of(error, url, self.silence))?
        {
            bytes.extend_from_slice(&piece);
            if bytes.len() > max {
                let why = format!("it is longer than {max} bytes");
                return Err(HttpError::Nonsense { url: crate::shown(url), why });
            }
        }
        Ok(bytes.into())
    }

    fn can_speak(&self, url: &Url) -> Result<(), HttpError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpError::Scheme { url: crate::shown(url) });
        }
        match self.tls_problem.as_ref().filter(|_| url.scheme() == "https") {
            Some(why) => Err(HttpError::Setup { why: why.clone() }),
            None => Ok(()),
        }
    }

    async fn send(&self, url: &Url, headers: HeaderMap, from: Option<u64>) -> Result<Response, HttpError> {
        self.can_speak(url)?;
        let request = self.inner.get(url.clone()).headers(headers);
        let answer = request.send().await.map_err(|error| HttpError::of(error, url, self.silence))?;
        let status = answer.status();
        match (status, from) {
            (StatusCode::OK, _) => Response::whole(answer, url, self.silence),
            (StatusCode::PARTIAL_CONTENT, Some(from)) => Response::rest(answer, url, self.silence, from),
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(offset)) => {
                let total = response::content_range(&answer).and_then(|range| range.total);
                Err(HttpError::NothingThere { url: crate::shown(url), offset, total })
            }
            _ => Err(HttpError::Status {
                url: crate::shown(url),
                status: status.as_u16(),
                reason: status.canonical_reason().unwrap_or_default(),
            }),
        }
    }
}

/// Whether to go where a server sends us: not for ever, and not from where nobody can listen to where everybody can.
fn follow(attempt: Attempt<'_>) -> redirect::Action {
    let secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(format!("it redirects more than {REDIRECTS} times"));
    }
    if secure && attempt.url().scheme() != "https" {
        let to = crate::shown(attempt.url());
        return attempt
            .error(format!("it redirects from HTTPS to {to}, which anybody on the way can change"));
    }
    attempt.follow()
}
