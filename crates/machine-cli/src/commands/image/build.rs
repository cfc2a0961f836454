//! `image build`: an image with an engine in it.

use machine_image::bake::{self, BuildOptions};

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::runtime;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "image build",
    about: "Build an image with an engine in it",
    description: "From the packages of a distribution alone. Machines are made of it from then on where no image is named.",
    arguments: Arguments::None,
    flags: &[
        Flag::text("name", "", "debian-docker", "What the image is called").value("NAME").added(),
        super::ARCH,
        super::super::JSON,
    ],
    examples: &[("docker-machine image build", "an image for machines of this computer")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let cache = invocation.images();
    let (name, arch) = (invocation.args.str("name").to_owned(), invocation.arch()?);
    let options = BuildOptions { name, arch, ..BuildOptions::default() };
    let report = progress::reporter("", To::Stderr, View::Waits);
    let work = async { Ok(bake::build(&options, &cache, &*report).await?) };
    let image = runtime::run(work, || None)?;
    drop(report);
    super::tell(invocation, &cache, &[image])
}
