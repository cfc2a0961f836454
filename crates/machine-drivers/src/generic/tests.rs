use std::fs;
use std::path::Path;
use std::process::Command;

use machine_core::{
    ConfigureContext, Driver, DriverState, ErrorKind, Event, FlagValue, FlagValues, Known, MachineName, State,
};
use machine_testkit::conformance::{Bench, Cut, Journal};
use machine_testkit::skip;
use tempfile::TempDir;

use super::Generic;

fn flags(given: &[(&str, FlagValue)]) -> FlagValues {
    let mut flags = FlagValues::defaults(&Generic::new().spec().flags);
    for (name, value) in given {
        flags.set(*name, value.clone());
    }
    flags
}

fn text(value: impl AsRef<Path>) -> FlagValue {
    FlagValue::Str(value.as_ref().to_string_lossy().into_owned())
}

fn configure(given: &[(&str, FlagValue)]) -> Result<DriverState, machine_core::DriverError> {
    let name = MachineName::new("g2").unwrap();
    Generic::new()
        .configure(&ConfigureContext { name: &name, store_path: Path::new("/store") }, &flags(given))
}

#[test]
fn the_record_is_that_of_the_reference_program() {
    let state = configure(&[("generic-ip-address", text("203.0.113.7")), ("generic-ssh-key", text("/k/id"))])
        .unwrap();
    assert_eq!(
        serde_json::to_string(&state).unwrap(),
        concat!(
            r#"{"IPAddress":"203.0.113.7","MachineName":"g2","SSHUser":"root","SSHPort":22,"SSHKeyPath":"","#,
            r#""StorePath":"/store","SwarmMaster":false,"SwarmHost":"","SwarmDiscovery":"","#,
            r#""EnginePort":2376,"SSHKey":"/k/id"}"#
        )
    );
}

#[test]
fn ipv6_addresses_get_brackets_in_the_url_only() {
    for given in ["2001:db8::7", "[2001:db8::7]"] {
        let known =
            Generic::new().known(&configure(&[("generic-ip-address", text(given))]).unwrap()).unwrap();
        assert_eq!((known.ip.as_str(), known.url.as_str()), ("2001:db8::7", "tcp://[2001:db8::7]:2376"));
        assert_eq!(known.ssh.unwrap().host, "2001:db8::7");
    }
}

#[test]
fn a_record_of_the_reference_program_is_understood() {
    let state: DriverState = serde_json::from_str(
        r#"{"IPAddress":"a","SSHUser":"u","SSHPort":2222,"SSHKeyPath":"/m/id_rsa","EnginePort":2377,"SSHKey":""}"#,
    )
    .unwrap();
    let Known { url, ssh, .. } = Generic::new().known(&state).unwrap();
    let ssh = ssh.unwrap();
    assert_eq!(url, "tcp://a:2377");
    assert_eq!((ssh.user.as_str(), ssh.port, ssh.key.as_deref()), ("u", 2222, Some(Path::new("/m/id_rsa"))));
}

