use std::path::Path;

use machine_core::{ConfigureContext, Driver, ErrorKind, FlagValue, FlagValues, Known, MachineName};

use super::None;

fn configure(url: &str) -> Result<machine_core::DriverState, machine_core::DriverError> {
    let driver = None::new();
    let mut flags = FlagValues::defaults(&driver.spec().flags);
    flags.set("url", FlagValue::Str(url.into()));
    let name = MachineName::new("foo").unwrap();
    driver.configure(&ConfigureContext { name: &name, store_path: Path::new("/store") }, &flags)
}

#[test]
fn the_record_is_that_of_the_reference_program() {
    let state = configure("tcp://127.0.0.1:2376").unwrap();
    assert_eq!(
        serde_json::to_string(&state).unwrap(),
        concat!(
            r#"{"IPAddress":"127.0.0.1:2376","MachineName":"foo","SSHUser":"","SSHPort":0,"SSHKeyPath":"","#,
            r#""StorePath":"/store","SwarmMaster":false,"SwarmHost":"","SwarmDiscovery":"","#,
            r#""URL":"tcp://127.0.0.1:2376"}"#
        )
    );
    assert_eq!(
        None::new().known(&state).unwrap(),
        Known { ip: "127.0.0.1:2376".into(), url: "tcp://127.0.0.1:2376".into(), ..Known::default() }
    );
}

#[test]
fn urls_without_scheme_and_nonsense_are_taken() {
    for url in ["localhost", "not a url"] {
        let known = None::new().known(&configure(url).unwrap()).unwrap();
        assert_eq!((known.ip.as_str(), known.url.as_str()), ("", url));
    }
}

#[test]
fn a_missing_url_has_the_reference_programs_text() {
    let error = configure("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.to_string(), "--url option is required when no driver is selected");
}

#[test]
fn a_url_can_not_smuggle_lines_into_what_env_prints() {
    let error = configure("tcp://a:1\nexport PATH=").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("invalid control character"), "{error}");
}
