//! state.json: what is being done with a machine, and what config.json has no place for. It stands next to
//! config.json because the reference program drops keys of config.json that it does not know.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::platform;

/// The version of state.json that is written.
pub const JOURNAL_VERSION: u32 = 1;

/// The content of state.json. Keys and words that this program does not know are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Journal {
    /// [`JOURNAL_VERSION`] of whoever wrote it.
    pub version: u32,
    /// What was begun last.
    pub operation: Operation,
    /// How far it came.
    pub phase: Phase,
    /// Whether it goes on.
    pub status: Status,
    /// Who does it.
    pub actor: Actor,
    /// When it was begun: RFC 3339, UTC.
    pub started: String,
    /// When the journal was last written: RFC 3339, UTC.
    pub updated: String,
    /// How long each phase took, in milliseconds.
    pub timings: BTreeMap<Phase, u64>,
    /// The host's keys as lines of OpenSSH public keys (`ssh-ed25519 AAAA…`).
    pub host_keys: Vec<String>,
    /// Hosts to go through, `[user@]host[:port]`, the first hop first.
    pub jump_hosts: Vec<String>,
    /// What the certificates' keys are made of, e.g. `rsa-2048`; empty for the default.
    pub key_algorithm: String,
    /// Keys that only somebody else knows, and small things of other rooms.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for Journal {
    /// The journal of a machine that has none, e.g. one that the reference program made: nothing is under way.
    fn default() -> Self {
        Self {
            version: JOURNAL_VERSION,
            operation: Operation::Other(String::new()),
            phase: Phase::Ready,
            status: Status::Done,
            actor: Actor::default(),
            started: String::new(),
            updated: String::new(),
            timings: BTreeMap::new(),
            host_keys: Vec::new(),
            jump_hosts: Vec::new(),
            key_algorithm: String::new(),
            extra: Map::new(),
        }
    }
}

impl Journal {
    /// The journal of an operation that begins now, in this process, which is `program_version`.
    #[must_use]
    pub fn begin(operation: Operation, program_version: &str) -> Self {
        let mut journal = Self::default();
        journal.restart(operation, program_version);
        journal
    }

    /// Begins another operation on the same machine: host keys, jump hosts and `extra` stay.
    pub fn restart(&mut self, operation: Operation, program_version: &str) {
        self.operation = operation;
        self.phase = Phase::Reserve;
        self.status = Status::Running;
        self.actor = Actor::this_process(program_version);
        self.started = now_rfc3339();
        self.updated.clone_from(&self.started);
        self.timings.clear();
    }

    /// Why the machine is incomplete, as one line, where it is: `abandoned` says that nobody is at work on it.
    pub(crate) fn incomplete(&self, abandoned: bool) -> Option<String> {
        let doing = self.operation.doing();
        match &self.status {
            Status::Running if abandoned && self.phase <= Phase::Record => {
                Some(format!("{doing}, interrupted before any resource was made"))
            }
            Status::Running if abandoned => Some(format!("{doing}, interrupted in phase {}", self.phase)),
            Status::Failed { message, .. } => {
                Some(format!("{doing} failed in phase {}: {}", self.phase, one_line(message)))
            }
            Status::Running | Status::Done | Status::Unknown => None,
        }
    }
}

/// A text without line breaks and control characters, for a row of a table.
fn one_line(text: &str) -> String {
    text.split(|char: char| char.is_control())
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Status {
    /// It goes on, as long as somebody holds the machine's lock.
    Running,
    /// It stopped.
    Failed {
        /// Why.
        message: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// It is complete.
    Done,
    /// Something that only a newer program knows.
    #[serde(other)]
    Unknown,
}

/// Who works on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// The process.
    pub pid: u32,
    /// The user's login name; empty where unknown.
    pub user: String,
    /// The computer's name.
    pub host: String,
    /// The program's version.
    pub program: String,
}

impl Actor {
    /// This process, which is `program_version`.
    #[must_use]
    pub fn this_process(program_version: &str) -> Self {
        let user = platform::USER_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        Self {
            pid: std::process::id(),
            user: user.unwrap_or_default(),
            host: platform::host_name(),
            program: program_version.to_owned(),
        }
    }

    /// Whether that is this process, as far as one can tell while it runs.
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        self.pid == std::process::id() && self.host == platform::host_name()
    }
}

/// The time as the journal has it: RFC 3339, UTC, whole seconds.
pub(crate) fn now_rfc3339() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

/// A word of the journal: known ones are variants, others are kept as they are.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A word that only somebody else knows.
            Other(String),
        }

        impl $name {
            /// The word in the journal.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What is done with a machine.
    Operation {
        /// Making it.
        Create = "create",
        /// Setting up its engine again.
        Provision = "provision",
        /// Giving it new certificates.
        RegenerateCerts = "regenerate-certs",
        /// Turning it on.
        Start = "start",
        /// Turning it off.
        Stop = "stop",
        /// Turning it off and on.
        Restart = "restart",
        /// Turning it off at once.
        Kill = "kill",
        /// A newer engine.
        Upgrade = "upgrade",
        /// Removing it.
        Remove = "remove",
    }
}

words! {
    /// How far an operation came. Ordered as they follow each other.
    Phase {
        /// The name is locked.
        Reserve = "reserve",
        /// The CA and client certificate are looked at.
        Certificates = "certificates",
        /// Can it succeed?
        Check = "check",
        /// The record is saved.
        Record = "record",
        /// The driver makes the host, or removes it.
        Host = "host",
        /// The host is reached by SSH.
        Reach = "reach",
        /// The engine is set up.
        Provision = "provision",
        /// The engine answers.
        Ready = "ready",
    }
}

impl Operation {
    fn doing(&self) -> &str {
        match self {
            Self::Create => "creating",
            Self::Provision => "provisioning",
            Self::RegenerateCerts => "regenerating certificates",
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
            Self::Kill => "killing",
            Self::Upgrade => "upgrading",
            Self::Remove => "removing",
            Self::Other(word) => word,
        }
    }
}
