//! The way to an authenticated connection: TCP (or a jump host's channel), greeting, key exchange, authentication.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::credentials::{Credentials, KeyRing};
use crate::error::{Error, Result};
use crate::hostkey::{HostKeyOutcome, HostKeyPolicy};
use crate::keys::PublicKey;
use crate::target::Target;
use crate::transport::{Greeting, Lifeline, Transport, Wire};

/// Limits and detours of a connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// For the TCP connection; and again for greeting and key exchange.
    pub connect_timeout: Duration,
    /// For authentication.
    pub auth_timeout: Duration,
    /// After this long without a word from the server it is asked for a sign of life; after three without an answer
    /// the connection counts as lost. `None`: never.
    pub keepalive: Option<Duration>,
    /// Hosts to pass through, the first one first.
    pub jumps: Vec<JumpHost>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(30),
            keepalive: Some(Duration::from_secs(15)),
            jumps: Vec::new(),
        }
    }
}

/// A host on the way to the target.
#[derive(Debug, Clone)]
pub struct JumpHost {
    /// Its account, address and port, as seen from the hop before.
    pub target: Target,
    /// Keys for it.
    pub credentials: Credentials,
    /// Its host key.
    pub host_keys: HostKeyPolicy,
}

/// A connection past the key exchange, not necessarily authenticated.
pub(crate) struct Client {
    pub(crate) handle: client::Handle<Watcher>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    _lifeline: Lifeline,
}

impl Client {
    /// What was seen of the connection's end.
    pub(crate) fn end(&self) -> String {
        end_of(&self.seen)
    }
}

/// What the protocol task tells us.
#[derive(Default)]
pub(crate) struct Seen {
    host_key: Option<PublicKey>,
    outcome: Option<HostKeyOutcome>,
    end: Option<String>,
}

pub(crate) fn end_of(seen: &Mutex<Seen>) -> String {
    let end = seen.lock().unwrap_or_else(PoisonError::into_inner).end.clone();
    end.unwrap_or_else(|| "the connection was closed".to_owned())
}

/// Judges the host key, and remembers how the connection ended.
pub(crate) struct Watcher {
    policy: HostKeyPolicy,
    seen: Arc<Mutex<Seen>>,
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let key = PublicKey::from(shown.public_key());
        let outcome = self.policy.judge(&key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.host_key = Some(key);
        seen.outcome = outcome;
        Ok(outcome.is_some())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let why = match reason {
            DisconnectReason::ReceivedDisconnect(info) => format!("the server said: {}", info.message.trim()),
            DisconnectReason::Error(error) => describe_end(&error),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).end.get_or_insert(why);
        Ok(())
    }
}

fn describe_end(error: &russh::Error) -> String {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => "the server closed the connection".to_owned(),
        russh::Error::KeepaliveTimeout => "no sign of life from the server".to_owned(),
        russh::Error::IO(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".to_owned()
        }
        other => other.to_string(),
    }
}

/// The error for a connection that ended while we were `doing` something.
pub(crate) fn closed(
    client: &Client,
    target: &Target,
    doing: &str,
    started: Instant,
    error: &russh::Error,
) -> Error {
    let mut why = client.end();
    if !matches!(error, russh::Error::Disconnect | russh::Error::SendError) {
        why = error.to_string();
    }
    Error::Closed {
        address: target.address(),
        doing: doing.into(),
        why,
        after: started.elapsed(),
        received: None,
    }
}

/// An authenticated connection and what was learnt on the way.
pub(crate) struct Established {
    pub(crate) client: Client,
    pub(crate) host_key: PublicKey,
    pub(crate) outcome: HostKeyOutcome,
    pub(crate) ring: KeyRing,
}

/// Greeting, key exchange and authentication over a wire that is already there.
pub(crate) async fn establish(
    wire: Wire,
    target: &Target,
    ring: KeyRing,
    policy: &HostKeyPolicy,
    options: &Options,
    started: Instant,
) -> Result<Established> {
    let mut client = shake_hands(wire, target, policy, options, started).await?;
    let (host_key, outcome) = {
        let mut seen = client.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = seen.host_key.take().zip(seen.outcome);
        key.ok_or_else(|| Error::Protocol { address: target.address(), why: "it showed no host key".into() })?
    };
    let attempt = crate::auth::authenticate(&mut client, target, &ring, started);
    match timeout(options.auth_timeout, attempt).await {
        Ok(result) => result?,
        Err(_) => return Err(timed_out(target, "authentication", started)),
    }
    Ok(Established { client, host_key, outcome, ring })
}

