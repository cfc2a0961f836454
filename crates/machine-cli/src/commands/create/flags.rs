//! The flags of `create`: common ones, and those of a driver.

use machine_core::{DriverSpec, FlagSpec};
use machine_drivers::default::DefaultDriver;

use crate::args::{Arguments, Command, Flag, GLOBAL_FLAGS, Group, argv};
use crate::error::CliError;

const ENGINE: &str = "Engine";
const CERTIFICATES: &str = "Certificates";
const REACH: &str = "Reaching the host";
const SWARM: &str = "Standalone Swarm (retired)";
const FAILURE: &str = "When it fails";
const SEVERAL: &str = "Several machines";

const DRIVER: Flag = Flag::text(
    "driver",
    "MACHINE_DRIVER",
    "",
    "Driver to create machine with. (default: virtualbox where it is installed, else qemu)",
)
.short('d')
.value("DRIVER");

/// The declaration.
pub const COMMAND: Command = Command {
    name: "create",
    about: "Create a machine",
    description: "Run 'docker-machine create --driver name --help' to include the create flags for that driver in the \
                  help text. Several names make as many machines, alike and at the same time; one that fails does not hurt \
                  the rest.",
    arguments: Arguments::NewMachines,
    flags: &[
        DRIVER,
        super::super::JSON,
        Flag::text(
            "engine-install-url",
            "MACHINE_DOCKER_INSTALL_URL",
            "https://get.docker.com",
            "Custom URL to use for engine installation",
        )
        .value("URL")
        .headed(ENGINE),
        Flag::text(
            "engine-install",
            "",
            "url",
            "Where the engine comes from if the host has none: url, distro, none",
        )
        .value("HOW")
        .headed(ENGINE)
        .added(),
        Flag::list(
            "engine-opt",
            "",
            "Specify arbitrary flags to include with the created engine in the form flag=value",
        )
        .value("FLAG=VALUE")
        .headed(ENGINE),
        Flag::list(
            "engine-insecure-registry",
            "",
            "Specify insecure registries to allow with the created engine",
        )
        .value("HOST[:PORT]")
        .headed(ENGINE),
        Flag::list("engine-registry-mirror", "ENGINE_REGISTRY_MIRROR", "Specify registry mirrors to use")
            .value("URL")
            .headed(ENGINE),
        Flag::list(
            "engine-registry-ca",
            "",
            "Make the engine trust a registry's CA; without a registry, for all",
        )
        .value("FILE[=HOST:PORT]")
        .headed(ENGINE)
        .added(),
        Flag::list("engine-label", "", "Specify labels for the created engine")
            .value("KEY=VALUE")
            .headed(ENGINE),
        Flag::text("engine-storage-driver", "", "", "Specify a storage driver to use with the engine")
            .headed(ENGINE),
        Flag::list("engine-env", "", "Specify environment variables to set in the engine")
            .value("NAME=VALUE")
            .headed(ENGINE),
        Flag::list("tls-san", "", "Support extra SANs for TLS certs").value("NAME").headed(CERTIFICATES),
        Flag::text(
            "tls-key-algorithm",
            "",
            "rsa-2048",
            "Kind of new certificates' keys: rsa-2048, ecdsa-p256, ed25519",
        )
        .value("ALGORITHM")
        .headed(CERTIFICATES)
        .added(),
        Flag::list("ssh-jump", "", "Reach the host through this one; repeated: through one after the other")
            .value("[USER@]HOST[:PORT]")
            .headed(REACH)
            .added(),
        Flag::new(FlagSpec::list(
            "allow-from",
            "MACHINE_ALLOW_FROM",
            "Let only these networks reach SSH and engine: me (this computer), an address, a network; comma separated",
        ))
        .value("me|ADDRESS|CIDR")
        .headed(REACH)
        .added(),
        Flag::int("count", 1, "Make so many machines: %d (or %02d) in NAME becomes 1, 2, …")
            .value("N")
            .headed(SEVERAL)
            .added(),
        Flag::int("parallel", 10, "How many of several machines are made at the same time")
            .value("N")
            .headed(SEVERAL)
            .added(),
        Flag::switch("rollback", "Remove everything again if the create fails").headed(FAILURE).added(),
        Flag::text("resume", "", "", "Go on with the create of this machine where it stopped")
            .value("NAME")
            .headed(FAILURE)
            .added(),
        Flag::switch("swarm", "Configure Machine to join a Swarm cluster").headed(SWARM),
        Flag::text(
            "swarm-image",
            "MACHINE_SWARM_IMAGE",
            "swarm:latest",
            "Specify Docker image to use for Swarm",
        )
        .value("IMAGE")
        .headed(SWARM),
        Flag::switch("swarm-master", "Configure Machine to be a Swarm master").headed(SWARM),
        Flag::text("swarm-discovery", "", "", "Discovery service to use with Swarm")
            .value("URL")
            .headed(SWARM),
        Flag::text("swarm-strategy", "", "spread", "Define a default scheduling strategy for Swarm")
            .headed(SWARM),
        Flag::list("swarm-opt", "", "Define arbitrary flags for Swarm master").headed(SWARM),
        Flag::list("swarm-join-opt", "", "Define arbitrary flags for Swarm join").headed(SWARM),
        Flag::text("swarm-host", "", "tcp://0.0.0.0:3376", "ip/socket to listen on for Swarm master")
            .value("URL")
            .headed(SWARM),
        Flag::text(
            "swarm-addr",
            "",
            "",
            "addr to advertise for Swarm (default: detect and use the machine IP)",
        )
        .headed(SWARM),
        Flag::switch("swarm-experimental", "Enable Swarm experimental features").headed(SWARM),
    ],
    examples: &[
        ("docker-machine create dev", "a Docker host in a virtual machine on this computer"),
        (
            "docker-machine create -d generic --generic-ip-address 203.0.113.7 --generic-ssh-user admin web1",
            "make a server that you have a Docker host",
        ),
        ("docker-machine create -d none --url tcp://203.0.113.7:2376 web1", "only keep the URL of an engine"),
        ("docker-machine create --count 3 web-%d", "web-1, web-2 and web-3 at the same time"),
        ("docker-machine create --resume web1", "go on where a create stopped"),
    ],
    group: Group::Machines,
    run: super::run,
};

/// The flags of the driver that a command line of `create` names; none where it only resumes.
///
/// # Errors
/// There is no such driver.
pub fn driver_flags(args: &[String]) -> Result<Vec<Flag>, CliError> {
    let known: &[&[Flag]] = &[COMMAND.flags, GLOBAL_FLAGS];
    let resume = Flag::text("resume", "", "", "");
    if argv::peek(args, &resume, known).is_some() {
        return Ok(Vec::new());
    }
    let variable = || std::env::var("MACHINE_DRIVER").ok().filter(|name| !name.is_empty());
    match argv::peek(args, &DRIVER, known).filter(|name| !name.is_empty()).or_else(variable) {
        Some(name) => Ok(of_driver(super::known_driver(&name)?.spec())),
        None => {
            let default = DefaultDriver::look();
            let heading =
                format!("Options of the driver {} ({}; -d NAME: another's)", default.name, default.why);
            let flags = of_driver(super::known_driver(default.name)?.spec());
            Ok(flags.into_iter().map(|flag| flag.under(heading.clone())).collect())
        }
    }
}

/// A driver's flags under a heading of their own.
pub fn of_driver(spec: &DriverSpec) -> Vec<Flag> {
    let heading = format!("Options of the driver {}", spec.name);
    spec.flags.iter().map(|flag: &FlagSpec| Flag::new(flag.clone()).under(heading.clone())).collect()
}
