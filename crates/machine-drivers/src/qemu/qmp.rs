//! QEMU's machine protocol: lines of JSON, commands with an id, events in between.
//!
//! Source: QEMU's docs/interop/qmp-spec.rst.

use std::io;
use std::path::Path;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout_at};

use super::monitor::{Monitor, Stream};
use super::state::QemuState;

/// The longest line that is read, bytes. QEMU's longest answers have some hundred kilobytes.
const MAX_LINE: u64 = 4 << 20;
/// How long QEMU may take to answer what it answers from memory.
pub(super) const SHORT: Duration = Duration::from_secs(30);

/// Why QEMU did not do it.
#[derive(Debug)]
pub(super) enum QmpError {
    /// Nobody listens there.
    Connect(io::Error),
    /// The connection ended: QEMU did.
    Closed,
    /// No answer in time.
    Silent {
        /// What was asked.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// What came is not the protocol.
    Garbage(String),
    /// QEMU said no.
    Refused {
        /// What was asked.
        what: String,
        /// Its words.
        said: String,
    },
}

impl std::fmt::Display for QmpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "QEMU's monitor can't be reached: {error}"),
            Self::Closed => f.write_str("QEMU ended while it was asked"),
            Self::Silent { what, limit } => {
                write!(f, "QEMU did not answer {what} within {} s", limit.as_secs())
            }
            Self::Garbage(what) => write!(f, "what answers on QEMU's monitor is not QEMU: {what}"),
            Self::Refused { what, said } => write!(f, "QEMU refused {what}: {said}"),
        }
    }
}

impl From<QmpError> for DriverError {
    fn from(error: QmpError) -> Self {
        let kind = match error {
            QmpError::Connect(_) | QmpError::Closed | QmpError::Silent { .. } => ErrorKind::Unavailable,
            QmpError::Garbage(_) | QmpError::Refused { .. } => ErrorKind::Other,
        };
        Self::new(kind, error.to_string())
    }
}

/// A connection that can take commands. After a timeout it is of no more use: an answer may be under way.
pub(super) struct Qmp {
    stream: BufReader<Box<dyn Stream>>,
    next_id: u64,
}

impl Qmp {
    /// Connects with a machine's monitor.
    ///
    /// # Errors
    /// Where nobody answers within the limit, or not as QEMU does.
    pub(super) async fn connect(
        monitor: Monitor,
        dir: &Path,
        state: &QemuState,
        limit: Duration,
    ) -> Result<Self, QmpError> {
        let stream = monitor.connect(dir, state).await.map_err(QmpError::Connect)?;
        Self::greet(stream, limit).await
    }

    /// Begins the conversation.
    ///
    /// # Errors
    /// Where the other side does not greet as QEMU does.
    pub(super) async fn greet(stream: Box<dyn Stream>, limit: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self { stream: BufReader::new(stream), next_id: 1 };
        let greeting = qmp.line(Instant::now() + limit, "the connection", limit).await?;
        if !greeting.contains_key("QMP") {
            return Err(QmpError::Garbage("it does not greet".to_owned()));
        }
        qmp.execute_within("qmp_capabilities", Value::Null, limit).await?;
        Ok(qmp)
    }

    /// Gives a command that takes no time.
    ///
    /// # Errors
    /// What QEMU says; no answer.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.execute_within(command, arguments, SHORT).await
    }

    /// Gives a command.
    ///
    /// # Errors
    /// What QEMU says; no answer within the limit.
    pub(super) async fn execute_within(
        &mut self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let until = Instant::now() + limit;
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({"execute": command, "id": id});
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let text = format!("{message}\r\n");
        let silent = || QmpError::Silent { what: command.to_owned(), limit };
        match timeout_at(until, self.stream.get_mut().write_all(text.as_bytes())).await {
            Err(_) => return Err(silent()),
            Ok(Err(_)) => return Err(QmpError::Closed),
            Ok(Ok(())) => {}
        }
        loop {
            let mut answer = self.line(until, command, limit).await?;
            // What happens meanwhile is not told by events: who wants to know asks.
            if answer.contains_key("event") {
                continue;
            }
            // A message without id is about something that QEMU could not read.
            if answer.get("id").is_some_and(|answered| *answered != json!(id)) {
                continue;
            }
            if let Some(value) = answer.remove("return") {
                return Ok(value);
            }
            let said = answer.get("error").and_then(|error| error.get("desc")).and_then(Value::as_str);
            return Err(match said {
                Some(said) => QmpError::Refused { what: command.to_owned(), said: said.to_owned() },
                None => QmpError::Garbage(format!("its answer to {command} has neither result nor error")),
            });
        }
    }

    /// Reads one message.
    async fn line(
        &mut self,
        until: Instant,
        what: &str,
        limit: Duration,
    ) -> Result<Map<String, Value>, QmpError> {
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.stream).take(MAX_LINE);
            match timeout_at(until, bounded.read_until(b'\n', &mut line)).await {
                Err(_) => return Err(QmpError::Silent { what: what.to_owned(), limit }),
                Ok(Err(_)) => return Err(QmpError::Closed),
                Ok(Ok(_)) => {}
            }
            if line.last() != Some(&b'\n') {
                return Err(if line.len() as u64 == MAX_LINE {
                    QmpError::Garbage("a line without end".to_owned())
                } else {
                    QmpError::Closed
                });
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            return match serde_json::from_slice(&line) {
                Ok(Value::Object(message)) => Ok(message),
                Ok(_) => Err(QmpError::Garbage("JSON that is no message".to_owned())),
                Err(error) => Err(QmpError::Garbage(error.to_string())),
            };
        }
    }
}

