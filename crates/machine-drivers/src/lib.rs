//! The drivers, one folder each.
