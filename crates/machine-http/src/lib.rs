//! The HTTP client: TLS with the system's roots, proxies from the environment, redirects, typed errors.
//!
//! This room depends on no other room.
#![forbid(unsafe_code)]
