//! Addresses and keys that users, records and hosts name: jump hosts, engine URLs, host keys, certificates.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(jump) = machine_lifecycle::parse_jump(text) {
        // It becomes a word of the system's ssh.
        assert!(!jump.host.is_empty() && !jump.host.starts_with('-') && jump.port != 0);
        assert!(jump.user.is_none_or(|user| !user.is_empty()));
    }
    drop(machine_engine::Client::new(text, None, Duration::from_secs(1)));
    if let Ok(key) = machine_ssh::PublicKey::parse(text) {
        let line = key.to_line();
        assert_eq!(
            machine_ssh::PublicKey::parse(&line).expect("its own line").fingerprint(),
            key.fingerprint()
        );
    }
    let _ = machine_tls::CertificateInfo::from_pem(text);
});
