//! The store: config.json, locks, atomic saves, the create journal.