async fn shake_hands(
    wire: Wire,
    target: &Target,
    policy: &HostKeyPolicy,
    options: &Options,
    started: Instant,
) -> Result<Client> {
    let config = client::Config {
        client_id: russh::SshId::Standard(
            concat!("SSH-2.0-docker-machine_", env!("CARGO_PKG_VERSION")).into(),
        ),
        preferred: policy.preferred(),
        keepalive_interval: options.keepalive,
        keepalive_max: 3,
        ..client::Config::default()
    };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let watcher = Watcher { policy: policy.clone(), seen: seen.clone() };
    let (transport, greeting, lifeline) = Transport::new(wire);
    let attempt = client::connect_stream(Arc::new(config), transport, watcher);
    match timeout(options.connect_timeout, attempt).await {
        Ok(Ok(handle)) => Ok(Client { handle, seen, _lifeline: lifeline }),
        Ok(Err(error)) => Err(handshake_error(error, target, policy, &seen, &greeting, started)),
        Err(_) if greeting.is_something_else() => Err(not_ssh(target, &greeting, started)),
        Err(_) if greeting.is_empty() => {
            Err(timed_out(target, "the SSH greeting (the port is open but silent)", started))
        }
        Err(_) => Err(timed_out(target, "the key exchange", started)),
    }
}

fn handshake_error(
    error: russh::Error,
    target: &Target,
    policy: &HostKeyPolicy,
    seen: &Mutex<Seen>,
    greeting: &Greeting,
    started: Instant,
) -> Error {
    let address = target.address();
    match error {
        russh::Error::UnknownKey => {
            let got = seen.lock().unwrap_or_else(PoisonError::into_inner).host_key.take();
            let expected: Vec<String> = policy.pins().iter().map(PublicKey::fingerprint).collect();
            match got.map(Box::new) {
                Some(got) if expected.is_empty() => Error::HostKeyUnknown { address, got },
                Some(got) => Error::HostKeyChanged { address, expected, got },
                None => Error::Protocol { address, why: "it showed no host key".into() },
            }
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            Error::NoCommonAlgorithm { address, kind: format!("{kind:?} algorithm").to_lowercase(), theirs }
        }
        _ if greeting.is_something_else() => not_ssh(target, greeting, started),
        error => Error::Closed {
            address,
            doing: if greeting.is_empty() { "waiting for the SSH greeting" } else { "exchanging keys" }
                .into(),
            why: describe_end(&error),
            after: started.elapsed(),
            received: None,
        },
    }
}

fn not_ssh(target: &Target, greeting: &Greeting, started: Instant) -> Error {
    Error::NotSsh { address: target.address(), after: started.elapsed(), seen: greeting.printable() }
}

fn timed_out(target: &Target, waiting_for: &'static str, started: Instant) -> Error {
    Error::TimedOut { address: target.address(), after: started.elapsed(), waiting_for }
}

/// A TCP connection with `TCP_NODELAY`: each address of the name in turn, within the limit.
pub(crate) async fn dial(target: &Target, limit: Duration, started: Instant) -> Result<TcpStream> {
    let deadline = tokio::time::Instant::now() + limit;
    let addresses = resolve(target, limit, started).await?;
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|e| tcp_error(target, &e, started))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(tcp_error(target, &error, started)),
            Err(_) => last = Some(timed_out(target, "the TCP connection", started)),
        }
    }
    Err(last.unwrap_or_else(|| unresolvable(target, "the name has no address")))
}

async fn resolve(target: &Target, limit: Duration, started: Instant) -> Result<Vec<SocketAddr>> {
    let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
    match timeout(limit, lookup).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(unresolvable(target, &error.to_string())),
        Err(_) => Err(timed_out(target, "the name lookup", started)),
    }
}

fn unresolvable(target: &Target, why: &str) -> Error {
    let why = why.strip_prefix("failed to lookup address information: ").unwrap_or(why);
    Error::Unresolvable { host: target.host.clone(), why: why.to_owned() }
}

fn tcp_error(target: &Target, error: &io::Error, started: Instant) -> Error {
    let (address, after) = (target.address(), started.elapsed());
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Refused { address, after },
        io::ErrorKind::TimedOut => timed_out(target, "the TCP connection", started),
        _ => Error::Unreachable { address, after, why: error.to_string() },
    }
}
