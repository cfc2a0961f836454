//! The way to a host: what else may answer, jump hosts, waiting, and what a connection costs in round trips.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use machine_ssh::{
    Error, ExecLimits, HostKeyOutcome, HostKeyPolicy, JumpHost, Options, RetryOptions, Session, Target,
};
use support::{Settings, Sshd, free_port, have_sshd, keygen, only, public_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

fn quick() -> Options {
    Options { connect_timeout: Duration::from_millis(600), ..Options::default() }
}

async fn knock(port: u16) -> Error {
    let folder = tempfile::tempdir().expect("folder");
    let pair = machine_ssh::keys::generate(machine_ssh::keys::KeyKind::Ed25519, "").expect("generate");
    let key = folder.path().join("key");
    std::fs::write(&key, pair.private_pem.as_bytes()).expect("write");
    let target = Target::new("127.0.0.1", port, "root");
    Session::connect(&target, &only(&key), &HostKeyPolicy::AcceptFirst(Vec::new()), &quick())
        .await
        .expect_err("nobody there speaks SSH")
}

/// A server that answers every connection with this after the first bytes came in, and then closes or stays.
async fn answering(answer: &'static [u8], wait_first: bool, close: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if wait_first {
                    stream.read_u8().await.expect("read");
                }
                stream.write_all(answer).await.expect("write");
                if !close {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_ssh_server_is_told_apart() {
    let error = knock(free_port()).await;
    assert!(matches!(&error, Error::Refused { .. }) && error.is_transient(), "{error:?}");

    let http = b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n";
    for close in [true, false] {
        let error = knock(answering(http, true, close).await).await;
        let Error::NotSsh { seen, .. } = &error else { panic!("{error:?}") };
        assert_eq!(seen, "HTTP/1.1 400 Bad Request");
        assert!(!error.is_transient());
    }
    let error = knock(answering(b"\x15\x03\x01\0\x02\x02\x46", true, true).await).await;
    assert!(matches!(&error, Error::NotSsh { seen, .. } if seen == "......F"), "{error:?}");
    let error = knock(answering(b"220 mail.example.org ESMTP\r\n", false, false).await).await;
    assert!(matches!(&error, Error::NotSsh { seen, .. } if seen.starts_with("220 mail")), "{error:?}");

    let error = knock(answering(b"", false, false).await).await;
    assert!(matches!(&error, Error::TimedOut { .. }) && error.to_string().contains("silent"), "{error:?}");
    let error = knock(answering(b"", false, true).await).await;
    assert!(matches!(&error, Error::Closed { .. }) && error.is_transient(), "{error:?}");
    let error = knock(answering(b"SSH-2.0-Half\r\n", false, false).await).await;
    assert!(matches!(&error, Error::TimedOut { waiting_for: "the key exchange", .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_without_an_address_is_said_to_be_one() {
    let target = Target::new("no-such-host.invalid", 22, "root");
    let policy = HostKeyPolicy::AcceptFirst(Vec::new());
    let credentials = machine_ssh::Credentials { agent: machine_ssh::AgentUse::Off, ..Default::default() };
    let options = Options { connect_timeout: Duration::from_secs(30), ..Options::default() };
    let error = Session::connect(&target, &credentials, &policy, &options).await.expect_err("no address");
    assert!(
        matches!(&error, Error::Unresolvable { host, .. } if host == "no-such-host.invalid"),
        "{error:?}"
    );
}

fn jump(server: &Sshd) -> JumpHost {
    JumpHost { target: server.target(), credentials: server.credentials(), host_keys: server.policy() }
}

#[tokio::test]
async fn jump_hosts_are_passed_through_and_each_one_is_checked() {
    if !have_sshd() {
        return;
    }
    let (first, second, goal) = (Sshd::start(), Sshd::start(), Sshd::start());
    for hops in [vec![jump(&first)], vec![jump(&first), jump(&second)]] {
        let count = hops.len();
        let options = Options { jumps: hops, ..Options::default() };
        let session = Session::connect(&goal.target(), &goal.credentials(), &goal.policy(), &options)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(session.via().len(), count);
        assert!(session.via().iter().all(|hop| hop.host_key_outcome() == HostKeyOutcome::Matched));
        let output =
            session.exec("echo $SSH_CONNECTION", Bytes::new(), &ExecLimits::default()).await.expect("exec");
        assert!(output.stdout_text().trim().ends_with(&goal.port.to_string()), "{output:?}");
    }

    // The goal's key is checked end to end, and the jump host's is checked too.
    let wrong = public_of(&keygen(goal.folder.path(), "other", &["-t", "ed25519"]));
    let options = Options { jumps: vec![jump(&first)], ..Options::default() };
    let policy = HostKeyPolicy::Pinned(vec![wrong.clone()]);
    let error =
        Session::connect(&goal.target(), &goal.credentials(), &policy, &options).await.expect_err("goal");
    assert!(
        matches!(&error, Error::HostKeyChanged { address, .. } if *address == goal.target().address()),
        "{error:?}"
    );
    let options =
        Options { jumps: vec![JumpHost { host_keys: policy, ..jump(&first) }], ..Options::default() };
    let error = Session::connect(&goal.target(), &goal.credentials(), &goal.policy(), &options)
        .await
        .expect_err("hop");
    let Error::Jump { hop, source } = &error else { panic!("{error:?}") };
    assert!(
        *hop == first.target().to_string() && matches!(**source, Error::HostKeyChanged { .. }),
        "{error:?}"
    );

    let nowhere = Target::new("127.0.0.1", free_port(), "root");
    let options = Options { jumps: vec![jump(&first)], ..Options::default() };
    let error =
        Session::connect(&nowhere, &goal.credentials(), &goal.policy(), &options).await.expect_err("nowhere");
    assert!(error.is_transient() && error.to_string().contains(&nowhere.port.to_string()), "{error:?}");
}

#[tokio::test]
async fn forwarded_ports_and_opened_connections_come_out_at_the_host() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = echo.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = echo.accept().await {
            let (mut from, mut to): (OwnedReadHalf, OwnedWriteHalf) = stream.into_split();
            tokio::spawn(async move { copy(&mut from, &mut to).await });
        }
    });
    let mut direct = session.open_tcp("127.0.0.1", port).await.expect("open");
    direct.write_all(b"over there").await.expect("write");
    direct.shutdown().await.expect("end of input is passed on");
    let mut back = String::new();
    direct.read_to_string(&mut back).await.expect("read");
    assert_eq!(back, "over there");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let forwarding = session.forward(listener, "127.0.0.1", port).expect("forward");
    let data: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..3 {
        let (mut from, mut to) =
            TcpStream::connect(forwarding.local_address()).await.expect("connect").into_split();
        let mut got = Vec::new();
        let send = async {
            to.write_all(&data).await.expect("write");
            to.shutdown().await.expect("shutdown");
        };
        tokio::join!(send, async { from.read_to_end(&mut got).await.expect("read") });
        assert!(got == data);
    }
    let local = forwarding.local_address();
    drop(forwarding);
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(local).await.is_err(), "the port is closed");
    let error = session.open_tcp("127.0.0.1", free_port()).await.err().expect("nobody listens");
    assert!(matches!(error, Error::ChannelRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn waiting_ends_when_the_host_comes_up_and_lets_us_in() {
    if !have_sshd() {
        return;
    }
    let mut server = Sshd::prepare(&Settings::default());
    // As on a new cloud host: the port opens later, and the key is put in place later still.
    let keys = server.folder.path().join("authorized_keys");
    let parked = server.folder.path().join("parked");
    std::fs::rename(&keys, &parked).expect("rename");
    let (target, credentials, policy) = (server.target(), server.credentials(), server.policy());
    let mut seen = Vec::new();
    let session = Session::connect_with_retry(
        &target,
        &credentials,
        &policy,
        &Options::default(),
        &RetryOptions { limit: Duration::from_secs(60), auth_grace: Duration::from_secs(60) },
        |info| {
            let auth = info.last.is_auth_failure();
            if seen.len() == 3 {
                server.launch();
            }
            if auth && parked.exists() {
                std::fs::rename(&parked, &keys).expect("rename");
            }
            seen.push((info.attempt, info.last.to_string(), auth));
        },
    )
    .await
    .expect("it came up");
    assert_eq!(session.host_key_outcome(), HostKeyOutcome::Matched);
    assert!(seen[0].1.contains("refused") && seen.last().expect("waits").2, "{seen:?}");
    assert!(seen.iter().enumerate().all(|(n, wait)| wait.0 as usize == n + 1), "{seen:?}");
}

#[tokio::test]
async fn waiting_gives_up_with_the_last_thing_seen_or_at_once() {
    let port = free_port();
    let pair = machine_ssh::keys::generate(machine_ssh::keys::KeyKind::Ed25519, "").expect("generate");
    let folder = tempfile::tempdir().expect("folder");
    let key = folder.path().join("key");
    std::fs::write(&key, pair.private_pem.as_bytes()).expect("write");
    let wait = |port: u16, key: std::path::PathBuf, policy: HostKeyPolicy, grace: u64| async move {
        let retry = RetryOptions { limit: Duration::from_secs(2), auth_grace: Duration::from_secs(grace) };
        let mut waits = 0;
        let target = Target::new("127.0.0.1", port, support::user());
        let result =
            Session::connect_with_retry(&target, &only(&key), &policy, &quick(), &retry, |_| waits += 1)
                .await;
        (result.expect_err("no host"), waits)
    };
    let (error, waits) = wait(port, key.clone(), HostKeyPolicy::AcceptFirst(Vec::new()), 0).await;
    let Error::GaveUp { last, attempts, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**last, Error::Refused { .. }) && *attempts > 2 && waits > 1, "{error:?}");

    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let changed = HostKeyPolicy::Pinned(vec![pair.public.clone()]);
    let (error, waits) = wait(server.port, key.clone(), changed, 60).await;
    assert!(matches!(&error, Error::HostKeyChanged { .. }) && waits == 0, "{error:?}");
    let (error, waits) = wait(server.port, key.clone(), server.policy(), 0).await;
    assert!(matches!(&error, Error::AuthFailed(_)) && waits == 0, "{error:?}");
    let (error, waits) = wait(server.port, key, server.policy(), 60).await;
    let Error::GaveUp { last, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**last, Error::AuthFailed(_)) && waits > 0, "{error:?}");
}

/// Passes a connection on and counts its turns: how often the talk goes over from the server to us. Each direction is
/// held up for a while, so that what one side says in one go is one turn.
struct Turns {
    port: u16,
    count: Arc<AtomicUsize>,
}

const TO_SERVER: u8 = 1;
const TO_CLIENT: u8 = 2;

impl Turns {
    async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.expect("server");
                client.set_nodelay(true).expect("nodelay");
                server.set_nodelay(true).expect("nodelay");
                let (client, server) = (client.into_split(), server.into_split());
                let last = Arc::new(AtomicU8::new(0));
                tokio::spawn(relay(client.0, server.1, TO_SERVER, last.clone(), counted.clone()));
                tokio::spawn(relay(server.0, client.1, TO_CLIENT, last, counted.clone()));
            }
        });
        Self { port, count }
    }

    fn take(&self) -> usize {
        self.count.swap(0, Ordering::SeqCst)
    }
}

