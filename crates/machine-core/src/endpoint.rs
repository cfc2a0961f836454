//! Where a host can be reached.

use std::path::PathBuf;

/// How to reach a host by SSH, as far as its driver knows it. Pins and jump hosts are the store's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshEndpoint {
    /// Host name or address, without brackets for IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key file; `None` means the user's agent and default keys.
    pub key: Option<PathBuf>,
}