#[test]
fn flags_that_make_no_sense_name_the_flag() {
    let error = configure(&[]).unwrap_err();
    assert_eq!(error.to_string(), "generic driver requires the --generic-ip-address option");
    for (flag, value) in [
        ("generic-ssh-port", FlagValue::Int(0)),
        ("generic-engine-port", FlagValue::Int(65_536)),
        ("generic-ssh-user", text("-oProxyCommand=id")),
        ("generic-ip-address", text("http://203.0.113.7")),
    ] {
        let error = configure(&[("generic-ip-address", text("203.0.113.7")), (flag, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(flag), "{error}");
    }
}

/// Configures on a bench, with a key file, and runs the checks before create.
fn precreate(bench: &Bench, key: &Path) -> Result<(), machine_core::DriverError> {
    let driver = Generic::new();
    let wish = bench
        .wish(&driver, &flags(&[("generic-ip-address", text("127.0.0.1")), ("generic-ssh-key", text(key))]));
    block_on(driver.precreate(&bench.cx(), &wish))
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_missing_key_file_has_the_reference_programs_text() {
    let error = precreate(&Bench::new(), Path::new("/nonexistent")).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Precreate, "SSH key does not exist: \"/nonexistent\"")
    );
}

/// Makes a real key pair of this kind; false where that can't be done here.
fn keygen(kind: &str, file: &Path, passphrase: &str) -> bool {
    skip::require(&["ssh-keygen"])
        && Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", passphrase, "-f"])
            .arg(file)
            .status()
            .unwrap()
            .success()
}

#[test]
fn real_keys_pass_and_their_public_halves_do_not() {
    let dir = TempDir::new().unwrap();
    for (kind, passphrase) in [("rsa", ""), ("ecdsa", ""), ("ed25519", ""), ("ed25519", "locked up")] {
        let key = dir.path().join(format!("id_{kind}{}", passphrase.len()));
        if !keygen(kind, &key, passphrase) {
            return;
        }
        precreate(&Bench::new(), &key).unwrap();
        let error = precreate(&Bench::new(), &key.with_extension("pub")).unwrap_err();
        assert!(error.to_string().contains("it is a public key"), "{error}");
    }
    let error = precreate(&Bench::new(), dir.path()).unwrap_err();
    assert!(error.to_string().contains("it is a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn the_key_is_copied_for_its_owner_only_and_once() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let key = dir.path().join("key.pem");
    if !keygen("ed25519", &key, "") {
        return;
    }
    // As a careless user has it.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (bench, driver) = (Bench::new(), Generic::new());
    let given = [("generic-ip-address", text("127.0.0.1")), ("generic-ssh-key", text(&key))];
    let wish = bench.wish(&driver, &flags(&given));
    let create = |state| block_on(driver.create(&bench.cx(), state, &mut Journal::new(Cut::Never))).unwrap();
    let made = create(wish);

    // Not over the machine's own key.pem
    let copy = bench.cx().machine_dir.join("ssh-key.pem");
    assert_eq!(made.str("SSHKeyPath"), copy.to_str().unwrap());
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&key).unwrap());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(bench.cx().machine_dir.join("ssh-key.pem.pub").is_file());
    assert_eq!(bench.heard.events(), [Event::DriverLine("Importing SSH key...".into())]);

    // The original is gone, the create is called again: the copy is good enough.
    fs::remove_file(&key).unwrap();
    assert_eq!(create(made.clone()), made);
    assert_eq!(fs::read_dir(bench.cx().machine_dir).unwrap().count(), 2, "something else was left");
}

#[test]
fn without_a_key_the_users_own_is_assumed() {
    let (bench, driver) = (Bench::new(), Generic::new());
    let wish = bench.wish(&driver, &flags(&[("generic-ip-address", text("127.0.0.1"))]));
    let made = block_on(driver.create(&bench.cx(), wish.clone(), &mut Journal::new(Cut::Never))).unwrap();
    assert_eq!(made, wish);
    let line = "No SSH key specified. Assuming an existing key at the default location.";
    assert_eq!(bench.heard.events(), [Event::DriverLine(line.into())]);
    assert_eq!(driver.known(&made).unwrap().ssh.unwrap().key, None);
}

#[test]
fn a_port_where_nobody_listens_is_a_host_that_is_off() {
    let (bench, driver) = (Bench::new(), Generic::new());
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let given =
        [("generic-ip-address", text("127.0.0.1")), ("generic-ssh-port", FlagValue::Int(port.into()))];
    let wish = bench.wish(&driver, &flags(&given));
    assert_eq!(block_on(driver.observe(&bench.cx(), &wish)).unwrap().state, State::Stopped);
    let nameless = bench.wish(&driver, &flags(&[("generic-ip-address", text("no-such-host.invalid"))]));
    assert_eq!(block_on(driver.observe(&bench.cx(), &nameless)).unwrap().state, State::Stopped);
}
