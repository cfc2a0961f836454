//! `azure vm …`: the commands of Azure's first command line that made Docker hosts. What they make is an ordinary machine.

mod docker_create;
mod image_list;
mod password;

use machine_core::{ConfigureContext, Driver, DriverState, FlagValue, FlagValues, MachineName};
use machine_drivers::azure::{Azure, NAME};

use crate::args::{Arguments, Command, Flag, Group, Word, WordKind, help_of, single};
use crate::error::CliError;
use crate::invocation::Invocation;

/// `azure vm image list` and `azure vm docker create`.
pub const VM: Command = Command {
    name: "azure vm",
    about: "List images of Microsoft Azure, or create a Docker host there, as Azure's first command line did",
    description: "`azure vm image list` prints the images of a region, a line each. `azure vm docker create NAME IMAGE USER \
                  PASSWORD` creates a virtual machine with the DNS name NAME whose engine listens with TLS, and puts the \
                  client's certificates where `docker --tls` looks for them. It is a machine as any other: ls, ssh, rm. \
                  The subscription and the credentials are those of `create -d azure`, from its environment variables. For \
                  PASSWORD give - to have it read from standard input: arguments can be read by everybody on this computer.",
    arguments: Arguments::Each(&[
        Word::new("image|docker", WordKind::New),
        Word::new("list|create", WordKind::New),
        Word::new("[NAME IMAGE USER PASSWORD]...", WordKind::New),
    ]),
    flags: &[
        Flag::text("location", "AZURE_LOCATION", "", "Region, e.g. westus").short('l').added(),
        Flag::list("publisher", "", "image list: publisher of images (those of the usual systems)").added(),
        Flag::int("ssh", 22, "docker create: port for SSH").short('e').added(),
        Flag::int("docker-port", 4243, "docker create: port of the engine").added(),
        Flag::int("dp", 0, "The same as --docker-port").added(),
        Flag::text(
            "docker-cert-dir",
            "",
            "",
            "docker create: folder of the client's certificates (~/.docker)",
        )
        .value("DIR")
        .added(),
        Flag::text("dc", "", "", "The same as --docker-cert-dir").value("DIR").added(),
        Flag::text("vm-size", "AZURE_SIZE", "", "docker create: size of the virtual machine")
            .short('z')
            .added(),
        super::JSON,
    ],
    examples: &[
        ("docker-machine azure vm image list --location westus | grep ubuntu-24", "images that may be meant"),
        (
            "docker-machine azure vm docker create -l westus my-host Canonical:ubuntu-24_04-lts:server:latest me - < password",
            "a Docker host; then: docker --tls -H tcp://my-host.westus.cloudapp.azure.com:4243 info",
        ),
    ],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let words: Vec<&str> = invocation.args.words().iter().map(String::as_str).collect();
    match words[..] {
        ["image", "list"] => image_list::run(invocation),
        ["docker", "create", name, image, user, password] => {
            docker_create::run(invocation, name, image, user, password)
        }
        _ => Err(CliError::usage(
            "Error: expected `image list`, or `docker create NAME IMAGE USER PASSWORD`",
            help_of(single(&VM, &[])),
        )),
    }
}

/// The flags of the driver, as the environment has them, and the region and size that were given.
fn driver_flags(invocation: &Invocation) -> Result<FlagValues, CliError> {
    let azure = Azure::new();
    let specs = &azure.spec().flags;
    let mut flags = FlagValues::defaults(specs);
    for spec in specs.iter().filter(|spec| !spec.env.is_empty()) {
        let Ok(text) = std::env::var(spec.env.as_ref()) else { continue };
        if !text.is_empty() {
            let value = spec.parse(&text).map_err(|error| {
                CliError::new(error.to_string())
                    .with_hint(format!("It comes from the environment variable {}.", spec.env))
            })?;
            flags.set(spec.name.to_string(), value);
        }
    }
    for (given, flag) in [("location", "azure-location"), ("vm-size", "azure-size")] {
        let text = invocation.args.str(given);
        if !text.is_empty() {
            flags.set(flag, FlagValue::Str(text.to_owned()));
        }
    }
    Ok(flags)
}

/// What the driver makes of flags, for a machine of this name.
fn configured(invocation: &Invocation, name: &str, flags: &FlagValues) -> Result<DriverState, CliError> {
    let name =
        MachineName::new(name).map_err(|error| CliError::from(machine_lifecycle::Error::BadName(error)))?;
    let context = ConfigureContext { name: &name, store_path: &invocation.globals.store_path };
    Azure::new().configure(&context, flags).map_err(|error| said(&error))
}

/// A driver's error as the user reads it.
fn said(error: &machine_core::DriverError) -> CliError {
    CliError::new(format!("{NAME}: {error}")).with_hint_if(error.hint().map(str::to_owned))
}
