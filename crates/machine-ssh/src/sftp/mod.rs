//! A client for SFTP version 3: many requests on the way at once, paths as bytes.
//!
//! Made here because file names need not be UTF-8, which the crates at hand assume.

mod file;
mod packet;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

pub(crate) use self::file::{RemoteReader, RemoteWriter};
pub(crate) use self::packet::Attributes;
use self::packet::{Body, Request};
use crate::error::{Error, Result};
use crate::exec::Running;
use crate::session::Session;

/// No reply is larger: we never ask for more than 32 KiB at a time, and OpenSSH's own limit is 256 KiB.
const LONGEST_REPLY: usize = 1024 * 1024;

/// How long a server may take to start SFTP. Nothing else would end the wait for one that is stuck in a start-up file.
const START_LIMIT: Duration = Duration::from_secs(15);

/// A reply, or why there is none.
type Reply = Result<(u8, Bytes), String>;
type Waiting = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<Reply>>>>>;

/// An SFTP session. It ends when dropped.
#[derive(Clone)]
pub(crate) struct Sftp {
    shared: Arc<Shared>,
}

struct Shared {
    session: Session,
    _running: Running,
    writer: Arc<ChannelWriteHalf<Msg>>,
    waiting: Waiting,
    next: AtomicU32,
    /// One packet at a time, whole: a packet may need several channel messages.
    turn: Semaphore,
}

/// Why a file operation failed.
pub(crate) enum Failure {
    /// The server says so.
    Status { code: u32, message: String },
    /// The conversation broke down.
    Broken(String),
}

impl Failure {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Status { code: 2, .. })
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::Status { code: 1, .. })
    }

    pub(crate) fn why(&self) -> String {
        match self {
            Self::Status { code: 2, .. } => "no such file or directory".into(),
            Self::Status { code: 3, .. } => "permission denied".into(),
            Self::Status { message, .. } if !message.is_empty() => message.to_lowercase(),
            Self::Status { code, .. } => format!("the server answered with status {code}"),
            Self::Broken(why) => why.clone(),
        }
    }
}

impl Sftp {
    /// Starts SFTP on a channel of its own; `None` when the server has none.
    pub(crate) async fn open(session: &Session) -> Result<Option<Self>> {
        let (channel, slot) = session.open_channel().await?;
        let fail = |e| session.channel_error("SFTP", e);
        channel.request_subsystem(true, "sftp").await.map_err(fail)?;
        let mut running = Running::new(channel, slot).without_signal();
        let (mut reader, writer) = running.split();
        let mut incoming = BytesMut::new();
        let greet = async {
            // Version 3. OpenSSH gives room for it only once the subsystem runs, so this may never end.
            let hello = Bytes::from_static(&[0, 0, 0, 5, packet::INIT, 0, 0, 0, 3]);
            let _ = writer.data_bytes(hello).await;
            std::future::pending::<()>().await
        };
        let answer = tokio::select! {
            answer = timeout(START_LIMIT, next_packet(&mut reader, &mut incoming)) => {
                answer.map_err(|_| Error::TimedOut {
                    address: session.target().address(),
                    after: START_LIMIT,
                    waiting_for: "the start of SFTP (does a start-up file of the shell there wait for something?)",
                })?
            }
            () = greet => Ok(None),
        };
        match answer {
            Ok(Some((packet::VERSION, _))) => {}
            Ok(None) if session.is_closed() => return Err(session.closed("starting SFTP")),
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(()) => return Err(garbled(session)),
        }
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(dispatch(reader, incoming, waiting.clone()));
        let shared = Shared {
            session: session.clone(),
            _running: running,
            writer,
            waiting,
            next: AtomicU32::new(1),
            turn: Semaphore::new(1),
        };
        Ok(Some(Self { shared: Arc::new(shared) }))
    }

    pub(crate) fn session(&self) -> &Session {
        &self.shared.session
    }

