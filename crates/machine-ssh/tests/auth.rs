//! Keys of every kind against a real sshd and a real ssh-agent.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use machine_ssh::keys::{KeyKind, generate, public_key_line, public_key_of_file};
use machine_ssh::{AgentUse, Credentials, Error, ExecLimits, KeyFileProblem, KeySource, Options, Session};
use support::{Agent, Sshd, have_sshd, keygen, only, public_of, run};

async fn connect(server: &Sshd, credentials: &Credentials) -> Result<Session, Error> {
    Session::connect(&server.target(), credentials, &server.policy(), &Options::default()).await
}

async fn says_hello(server: &Sshd, credentials: &Credentials) {
    let session = connect(server, credentials).await.unwrap_or_else(|e| panic!("{e}\n{}", server.log()));
    let output = session.exec("echo hello", Bytes::new(), &ExecLimits::default()).await.expect("exec");
    assert_eq!(output.stdout_text(), "hello\n");
}

#[tokio::test]
async fn key_files_of_every_type_and_format_log_in() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let folder = server.folder.path();
    let kinds: [(&str, &[&str]); 11] = [
        ("ed25519", &["-t", "ed25519"]),
        ("ecdsa256", &["-t", "ecdsa", "-b", "256"]),
        ("ecdsa384", &["-t", "ecdsa", "-b", "384"]),
        ("ecdsa521", &["-t", "ecdsa", "-b", "521"]),
        ("ecdsa_sec1", &["-t", "ecdsa", "-b", "256", "-m", "PEM"]),
        ("ecdsa_pkcs8", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa3072", &["-t", "rsa", "-b", "3072"]),
        ("rsa_pkcs1", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("rsa_pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
        ("ed25519_crlf", &["-t", "ed25519"]),
    ];
    for (name, arguments) in kinds {
        let key = keygen(folder, name, arguments);
        if name.ends_with("crlf") {
            let text = fs::read_to_string(&key).expect("key").replace('\n', "\r\n");
            fs::write(&key, text).expect("key");
        }
        server.authorize(&key);
        eprintln!("{name}");
        says_hello(&server, &only(&key)).await;
        assert_eq!(public_key_of_file(&key).expect(name), public_of(&key), "{name}");
    }
    let log = server.log();
    assert!(log.contains("Accepted publickey") && !log.contains("ssh-rsa "), "{log}");
}

#[tokio::test]
async fn a_server_that_wants_rsa_sha2_256_gets_it() {
    if !have_sshd() {
        return;
    }
    let extra = "PubkeyAcceptedAlgorithms rsa-sha2-256\n";
    let server = Sshd::with(&support::Settings { extra, ..Default::default() });
    let key = keygen(server.folder.path(), "rsa", &["-t", "rsa", "-b", "2048"]);
    server.authorize(&key);
    says_hello(&server, &only(&key)).await;
}

#[tokio::test]
async fn generated_keys_log_in_and_ssh_keygen_agrees_on_them() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    for (kind, header) in [(KeyKind::Ed25519, "OPENSSH"), (KeyKind::Rsa2048, "RSA")] {
        let pair = generate(kind, "machine default").expect("generate");
        assert!(pair.private_pem.starts_with(&format!("-----BEGIN {header} PRIVATE KEY-----\n")));
        assert!(!format!("{pair:?}").contains("PRIVATE"));
        let path = server.folder.path().join(format!("{kind:?}"));
        fs::write(&path, pair.private_pem.as_bytes()).expect("private");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(path.with_extension("pub"), public_key_line(&pair.public) + "\n").expect("public");

        let name = path.to_str().expect("UTF-8");
        let theirs = run("ssh-keygen", &["-y", "-f", name]);
        assert!(theirs.starts_with(&pair.public.to_line()), "{theirs}");
        let listed = run("ssh-keygen", &["-l", "-f", &format!("{name}.pub")]);
        assert!(
            listed.contains(&pair.public.fingerprint()) && listed.contains("machine default"),
            "{listed}"
        );
        assert_eq!(public_key_of_file(&path).expect("read back"), pair.public);

        server.authorize(&path);
        says_hello(&server, &only(&path)).await;
    }
}

#[tokio::test]
async fn the_agents_keys_log_in() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let agent = Agent::start();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = keygen(server.folder.path(), &format!("agent_{kind}"), &["-t", kind]);
        agent.add(&key);
        fs::remove_file(&key).expect("only the agent has it now");
        server.authorize(&key);
        let credentials = Credentials { agent: AgentUse::Socket(agent.socket()), ..Credentials::default() };
        says_hello(&server, &credentials).await;
        // The next one has to be found among those that the server does not take.
        fs::copy(server.folder.path().join("user_key.pub"), server.folder.path().join("authorized_keys"))
            .expect("reset");
    }
}

