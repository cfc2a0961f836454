//! Whatever stands in the files of a user, nothing panics.

use machine_tls::{Authority, CertificateInfo, KeyAlgorithm, have_same_key, key_fits};
use proptest::prelude::*;
use proptest::sample::Index;

fn pem(label: &str, bytes: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, bytes))
}

fn everything(certificate: &str, key: &str) {
    if let Ok(info) = CertificateInfo::from_pem(certificate) {
        let _ = (info.is_signed_by(certificate), info.days_left(time::OffsetDateTime::UNIX_EPOCH));
    }
    let _ = (have_same_key(certificate, certificate), key_fits(certificate, key));
    if let Ok(authority) = Authority::from_pem(certificate, key) {
        let _ = (authority.renew(), authority.issue_client(KeyAlgorithm::EcdsaP256, "x"));
    }
}

proptest! {
    #[test]
    fn arbitrary_texts(certificate in "\\PC{0,80}", key in "\\PC{0,80}") {
        everything(&certificate, &key);
    }

    #[test]
    fn arbitrary_blocks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        everything(&pem("CERTIFICATE", &bytes), &pem("PRIVATE KEY", &bytes));
        everything(&pem("CERTIFICATE", &bytes), &pem("RSA PRIVATE KEY", &bytes));
    }

    #[test]
    fn damaged_certificates(changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4), cut in any::<Option<Index>>()) {
        let ca = Authority::generate(KeyAlgorithm::Ed25519, "someone").unwrap();
        let block = pem::parse(ca.certificate_pem()).unwrap();
        let mut bytes = block.contents().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        everything(&pem("CERTIFICATE", &bytes), ca.key_pem().expose());
    }
}
