//! The CA, server and client certificates.
