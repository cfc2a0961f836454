//! Tests without a cloud.
