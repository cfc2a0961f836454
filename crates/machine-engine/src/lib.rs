//! The Docker Engine API, as far as a machine needs it: is it there, is it ours, which version is it, and the few
//! container calls of the retired standalone Swarm.
//!
//! In: the engine's URL, an [`Identity`] (CA, client certificate and key, as PEM) and a time limit. Out: answers in
//! plain types, or an [`EngineError`] whose text is what Go's network and TLS packages would say, because callers of
//! `docker-machine` look for those words.
//!
//! [`TlsConfig`] is made once for each identity and shared by all calls: reading certificates for each of hundreds of
//! engines would cost more than the handshakes. This room knows no other room.
#![forbid(unsafe_code)]

mod certificate;
mod check;
mod client;
mod connection;
mod container;
mod dial;
mod endpoint;
mod error;
mod identity;
mod version;

pub use certificate::CertificateProblem;
pub use check::{Peer, check_tls};
pub use client::{Client, Info, Version};
pub use container::{ContainerState, ContainerStatus, PullProgress};
pub use error::EngineError;
pub use identity::{Identity, TlsConfig};
pub use version::{ApiVersion, InvalidApiVersion};
