//! The local terminal: raw mode with its restoration, its size, and input that does not hold up the program's end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use crate::shell::TerminalSize;

/// Is standard input a terminal?
pub(crate) fn is_terminal() -> bool {
    isatty(stdio::stdin())
}

/// The size of the terminal at standard output, or else at standard input.
pub(crate) fn size() -> Option<TerminalSize> {
    let found = tcgetwinsize(stdio::stdout()).or_else(|_| tcgetwinsize(stdio::stdin())).ok()?;
    Some(TerminalSize {
        columns: found.ws_col.into(),
        rows: found.ws_row.into(),
        width: found.ws_xpixel.into(),
        height: found.ws_ypixel.into(),
    })
}

/// The present settings of the terminal at standard input.
pub(crate) fn settings() -> Option<Termios> {
    tcgetattr(stdio::stdin()).ok()
}

/// Raw mode at standard input for as long as this lives: a return, an error and a panic all end it.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdio::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has hung up can't be restored and needs not be.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Standard input, read by a thread of its own. A read from a terminal can't be taken back, and one in the runtime's
/// pool would hold up the program's end until the next key: so the thread first waits until there is something to
/// read, or until this is dropped. Nothing is read that nobody will get.
pub(crate) struct Input {
    chunks: mpsc::Receiver<Bytes>,
    _stop: OwnedFd,
}

impl Input {
    pub(crate) fn open() -> io::Result<Self> {
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let (sender, chunks) = mpsc::channel(4);
        thread::Builder::new().name("stdin".into()).spawn(move || pump(&stopped, &sender))?;
        Ok(Self { chunks, _stop: stop })
    }

    /// The next bytes; `None` at the end of the input.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.chunks.recv().await
    }
}

fn pump(stopped: &OwnedFd, sender: &mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let mut waited =
            [PollFd::from_borrowed_fd(stdio::stdin(), PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut waited, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !waited[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        match rustix::io::read(stdio::stdin().as_fd(), &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                    return;
                }
            }
        }
    }
}