/// The socket stands in for an agent behind a forwarding that has died: it takes connections and never answers.
#[tokio::test]
async fn an_agent_that_never_answers_is_not_asked_needlessly_and_not_waited_for_long() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let path = server.folder.path().join("dead-agent");
    let dead = std::os::unix::net::UnixListener::bind(&path).expect("socket");
    dead.set_nonblocking(true).expect("nonblocking");
    let agent = AgentUse::Socket(path);

    says_hello(&server, &Credentials { agent: agent.clone(), ..server.credentials() }).await;
    assert!(dead.accept().is_err(), "a key file that can be read needs no agent");

    let error = connect(&server, &Credentials { agent, ..Credentials::default() }).await.expect_err("no key");
    assert!(error.to_string().contains("dead-agent gave no keys: it did not answer within"), "{error}");
    assert!(dead.accept().is_ok());
}

#[tokio::test]
async fn an_encrypted_key_needs_the_agent_or_its_passphrase() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let plain = keygen(server.folder.path(), "locked", &["-t", "ed25519"]);
    server.authorize(&plain);
    let agent = Agent::start();
    agent.add(&plain);
    let name = plain.to_str().expect("UTF-8");
    run("ssh-keygen", &["-q", "-p", "-f", name, "-P", "", "-N", "open sesame"]);

    let error = connect(&server, &only(&plain)).await.expect_err("no way to open it");
    assert!(
        matches!(&error, Error::KeyFile { problem: KeyFileProblem::Encrypted, path } if *path == plain),
        "{error:?}"
    );
    assert!(error.to_string().contains("ssh-agent"), "{error}");

    let through_agent = Credentials { agent: AgentUse::Socket(agent.socket()), ..only(&plain) };
    says_hello(&server, &through_agent).await;

    let with = |secret: &'static str| Credentials {
        passphrase: Some(Arc::new(move |_: &Path| Some(zeroize::Zeroizing::new(secret.to_owned())))),
        ..only(&plain)
    };
    says_hello(&server, &with("open sesame")).await;
    let error = connect(&server, &with("guess")).await.expect_err("wrong passphrase");
    assert!(matches!(&error, Error::KeyFile { problem: KeyFileProblem::WrongPassphrase, .. }), "{error:?}");

    for format in ["PEM", "PKCS8"] {
        let old = keygen(
            server.folder.path(),
            &format!("locked_{format}"),
            &["-t", "rsa", "-m", format, "-N", "secret"],
        );
        let error = connect(&server, &only(&old)).await.expect_err("encrypted");
        assert!(
            matches!(&error, Error::KeyFile { problem: KeyFileProblem::Encrypted, .. }),
            "{format}: {error:?}"
        );
        server.authorize(&old);
        let opened = Credentials {
            passphrase: Some(Arc::new(|_: &Path| Some(zeroize::Zeroizing::new("secret".to_owned())))),
            ..only(&old)
        };
        says_hello(&server, &opened).await;
    }
}

