//! The client against a server with faults.

mod server;

use std::time::Duration;

use machine_http::{Client, EXTRA_CA, HttpError, Resume, Settings, Url};
use server::{Answer, Gate, Server};

fn settings() -> Settings {
    Settings { proxies: false, extra_ca: None, ..Settings::default() }
}

fn client() -> Client {
    Client::new(&settings()).expect("a client")
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("an address")
}

async fn body(client: &Client, url: &Url) -> Result<String, HttpError> {
    client.get(url).await?.text(1 << 20).await
}

#[tokio::test]
async fn a_page_comes_as_it_is() {
    let server = Server::start();
    server.page("/a", Answer::ok("hello").etag("\"1\""));
    let mut response = client().get(&url(&server.url("/a"))).await.unwrap();
    assert_eq!((response.offset(), response.total()), (0, Some(5)));
    assert_eq!(response.validator().as_deref(), Some("\"1\""));
    assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
    assert!(response.chunk().await.unwrap().is_none());
    let request = &server.take_requests()[0];
    assert!(request.header("user-agent").starts_with("docker-machine/"));
    // What is compressed on the way has another length and checksum.
    assert_eq!(request.header("accept-encoding"), "");
}

#[tokio::test]
async fn what_changes_when_the_content_changes() {
    let server = Server::start();
    for (answer, want) in [
        (Answer::ok("x").etag("W/\"1\""), None),
        (
            Answer::ok("x").etag("W/\"1\"").header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
            Some("Thu"),
        ),
        (Answer::ok("x"), None),
    ] {
        server.page("/a", answer);
        let validator = client().get(&url(&server.url("/a"))).await.unwrap().validator();
        assert_eq!(validator.as_deref().map(|text| &text[..3]), want);
    }
}

#[tokio::test]
async fn the_rest_of_what_broke_off() {
    let server = Server::start();
    let (client, at) = (client(), url(&server.url("/a")));
    let rest = async |offset, validator| client.get_rest(&at, Resume { offset, validator }).await;
    server.page("/a", Answer::ok("0123456789").etag("\"1\""));
    let response = rest(4, Some("\"1\"")).await.unwrap();
    assert_eq!((response.offset(), response.total()), (4, Some(10)));
    assert_eq!(response.text(100).await.unwrap(), "456789");
    assert_eq!(server.take_requests()[0].header("range"), "bytes=4-");
    // It changed: everything comes.
    let response = rest(4, Some("\"0\"")).await.unwrap();
    assert_eq!((response.offset(), response.text(100).await.unwrap().as_str()), (0, "0123456789"));
    // Without a validator the server sends what it has.
    assert_eq!(rest(4, None).await.unwrap().offset(), 4);
    // There is nothing there.
    let error = rest(10, Some("\"1\"")).await.unwrap_err();
    assert!(matches!(error, HttpError::NothingThere { total: Some(10), offset: 10, .. }), "{error}");
    // A server that knows no parts.
    server.page("/a", Answer::ok("0123456789").etag("\"1\"").without_ranges());
    assert_eq!(rest(4, Some("\"1\"")).await.unwrap().offset(), 0);
    // One that sends another part than was asked for.
    let wrong = Answer { status: 206, ..Answer::ok("x").header("content-range", "bytes 5-5/10") };
    server.page("/a", wrong);
    let error = rest(4, None).await.unwrap_err();
    assert!(matches!(error, HttpError::Nonsense { .. }), "{error}");
}

#[tokio::test]
async fn what_breaks_off_is_no_success() {
    let server = Server::start();
    for answer in [Answer::ok("0123456789").cut(5), Answer::ok("0123456789").length(20)] {
        server.page("/a", answer);
        let error = body(&client(), &url(&server.url("/a"))).await.unwrap_err();
        assert!(matches!(error, HttpError::Cut { .. }) && error.may_pass(), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_names_its_status() {
    let server = Server::start();
    for (status, passes) in [(404, false), (403, false), (500, true), (503, true), (429, true), (206, false)]
    {
        server.page("/a", Answer::status(status));
        let error = body(&client(), &url(&server.url("/a?token=secret"))).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("the server answered {status}")) && !text.contains("secret"),
            "{text}"
        );
        assert_eq!(error.may_pass(), passes, "{status}");
    }
}

#[tokio::test]
async fn redirects() {
    let server = Server::start();
    server.page("/a", Answer::redirect("/b"));
    server.page("/b", Answer::ok("there"));
    assert_eq!(body(&client(), &url(&server.url("/a"))).await.unwrap(), "there");
    server.page("/b", Answer::redirect("/a"));
    let error = body(&client(), &url(&server.url("/a"))).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error:?}");
    assert!(error.to_string().contains("more than 10 times"), "{error}");
    assert!(!error.may_pass());
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let server = Server::start();
    let gate = Gate::default();
    server.page("/a", Answer::ok("0123456789").hold(5, &gate));
    let silence = Duration::from_millis(50);
    let client = Client::new(&Settings { silence, ..settings() }).unwrap();
    let error = body(&client, &url(&server.url("/a"))).await.unwrap_err();
    gate.open();
    assert!(matches!(error, HttpError::Silent { .. }) && error.may_pass(), "{error:?}");
}

