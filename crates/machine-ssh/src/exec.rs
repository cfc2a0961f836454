//! Commands on the host.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::session::{Session, Slot};

/// A line longer than this is handed out in pieces.
const LINE_LIMIT: usize = 64 * 1024;

/// How long after its end a command may be quiet before its streams count as ended, too. Servers tell the status as
/// soon as the command ends, but the end of its streams only when nobody has them any more.
const LINGER: Duration = Duration::from_secs(5);

/// What a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecLimits {
    /// Time, from asking for the channel to the end. When it is over, the command is sent `SIGTERM` (which OpenSSH
    /// passes on except for root) and loses its streams.
    pub time: Duration,
    /// Bytes kept of each of stdout and stderr; what comes after is dropped and counted.
    pub output: usize,
}

impl Default for ExecLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(120), output: 16 * 1024 * 1024 }
    }
}

impl ExecLimits {
    /// The default, with this limit of time.
    pub fn of(time: Duration) -> Self {
        Self { time, ..Self::default() }
    }
}

/// Which stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this status.
    Code(u32),
    /// A signal ended it: the name without `SIG`.
    Signal(String),
}

impl ExitStatus {
    /// Exited with 0?
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// As a shell counts: the exit status, or 128 + the number of the signal.
    pub fn code(&self) -> i32 {
        match self {
            Self::Code(code) => i32::try_from(*code).unwrap_or(255),
            Self::Signal(name) => 128 + signal_number(name),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

/// Linux's numbers of the signals that RFC 4254 §6.10 names.
fn signal_number(name: &str) -> i32 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => 127,
    }
}

/// What a command said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended. In an error's `received` it is what was known then: no status yet counts as 255.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Bytes dropped because of [`ExecLimits::output`].
    pub dropped: u64,
}

impl Output {
    fn new() -> Self {
        Self { status: ExitStatus::Code(255), stdout: Vec::new(), stderr: Vec::new(), dropped: 0 }
    }

    /// Standard output as text, bytes that are none replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, bytes that are none replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The last line of stderr, or else of stdout: what to show of a command that failed.
    pub(crate) fn last_line(&self) -> String {
        let last = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned)
        };
        last(&self.stderr).or_else(|| last(&self.stdout)).unwrap_or_else(|| "none".to_owned())
    }

    fn take(&mut self, stream: Stream, data: &[u8], limit: usize) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let fits = data.len().min(limit.saturating_sub(kept.len()));
        kept.extend_from_slice(&data[..fits]);
        self.dropped += (data.len() - fits) as u64;
    }
}

/// What a caller wants to see while a command runs.
type OnLine<'a> = &'a mut (dyn FnMut(Stream, &str) + Send);

impl Session {
    /// Runs a command line in the login shell, with `stdin` as its input, and gathers what it says. The command's own
    /// failure is no error here: see [`Output::status`]. Processes that it leaves behind are not waited for.
    ///
    /// # Errors
    /// [`Error::CommandTimedOut`] and [`Error::Closed`] carry what was received until then.
    pub async fn exec(&self, command: &str, stdin: impl Into<Bytes>, limits: &ExecLimits) -> Result<Output> {
        self.exec_streaming(command, stdin, limits, |_, _| {}).await
    }

    /// As [`exec`](Self::exec), and hands out each line, without its line end, as it comes. Bytes that are not UTF-8
    /// are replaced in what is handed out.
    pub async fn exec_streaming(
        &self,
        command: &str,
        stdin: impl Into<Bytes>,
        limits: &ExecLimits,
        mut on_line: impl FnMut(Stream, &str) + Send,
    ) -> Result<Output> {
        let mut output = Output::new();
        let run = self.run(command, stdin.into(), limits.output, &mut output, &mut on_line);
        match timeout(limits.time, run).await {
            Ok(Ok(())) => Ok(output),
            Ok(Err(Error::Closed { address, doing, why, after, .. })) => {
                Err(Error::Closed { address, doing, why, after, received: Some(Box::new(output)) })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::CommandTimedOut {
                address: self.target().address(),
                limit: limits.time,
                received: Box::new(output),
            }),
        }
    }

    async fn run(
        &self,
        command: &str,
        stdin: Bytes,
        cap: usize,
        output: &mut Output,
        on_line: OnLine<'_>,
    ) -> Result<()> {
        let mut running = self.start(command).await?;
        self.ask_ahead();
        let (mut reader, writer) = running.split();
        let feed = async {
            // A command may end without reading its input; its status tells what came of it.
            if writer.data_bytes(stdin).await.is_ok() {
                let _ = writer.eof().await;
            }
            std::future::pending::<()>().await
        };
        let read = self.gather(&mut reader, cap, output, on_line);
        let streams = tokio::select! {
            result = read => result?,
            () = feed => Streams::Ended,
        };
        match streams {
            Streams::Ended => running.finished(),
            // Dropping it closes the channel.
            Streams::LeftOpen => running = running.without_signal(),
        }
        drop(running);
        Ok(())
    }