async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: u8,
    last: Arc<AtomicU8>,
    count: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 65536];
    loop {
        let first = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        tokio::time::sleep(Duration::from_millis(40)).await;
        let more = from.try_read(&mut buffer[first..]).unwrap_or(0);
        if last.swap(way, Ordering::SeqCst) != way && way == TO_CLIENT {
            count.fetch_add(1, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..first + more]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[tokio::test]
async fn a_connection_and_commands_cost_few_round_trips() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { extra: "LogLevel QUIET\n", ..Settings::default() });
    let turns = Turns::before(server.port).await;
    let target = Target::new("127.0.0.1", turns.port, support::user());
    let (credentials, policy) = (server.credentials(), server.policy());
    let session =
        Session::connect(&target, &credentials, &policy, &Options::default()).await.expect("connect");
    let connect = turns.take();
    let (mut bare, mut fed) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let output = session.exec("echo x", Bytes::new(), &ExecLimits::default()).await.expect("exec");
        assert_eq!(output.stdout_text(), "x\n");
        bare.push(turns.take());
    }
    for _ in 0..4 {
        let output = session.exec("cat", "x", &ExecLimits::default()).await.expect("exec");
        assert_eq!(output.stdout_text(), "x");
        fed.push(turns.take());
    }
    println!("round trips: connect 1 (TCP) + {connect}, commands {bare:?}, commands with input {fed:?}");
    assert!(connect <= 6, "connect took {connect} round trips beyond TCP's");
    // The first one waits for its channel; the next ones find one that was asked for ahead. OpenSSH gives no room for
    // input before the command runs, so input costs one more. A slow machine may split an answer in two.
    assert!(bare.iter().sum::<usize>() <= 8, "commands took {bare:?}");
    assert!(fed.iter().sum::<usize>() <= 12, "commands with input took {fed:?}");
}
