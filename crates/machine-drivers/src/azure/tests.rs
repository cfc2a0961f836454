//! Records, declarations and errors; the conformance suite is in `tests/`.
