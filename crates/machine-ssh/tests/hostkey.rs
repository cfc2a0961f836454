//! Host keys of a real sshd: first contact, pins, changes.

mod support;

use bytes::Bytes;
use machine_ssh::{Error, ExecLimits, HostKeyOutcome, HostKeyPolicy, Options, PublicKey, Session};
use support::{Settings, Sshd, have_sshd, keygen, public_of};

async fn connect(server: &Sshd, policy: &HostKeyPolicy) -> Result<Session, Error> {
    Session::connect(&server.target(), &server.credentials(), policy, &Options::default()).await
}

#[tokio::test]
async fn the_first_contact_gives_the_key_to_pin_and_the_pin_then_holds() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = connect(&server, &HostKeyPolicy::AcceptFirst(Vec::new())).await.expect("first contact");
    assert_eq!(session.host_key_outcome(), HostKeyOutcome::FirstContact);
    assert_eq!(*session.host_key(), server.host_keys[0]);
    let listed =
        support::run("ssh-keygen", &["-lf", &format!("{}/host_ed25519.pub", server.folder.path().display())]);
    assert!(listed.contains(&session.host_key().fingerprint()), "{listed}");

    let pin = PublicKey::parse(&session.host_key().to_line()).expect("a pin is a line");
    for policy in [HostKeyPolicy::Pinned(vec![pin.clone()]), HostKeyPolicy::AcceptFirst(vec![pin.clone()])] {
        let session = connect(&server, &policy).await.expect("pinned");
        assert_eq!(session.host_key_outcome(), HostKeyOutcome::Matched);
    }
    let error = connect(&server, &HostKeyPolicy::Pinned(Vec::new())).await.expect_err("nothing is pinned");
    assert!(matches!(&error, Error::HostKeyUnknown { got, .. } if **got == pin), "{error:?}");
}

#[tokio::test]
async fn a_changed_key_is_refused_before_anything_is_sent_and_taken_only_when_the_user_says_so() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let other = public_of(&keygen(server.folder.path(), "other", &["-t", "ed25519"]));
    for policy in
        [HostKeyPolicy::Pinned(vec![other.clone()]), HostKeyPolicy::AcceptFirst(vec![other.clone()])]
    {
        let error = connect(&server, &policy).await.expect_err("changed");
        let Error::HostKeyChanged { expected, got, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*expected, [other.fingerprint()]);
        assert_eq!(**got, server.host_keys[0]);
        let text = error.to_string();
        assert!(text.contains(&other.fingerprint()) && text.contains(&got.fingerprint()), "{text}");
        assert!(!error.is_transient());
    }
    let log = server.log();
    assert!(
        !log.contains("Accepted") && !log.contains("user root"),
        "no user name reached the server: {log}"
    );

    let session = connect(&server, &HostKeyPolicy::AcceptNew(vec![other])).await.expect("the user said so");
    assert_eq!(session.host_key_outcome(), HostKeyOutcome::Replaced);
    let output = session.exec("true", Bytes::new(), &ExecLimits::default()).await.expect("exec");
    assert!(output.status.success());
}

#[tokio::test]
async fn of_a_host_with_several_keys_the_pinned_one_is_asked_for() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { host_keys: &["ecdsa", "ed25519", "rsa"], ..Settings::default() });
    for pin in &server.host_keys {
        let session = connect(&server, &HostKeyPolicy::Pinned(vec![pin.clone()])).await.expect("pinned");
        assert_eq!(session.host_key_outcome(), HostKeyOutcome::Matched);
        assert_eq!(session.host_key(), pin);
    }
}

#[tokio::test]
async fn a_host_that_lost_the_pinned_type_has_changed() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { host_keys: &["ecdsa"], ..Settings::default() });
    let pin = public_of(&keygen(server.folder.path(), "old", &["-t", "ed25519"]));
    let error = connect(&server, &HostKeyPolicy::Pinned(vec![pin])).await.expect_err("changed");
    assert!(matches!(error, Error::HostKeyChanged { .. }), "{error:?}");
}

#[test]
fn a_pin_that_is_no_key_is_named() {
    for line in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "hello world", "ssh-rsa !!!!"] {
        let error = PublicKey::parse(line).expect_err(line);
        assert!(matches!(error, Error::NotAPublicKey { .. }), "{line}: {error:?}");
    }
}
