//! `regenerate-certs`: new certificates for engines, and for the client.

use machine_tls::KeyAlgorithm;

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::{machines, output, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "regenerate-certs",
    about: "Regenerate TLS Certificates for a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\". The engines \
                  are restarted.",
    arguments: Arguments::Machines,
    flags: &[
        Flag::switch("force", "Force rebuild and do not prompt").short('f'),
        Flag::switch("client-certs", "Also regenerate client certificates and CA."),
        Flag::text(
            "tls-key-algorithm",
            "",
            "",
            "Kind of the client's key, with --client-certs: rsa-2048, ecdsa-p256 or ed25519",
        )
        .value("ALGORITHM")
        .added(),
        super::JSON,
    ],
    examples: &[
        ("docker-machine regenerate-certs web1", "a new certificate for the engine on web1"),
        ("docker-machine regenerate-certs -f --client-certs web1", "and a new one for the client"),
    ],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let algorithm = key_algorithm(invocation)?;
    if !invocation.args.bool("force")
        && !invocation.confirm("Regenerate TLS machine certs?  Warning: this is irreversible.")?
    {
        return Ok(());
    }
    let about = "Regenerating TLS certificates";
    if invocation.json() {
        output::note(about)
    } else {
        output::print_line(about)?
    }
    if invocation.args.bool("client-certs") {
        let lifecycle = invocation.lifecycle();
        let names = invocation.names(lifecycle.store())?;
        for name in &names {
            lifecycle.store().load(name)?;
        }
        let to = if invocation.json() { To::Stderr } else { To::Stdout };
        let report = progress::reporter("", to, View::Lines);
        runtime::look(async { Ok(lifecycle.regenerate_client_certs(algorithm, &names, &*report).await?) })?;
    }
    machines::each(invocation, async |lifecycle, name, report| {
        Ok(lifecycle.regenerate_server_certs(name, report).await?)
    })
}

/// The value of `--tls-key-algorithm`.
///
/// # Errors
/// An algorithm that is not known; the text names those that are.
pub fn key_algorithm(invocation: &Invocation) -> Result<KeyAlgorithm, CliError> {
    let text = invocation.args.str("tls-key-algorithm");
    if text.is_empty() {
        return Ok(KeyAlgorithm::default());
    }
    text.parse().map_err(|_| {
        let known: Vec<&str> = KeyAlgorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
        CliError::new(format!(
            "invalid value {text:?} for flag -tls-key-algorithm: expected {}",
            known.join(", ")
        ))
    })
}
