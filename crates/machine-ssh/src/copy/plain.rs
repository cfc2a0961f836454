//! Single files through `cat`, for servers without SFTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use super::remote_error;
use super::side::Kind;
use crate::error::{Error, Result};
use crate::exec::{ExecLimits, ExitStatus, Running, exit_status};
use crate::quote::quote;
use crate::session::Session;

/// A host whose shell is all there is.
pub(super) struct Plain {
    session: Session,
}

impl Plain {
    pub(super) fn new(session: &Session) -> Self {
        Self { session: session.clone() }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// A path as a word for the shell; one that starts with a dash is no option.
    fn word(&self, path: &Path) -> Result<String> {
        let text = path.to_str().ok_or_else(|| {
            remote_error(
                &self.session,
                path,
                "is not UTF-8, and the server has no SFTP, which could carry it",
            )
        })?;
        Ok(if text.starts_with('-') { quote(&format!("./{text}")) } else { quote(text) })
    }

    pub(super) async fn kind(&self, path: &Path) -> Result<Option<Kind>> {
        let word = self.word(path)?;
        let command = format!(
            "if [ -d {word} ]; then echo folder; elif [ -f {word} ]; then echo file; elif [ -e {word} ]; then echo other; fi"
        );
        let output = self.session.exec(&command, Bytes::new(), &ExecLimits::default()).await?;
        // A start-up file of the shell may have said something before.
        Ok(match output.stdout_text().lines().next_back() {
            Some("folder") => Some(Kind::Folder),
            Some("file") => Some(Kind::File),
            Some("other") => Some(Kind::Other),
            _ => None,
        })
    }

    pub(super) async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let command = format!("chmod {mode:o} {}", self.word(path)?);
        let output = self.session.exec(&command, Bytes::new(), &ExecLimits::default()).await?;
        if output.status.success() {
            Ok(())
        } else {
            Err(remote_error(&self.session, path, output.last_line()))
        }
    }

    pub(super) async fn read(&self, path: &Path) -> Result<PlainReader<'_>> {
        let mut running = self.session.start(&format!("cat {}", self.word(path)?)).await?;
        let (reader, writer) = running.split();
        writer.eof().await.map_err(|e| self.session.channel_error("a command", e))?;
        let outcome =
            Outcome { session: &self.session, path: path.to_owned(), said: Vec::new(), status: None };
        Ok(PlainReader { running, reader, outcome })
    }

    pub(super) async fn write(&self, path: &Path) -> Result<PlainWriter<'_>> {
        let mut running = self.session.start(&format!("cat > {}", self.word(path)?)).await?;
        let (reader, writer) = running.split();
        let outcome =
            Outcome { session: &self.session, path: path.to_owned(), said: Vec::new(), status: None };
        Ok(PlainWriter { running, reader, writer, outcome })
    }
}

/// What became of the `cat`.
struct Outcome<'a> {
    session: &'a Session,
    path: PathBuf,
    said: Vec<u8>,
    status: Option<ExitStatus>,
}

impl Outcome<'_> {
    fn note(&mut self, message: ChannelMsg) -> Result<()> {
        match message {
            ChannelMsg::ExtendedData { data, ext: 1 } => {
                self.said.extend_from_slice(&data[..data.len().min(1024)])
            }
            ChannelMsg::Failure => return Err(self.session.refused_command()),
            other => self.status = exit_status(other).or(self.status.take()),
        }
        Ok(())
    }

    fn judge(&self) -> Result<()> {
        match &self.status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failed(status)),
            None => Err(self.session.closed(format!("copying {}", self.path.display()))),
        }
    }

    fn failed(&self, status: &ExitStatus) -> Error {
        let said = String::from_utf8_lossy(&self.said);
        let why = said.lines().next_back().map_or_else(|| status.to_string(), str::to_owned);
        remote_error(self.session, &self.path, why)
    }
}

/// `cat FILE` on the host.
pub(super) struct PlainReader<'a> {
    running: Running,
    reader: ChannelReadHalf,
    outcome: Outcome<'a>,
}

impl PlainReader<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.reader.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(Some(data)),
                None | Some(ChannelMsg::Close) => {
                    self.running.finished();
                    return self.outcome.judge().map(|()| None);
                }
                Some(other) => self.outcome.note(other)?,
            }
        }
    }
}

/// `cat > FILE` on the host.
pub(super) struct PlainWriter<'a> {
    running: Running,
    reader: ChannelReadHalf,
    writer: Arc<ChannelWriteHalf<Msg>>,
    outcome: Outcome<'a>,
}

impl PlainWriter<'_> {
    pub(super) async fn write(&mut self, data: Bytes) -> Result<()> {
        let writer = self.writer.clone();
        let sending = writer.data_bytes(data);
        tokio::pin!(sending);
        loop {
            tokio::select! {
                sent = &mut sending => return sent.map_err(|e| self.outcome.session.channel_error("a command", e)),
                // It ends before its time when it cannot write.
                message = self.reader.wait() => match message {
                    None | Some(ChannelMsg::Close) => {
                        self.running.finished();
                        self.outcome.judge()?;
                        return Err(self.outcome.session.closed("writing"));
                    }
                    Some(other) => self.outcome.note(other)?,
                },
            }
        }
    }

    pub(super) async fn finish(mut self) -> Result<()> {
        self.writer.eof().await.map_err(|e| self.outcome.session.channel_error("a command", e))?;
        loop {
            match self.reader.wait().await {
                None | Some(ChannelMsg::Close) => break,
                Some(other) => self.outcome.note(other)?,
            }
        }
        self.running.finished();
        self.outcome.judge()
    }
}
