//! The docker-machine binary.
fn main() {}
