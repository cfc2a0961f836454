//! Interactive sessions: the local terminal at one end, a shell or a command on the host at the other.

use std::io::{self, Write};

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelWriteHalf, Pty};
use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};
use crate::exec::{Running, exit_status};
use crate::session::Session;
use crate::terminal::{self, Input, RawMode};

/// As OpenSSH: the status of a session whose connection was lost.
const CONNECTION_LOST: i32 = 255;

/// What to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShellRequest {
    /// The command line, or `None` for the login shell.
    pub command: Option<String>,
    /// Ask for a terminal on the host. `None`: if there is no command and standard input is a terminal, as `ssh` does.
    pub pty: Option<bool>,
    /// `TERM` there; `None`: as here, or `dumb`.
    pub term: Option<String>,
    /// Size of the terminal there; `None`: as here, following its changes.
    pub size: Option<TerminalSize>,
}

/// Size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
    /// Pixels across, or 0.
    pub width: u32,
    /// Pixels down, or 0.
    pub height: u32,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24, width: 0, height: 0 }
    }
}

impl Session {
    /// Runs a shell or a command with this process's standard streams and gives its exit status: the command's own,
    /// 128 + N when signal N ended it (there or, by a signal sent to us, here), 255 when the connection was lost.
    ///
    /// The local terminal is in raw mode meanwhile and is restored on every way out.
    pub async fn shell(&self, request: &ShellRequest) -> Result<i32> {
        let local = terminal::is_terminal();
        let pty = request.pty.unwrap_or(local && request.command.is_none());
        let mut signals = Signals::listen().map_err(Error::Terminal)?;
        let (channel, slot) = self.open_channel().await?;
        let fail = |e| self.channel_error("a shell", e);
        if pty {
            let size = request.size.or_else(terminal::size).unwrap_or_default();
            let term =
                request.term.clone().or_else(|| std::env::var("TERM").ok()).unwrap_or_else(|| "dumb".into());
            let modes = terminal::settings().map(|settings| terminal_modes(&settings)).unwrap_or_default();
            let (columns, rows) = (size.columns, size.rows);
            channel
                .request_pty(false, &term, columns, rows, size.width, size.height, &modes)
                .await
                .map_err(fail)?;
        }
        match &request.command {
            Some(command) => channel.exec(true, command.as_str()).await.map_err(fail)?,
            None => channel.request_shell(true).await.map_err(fail)?,
        }
        let raw = if pty && local { Some(RawMode::enter().map_err(Error::Terminal)?) } else { None };
        let follow_size = pty && request.size.is_none();
        let status = self.relay(Running::new(channel, slot), &mut signals, follow_size).await;
        drop(raw);
        status
    }

    async fn relay(&self, mut running: Running, signals: &mut Signals, follow_size: bool) -> Result<i32> {
        let (mut reader, writer) = running.split();
        let mut input = Input::open().map_err(Error::Terminal)?;
        let feed = async {
            while let Some(bytes) = input.next().await {
                if writer.data_bytes(bytes).await.is_err() {
                    break;
                }
            }
            // The far end may be gone; the reader notices.
            let _ = writer.eof().await;
            std::future::pending::<()>().await
        };
        tokio::pin!(feed);
        let mut status = None;
        loop {
            tokio::select! {
                message = reader.wait() => match message {
                    None | Some(ChannelMsg::Close) => break,
                    Some(ChannelMsg::Failure) => return Err(self.refused_command()),
                    Some(ChannelMsg::Data { data }) => write_out(io::stdout(), data).await?,
                    Some(ChannelMsg::ExtendedData { data, ext: 1 }) => write_out(io::stderr(), data).await?,
                    Some(other) => status = exit_status(other).or(status),
                },
                () = &mut feed => {}
                event = signals.next() => match event {
                    Event::Resized if follow_size => send_size(&writer).await,
                    Event::Resized => {}
                    Event::Ended(number) => return Ok(128 + number),
                },
            }
        }
        running.finished();
        Ok(status.map_or(CONNECTION_LOST, |status| status.code()))
    }
}

async fn send_size(writer: &ChannelWriteHalf<Msg>) {
    if let Some(size) = terminal::size() {
        // A lost connection shows elsewhere.
        let _ = writer.window_change(size.columns, size.rows, size.width, size.height).await;
    }
}

/// Writes to a standard stream off the runtime's thread: a reader that is slow must not stop the connection's
/// keep-alives.
async fn write_out(mut stream: impl Write + Send + 'static, data: Bytes) -> Result<()> {
    let written =
        tokio::task::spawn_blocking(move || stream.write_all(&data).and_then(|()| stream.flush())).await;
    written.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(Error::Terminal)
}

enum Event {
    Resized,
    Ended(i32),
}

/// The signals that a session has to answer to.
struct Signals {
    resized: Signal,
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.resized.recv() => Event::Resized,
            _ = self.interrupted.recv() => Event::Ended(2),
            _ = self.terminated.recv() => Event::Ended(15),
            _ = self.hung_up.recv() => Event::Ended(1),
        }
    }
}

/// The local terminal's settings in the words of RFC 4254 §8, so that the far one behaves as this one.
fn terminal_modes(settings: &Termios) -> Vec<(Pty, u32)> {
    let key = |index: SpecialCodeIndex| u32::from(settings.special_codes[index]);
    let mut modes = vec![
        (Pty::VINTR, key(SpecialCodeIndex::VINTR)),
        (Pty::VQUIT, key(SpecialCodeIndex::VQUIT)),
        (Pty::VERASE, key(SpecialCodeIndex::VERASE)),
        (Pty::VKILL, key(SpecialCodeIndex::VKILL)),
        (Pty::VEOF, key(SpecialCodeIndex::VEOF)),
        (Pty::VSUSP, key(SpecialCodeIndex::VSUSP)),
        (Pty::VWERASE, key(SpecialCodeIndex::VWERASE)),
        (Pty::VLNEXT, key(SpecialCodeIndex::VLNEXT)),
    ];
    let input = |mode| u32::from(settings.input_modes.contains(mode));
    modes.push((Pty::ICRNL, input(InputModes::ICRNL)));
    modes.push((Pty::INLCR, input(InputModes::INLCR)));
    modes.push((Pty::IGNCR, input(InputModes::IGNCR)));
    modes.push((Pty::IXON, input(InputModes::IXON)));
    modes.push((Pty::IXOFF, input(InputModes::IXOFF)));
    modes.push((Pty::IUTF8, input(InputModes::IUTF8)));
    let local = |mode| u32::from(settings.local_modes.contains(mode));
    modes.push((Pty::ISIG, local(LocalModes::ISIG)));
    modes.push((Pty::ICANON, local(LocalModes::ICANON)));
    modes.push((Pty::ECHO, local(LocalModes::ECHO)));
    modes.push((Pty::ECHOE, local(LocalModes::ECHOE)));
    modes.push((Pty::ECHOK, local(LocalModes::ECHOK)));
    modes.push((Pty::IEXTEN, local(LocalModes::IEXTEN)));
    let output = |mode| u32::from(settings.output_modes.contains(mode));
    modes.push((Pty::OPOST, output(OutputModes::OPOST)));
    modes.push((Pty::ONLCR, output(OutputModes::ONLCR)));
    modes.push((Pty::CS8, u32::from(settings.control_modes.contains(ControlModes::CS8))));
    modes.push((Pty::TTY_OP_ISPEED, settings.input_speed()));
    modes.push((Pty::TTY_OP_OSPEED, settings.output_speed()));
    modes
}