    /// Sends a request; the reply is awaited separately, so that many can be under way.
    async fn send(&self, request: Request) -> Result<oneshot::Receiver<Reply>, Failure> {
        let shared = &self.shared;
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let registered = match shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, sender).is_none(),
            None => false,
        };
        let _turn = shared.turn.acquire().await;
        if !registered || shared.writer.data_bytes(request.encode(id)).await.is_err() {
            return Err(Failure::Broken(self.lost()));
        }
        Ok(receiver)
    }

    async fn receive(&self, receiver: oneshot::Receiver<Reply>, wanted: u8) -> Result<Body, Failure> {
        let (kind, bytes) = match receiver.await {
            Ok(Ok(reply)) => reply,
            Ok(Err(why)) => return Err(Failure::Broken(why)),
            Err(_) => return Err(Failure::Broken(self.lost())),
        };
        let mut body = Body(bytes);
        if kind == packet::STATUS {
            let code = body.number().ok_or_else(cut_short)?;
            if code == 0 && wanted == packet::STATUS {
                return Ok(body);
            }
            let message = body.bytes().unwrap_or_default();
            return Err(Failure::Status { code, message: String::from_utf8_lossy(&message).into_owned() });
        }
        if kind == wanted {
            Ok(body)
        } else {
            Err(Failure::Broken(format!("unexpected reply of type {kind}")))
        }
    }

    async fn ask(&self, request: Request, wanted: u8) -> Result<Body, Failure> {
        let reply = self.send(request).await?;
        self.receive(reply, wanted).await
    }

    fn lost(&self) -> String {
        if self.shared.session.is_closed() {
            self.shared.session.inner.client.end()
        } else {
            "the server ended SFTP".into()
        }
    }

    /// Attributes of what a path leads to, symbolic links followed.
    pub(crate) async fn stat(&self, path: &[u8]) -> Result<Attributes, Failure> {
        let mut body = self.ask(Request::new(packet::STAT).bytes(path), packet::ATTRS).await?;
        body.attributes().ok_or_else(cut_short)
    }

    pub(crate) async fn set_attributes(&self, path: &[u8], attributes: &Attributes) -> Result<(), Failure> {
        let request = Request::new(packet::SETSTAT).bytes(path).attributes(attributes);
        self.ask(request, packet::STATUS).await.map(|_| ())
    }

    pub(crate) async fn make_folder(&self, path: &[u8], mode: u32) -> Result<(), Failure> {
        let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
        let request = Request::new(packet::MKDIR).bytes(path).attributes(&attributes);
        self.ask(request, packet::STATUS).await.map(|_| ())
    }

    /// The names in a folder, without `.` and `..`.
    pub(crate) async fn list(&self, path: &[u8]) -> Result<Vec<Bytes>, Failure> {
        let handle = self.ask(Request::new(packet::OPENDIR).bytes(path), packet::HANDLE).await?.bytes();
        let handle = handle.ok_or_else(cut_short)?;
        let mut names = Vec::new();
        let result = loop {
            match self.ask(Request::new(packet::READDIR).bytes(&handle), packet::NAME).await {
                Ok(body) => names.extend(read_names(body).ok_or_else(cut_short)?),
                Err(failure) if failure.is_end() => break Ok(names),
                Err(failure) => break Err(failure),
            }
        };
        self.close(&handle).await?;
        result
    }

    async fn close(&self, handle: &[u8]) -> Result<(), Failure> {
        self.ask(Request::new(packet::CLOSE).bytes(handle), packet::STATUS).await.map(|_| ())
    }
}

fn read_names(mut body: Body) -> Option<Vec<Bytes>> {
    let count = body.number()?;
    let mut names = Vec::new();
    for _ in 0..count {
        let name = body.bytes()?;
        body.bytes()?;
        body.attributes()?;
        if &name[..] != b"." && &name[..] != b".." {
            names.push(name);
        }
    }
    Some(names)
}

fn cut_short() -> Failure {
    Failure::Broken("the server sent a reply that is cut short".into())
}

fn garbled(session: &Session) -> Error {
    Error::Protocol {
        address: session.target().address(),
        why: "SFTP starts with text that is none of it; does a start-up file of the shell there print something?".into(),
    }
}

/// The next packet from the server; `None` when the channel is done, `Err` when this is not SFTP.
async fn next_packet(
    reader: &mut ChannelReadHalf,
    incoming: &mut BytesMut,
) -> Result<Option<(u8, Bytes)>, ()> {
    loop {
        if let Some(&[a, b, c, d]) = incoming.first_chunk::<4>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length == 0 || length > LONGEST_REPLY {
                return Err(());
            }
            if incoming.len() >= 4 + length {
                incoming.advance(4);
                let mut packet = incoming.split_to(length).freeze();
                return Ok(Some((packet.get_u8(), packet)));
            }
        }
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) => incoming.extend_from_slice(&data),
            None | Some(ChannelMsg::Close | ChannelMsg::Failure) => return Ok(None),
            Some(_) => {}
        }
    }
}

/// Hands replies to those who wait for them.
async fn dispatch(mut reader: ChannelReadHalf, mut incoming: BytesMut, waiting: Waiting) {
    let why = loop {
        match next_packet(&mut reader, &mut incoming).await {
            Ok(Some((kind, bytes))) => {
                let mut body = Body(bytes);
                let Some(id) = body.number() else { break "the server sent a reply without a number" };
                let waiter = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_mut()
                    .and_then(|w| w.remove(&id));
                if let Some(waiter) = waiter {
                    // Whoever asked may have gone.
                    let _ = waiter.send(Ok((kind, body.0)));
                }
            }
            Ok(None) => break "",
            Err(()) => break "the server sent something that is not SFTP",
        }
    };
    let waiters = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    if !why.is_empty() {
        for (_, waiter) in waiters.into_iter().flatten() {
            let _ = waiter.send(Err(why.to_owned()));
        }
    }
}
