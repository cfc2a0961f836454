//! `image build`: an image with an engine in it.

use machine_image::bake::{self, BuildOptions, DISK_MIB};

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::runtime;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "image build",
    about: "Build an image with an engine in it",
    description: "From Debian's packages alone, so that it works wherever those can be had. Machines are made of it from then on where \
                  no image is named, and are ready sooner: their engine is there before they boot.",
    arguments: Arguments::None,
    flags: &[
        Flag::text("name", "", "debian-docker", "What the image is called").value("NAME").added(),
        super::ARCH,
        Flag::text(
            "suite",
            "",
            "",
            "Release of Debian by its code name, e.g. trixie; this computer's if it runs Debian, else the current stable one",
        )
        .value("SUITE")
        .added(),
        Flag::text("mirror", "", "", "Address of the package archive, if other than that of this computer's apt")
            .value("URL")
            .added(),
        Flag::int(
            "size",
            DISK_MIB as i64,
            "Size of the image's disk in MiB; machines may have larger ones",
        )
        .value("MIB")
        .added(),
        Flag::list("package", "", "A further package to install; may be repeated").value("NAME").added(),
        super::super::JSON,
    ],
    examples: &[
        ("docker-machine image build", "an image for machines of this computer"),
        ("docker-machine image build --name mine --package git --package vim", "with more in it"),
    ],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let (cache, options) = (invocation.images(), options(invocation)?);
    let report = progress::reporter("", To::Stderr, View::Waits);
    let left = || Some("Nothing is left of it but what `docker-machine image prune` removes.".to_owned());
    let image = runtime::run(async { Ok(bake::build(&options, &cache, &*report).await?) }, left)?;
    drop(report);
    super::tell(invocation, &cache, &[image])
}

fn options(invocation: &Invocation) -> Result<BuildOptions, CliError> {
    let args = &invocation.args;
    let text = |name| Some(args.str(name).to_owned()).filter(|text| !text.is_empty());
    let size = args.int("size");
    let disk_mib = u64::try_from(size).ok().filter(|mib| *mib > 0).ok_or_else(|| {
        CliError::new(format!("invalid value \"{size}\" for flag -size: expected MiB, 1 or more"))
    })?;
    Ok(BuildOptions {
        name: args.str("name").to_owned(),
        arch: invocation.arch()?,
        suite: text("suite"),
        mirror: text("mirror"),
        disk_mib,
        packages: args.list("package").to_vec(),
    })
}