    /// Asks for the command without waiting for the server's word that it starts: a refusal comes as the first
    /// message.
    pub(crate) async fn start(&self, command: &str) -> Result<Running> {
        let (channel, slot) = self.open_channel().await?;
        let asked = channel.exec(true, command).await;
        asked.map_err(|e| self.channel_error("a command", e))?;
        Ok(Running::new(channel, slot))
    }

    async fn gather(
        &self,
        reader: &mut ChannelReadHalf,
        cap: usize,
        output: &mut Output,
        on_line: OnLine<'_>,
    ) -> Result<Streams> {
        let mut lines = [Lines::new(Stream::Stdout), Lines::new(Stream::Stderr)];
        let mut status = None;
        let mut streams = Streams::Ended;
        loop {
            let message = match status {
                None => reader.wait().await,
                Some(_) => timeout(LINGER, reader.wait()).await.unwrap_or_else(|_| {
                    streams = Streams::LeftOpen;
                    None
                }),
            };
            let Some(message) = message else { break };
            match message {
                ChannelMsg::Data { data } => {
                    output.take(Stream::Stdout, &data, cap);
                    lines[0].feed(&data, on_line);
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    output.take(Stream::Stderr, &data, cap);
                    lines[1].feed(&data, on_line);
                }
                ChannelMsg::Failure => return Err(self.refused_command()),
                ChannelMsg::Close => break,
                other => status = exit_status(other).or(status),
            }
        }
        lines.iter_mut().for_each(|rest| rest.finish(on_line));
        let Some(status) = status else { return Err(self.closed("running a command")) };
        output.status = status;
        Ok(streams)
    }

    pub(crate) fn refused_command(&self) -> Error {
        Error::ChannelRefused {
            address: self.target().address(),
            what: "the command".into(),
            why: "the server does not run commands for this user".into(),
        }
    }
}

/// What became of the streams of a command that ended.
enum Streams {
    Ended,
    /// Something that it left running has them still.
    LeftOpen,
}

/// The exit status, if this message tells one.
pub(crate) fn exit_status(message: ChannelMsg) -> Option<ExitStatus> {
    match message {
        ChannelMsg::ExitStatus { exit_status } => Some(ExitStatus::Code(exit_status)),
        ChannelMsg::ExitSignal { signal_name, .. } => Some(ExitStatus::Signal(match signal_name {
            Sig::Custom(name) => name,
            known => format!("{known:?}"),
        })),
        _ => None,
    }
}

/// A command's channel. Dropped before its end, it sends `SIGTERM` and closes the channel.
pub(crate) struct Running {
    signal: bool,
    reader: Option<ChannelReadHalf>,
    writer: Option<std::sync::Arc<ChannelWriteHalf<Msg>>>,
    slot: Option<Slot>,
}

impl Running {
    pub(crate) fn new(channel: Channel<Msg>, slot: Slot) -> Self {
        let (reader, writer) = channel.split();
        Self {
            signal: true,
            reader: Some(reader),
            writer: Some(std::sync::Arc::new(writer)),
            slot: Some(slot),
        }
    }

    /// For what ends by itself when the channel is closed.
    pub(crate) fn without_signal(mut self) -> Self {
        self.signal = false;
        self
    }

    /// The two halves. To be called once.
    pub(crate) fn split(&mut self) -> (ChannelReadHalf, std::sync::Arc<ChannelWriteHalf<Msg>>) {
        match (self.reader.take(), &self.writer) {
            (Some(reader), Some(writer)) => (reader, writer.clone()),
            _ => unreachable!("a channel is split once, before it is finished"),
        }
    }

    pub(crate) fn finished(&mut self) {
        self.writer = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(writer), Ok(runtime)) = (self.writer.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (slot, signal) = (self.slot.take(), self.signal);
        runtime.spawn(async move {
            // Neither is of use if the connection is gone, and then not needed.
            if signal {
                let _ = writer.signal(Sig::TERM).await;
            }
            let _ = writer.close().await;
            drop(slot);
        });
    }
}

/// Cuts a stream into lines.
struct Lines {
    stream: Stream,
    rest: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    fn feed(&mut self, mut data: &[u8], on_line: OnLine<'_>) {
        while let Some(end) = data.iter().position(|&b| b == b'\n') {
            self.rest.extend_from_slice(&data[..end]);
            data = &data[end + 1..];
            self.emit(on_line);
        }
        self.rest.extend_from_slice(data);
        if self.rest.len() > LINE_LIMIT {
            self.emit(on_line);
        }
    }

    fn finish(&mut self, on_line: OnLine<'_>) {
        if !self.rest.is_empty() {
            self.emit(on_line);
        }
    }

    fn emit(&mut self, on_line: OnLine<'_>) {
        let line = self.rest.strip_suffix(b"\r").unwrap_or(&self.rest);
        on_line(self.stream, &String::from_utf8_lossy(line));
        self.rest.clear();
    }
}
