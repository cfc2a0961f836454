//! Does the engine at an address hold a certificate that we trust, and does it trust ours?

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::certificate::describe;
use crate::dial::{Stream, dial, tls_error};
use crate::endpoint::Endpoint;
use crate::{EngineError, TlsConfig};

/// The other side of a TLS connection that both sides accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The end of its certificate's validity, in seconds since 1970-01-01 UTC.
    pub not_after: i64,
    /// The names that its certificate is valid for.
    pub names: Vec<String>,
    /// The addresses that its certificate is valid for.
    pub addresses: Vec<String>,
}

/// Connects to the engine, checks its certificate (chain, validity, name), and makes sure that the engine has checked
/// ours. `limit` is for all of it.
///
/// With TLS 1.3 a client is done with the handshake before the server has looked at its certificate; a refusal comes
/// with the first read. So a ping is sent and the beginning of its answer awaited.
///
/// # Errors
/// Any but [`EngineError::Http`], [`EngineError::Engine`] and [`EngineError::ApiVersion`].
pub async fn check_tls(url: &str, tls: &TlsConfig, limit: Duration) -> Result<Peer, EngineError> {
    let endpoint = Endpoint::parse(url, true)?;
    let started = tokio::time::Instant::now();
    let mut stream = dial(&endpoint, Some(tls), limit).await?;
    let left = limit.saturating_sub(started.elapsed());
    match timeout(left, first_words(&endpoint, &mut stream)).await {
        Ok(answer) => answer?,
        Err(_) => {
            return Err(EngineError::Silent {
                network: endpoint.network(),
                address: endpoint.address(),
                waited_for: "answer to GET /_ping".to_owned(),
                limit,
            });
        }
    }
    let not_tls = || EngineError::NotTls { address: endpoint.address() };
    let Stream::Tls(stream) = &stream else { return Err(not_tls()) };
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or_else(not_tls)?;
    let (not_after, names, addresses) = describe(leaf).ok_or_else(|| EngineError::Tls {
        address: endpoint.address(),
        reason: "the certificate can't be read".to_owned(),
    })?;
    Ok(Peer { not_after, names, addresses })
}

async fn first_words(endpoint: &Endpoint, stream: &mut Stream) -> Result<(), EngineError> {
    let request =
        format!("GET /_ping HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", endpoint.host_header());
    // Where the engine has refused us already, writing fails; the reason is what it sent, so read in any case.
    let written = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    }
    .await;
    let mut answer = Vec::new();
    while answer.len() < HTTP.len() {
        match stream.read_buf(&mut answer).await {
            Ok(0) => {
                return Err(match written {
                    Err(error) => tls_error(endpoint, &error),
                    Ok(()) => EngineError::Closed { address: endpoint.address(), reason: "EOF".to_owned() },
                });
            }
            Ok(_) => {}
            Err(error) => return Err(tls_error(endpoint, &error)),
        }
    }
    if answer.starts_with(HTTP) {
        Ok(())
    } else {
        let reason = "the answer to GET /_ping is not HTTP".to_owned();
        Err(EngineError::Protocol { address: endpoint.address(), reason })
    }
}

/// How every HTTP/1 answer begins.
const HTTP: &[u8] = b"HTTP/";
