//! Who is accepted, who is not, and what is said of it. The certificates are openssl's.

use machine_engine::{CertificateProblem, Client, EngineError, Identity, Peer, TlsConfig, check_tls};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::certificates::{Pki, pki};
use crate::double::{Double, Engine, Tls};
use crate::{LIMIT, block_on};

const ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

fn engine() -> Engine {
    Engine::release("25.0.0", "1.44", "1.24")
}

/// Checks a server with this certificate, as a client that trusts this CA and has this certificate; both TLS versions
/// must agree.
fn check(pki: &Pki, server: &str, ca: &str, client: &str) -> Result<Peer, EngineError> {
    let [old, new] = [ONLY_12, ONLY_13].map(|versions| {
        block_on(async {
            let tls = Tls { cert: server, versions, ..Tls::new(pki) };
            let double = Double::start(engine(), Some(tls)).await;
            let config = pki.config(ca, client);
            let checked = check_tls(&double.url(), &config, LIMIT).await;
            let asked = Client::new(&double.url(), Some(&config), LIMIT).unwrap().version().await;
            assert_eq!(checked.is_ok(), asked.is_ok(), "{checked:?} {asked:?}");
            if let (Err(checked), Err(asked)) = (&checked, &asked) {
                assert_eq!(words(checked), words(asked), "check_tls and Client give different reasons");
            }
            checked
        })
    });
    match (&old, &new) {
        (Ok(old), Ok(new)) => assert_eq!(old, new),
        (Err(old), Err(new)) => assert_eq!(words(old), words(new), "TLS 1.2 and 1.3 give different reasons"),
        _ => panic!("TLS 1.2: {old:?}; TLS 1.3: {new:?}"),
    }
    new
}

/// The text of an error without the time, which may have gone on between two of them.
fn words(error: &EngineError) -> String {
    let text = error.to_string();
    match (text.find("current time "), text.find(" is ")) {
        (Some(at), Some(_)) => {
            let after = &text[at + "current time ".len()..];
            format!("{}{}", &text[..at], after.split_once(' ').map_or("", |(_, rest)| rest))
        }
        _ => text,
    }
}

fn problem(error: EngineError) -> CertificateProblem {
    match error {
        EngineError::Certificate { problem, .. } => problem,
        other => panic!("not a certificate's problem: {other:?}"),
    }
}

#[test]
fn certificates_of_the_reference_programs_shape_are_accepted() {
    let Some(pki) = pki() else { return };
    for server in ["server", "manager"] {
        let peer = check(pki, server, "ca", "client").unwrap();
        assert_eq!(peer.not_after, 2_524_607_999, "2049-12-31T23:59:59Z");
        assert_eq!(
            (peer.names, peer.addresses),
            (vec!["localhost".to_owned()], vec!["127.0.0.1".to_owned()])
        );
    }
}

#[test]
fn engines_certificates_are_refused_in_gos_words() {
    let Some(pki) = pki() else { return };
    let refused = |server: &str, ca: &str| check(pki, server, ca, "client").unwrap_err();
    for ca in ["stranger-ca", "same-name-ca"] {
        let error = refused("server", ca);
        assert!(error.is_certificate());
        assert_eq!(error.to_string(), "x509: certificate signed by unknown authority", "{ca}");
    }
    let text = refused("expired", "ca").to_string();
    assert!(text.starts_with("x509: certificate has expired or is not yet valid: current time 20"), "{text}");
    assert!(text.ends_with(" is after 2020-06-01T00:00:00Z"), "{text}");
    let text = refused("future", "ca").to_string();
    assert!(text.ends_with(" is before 2048-01-01T00:00:00Z"), "{text}");
    assert!(matches!(problem(refused("server", "expired-ca")), CertificateProblem::AuthorityExpired { .. }));
    assert_eq!(
        refused("moved", "ca").to_string(),
        "x509: certificate is valid for 203.0.113.9, not 127.0.0.1"
    );
    assert_eq!(
        refused("nameless", "ca").to_string(),
        "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"
    );
    assert_eq!(problem(refused("no-server", "ca")), CertificateProblem::WrongUsage);
}

#[test]
fn a_host_name_is_checked_as_a_name() {
    let Some(pki) = pki() else { return };
    block_on(async {
        let double = Double::start(engine(), Some(Tls { cert: "moved", ..Tls::new(pki) })).await;
        let url = double.url().replace("127.0.0.1", "localhost");
        check_tls(&url, &pki.config("ca", "client"), LIMIT).await.unwrap();
    });
}

#[test]
fn a_client_that_the_engine_does_not_accept_is_told_so() {
    let Some(pki) = pki() else { return };
    for client in ["stranger-client", "expired-client"] {
        let error = check(pki, "server", "ca", client).unwrap_err();
        assert!(matches!(error, EngineError::ClientRejected { .. }), "{client}: {error:?}");
        assert!(error.to_string().starts_with("remote error: tls: "), "{error}");
    }
}

#[test]
fn unusable_files_are_named_and_the_key_is_not_shown() {
    let Some(pki) = pki() else { return };
    let good = pki.identity("ca", "client");
    let text = |identity: Identity| TlsConfig::new(&identity).unwrap_err().to_string();
    assert!(text(Identity { ca_pem: b"x".to_vec(), ..good.clone() }).contains("ca.pem"));
    assert!(text(Identity { cert_pem: Vec::new(), ..good.clone() }).contains("cert.pem"));
    assert!(text(Identity::new(good.ca_pem.clone(), good.cert_pem.clone(), "x")).contains("key.pem"));
    let foreign = std::fs::read(pki.key_of("server")).unwrap();
    assert!(text(Identity::new(good.ca_pem.clone(), good.cert_pem.clone(), foreign)).contains("key.pem"));
    let shown = format!("{good:?} {:?}", pki.config("ca", "client"));
    let secret = String::from_utf8(good.key_pem.to_vec()).unwrap();
    assert!(secret.lines().all(|line| !shown.contains(line)), "{shown}");
    let bytes = format!("{:?}", &good.key_pem[40..60]);
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}
