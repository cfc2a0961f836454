//! SSH sessions, keys, host-key pinning, file copy, forwarding.
//!
//! In: plain values (host, port, user, key files, pinned host keys as OpenSSH lines). Out: a [`Session`] over one
//! connection on which commands, shells, copies and forwardings run side by side, and typed [`Error`]s that say what
//! was seen. Nothing here prints, and nothing here keeps records: the caller saves the host key that
//! [`Session::host_key`] returns.
#![forbid(unsafe_code)]

mod auth;
mod connect;
mod copy;
mod credentials;
mod error;
mod exec;
mod forward;
mod hostkey;
pub mod keys;
mod quote;
mod retry;
mod session;
mod sftp;
mod shell;
pub mod system;
mod target;
mod terminal;
mod transport;

pub use connect::{JumpHost, Options};
pub use copy::{CopyOptions, CopyProgress, Endpoint, copy_between};
pub use credentials::{AgentUse, Credentials, KeySource, KeyWarning, OfferedKey, Passphrase};
pub use error::{AuthFailure, Error, KeyFileProblem, Result};
pub use exec::{ExecLimits, ExitStatus, Output, Stream};
pub use forward::{Forwarding, TcpChannel};
pub use hostkey::{HostKeyOutcome, HostKeyPolicy};
pub use keys::PublicKey;
pub use quote::{quote, quote_bytes, quote_words};
pub use retry::{RetryOptions, WaitInfo};
pub use session::Session;
pub use shell::{ShellRequest, TerminalSize};
pub use target::Target;
