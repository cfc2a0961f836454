//! What the real `openssl` says of the certificates that are made here.

mod support;

use machine_tls::{
    Authority, CertificateInfo, Issued, KeyAlgorithm, LIFETIME_DAYS, TlsError, have_same_key, key_fits,
};
use support::Openssl;
use time::{Duration, OffsetDateTime};

fn sans(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn check_key(openssl: &Openssl, issued: &Issued, algorithm: KeyAlgorithm) {
    let key = issued.key_pem.expose();
    let first_line = match algorithm {
        KeyAlgorithm::Rsa2048 => "-----BEGIN RSA PRIVATE KEY-----\n",
        _ => "-----BEGIN PRIVATE KEY-----\n",
    };
    assert!(key.starts_with(first_line), "{algorithm}");
    openssl.file("key.pem", key);
    openssl.file("cert.pem", &issued.certificate_pem);
    openssl.run(&["pkey", "-in", "key.pem", "-check", "-noout"]);
    let of_key = openssl.run(&["pkey", "-in", "key.pem", "-pubout"]);
    assert_eq!(openssl.run(&["x509", "-in", "cert.pem", "-noout", "-pubkey"]), of_key);
    assert!(key_fits(&issued.certificate_pem, key));
}

#[test]
fn every_algorithm_is_verified() {
    let Some(openssl) = Openssl::find() else { return };
    for ca_algorithm in KeyAlgorithm::ALL {
        let ca = Authority::generate(ca_algorithm, "someone").unwrap();
        for algorithm in KeyAlgorithm::ALL {
            let client = ca.issue_client(algorithm, "someone.<bootstrap>").unwrap();
            let server = ca
                .issue_server(algorithm, "someone.dev", &sans(&["203.0.113.7", "localhost", "*.example.com"]))
                .unwrap();
            for (issued, good, bad) in
                [(&client, "sslclient", "sslserver"), (&server, "sslserver", "sslclient")]
            {
                openssl.verify_strictly(ca.certificate_pem(), &issued.certificate_pem, good).unwrap();
                openssl.verify_strictly(ca.certificate_pem(), &issued.certificate_pem, bad).unwrap_err();
                check_key(&openssl, issued, algorithm);
                assert!(
                    CertificateInfo::from_pem(&issued.certificate_pem)
                        .unwrap()
                        .is_signed_by(ca.certificate_pem())
                );
            }
            assert!(!key_fits(&client.certificate_pem, server.key_pem.expose()));
        }
    }
}

#[test]
fn rsa_certificates_are_those_of_the_reference() {
    let Some(openssl) = Openssl::find() else { return };
    let ca = Authority::generate(KeyAlgorithm::Rsa2048, "someone").unwrap();
    let text = openssl.text(ca.certificate_pem());
    for line in [
        "Version: 3",
        "Signature Algorithm: sha256WithRSAEncryption",
        "Public-Key: (2048 bit)",
        "Issuer: O = someone\n",
        "Subject: O = someone\n",
        "CA:TRUE",
        "Digital Signature, Key Encipherment, Key Agreement, Certificate Sign",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let client = ca.issue_client(KeyAlgorithm::Rsa2048, "someone.<bootstrap>").unwrap();
    let text = openssl.text(&client.certificate_pem);
    for line in [
        "Subject: O = \"someone.<bootstrap>\"\n",
        "TLS Web Client Authentication\n",
        "critical\n                Digital Signature\n",
        "CA:FALSE",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let server = ca
        .issue_server(
            KeyAlgorithm::Rsa2048,
            "someone.dev",
            &sans(&["a.example", "2001:db8::1", "10.0.0.1", "localhost"]),
        )
        .unwrap();
    let text = openssl.text(&server.certificate_pem);
    for line in [
        "Subject: O = someone.dev\n",
        "TLS Web Server Authentication\n",
        "Digital Signature, Key Encipherment, Key Agreement\n",
        "DNS:a.example, IP Address:2001:DB8:0:0:0:0:0:1, IP Address:10.0.0.1, DNS:localhost\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let master = ca.issue_swarm_master(KeyAlgorithm::Rsa2048, "someone.dev", &sans(&["localhost"])).unwrap();
    for purpose in ["sslclient", "sslserver"] {
        openssl.verify_strictly(ca.certificate_pem(), &master.certificate_pem, purpose).unwrap();
    }
}

#[test]
fn serial_numbers_are_long_and_differ() {
    let Some(openssl) = Openssl::find() else { return };
    let ca = Authority::generate(KeyAlgorithm::Ed25519, "someone").unwrap();
    let serials: std::collections::BTreeSet<String> = (0..8)
        .map(|_| {
            let issued = ca.issue_client(KeyAlgorithm::Ed25519, "x").unwrap();
            openssl.file("serial.pem", &issued.certificate_pem);
            openssl.run(&["x509", "-in", "serial.pem", "-noout", "-serial"]).trim().to_owned()
        })
        .collect();
    assert_eq!(serials.len(), 8);
    // 128 bits; eight numbers whose first 32 bits are all zero do not happen.
    assert!(serials.iter().all(|serial| serial.len() <= "serial=".len() + 32 && !serial.contains('-')));
    assert!(serials.iter().any(|serial| serial.len() > "serial=".len() + 24));
}

#[test]
fn what_is_read_is_what_openssl_reads() {
    let Some(openssl) = Openssl::find() else { return };
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let ca = Authority::generate_at(KeyAlgorithm::EcdsaP256, "someone", now).unwrap();
    let info = CertificateInfo::from_pem(ca.certificate_pem()).unwrap();
    assert_eq!(info.organization, "someone");
    assert!(info.is_ca && info.names.is_empty());
    assert_eq!(info.not_before, now - Duration::minutes(5));
    assert_eq!(info.not_after, info.not_before + Duration::days(LIFETIME_DAYS));
    assert_eq!(info.days_left(now), LIFETIME_DAYS - 1);
    assert_eq!(info.days_left(info.not_after + Duration::seconds(1)), -1);
    assert!(info.is_valid_at(now) && !info.is_valid_at(now - Duration::hours(1)));
    openssl.file("ca.pem", ca.certificate_pem());
    let printed = openssl.run(&["x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256"]);
    assert_eq!(printed.trim().rsplit('=').next(), Some(info.fingerprint.as_str()));

    let server =
        ca.issue_server(KeyAlgorithm::EcdsaP256, "o", &sans(&["localhost", "::1", "10.0.0.1"])).unwrap();
    let info = CertificateInfo::from_pem(&server.certificate_pem).unwrap();
    assert_eq!((info.is_ca, info.names), (false, sans(&["localhost", "::1", "10.0.0.1"])));
}

#[test]
fn an_expired_ca_is_renewed_and_old_certificates_still_chain() {
    let Some(openssl) = Openssl::find() else { return };
    let now = OffsetDateTime::now_utc();
    for algorithm in KeyAlgorithm::ALL {
        let old = Authority::generate_at(algorithm, "someone", now - Duration::days(1081)).unwrap();
        let client =
            old.issue_client_at(algorithm, "someone.<bootstrap>", now - Duration::days(1000)).unwrap();
        let error = old.issue_client(algorithm, "x").unwrap_err();
        assert!(matches!(error, TlsError::Expired { .. }), "{error}");
        assert!(error.to_string().contains("expired on") && error.hint().unwrap().contains("renews"));
        let refused =
            openssl.verify_strictly(old.certificate_pem(), &client.certificate_pem, "sslclient").unwrap_err();
        assert!(refused.contains("expired"), "{refused}");

        let new = old.renew().unwrap();
        assert_eq!(new.key_pem().expose(), old.key_pem().expose());
        assert!(have_same_key(old.certificate_pem(), new.certificate_pem()).unwrap());
        openssl.verify_strictly(new.certificate_pem(), &client.certificate_pem, "sslclient").unwrap();
        let fresh = new.issue_client(algorithm, "someone.<bootstrap>").unwrap();
        openssl.verify_strictly(new.certificate_pem(), &fresh.certificate_pem, "sslclient").unwrap();
        let info = CertificateInfo::from_pem(new.certificate_pem()).unwrap();
        assert_eq!(info.days_left(now), LIFETIME_DAYS - 1);
        // Nothing else has changed.
        let lines = |pem: &str| -> Vec<String> {
            let text = openssl.text(pem);
            let changes = ["Not Before", "Not After"];
            let (head, tail) = text.split_once("Signature Algorithm").unwrap();
            assert!(head.contains("Serial Number"));
            let tail = tail.rsplit_once("Signature Algorithm").unwrap().0;
            tail.lines().filter(|line| !changes.iter().any(|c| line.contains(c))).map(str::to_owned).collect()
        };
        assert_eq!(lines(old.certificate_pem()), lines(new.certificate_pem()));
    }
}

#[test]
fn a_clock_that_is_behind_is_named() {
    let now = OffsetDateTime::now_utc();
    let ca = Authority::generate_at(KeyAlgorithm::Ed25519, "someone", now + Duration::hours(1)).unwrap();
    let error = ca.issue_client(KeyAlgorithm::Ed25519, "x").unwrap_err();
    assert!(matches!(error, TlsError::NotYetValid { .. }), "{error}");
    assert!(error.hint().unwrap().contains("clock"));
    assert!(ca.renew().unwrap().issue_client(KeyAlgorithm::Ed25519, "x").is_ok());
    for far in [time::macros::datetime!(1949-12-31 0:00 UTC), time::macros::datetime!(9998-01-01 0:00 UTC)] {
        let error = Authority::generate_at(KeyAlgorithm::Ed25519, "x", far).unwrap_err();
        assert!(matches!(error, TlsError::ClockOutOfRange { .. }), "{error}");
    }
}

#[test]
fn a_user_called_as_the_ca_is_still_verified() {
    let Some(openssl) = Openssl::find() else { return };
    let ca = Authority::generate(KeyAlgorithm::EcdsaP256, "a.b").unwrap();
    let client = ca.issue_client(KeyAlgorithm::EcdsaP256, "a.b").unwrap();
    let server = ca.issue_server(KeyAlgorithm::EcdsaP256, "a.b", &sans(&["localhost"])).unwrap();
    openssl.verify_strictly(ca.certificate_pem(), &client.certificate_pem, "sslclient").unwrap();
    openssl.verify_strictly(ca.certificate_pem(), &server.certificate_pem, "sslserver").unwrap();
}
