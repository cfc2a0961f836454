//! One authenticated connection, on which everything else runs side by side.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure, Disconnect};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connect::{Client, JumpHost, Options, dial, establish};
use crate::credentials::{Credentials, KeyRing, KeyWarning};
use crate::error::{Error, Result};
use crate::hostkey::{HostKeyOutcome, HostKeyPolicy};
use crate::keys::PublicKey;
use crate::target::Target;
use crate::transport::Wire;

/// How often, and how far apart, a refused channel is asked for again when one of ours has just ended: the server may
/// still be clearing it away.
const CLEARING_TRIES: u32 = 20;
const CLEARING_PAUSE: Duration = Duration::from_millis(50);
/// How long a server may take to say whether it opens a channel. Keep-alives only tell that it lives.
const CHANNEL_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a host. Clones share it; it ends when the last one is dropped, or with [`Session::close`].
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) target: Target,
    started: Instant,
    host_key: PublicKey,
    outcome: HostKeyOutcome,
    warnings: Vec<KeyWarning>,
    via: Vec<Session>,
    channels: Channels,
}

/// A channel that was asked for.
type PendingChannel = JoinHandle<Result<Channel<Msg>, russh::Error>>;

/// Session channels: how many are open, and one asked for ahead of its use.
#[derive(Default)]
struct Channels {
    open: AtomicUsize,
    ever: AtomicBool,
    freed: Notify,
    spare: Mutex<Option<PendingChannel>>,
    no_spares: AtomicBool,
}

/// Counts one open session channel; dropping it lets a waiting one go on.
pub(crate) struct Slot(Arc<Inner>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.channels.open.fetch_sub(1, Ordering::SeqCst);
        self.0.channels.freed.notify_one();
    }
}

impl Session {
    /// Connects once and authenticates. The key files are read before anything is sent.
    pub async fn connect(
        target: &Target,
        credentials: &Credentials,
        host_keys: &HostKeyPolicy,
        options: &Options,
    ) -> Result<Self> {
        let ring = KeyRing::open(credentials).await?;
        let started = Instant::now();
        let mut via: Vec<Self> = Vec::new();
        for hop in &options.jumps {
            let next = Self::hop(via.last(), hop, options).await;
            via.push(next.map_err(|e| Error::Jump { hop: hop.target.to_string(), source: Box::new(e) })?);
        }
        let wire = Self::wire(via.last(), target, options, started).await?;
        let established = establish(wire, target, ring, host_keys, options, started).await?;
        Ok(Self::new(established, target, via, started))
    }

    async fn hop(before: Option<&Self>, hop: &JumpHost, options: &Options) -> Result<Self> {
        let ring = KeyRing::open(&hop.credentials).await?;
        let started = Instant::now();
        let wire = Self::wire(before, &hop.target, options, started).await?;
        let established = establish(wire, &hop.target, ring, &hop.host_keys, options, started).await?;
        Ok(Self::new(established, &hop.target, Vec::new(), started))
    }

    async fn wire(
        before: Option<&Self>,
        target: &Target,
        options: &Options,
        started: Instant,
    ) -> Result<Wire> {
        let Some(jump) = before else {
            return Ok(Wire::Socket(dial(target, options.connect_timeout, started).await?));
        };
        match timeout(options.connect_timeout, jump.open_tcp(&target.host, target.port)).await {
            Ok(channel) => Ok(Wire::Channel(Box::new(channel.map_err(|e| jump.as_hop(e))?))),
            Err(_) => Err(Error::TimedOut {
                address: target.address(),
                after: started.elapsed(),
                waiting_for: "the jump host's connection to it",
            }),
        }
    }

    fn as_hop(&self, error: Error) -> Error {
        Error::Jump { hop: self.inner.target.to_string(), source: Box::new(error) }
    }

