//! The mark on everything that is made at a provider: whose it is.

use std::collections::BTreeMap;

use machine_core::Cx;

/// The key of the tag or label that has the store's id.
pub(crate) const STORE_KEY: &str = "docker-machine-store";
/// The key of the tag or label that has the machine's name.
pub(crate) const MACHINE_KEY: &str = "docker-machine-name";

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The store's id.
    pub(crate) store: String,
    /// The machine's name; empty for what machines share.
    pub(crate) machine: String,
}

impl Mark {
    /// The mark of a machine's own resources.
    pub(crate) fn of(cx: &Cx<'_>) -> Self {
        Self { store: cx.store_id.to_owned(), machine: cx.name.to_string() }
    }

    /// As tags or labels, for providers that have keys and values.
    pub(crate) fn pairs(&self) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::from([(STORE_KEY.to_owned(), self.store.clone())]);
        if !self.machine.is_empty() {
            pairs.insert(MACHINE_KEY.to_owned(), self.machine.clone());
        }
        pairs
    }
}
