//! Where an engine listens, as its URL says.

use std::path::PathBuf;

use rustls_pki_types::ServerName;
use url::{Host, Url};

use crate::EngineError;

/// The engine's port with TLS, where the URL has none.
const TLS_PORT: u16 = 2376;
/// Without TLS.
const PLAIN_PORT: u16 = 2375;

/// An engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Over TCP, with or without TLS.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        port: u16,
        tls: bool,
    },
    /// A socket on this computer.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `tcp://`, `https://`, `http://`, `unix://`, or a bare `HOST[:PORT]`, which people give to the driver
    /// `none`. `tcp` means TLS where there is an identity to use.
    pub(crate) fn parse(text: &str, with_identity: bool) -> Result<Self, EngineError> {
        let invalid =
            |reason: &str| EngineError::InvalidUrl { url: text.to_owned(), reason: reason.to_owned() };
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            None if text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"%".contains(c)) => {
                return Err(reference_error(text));
            }
            None => ("tcp", text),
        };
        if scheme == "unix" {
            let absolute = rest.starts_with('/');
            return if absolute { Ok(Self::Unix(rest.into())) } else { Err(invalid("missing socket path")) };
        }
        let (tls, default_port) = match scheme {
            "tcp" if with_identity => (true, TLS_PORT),
            "tcp" => (false, PLAIN_PORT),
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return Err(invalid("unsupported protocol scheme")),
        };
        // `tcp` is no scheme that has hosts in the URL standard; `wss` has, and no default port in the way but 443,
        // which is put back below where it was written.
        let url = Url::parse(&format!("wss://{rest}")).map_err(|error| invalid(&error.to_string()))?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(invalid("missing host")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("a user or password has no place here"));
        }
        let port = match url.port() {
            Some(0) => return Err(invalid("port 0 can't be dialled")),
            Some(port) => port,
            None if authority(rest).ends_with(":443") => 443,
            None => default_port,
        };
        Ok(Self::Tcp { host, port, tls })
    }

    /// Address and port, or the socket's path, for texts.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } => join(host, *port),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// The network's name in Go's texts.
    pub(crate) fn network(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Unix(_) => "unix",
        }
    }

    /// What to ask TLS for; `None` where TLS is not spoken.
    pub(crate) fn server_name(&self) -> Result<Option<ServerName<'static>>, EngineError> {
        match self {
            Self::Tcp { host, tls: true, .. } => ServerName::try_from(host.clone())
                .map(Some)
                .map_err(|error| EngineError::InvalidUrl { url: self.address(), reason: error.to_string() }),
            _ => Ok(None),
        }
    }

    /// The `Host` header.
    pub(crate) fn host_header(&self) -> String {
        match self {
            Self::Tcp { .. } => self.address(),
            Self::Unix(_) => "docker".to_owned(),
        }
    }
}

/// Joins a host and a port; IPv6 addresses get brackets.
pub(crate) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The reference program's words for what can't be a host: it escapes the text, builds a URL of it and finds that a
/// host may hold no escapes. Golden outputs of `ls` have this text.
fn reference_error(text: &str) -> EngineError {
    let mut escaped = String::from("https://");
    let mut first = None;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~$&+,/:;=@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let escape = format!("%{byte:02X}");
            escaped.push_str(&escape);
            first.get_or_insert(escape);
        }
    }
    escaped.push_str("/v1.15/version");
    let reason = format!("invalid URL escape {:?}", first.unwrap_or_default());
    EngineError::InvalidUrl { url: escaped, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port, tls }
    }

    #[test]
    fn urls_of_engines() {
        for (text, identity, expected) in [
            ("tcp://127.0.0.1:2376", true, tcp("127.0.0.1", 2376, true)),
            ("tcp://127.0.0.1:2375", false, tcp("127.0.0.1", 2375, false)),
            ("tcp://a.example", true, tcp("a.example", 2376, true)),
            ("tcp://a.example:443", true, tcp("a.example", 443, true)),
            ("tcp://[2001:db8::1]:2376", true, tcp("2001:db8::1", 2376, true)),
            ("https://a.example", true, tcp("a.example", 443, true)),
            ("http://a.example:1/", true, tcp("a.example", 1, false)),
            ("localhost", true, tcp("localhost", 2376, true)),
            ("localhost:99", false, tcp("localhost", 99, false)),
            ("unix:///var/run/docker.sock", false, Endpoint::Unix("/var/run/docker.sock".into())),
        ] {
            assert_eq!(Endpoint::parse(text, identity).unwrap(), expected, "{text}");
        }
        assert_eq!(tcp("::1", 2376, true).address(), "[::1]:2376");
    }

    #[test]
    fn what_is_no_url_is_quoted() {
        let text = |url: &str| Endpoint::parse(url, true).unwrap_err().to_string();
        assert_eq!(
            text("not a url"),
            r#"parse "https://not%20a%20url/v1.15/version": invalid URL escape "%20""#
        );
        for bad in
            ["ssh://a", "tcp://", "unix://", "tcp://a:0", "tcp://a:70000", "tcp://u:p@a:1", "", "a:b:c"]
        {
            assert!(text(bad).contains(&format!("{bad:?}")), "{bad}: {}", text(bad));
        }
    }
}
