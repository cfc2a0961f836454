//! Ports that are no engine.

use std::time::Duration;

use machine_engine::{Client, EngineError, TlsConfig, check_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::certificates::pki;
use crate::double::{Double, Engine};
use crate::{LIMIT, block_on};

fn config() -> Option<TlsConfig> {
    pki().map(|pki| pki.config("ca", "client"))
}

/// A port that takes connections, says this, and then waits for the other side to go, or goes itself.
async fn says(words: &'static [u8], stays: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(words).await;
                let mut heard = Vec::new();
                if stays {
                    let _ = stream.read_to_end(&mut heard).await;
                } else {
                    let _ = stream.read_buf(&mut heard).await;
                }
            });
        }
    });
    format!("tcp://{address}")
}

#[test]
fn nobody_listens() {
    let Some(tls) = config() else { return };
    block_on(async {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = format!("tcp://{address}");
        let error = check_tls(&url, &tls, LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), format!("dial tcp {address}: connect: connection refused"));
        assert!(error.is_unreachable() && !error.is_certificate());
        let error = Client::new(&url, Some(&tls), LIMIT).unwrap().version().await.unwrap_err();
        assert_eq!(error.query_text(), "Cannot connect to the docker engine endpoint");
    });
}

#[test]
fn no_such_name() {
    let Some(tls) = config() else { return };
    let error = block_on(check_tls("tcp://no-such-host.invalid:2376", &tls, LIMIT)).unwrap_err();
    assert_eq!(error.to_string(), "dial tcp: lookup no-such-host.invalid: no such host");
}

#[test]
fn no_such_socket() {
    let client = Client::new("unix:///nonexistent.sock", None, LIMIT).unwrap();
    let error = block_on(client.ping()).unwrap_err();
    assert_eq!(error.to_string(), "dial unix /nonexistent.sock: connect: no such file or directory");
}

#[test]
fn plain_http_where_tls_is_expected() {
    let Some(tls) = config() else { return };
    block_on(async {
        let double = Double::start(Engine::release("25.0.0", "1.44", "1.24"), None).await;
        // The double takes the handshake for a request line, which a real engine refuses in plain HTTP.
        let http =
            says(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n400 Bad Request", false).await;
        let ssh = says(b"SSH-2.0-OpenSSH_9.2\r\n", true).await;
        for url in [&http, &ssh] {
            let error = check_tls(url, &tls, LIMIT).await.unwrap_err();
            assert!(matches!(error, EngineError::NotTls { .. }), "{url}: {error:?}");
        }
        // Without TLS the same port is an engine.
        let plain = double.url().replace("tcp:", "http:");
        assert_eq!(
            Client::new(&plain, Some(&tls), LIMIT).unwrap().version().await.unwrap().version,
            "25.0.0"
        );
    });
}

#[test]
fn silence_ends_at_the_limit() {
    let Some(tls) = config() else { return };
    block_on(async {
        let url = says(b"", true).await;
        let short = Duration::from_millis(200);
        let error = check_tls(&url, &tls, short).await.unwrap_err();
        assert!(
            error.to_string().ends_with("i/o timeout: TLS handshake did not come within 0.2 s"),
            "{error}"
        );
        let error = Client::new(&url, None, short).unwrap().ping().await.unwrap_err();
        assert!(error.to_string().contains("answer to GET /_ping did not come within 0.2 s"), "{error}");
        assert!(error.is_unreachable());
    });
}

#[test]
fn a_connection_that_is_closed_at_once() {
    let Some(tls) = config() else { return };
    block_on(async {
        let url = says(b"", false).await;
        let error = check_tls(&url, &tls, LIMIT).await.unwrap_err();
        assert!(matches!(error, EngineError::Closed { .. }), "{error:?}");
        let error = Client::new(&url, None, LIMIT).unwrap().ping().await.unwrap_err();
        assert!(matches!(error, EngineError::Closed { .. }), "{error:?}");
    });
}

#[test]
fn something_else_than_an_engine_answers() {
    block_on(async {
        let url = says(b"220 mail.example ESMTP\r\n", true).await;
        let error = Client::new(&url, None, LIMIT).unwrap().ping().await.unwrap_err();
        assert!(matches!(error, EngineError::Protocol { .. }), "{error:?}");
    });
}
