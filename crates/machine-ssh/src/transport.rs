//! The byte stream under the protocol.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::forward::TcpChannel;

/// As much as is kept of what a server says first.
const GREETING_KEPT: usize = 256;

/// What carries the bytes.
pub(crate) enum Wire {
    /// A socket of this machine.
    Socket(TcpStream),
    /// A channel through a jump host.
    Channel(Box<TcpChannel>),
}

/// The connection lives as long as this does: the protocol runs in a task of its own, which must not outlive a failed
/// or abandoned attempt.
pub(crate) struct Lifeline {
    _held: oneshot::Sender<()>,
}

/// The first bytes that the server sent.
#[derive(Clone)]
pub(crate) struct Greeting(Arc<Mutex<Vec<u8>>>);

impl Greeting {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = GREETING_KEPT - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Did something answer that is not SSH? (A server may send other lines before its `SSH-` line: RFC 4253 §4.2.)
    pub(crate) fn is_something_else(&self) -> bool {
        let bytes = self.bytes();
        !bytes.is_empty()
            && !bytes.starts_with(b"SSH-")
            && !bytes.windows(5).any(|window| window == b"\nSSH-")
    }

    /// For people: the first line or so, with what is not printable as `.`.
    pub(crate) fn printable(&self) -> String {
        let bytes = self.bytes();
        let printable = |&b: &u8| if (b' '..=b'~').contains(&b) { char::from(b) } else { '.' };
        bytes.iter().take(80).take_while(|&&b| b != b'\r' && b != b'\n').map(printable).collect()
    }
}

/// Bytes to and from the server.
pub(crate) struct Transport {
    wire: Wire,
    greeting: Greeting,
    abandoned: oneshot::Receiver<()>,
}

impl Transport {
    pub(crate) fn new(wire: Wire) -> (Self, Greeting, Lifeline) {
        let greeting = Greeting(Arc::new(Mutex::new(Vec::new())));
        let (held, abandoned) = oneshot::channel();
        (Self { wire, greeting: greeting.clone(), abandoned }, greeting, Lifeline { _held: held })
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if Pin::new(&mut this.abandoned).poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "we left")));
        }
        let before = buf.filled().len();
        ready!(match &mut this.wire {
            Wire::Socket(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Channel(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        this.greeting.note(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Socket(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Channel(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Socket(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Channel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Channel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
