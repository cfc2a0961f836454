//! SSH sessions, keys, host-key pinning, file copy, forwarding.
