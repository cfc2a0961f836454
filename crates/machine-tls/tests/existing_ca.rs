//! CAs that others made, with openssl standing in for Go's crypto/x509 and for companies' CAs.

mod support;

use machine_tls::{Authority, CertificateInfo, KeyAlgorithm, TlsError, have_same_key};
use support::Openssl;

/// A CA made by openssl: key as PKCS#1, as the reference program has it.
fn openssl_ca(openssl: &Openssl, subject: &str, extensions: &str, key: &[&str]) -> (String, String) {
    openssl.run(key);
    openssl.file(
        "ca.cnf",
        &format!("[req]\ndistinguished_name = dn\nx509_extensions = ext\n[dn]\n[ext]\n{extensions}\n"),
    );
    openssl.run(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "ca-key.pem",
        "-out",
        "ca.pem",
        "-days",
        "1080",
        "-config",
        "ca.cnf",
        "-subj",
        subject,
        "-utf8",
    ]);
    (openssl.read("ca.pem"), openssl.read("ca-key.pem"))
}

const RSA: &[&str] = &["genrsa", "-traditional", "-out", "ca-key.pem", "2048"];
const RSA_PKCS8: &[&str] =
    &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "ca-key.pem"];
const EC_SEC1: &[&str] = &["ecparam", "-name", "prime256v1", "-genkey", "-out", "ca-key.pem"];
const EC_P384: &[&str] =
    &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "ca-key.pem"];
const ED25519: &[&str] = &["genpkey", "-algorithm", "ED25519", "-out", "ca-key.pem"];

const USAGES: &str = "keyUsage = critical, digitalSignature, keyEncipherment, keyAgreement, keyCertSign\n\
                      basicConstraints = critical, CA:TRUE\n";
const NO_IDS: &str = "subjectKeyIdentifier = none\nauthorityKeyIdentifier = none\n";

/// Issues from a CA, renews it, and lets openssl verify old and new against both.
fn works(openssl: &Openssl, ca: &str, key: &str) {
    let authority = Authority::from_pem(ca, key).unwrap();
    assert_eq!((authority.certificate_pem(), authority.key_pem().expose()), (ca, key));
    let sans = ["localhost".to_owned()];
    let server = authority.issue_server(KeyAlgorithm::Rsa2048, "someone.dev", &sans).unwrap().certificate_pem;
    let client =
        authority.issue_client(KeyAlgorithm::Ed25519, "someone.<bootstrap>").unwrap().certificate_pem;
    let renewed = authority.renew().unwrap();
    let new_ca = renewed.certificate_pem();
    assert!(have_same_key(ca, new_ca).unwrap());
    assert_ne!(ca, new_ca);
    let fresh = renewed.issue_client(KeyAlgorithm::EcdsaP256, "someone.<bootstrap>").unwrap().certificate_pem;
    for trusted in [ca, new_ca] {
        openssl.verify(trusted, &server, "sslserver").unwrap();
        for certificate in [&client, &fresh] {
            openssl.verify(trusted, certificate, "sslclient").unwrap();
            assert!(CertificateInfo::from_pem(certificate).unwrap().is_signed_by(trusted));
        }
    }
    let subject = |pem: &str| {
        openssl.file("subject.pem", pem);
        openssl.run(&["x509", "-in", "subject.pem", "-noout", "-subject", "-nameopt", "RFC2253,show_type"])
    };
    assert_eq!(subject(ca), subject(new_ca));
}

#[test]
fn the_reference_programs_ca_is_used_as_it_is() {
    let Some(openssl) = Openssl::find() else { return };
    // As Go before 1.15 makes it: no subject key identifier, hence no authority key identifier in what it signs.
    let (ca, key) = openssl_ca(&openssl, "/O=someone", &format!("{USAGES}{NO_IDS}"), RSA);
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    assert!(!openssl.text(&ca).contains("Key Identifier"));
    works(&openssl, &ca, &key);
    let issued = Authority::from_pem(&ca, &key).unwrap().issue_client(KeyAlgorithm::Rsa2048, "x").unwrap();
    assert!(!openssl.text(&issued.certificate_pem).contains("Authority Key Identifier"));
}

