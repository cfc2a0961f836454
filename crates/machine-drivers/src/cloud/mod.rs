//! What the drivers of clouds share: HTTP clients, the reading of refusals, marks on what is made, files that flags name.

mod accounts;
mod image;
mod mark;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Event, Reporter, Secret};
use machine_http::api::{Access, Api, Dialect, Poll, Seen, poll};
use machine_http::{Client, Settings, Url};

pub(crate) use accounts::{all_answers, each_account};
pub(crate) use image::{UBUNTU_24_04, image_facts};
pub(crate) use mark::{MACHINE_KEY, Mark, STORE_KEY};
pub(crate) use trouble::{Reading, hint, trouble};

/// How large a file with user data may be that is read, bytes; providers allow less.
const MAX_USER_DATA: u64 = 1 << 20;

/// The HTTP clients of a driver: one for each file with further root certificates, made when it is first needed, and kept
/// with its connections for as long as the driver lives.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<BTreeMap<(PathBuf, bool), Client>>);

impl Clients {
    /// The client that trusts the certificates in this file (PEM; empty for none) besides the system's. `flag` names the
    /// flag in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the file is no good.
    pub(crate) fn get(&self, ca: &str, flag: &str) -> Result<Client, DriverError> {
        self.made(ca, flag, false)
    }

    /// The client that believes every server, for users who said so with a flag.
    ///
    /// # Errors
    /// Where none can be made.
    pub(crate) fn insecure(&self) -> Result<Client, DriverError> {
        self.made("", "", true)
    }

    fn made(&self, ca: &str, flag: &str, insecure: bool) -> Result<Client, DriverError> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let which = (PathBuf::from(ca), insecure);
        if let Some(client) = clients.get(&which) {
            return Ok(client.clone());
        }
        let mut settings = Settings { redirects: false, insecure, ..Settings::default() };
        if !ca.is_empty() {
            settings.extra_ca = Some(PathBuf::from(ca));
        }
        let client = Client::new(&settings).map_err(|error| {
            let text = if ca.is_empty() { error.to_string() } else { format!("--{flag}: {error}") };
            let wrong = DriverError::new(ErrorKind::Config, text);
            match error.hint() {
                Some(hint) => wrong.with_hint(hint),
                None => wrong,
            }
        })?;
        clients.insert(which, client.clone());
        Ok(client)
    }
}

/// A provider's API, each exchange told to `--debug`.
pub(crate) fn api<'a>(
    client: Client,
    dialect: Dialect,
    access: &'a dyn Access,
    report: &'a dyn Reporter,
) -> Api<'a> {
    Api::new(client, dialect, access).telling(|exchange| report.report(Event::Debug(exchange.to_string())))
}

/// The address of an API: the flag's value, else the provider's own. It has no slash at its end.
///
/// # Errors
/// [`ErrorKind::Config`] where it is no address of HTTP.
pub(crate) fn endpoint(flag: &str, given: &str, usual: &str) -> Result<String, DriverError> {
    let text = if given.is_empty() { usual } else { given };
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(DriverError::new(ErrorKind::Config, format!("--{flag}: {text:?} is no address of HTTP"))
            .with_hint("give one like https://api.example.com")),
    }
}

/// An address below an endpoint, of segments that are escaped as such and a query.
///
/// # Errors
/// [`ErrorKind::Config`] where the endpoint is no address.
pub(crate) fn url<S: AsRef<str>>(
    endpoint: &str,
    segments: &[S],
    query: &[(&str, &str)],
) -> Result<Url, DriverError> {
    let wrong =
        || DriverError::new(ErrorKind::Config, format!("{endpoint:?} is no address that requests can go to"));
    let mut url = Url::parse(endpoint).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(segments);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

/// Waits for something at the provider, and says so.
///
/// # Errors
/// [`ErrorKind::Unavailable`] at the limit, with what was seen last; what a look says.
pub(crate) async fn wait_for<T, F>(
    report: &dyn Reporter,
    what: &str,
    limit: Duration,
    look: impl FnMut() -> F,
) -> Result<T, DriverError>
where
    F: Future<Output = Result<Seen<T>, DriverError>>,
{
    wait_as(report, &Poll::new(what, limit), look).await
}

/// [`wait_for`] with pauses of the caller's.
///
/// # Errors
/// As [`wait_for`].
pub(crate) async fn wait_as<T, F>(
    report: &dyn Reporter,
    wait: &Poll<'_>,
    look: impl FnMut() -> F,
) -> Result<T, DriverError>
where
    F: Future<Output = Result<Seen<T>, DriverError>>,
{
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let tell = |elapsed: Duration, last: &str| {
        report.report(Event::Waiting {
            what: wait.what.to_owned(),
            for_ms: ms(elapsed),
            limit_ms: ms(wait.limit),
            last: last.to_owned(),
        });
    };
    poll(wait, tell, look).await.map_err(|error| match error {
        machine_http::api::PollError::Failed(error) => error,
        limit => DriverError::new(ErrorKind::Unavailable, limit.to_string()).with_hint(
            "look at the provider's console; `docker-machine create --resume NAME` goes on, `rm` removes it",
        ),
    })
}

/// The text of a file that a flag names, as user data for cloud-init; `None` where the flag is empty.
///
/// # Errors
/// [`ErrorKind::Precreate`] where it can't be read.
pub(crate) fn user_data(flag: &str, path: &str) -> Result<Option<Secret>, DriverError> {
    if path.is_empty() {
        return Ok(None);
    }
    let wrong = |why: String| {
        DriverError::new(ErrorKind::Precreate, format!("--{flag}: {path}: {why}"))
            .with_hint("give a file with a #cloud-config, a script, or another text that cloud-init reads")
    };
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    // It is read more than once, and a pipe can be read once only.
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let size = metadata.len();
    if size > MAX_USER_DATA {
        return Err(wrong(format!("{size} bytes are more than any provider takes")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
    Ok(Some(Secret::new(text)))
}

/// A random token by which a provider knows a request again, a UUID of version 4 (RFC 9562).
///
/// # Errors
/// Where the system gives no randomness.
pub(crate) fn token() -> Result<String, DriverError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("the system gives no random numbers: {error}"))
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_data() {
        let url = url("https://x.example/v2/", &["a/b", "c?d"], &[("q", "1&2")]).unwrap();
        assert_eq!(url.as_str(), "https://x.example/v2/a%2Fb/c%3Fd?q=1%262");
    }

    #[test]
    fn endpoints() {
        assert_eq!(endpoint("x-endpoint", "", "https://x.example").unwrap(), "https://x.example");
        assert_eq!(endpoint("x-endpoint", "http://127.0.0.1:1/", "").unwrap(), "http://127.0.0.1:1");
        assert!(endpoint("x-endpoint", "ftp://x", "").is_err());
    }

    #[test]
    fn user_data_is_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        let text = user_data("x-userdata", file.path().to_str().unwrap()).unwrap().unwrap();
        assert_eq!(text.expose(), "#!/bin/sh\n");
        assert!(user_data("x-userdata", "").unwrap().is_none());
        let (error, folder) = (user_data("x-userdata", "/no/such/file").unwrap_err(), std::env::temp_dir());
        assert_eq!(error.kind(), ErrorKind::Precreate);
        let error = user_data("x-userdata", folder.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("it is not a regular file"), "{error}");
    }

    #[test]
    fn tokens_are_uuids() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
    }
}
