//! The `docker-machine` binary.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    machine_cli::main()
}