#[test]
fn other_shapes_of_cas_work() {
    let Some(openssl) = Openssl::find() else { return };
    let with_id = format!("{USAGES}subjectKeyIdentifier = hash\n");
    let with_serial = format!("{with_id}authorityKeyIdentifier = keyid:always, issuer:always");
    for (subject, extensions, key) in [
        ("/O=someone", with_id.as_str(), RSA),
        ("/O=someone/OU=builders", "basicConstraints = CA:TRUE", RSA_PKCS8),
        ("/O=someone", &with_id, EC_SEC1),
        ("/O=someone", &with_id, EC_P384),
        ("/O=someone", &with_id, ED25519),
        ("/CN=Company CA", &with_serial, RSA),
        // The same type twice, two values in one part, and letters beyond ASCII.
        ("/DC=com/DC=example/O=Éxample/OU=a/OU=b+CN=c", &with_id, RSA),
    ] {
        let (ca, key) = openssl_ca(&openssl, subject, extensions, key);
        works(&openssl, &ca, &key);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let Some(openssl) = Openssl::find() else { return };
    let (ca, key) = openssl_ca(&openssl, "/O=someone", &format!("{USAGES}{NO_IDS}"), RSA);
    let other = Authority::generate(KeyAlgorithm::Rsa2048, "other").unwrap();

    let error = Authority::from_pem(&ca, other.key_pem().expose()).unwrap_err();
    assert_eq!(error.to_string(), "the CA's certificate (O=someone) and private key don't belong together");
    assert!(error.hint().is_some());

    let leaf = other.issue_client(KeyAlgorithm::Rsa2048, "leaf").unwrap();
    let error = Authority::from_pem(&leaf.certificate_pem, leaf.key_pem.expose()).unwrap_err();
    assert!(matches!(error, TlsError::NotAnAuthority { .. }), "{error}");
    assert!(!CertificateInfo::from_pem(&leaf.certificate_pem).unwrap().is_signed_by(&ca));
    assert!(!CertificateInfo::from_pem(&leaf.certificate_pem).unwrap().is_signed_by(&leaf.certificate_pem));

    openssl.run(&[
        "rsa",
        "-in",
        "ca-key.pem",
        "-aes128",
        "-passout",
        "pass:x",
        "-traditional",
        "-out",
        "enc.pem",
    ]);
    openssl.run(&["pkcs8", "-topk8", "-in", "ca-key.pem", "-passout", "pass:x", "-out", "enc8.pem"]);
    for file in ["enc.pem", "enc8.pem"] {
        let error = Authority::from_pem(&ca, &openssl.read(file)).unwrap_err().to_string();
        assert!(error.contains("encrypted with a passphrase"), "{error}");
    }
    for (certificate, key) in [("", key.as_str()), ("no PEM", &key), (&key, &key), (&ca, ""), (&ca, &ca)] {
        let error = Authority::from_pem(certificate, key).unwrap_err().to_string();
        assert!(error.starts_with("this is not a"), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}

#[test]
fn an_intermediate_ca_issues_but_can_not_renew_itself() {
    let Some(openssl) = Openssl::find() else { return };
    let (root, _) = openssl_ca(&openssl, "/O=root", USAGES, RSA);
    openssl.run(&["genrsa", "-traditional", "-out", "sub-key.pem", "2048"]);
    openssl.run(&["req", "-new", "-key", "sub-key.pem", "-subj", "/O=sub", "-out", "sub.csr"]);
    openssl.run(&[
        "x509",
        "-req",
        "-in",
        "sub.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca-key.pem",
        "-CAcreateserial",
        "-days",
        "10",
        "-extfile",
        "ca.cnf",
        "-extensions",
        "ext",
        "-out",
        "sub.pem",
    ]);
    let chain = format!("{}{root}", openssl.read("sub.pem"));
    let authority = Authority::from_pem(&chain, &openssl.read("sub-key.pem")).unwrap();
    let error = authority.renew().unwrap_err();
    assert_eq!(error.to_string(), "the CA's certificate (O=sub) was issued by O=root, who must renew it");
    let client = authority.issue_client(KeyAlgorithm::Rsa2048, "x").unwrap();
    assert!(authority.certificate_pem().ends_with(&root));
    openssl.verify(authority.certificate_pem(), &client.certificate_pem, "sslclient").unwrap();
}

#[test]
fn a_key_is_not_shown() {
    let ca = Authority::generate(KeyAlgorithm::Ed25519, "someone").unwrap();
    let issued = ca.issue_client(KeyAlgorithm::Ed25519, "x").unwrap();
    let shown = format!("{ca:?} {:?} {issued:?}", ca.key_pem());
    for key in [ca.key_pem(), &issued.key_pem] {
        let line = key.expose().lines().nth(1).unwrap();
        assert!(!shown.contains(line));
    }
    assert!(shown.contains("redacted"));
}
