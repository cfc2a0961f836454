//! A double of an engine: a real TLS server that answers `/_ping` and `/version`, and refuses API versions, in the shape
//! and words of the real ones, cut down to what the client reads. It stands in for engines that no package gives here
//! (17.06, 25, 29) and for answers that a real engine gives only by chance. Its answers are written by hand, not recorded.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use machine_engine::ApiVersion;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Pki;

/// How the double answers.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The engine's version.
    pub version: &'static str,
    /// The newest API version it speaks.
    pub newest: &'static str,
    /// The oldest.
    pub oldest: &'static str,
    /// Whether it says the newest in its answer to a ping.
    pub says: bool,
    /// Answers to what begins with a text (after the version): status and body.
    pub answers: Vec<(&'static str, u16, &'static str)>,
}

/// A running double, on the test's own runtime; it ends with that.
pub struct Double {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

/// How it does TLS.
pub struct Tls<'a> {
    pub pki: &'a Pki,
    /// The server's certificate.
    pub cert: &'a str,
    pub versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> Tls<'a> {
    pub fn new(pki: &'a Pki) -> Self {
        Self { pki, cert: "server", versions: rustls::ALL_VERSIONS }
    }

    fn config(&self) -> ServerConfig {
        let provider = Arc::new(default_provider());
        let read =
            |name: &str| CertificateDer::from_pem_slice(&fs::read(self.pki.cert(name)).unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read("ca")).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(
                vec![read(self.cert)],
                PrivateKeyDer::from_pem_file(self.pki.key_of("server")).unwrap(),
            )
            .unwrap()
    }
}

impl Double {
    /// Starts it on a free port.
    pub async fn start(engine: Engine, tls: Option<Tls<'_>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let double = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls.config())));
        let (requests, connections) = (Arc::clone(&double.requests), Arc::clone(&double.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (engine, acceptor, requests) = (engine.clone(), acceptor.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    match acceptor {
                        // A client that is refused has seen why.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &engine, &requests).await;
                            }
                        }
                        None => serve(stream, &engine, &requests).await,
                    }
                });
            }
        });
        double
    }

    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Methods and paths so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn serve<S>(stream: S, engine: &Engine, requests: &Mutex<Vec<String>>)
where
    S: tokio::io::AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut header = String::new();
        while stream.read_line(&mut header).await.unwrap_or(0) > 2 {
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            header.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        requests.lock().unwrap().push(format!("{method} {path}"));
        let (status, body) = engine.answer(path);
        let version = if engine.says { format!("Api-Version: {}\r\n", engine.newest) } else { String::new() };
        let head = format!("HTTP/1.1 {status} x\r\n{version}Content-Length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err()
            || stream.flush().await.is_err()
        {
            return;
        }
    }
}

impl Engine {
    /// An engine of a version that says in its answers which API it speaks.
    pub fn release(version: &'static str, newest: &'static str, oldest: &'static str) -> Self {
        Self { version, newest, oldest, says: true, answers: Vec::new() }
    }

    fn answer(&self, path: &str) -> (u16, String) {
        if path == "/_ping" {
            return (200, "OK".to_owned());
        }
        let Some((version, rest)) = path.strip_prefix("/v").and_then(|path| path.split_once('/')) else {
            return (404, r#"{"message":"page not found"}"#.to_owned());
        };
        let number = |text: &str| text.parse::<ApiVersion>().unwrap();
        // The words are those of the engine's version middleware.
        if number(version) < number(self.oldest) {
            let oldest = self.oldest;
            return (
                400,
                format!(
                    r#"{{"message":"client version {version} is too old. Minimum supported API version is {oldest}, please upgrade your client to a newer version"}}"#
                ),
            );
        }
        if number(version) > number(self.newest) {
            let newest = self.newest;
            return (
                400,
                format!(
                    r#"{{"message":"client version {version} is too new. Maximum supported API version is {newest}"}}"#
                ),
            );
        }
        if let Some((_, status, body)) = self.answers.iter().find(|(start, ..)| rest.starts_with(start)) {
            return (*status, (*body).to_owned());
        }
        let body = format!(
            r#"{{"Version":"{}","ApiVersion":"{}","MinAPIVersion":"{}","Os":"linux","Arch":"amd64"}}"#,
            self.version, self.newest, self.oldest
        );
        if rest == "version" { (200, body) } else { (404, r#"{"message":"page not found"}"#.to_owned()) }
    }
}
