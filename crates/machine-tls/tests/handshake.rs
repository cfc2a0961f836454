//! Real TLS handshakes with certificates on both sides, by rustls in memory: no bytes but TLS's.

use std::io::{Read, Write};
use std::sync::Arc;

use machine_tls::{Authority, Issued, KeyAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection};

fn roots(ca_pem: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

fn identity(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(issued.key_pem.expose().as_bytes()).unwrap())
}

/// A client and a server that both trust one CA talk; gives what the server read.
fn talk(ca_pem: &str, server: &Issued, client: &Issued, name: &str) -> Result<String, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(ca_pem), provider.clone()).build().unwrap();
    let (chain, key) = identity(server);
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let mut server = ServerConnection::new(Arc::new(config))?;
    let (chain, key) = identity(client);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem))
        .with_client_auth_cert(chain, key)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    client.writer().write_all(b"ping").unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| server.read_tls(bytes));
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| client.read_tls(bytes));
        client.process_new_packets()?;
    }
    let mut read = [0; 4];
    server.reader().read_exact(&mut read).unwrap();
    Ok(String::from_utf8_lossy(&read).into_owned())
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut dyn Read) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        read(&mut wire).unwrap();
    }
}

fn sans() -> [String; 4] {
    ["203.0.113.7", "localhost", "*.example.com", "2001:db8::1"].map(str::to_owned)
}

#[test]
fn both_sides_trust_each_other() {
    for ca_algorithm in KeyAlgorithm::ALL {
        let ca = Authority::generate(ca_algorithm, "someone").unwrap();
        for algorithm in KeyAlgorithm::ALL {
            let server = ca.issue_server(algorithm, "someone.dev", &sans()).unwrap();
            let client = ca.issue_client(algorithm, "someone.<bootstrap>").unwrap();
            for name in ["203.0.113.7", "localhost", "a.example.com", "2001:db8::1"] {
                let read = talk(ca.certificate_pem(), &server, &client, name);
                assert_eq!(read, Ok("ping".to_owned()), "{ca_algorithm} {algorithm} {name}");
            }
        }
    }
}

#[test]
fn others_are_refused() {
    let algorithm = KeyAlgorithm::EcdsaP256;
    let ca = Authority::generate(algorithm, "someone").unwrap();
    let other = Authority::generate(algorithm, "someone").unwrap();
    let server = ca.issue_server(algorithm, "someone.dev", &sans()).unwrap();
    let client = ca.issue_client(algorithm, "someone.<bootstrap>").unwrap();
    let stranger = other.issue_client(algorithm, "someone.<bootstrap>").unwrap();
    let talk = |server, client, name| talk(ca.certificate_pem(), server, client, name);
    assert!(talk(&server, &client, "203.0.113.8").is_err(), "another address");
    assert!(talk(&server, &stranger, "localhost").is_err(), "a client of another CA of the same name");
    assert!(talk(&client, &client, "localhost").is_err(), "a client's certificate for a server");
    assert!(talk(&server, &server, "localhost").is_err(), "a server's certificate for a client");
}

#[test]
fn a_user_called_as_the_ca_is_trusted() {
    let ca = Authority::generate(KeyAlgorithm::EcdsaP256, "a.b").unwrap();
    let server = ca.issue_server(KeyAlgorithm::EcdsaP256, "a.b", &sans()).unwrap();
    let client = ca.issue_client(KeyAlgorithm::EcdsaP256, "a.b").unwrap();
    assert_eq!(talk(ca.certificate_pem(), &server, &client, "localhost"), Ok("ping".to_owned()));
}

#[test]
fn certificates_from_before_the_renewal_go_on() {
    let ca = Authority::generate(KeyAlgorithm::Rsa2048, "someone").unwrap();
    let server = ca.issue_server(KeyAlgorithm::Rsa2048, "someone.dev", &sans()).unwrap();
    let renewed = ca.renew().unwrap();
    let client = renewed.issue_client(KeyAlgorithm::Rsa2048, "someone.<bootstrap>").unwrap();
    for ca in [&ca, &renewed] {
        assert_eq!(talk(ca.certificate_pem(), &server, &client, "localhost"), Ok("ping".to_owned()));
    }
}