#[tokio::test]
async fn nobody_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = url(&format!("http://me:hidden@127.0.0.1:{port}/a?key=hidden#hidden"));
    let error = body(&client(), &at).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("http://127.0.0.1:{port}/a?… can't be reached")), "{text}");
    assert!(text.contains("refused") && !text.contains("hidden"), "{text}");
    assert!(error.may_pass() && error.hint().unwrap().contains("HTTPS_PROXY"));
    let error = body(&client(), &url("ftp://x/y")).await.unwrap_err();
    assert!(matches!(error, HttpError::Scheme { .. }), "{error}");
}

#[tokio::test]
async fn too_long_a_text() {
    let server = Server::start();
    server.page("/a", Answer::ok("0123456789"));
    let response = client().get(&url(&server.url("/a"))).await.unwrap();
    assert!(matches!(response.text(9).await, Err(HttpError::Nonsense { .. })));
}

#[test]
fn pauses_double_and_end() {
    let client = Client::new(&Settings { tries: 4, pause: Duration::from_secs(1), ..settings() }).unwrap();
    let pauses: Vec<_> =
        (1..6).map(|failures| client.pause_after(failures).map(|pause| pause.as_secs())).collect();
    assert_eq!(pauses, [Some(1), Some(2), Some(4), None, None]);
}

/// A server's configuration, and its certification authority in PEM.
fn private_tls() -> (rustls::ServerConfig, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "a private authority");
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (config, ca.pem())
}

#[tokio::test]
async fn a_private_authority() {
    let (config, ca) = private_tls();
    let config = std::sync::Arc::new(config);
    let server = Server::with("https", move |stream, pages| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        server::serve(rustls::StreamOwned::new(connection, stream), pages);
    });
    server.page("/a", Answer::ok("safe"));
    let error = body(&client(), &url(&server.url("/a"))).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }) && !error.may_pass(), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().contains(EXTRA_CA));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let trusting = Client::new(&Settings { extra_ca: Some(file.clone()), ..settings() }).unwrap();
    assert_eq!(body(&trusting, &url(&server.url("/a"))).await.unwrap(), "safe");
    // Not from where nobody can listen to where everybody can.
    let open = Server::start();
    open.page("/b", Answer::ok("open"));
    server.page("/a", Answer::redirect(&open.url("/b?secret=1")));
    let error = body(&trusting, &url(&server.url("/a"))).await.unwrap_err();
    assert!(
        matches!(error, HttpError::Redirect { .. }) && !error.to_string().contains("secret"),
        "{error:?}"
    );
    assert!(open.take_requests().is_empty());
    for content in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, content).unwrap();
        let error = Client::new(&Settings { extra_ca: Some(file.clone()), ..settings() }).unwrap_err();
        assert!(matches!(error, HttpError::ExtraCa { .. }), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(Client::new(&Settings { extra_ca: Some(file), ..settings() }).is_err());
}

/// The proxy of the environment: in a process of its own, because the environment belongs to all tests of this one.
#[tokio::test]
async fn through_a_proxy() {
    const CHILD: &str = "MACHINE_TEST_PROXIED";
    if std::env::var_os(CHILD).is_some() {
        let client = Client::new(&Settings::default()).unwrap();
        let far = body(&client, &url("http://far.example/a")).await.unwrap();
        let near = std::env::var("MACHINE_TEST_NEAR").unwrap();
        let near = body(&client, &url(&near)).await.unwrap();
        assert_eq!((far.as_str(), near.as_str()), ("by proxy", "near"));
        return;
    }
    let (proxy, near) = (Server::start(), Server::start());
    proxy.page("http://far.example/a", Answer::ok("by proxy"));
    near.page("/n", Answer::ok("near"));
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "through_a_proxy"])
        .env(CHILD, "1")
        .env("MACHINE_TEST_NEAR", near.url("/n"))
        .env("http_proxy", proxy.url(""))
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(proxy.take_requests().len(), 1);
}

/// A system without root certificates: in a process of its own, for the same reason.
#[tokio::test]
async fn without_root_certificates() {
    const CHILD: &str = "MACHINE_TEST_ROOTLESS";
    if let Ok(open) = std::env::var(CHILD) {
        let client = client();
        assert_eq!(body(&client, &url(&open)).await.unwrap(), "open");
        let error = body(&client, &url("https://127.0.0.1:1/a")).await.unwrap_err();
        assert!(matches!(error, HttpError::Setup { .. }) && !error.may_pass(), "{error:?}");
        assert!(error.to_string().starts_with("HTTPS can't be used: ") && error.hint().is_some(), "{error}");
        return;
    }
    let server = Server::start();
    server.page("/a", Answer::ok("open"));
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "without_root_certificates"])
        .env(CHILD, server.url("/a"))
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}