/// What the guest does, in QEMU's word (`RunState`), e.g. `running`.
///
/// # Errors
/// As [`Qmp::execute`].
pub(super) async fn status(qmp: &mut Qmp) -> Result<String, QmpError> {
    let answer = qmp.execute("query-status", Value::Null).await?;
    Ok(answer.get("status").and_then(Value::as_str).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);
    const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";
    const READY: &str = "{\"return\": {}, \"id\": 1}\r\n";

    /// A counterpart that says this, whatever it hears; then it hears on, or hangs up.
    async fn against(
        said: impl Into<Vec<u8>>,
        hangs_up: bool,
    ) -> (Result<Qmp, QmpError>, Option<DuplexStream>) {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let said = said.into();
        let speak = async move {
            // Where we hang up first, it can't be said.
            let _ = theirs.write_all(&said).await;
            (!hangs_up).then_some(theirs)
        };
        tokio::join!(Qmp::greet(Box::new(ours), LIMIT), speak)
    }

    async fn refused(said: impl Into<Vec<u8>>, hangs_up: bool) -> QmpError {
        match against(said, hangs_up).await.0 {
            Ok(_) => panic!("that is no QEMU"),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn a_conversation_with_events_and_answers_for_others() {
        let said = format!(
            "{GREETING}{{\"event\": \"RTC_CHANGE\", \"data\": {{\"offset\": 1}}}}\n\n{READY}{{\"return\": 7, \"id\": 99}}\n\
             {{\"event\": \"STOP\"}}\n{{\"return\": {{\"status\": \"paused\"}}, \"id\": 2}}\n\
             {{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no such thing\"}}, \"id\": 3}}\n"
        );
        let (qmp, _open) = against(said, false).await;
        let mut qmp = qmp.unwrap();
        assert_eq!(status(&mut qmp).await.unwrap(), "paused");
        let error = qmp.execute("nonsense", json!({"a": 1})).await.unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused nonsense: no such thing");
    }

    #[tokio::test]
    async fn who_is_not_qemu_is_not_talked_to() {
        for said in ["HTTP/1.1 400 Bad Request\r\n", "SSH-2.0-x\n", "[1]\n", "{\"return\": {}}\n", "{\n"] {
            assert!(matches!(refused(said, false).await, QmpError::Garbage(_)), "{said}");
        }
        let endless = vec![b'x'; (MAX_LINE + 10) as usize];
        assert!(matches!(refused(endless, false).await, QmpError::Garbage(_)));
    }

    #[tokio::test]
    async fn who_hangs_up_is_gone() {
        for said in ["", "{\"QMP\": ", GREETING, &format!("{GREETING}{{\"return\"")] {
            assert!(matches!(refused(said, true).await, QmpError::Closed), "{said}");
        }
    }

    #[tokio::test]
    async fn an_answer_of_nonsense_is_an_error() {
        let (qmp, _open) = against(format!("{GREETING}{READY}{{\"id\": 2}}\n"), false).await;
        let error = qmp.unwrap().execute("stop", Value::Null).await.unwrap_err();
        assert!(matches!(error, QmpError::Garbage(_)), "{error}");
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for_forever() {
        let (qmp, _open) = against(format!("{GREETING}{READY}"), false).await;
        let moment = Duration::from_millis(20);
        let error = qmp.unwrap().execute_within("stop", Value::Null, moment).await.unwrap_err();
        assert!(matches!(error, QmpError::Silent { .. }), "{error}");
        let (ours, _open) = tokio::io::duplex(1024);
        assert!(matches!(Qmp::greet(Box::new(ours), moment).await, Err(QmpError::Silent { .. })));
    }
}
