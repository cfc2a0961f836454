//! The store: config.json, locks, atomic saves, the create journal.
//!
//! In: the store's root folder, [`machine_core::Machine`] records, [`Journal`]s. Out: the same, as they are on disk,
//! such that no crash and no second process can hurt them. Reading takes no lock and writes nothing; whoever changes
//! a machine holds its [`MachineLock`], and shows it.
//!
//! ```text
//! ROOT/                    0700
//!   .store-id              the store's random name, for tags of cloud resources
//!   certs/                 CA and client certificate
//!   cache/                 images
//!   locks/NAME.lock        taken with the kernel's locks; left-over files mean nothing
//!   machines/NAME/
//!     config.json  0600    the record, as docker/machine 0.16.2 keeps it
//!     state.json   0600    the journal, and what config.json has no place for
//! ```
#![forbid(unsafe_code)]

mod atomic;
mod config;
mod error;
pub mod go_json;
mod go_syntax;
mod journal;
mod lock;
mod machines;
mod migrate;
mod platform;
mod store;

pub use atomic::{Mode, write_file};
pub use config::{ConfigError, parse_config};
pub use error::StoreError;
pub use go_json::to_json;
pub use journal::{Actor, JOURNAL_VERSION, Journal, Operation, Phase, Status};
pub use lock::{Holder, MachineLock, StoreLock};
pub use store::Store;
