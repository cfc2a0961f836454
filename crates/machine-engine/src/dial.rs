//! Connections: TCP or a socket, with TLS where the endpoint wants it.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{Endpoint, join};
use crate::{CertificateProblem, EngineError, TlsConfig};

/// An open connection to an engine.
pub(crate) enum Stream {
    /// TCP without TLS.
    Plain(TcpStream),
    /// TCP with TLS, after the handshake.
    Tls(Box<TlsStream<TcpStream>>),
    /// A socket on this computer.
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// Connects within `limit`, handshake and all.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    tls: Option<&TlsConfig>,
    limit: Duration,
) -> Result<Stream, EngineError> {
    let started = tokio::time::Instant::now();
    match endpoint {
        Endpoint::Unix(path) => unix(endpoint, path, limit).await,
        Endpoint::Tcp { host, port, .. } => {
            let stream = tcp(host, *port, limit).await?;
            let Some(name) = endpoint.server_name()? else { return Ok(Stream::Plain(stream)) };
            let config = tls.ok_or(EngineError::Identity {
                what: "the client certificate",
                reason: format!("{} wants TLS, and there is none", endpoint.address()),
            })?;
            let connecting = TlsConnector::from(Arc::clone(&config.client)).connect(name, stream);
            match timeout(limit.saturating_sub(started.elapsed()), connecting).await {
                Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
                Ok(Err(error)) => Err(tls_error(endpoint, &error)),
                Err(_) => Err(EngineError::Silent {
                    network: endpoint.network(),
                    address: endpoint.address(),
                    waited_for: "TLS handshake".to_owned(),
                    limit,
                }),
            }
        }
    }
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Result<TcpStream, EngineError> {
    let deadline = tokio::time::Instant::now() + limit;
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => resolve(host, port, limit).await?,
    };
    let mut last = None;
    for (tried, address) in addresses.iter().enumerate() {
        // One address that swallows packets must not use up the time of the others.
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        let shown = join(&address.ip().to_string(), port);
        last = Some(match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are single small writes; waiting for more only delays them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => connect_error("tcp", shown, error),
            Err(_) => EngineError::TimedOut { network: "tcp", address: shown },
        });
    }
    Err(last.unwrap_or_else(|| no_such_host(host)))
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, EngineError> {
    let found = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(_)) => return Err(no_such_host(host)),
        Err(_) => {
            return Err(EngineError::Unresolvable {
                host: host.to_owned(),
                reason: "i/o timeout".to_owned(),
            });
        }
    };
    if found.is_empty() { Err(no_such_host(host)) } else { Ok(found) }
}

fn no_such_host(host: &str) -> EngineError {
    EngineError::Unresolvable { host: host.to_owned(), reason: "no such host".to_owned() }
}

fn connect_error(network: &'static str, address: String, source: io::Error) -> EngineError {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => EngineError::Refused { network, address },
        io::ErrorKind::TimedOut => EngineError::TimedOut { network, address },
        _ => EngineError::Unreachable { network, address, source },
    }
}

#[cfg(unix)]
async fn unix(endpoint: &Endpoint, path: &std::path::Path, limit: Duration) -> Result<Stream, EngineError> {
    let (network, address) = (endpoint.network(), endpoint.address());
    match timeout(limit, tokio::net::UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Stream::Unix(stream)),
        Ok(Err(error)) => Err(connect_error(network, address, error)),
        Err(_) => Err(EngineError::TimedOut { network, address }),
    }
}

#[cfg(not(unix))]
async fn unix(endpoint: &Endpoint, _path: &std::path::Path, _limit: Duration) -> Result<Stream, EngineError> {
    let reason = "this system has no sockets of that kind".to_owned();
    Err(EngineError::InvalidUrl { url: format!("unix://{}", endpoint.address()), reason })
}

/// Finds out what a failed handshake, or a failed read or write after it, means.
pub(crate) fn tls_error(endpoint: &Endpoint, error: &(dyn StdError + 'static)) -> EngineError {
    let address = endpoint.address();
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(rustls) = cause.downcast_ref::<rustls::Error>() {
            return rustls_error(address, rustls);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            // An io::Error made of another error does not show that one as its source, but that one's source.
            if let Some(inner) = io.get_ref() {
                next = Some(inner as &(dyn StdError + 'static));
                continue;
            }
            return match io.kind() {
                io::ErrorKind::UnexpectedEof => EngineError::Closed { address, reason: "EOF".to_owned() },
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    EngineError::Closed { address, reason: "connection reset by peer".to_owned() }
                }
                _ => EngineError::Closed { address, reason: io.to_string() },
            };
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.source().is_none()
        {
            return if hyper.is_incomplete_message() {
                EngineError::Closed { address, reason: "EOF".to_owned() }
            } else {
                EngineError::Protocol { address, reason: hyper.to_string() }
            };
        }
        // tokio-rustls says "tls handshake eof" with an io::Error of its own that holds a plain text
        next = match cause.source() {
            Some(source) => Some(source),
            None if cause.to_string().contains("eof") => {
                return EngineError::Closed { address, reason: "EOF".to_owned() };
            }
            None => None,
        };
    }
    EngineError::Protocol { address, reason: error.to_string() }
}

fn rustls_error(address: String, error: &rustls::Error) -> EngineError {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<CertificateProblem>() {
                Some(problem) => EngineError::Certificate { address, problem: problem.clone() },
                None => EngineError::Tls { address, reason: other.to_string() },
            }
        }
        rustls::Error::InvalidCertificate(reason) => {
            EngineError::Certificate { address, problem: CertificateProblem::Other(reason.to_string()) }
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => EngineError::NotTls { address },
        rustls::Error::AlertReceived(alert) => match rejection(*alert) {
            Some(text) => EngineError::ClientRejected { address, alert: text.to_owned() },
            None => EngineError::Tls { address, reason: format!("remote error: tls: {alert:?}") },
        },
        other => EngineError::Tls { address, reason: other.to_string() },
    }
}

/// Alerts that mean that the other side does not want our certificate, in the words of Go's `crypto/tls`.
fn rejection(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::DecryptError => "error decrypting message",
        _ => return None,
    })
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