#[tokio::test]
async fn a_refused_key_is_reported_with_what_was_offered_and_nothing_of_its_content() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let wrong = keygen(server.folder.path(), "wrong", &["-t", "rsa", "-b", "2048"]);
    let error = connect(&server, &only(&wrong)).await.expect_err("refused");
    let Error::AuthFailed(failure) = &error else { panic!("{error:?}") };
    assert_eq!(failure.offered.len(), 1);
    assert_eq!(failure.offered[0].source, KeySource::File(wrong.clone()));
    assert_eq!(failure.offered[0].fingerprint, public_of(&wrong).fingerprint());
    assert_eq!(failure.tried, ["publickey"]);
    assert_eq!(failure.accepts, ["publickey"]);
    assert!(error.to_string().contains("wrong") && !format!("{error:?}").contains("PRIVATE"), "{error:?}");
    assert!(error.is_auth_failure() && !error.is_transient());

    let none = Credentials { agent: AgentUse::Socket("/nonexistent/agent".into()), ..Credentials::default() };
    let error = connect(&server, &none).await.expect_err("nothing to offer");
    assert!(error.to_string().contains("/nonexistent/agent"), "{error}");
    let none = Credentials { agent: AgentUse::Off, ..Credentials::default() };
    let error = connect(&server, &none).await.expect_err("nothing to offer");
    assert!(
        error.to_string().contains("no key to offer") && error.to_string().contains("publickey"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_up_after_too_many_keys_is_an_authentication_failure() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&support::Settings { extra: "MaxAuthTries 2\n", ..Default::default() });
    let agent = Agent::start();
    for n in 0..4 {
        agent.add(&keygen(server.folder.path(), &format!("many{n}"), &["-t", "ed25519"]));
    }
    let credentials = Credentials { agent: AgentUse::Socket(agent.socket()), ..Credentials::default() };
    let error = connect(&server, &credentials).await.expect_err("too many");
    assert!(matches!(&error, Error::AuthFailed(_)), "{error:?}");
    assert!(error.to_string().contains("Too many authentication failures"), "{error}");
}

#[tokio::test]
async fn files_that_are_no_private_keys_are_named_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text"), "hello\n").expect("write");
    fs::write(at("binary"), [0, 159, 146, 150]).expect("write");
    fs::write(
        at("broken"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .expect("write");
    fs::write(at("big"), vec![b'a'; 1 << 20]).expect("write");
    let pair = generate(KeyKind::Ed25519, "x").expect("generate");
    fs::write(at("public"), public_key_line(&pair.public)).expect("write");
    // Nothing listens on this port: whoever got that far would say "refused".
    let target = machine_ssh::Target::new("127.0.0.1", support::free_port(), "nobody");
    let policy = machine_ssh::HostKeyPolicy::Pinned(Vec::new());
    for name in ["text", "binary", "broken", "big", "public", "missing", "."] {
        let error =
            Session::connect(&target, &only(&at(name)), &policy, &Options::default()).await.expect_err(name);
        let Error::KeyFile { path, problem } = &error else { panic!("{name}: {error:?}") };
        assert_eq!(*path, at(name));
        let fits = match name {
            "missing" | "." => matches!(problem, KeyFileProblem::Unreadable(_)),
            "public" => matches!(problem, KeyFileProblem::Public),
            _ => matches!(problem, KeyFileProblem::NotAKey(_)),
        };
        assert!(fits, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_used_with_a_warning() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    assert_eq!(server.connect().await.warnings(), []);
    fs::set_permissions(&server.key, fs::Permissions::from_mode(0o644)).expect("chmod");
    let session = server.connect().await;
    assert_eq!(session.warnings().len(), 1);
    let warning = session.warnings()[0].to_string();
    assert!(warning.contains("0644") && warning.contains("user_key"), "{warning}");
}

#[tokio::test]
async fn default_keys_are_tried_in_order_and_unusable_ones_passed_over() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let home = tempfile::tempdir().expect("folder");
    let good = keygen(home.path(), "id_rsa", &["-t", "rsa", "-b", "2048"]);
    keygen(home.path(), "id_ecdsa", &["-t", "ecdsa"]);
    fs::write(home.path().join("id_ed25519"), "not a key").expect("write");
    let credentials = Credentials {
        agent: AgentUse::Off,
        default_keys: Some(home.path().to_owned()),
        ..Credentials::default()
    };
    let error = connect(&server, &credentials).await.expect_err("none authorized");
    let Error::AuthFailed(failure) = &error else { panic!("{error:?}") };
    let offered: Vec<_> = failure.offered.iter().map(|key| key.algorithm.as_str()).collect();
    assert_eq!(offered, ["ecdsa-sha2-nistp256", "ssh-rsa"]);
    assert!(failure.problems.iter().any(|problem| problem.contains("id_ed25519")), "{error}");
    server.authorize(&good);
    says_hello(&server, &credentials).await;
}