    fn new(
        established: crate::connect::Established,
        target: &Target,
        via: Vec<Self>,
        started: Instant,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                client: established.client,
                target: target.clone(),
                started,
                host_key: established.host_key,
                outcome: established.outcome,
                warnings: established.ring.warnings,
                via,
                channels: Channels::default(),
            }),
        }
    }

    /// The account this session is for.
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    /// The key that the host showed.
    pub fn host_key(&self) -> &PublicKey {
        &self.inner.host_key
    }

    /// How that key relates to the pins: [`HostKeyOutcome::FirstContact`] and [`HostKeyOutcome::Replaced`] ask the
    /// caller to save it.
    pub fn host_key_outcome(&self) -> HostKeyOutcome {
        self.inner.outcome
    }

    /// Key files with too open a mode.
    pub fn warnings(&self) -> &[KeyWarning] {
        &self.inner.warnings
    }

    /// The sessions to the jump hosts, first hop first: their host keys may have to be saved too.
    pub fn via(&self) -> &[Session] {
        &self.inner.via
    }

    /// Has the connection ended?
    pub fn is_closed(&self) -> bool {
        self.inner.client.handle.is_closed()
    }

    /// Says goodbye to the server. Dropping the session ends it too, only less politely.
    pub async fn close(&self) {
        let farewell = self.inner.client.handle.disconnect(Disconnect::ByApplication, "", "en");
        // The server may be gone already, which is as good.
        let _ = timeout(Duration::from_secs(1), farewell).await;
    }

    pub(crate) fn closed(&self, doing: impl Into<String>) -> Error {
        Error::Closed {
            address: self.inner.target.address(),
            doing: doing.into(),
            why: self.inner.client.end(),
            after: self.inner.started.elapsed(),
            received: None,
        }
    }

    /// The error for a failed channel operation.
    pub(crate) fn channel_error(&self, what: &str, error: russh::Error) -> Error {
        let address = self.inner.target.address();
        match error {
            russh::Error::ChannelOpenFailure(reason) => {
                Error::ChannelRefused { address, what: what.into(), why: reason.description().to_lowercase() }
            }
            russh::Error::Disconnect | russh::Error::SendError | russh::Error::RecvError => {
                self.closed(format!("asking for {what}"))
            }
            other => Error::Protocol { address, why: other.to_string() },
        }
    }

    /// Opens a session channel. A server allows only so many at once (`MaxSessions`): when it refuses one while
    /// others of ours are open, this waits for one of those to end.
    pub(crate) async fn open_channel(&self) -> Result<(Channel<Msg>, Slot)> {
        let channels = &self.inner.channels;
        let mut clearing = 0;
        loop {
            let answer = timeout(CHANNEL_LIMIT, self.next_channel()).await.map_err(|_| Error::TimedOut {
                address: self.inner.target.address(),
                after: CHANNEL_LIMIT,
                waiting_for: "the opening of a session",
            })?;
            match answer {
                Ok(channel) => {
                    channels.open.fetch_add(1, Ordering::SeqCst);
                    channels.ever.store(true, Ordering::SeqCst);
                    return Ok((channel, Slot(self.inner.clone())));
                }
                Err(russh::Error::ChannelOpenFailure(reason)) if is_limit(&reason) => {
                    channels.no_spares.store(true, Ordering::SeqCst);
                    if channels.open.load(Ordering::SeqCst) > 0 {
                        // The pause covers the case that the last one ended just now.
                        let _ = timeout(Duration::from_secs(1), channels.freed.notified()).await;
                    } else if channels.ever.load(Ordering::SeqCst) && clearing < CLEARING_TRIES {
                        clearing += 1;
                        tokio::time::sleep(CLEARING_PAUSE).await;
                    } else {
                        return Err(self.channel_error("a session", russh::Error::ChannelOpenFailure(reason)));
                    }
                }
                Err(error) => return Err(self.channel_error("a session", error)),
            }
        }
    }

    async fn next_channel(&self) -> Result<Channel<Msg>, russh::Error> {
        let spare = self.inner.channels.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(spare) = spare
            && let Ok(Ok(channel)) = spare.await
        {
            return Ok(channel);
        }
        self.inner.client.handle.channel_open_session().await
    }

    /// Asks for the next channel while the present command runs: the next command then starts one round trip sooner.
    pub(crate) fn ask_ahead(&self) {
        let channels = &self.inner.channels;
        if channels.no_spares.load(Ordering::SeqCst) || channels.open.load(Ordering::SeqCst) > 1 {
            return;
        }
        let mut spare = channels.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            let inner = Arc::downgrade(&self.inner);
            *spare = Some(tokio::spawn(async move {
                let inner = inner.upgrade().ok_or(russh::Error::Disconnect)?;
                let opened = inner.client.handle.channel_open_session().await;
                if opened.is_err() {
                    inner.channels.no_spares.store(true, Ordering::SeqCst);
                }
                opened
            }));
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("target", &self.inner.target)
            .field("host_key", &self.inner.host_key)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// OpenSSH answers "connect failed" when `MaxSessions` is reached; others say what they mean.
fn is_limit(reason: &ChannelOpenFailure) -> bool {
    matches!(
        reason,
        ChannelOpenFailure::ConnectFailed
            | ChannelOpenFailure::ResourceShortage
            | ChannelOpenFailure::AdministrativelyProhibited
    )
}
