//! `image …`: the images that virtual machines of this computer are made of.

mod build;
mod list;

use machine_core::Event;
use machine_image::{Arch, Cache, CachedImage, ImageError};
use serde_json::json;

use crate::args::{Arguments, Command, Flag, Group, Word, WordKind, help_of, single};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output;
use crate::progress::{self, To, View, bytes};
use crate::runtime;

pub use self::build::COMMAND as BUILD;
pub use self::list::COMMAND as LS;

/// `--arch`, for commands that get something.
const ARCH: Flag = Flag::text(
    "arch",
    "",
    "",
    "Processors of the machines to be, x86_64 (amd64) or aarch64 (arm64), if other than this computer's",
)
.value("ARCH")
.added();

/// `image pull`.
pub const PULL: Command = Command {
    name: "image pull",
    about: "Download images, or newer ones of the same name",
    description: "Arguments are names (see `docker-machine image ls --available`) or addresses; without one it is the image that \
                  machines are made of where none is named. What is downloaded is compared with the publisher's checksum; to \
                  an address `#sha256=…` or `#sha512=…` may be appended. An interrupted download goes on where it stopped. \
                  Machines that use an older image keep it.",
    arguments: Arguments::Each(&[Word::new("[IMAGE...]", WordKind::Image)]),
    flags: &[ARCH, super::JSON],
    examples: &[
        ("docker-machine image pull", "the default"),
        ("docker-machine image pull ubuntu-24.04", "one by its name"),
        ("docker-machine image pull https://example.com/my.qcow2#sha256=…", "any image that has cloud-init"),
    ],
    group: Group::Machines,
    run: pull,
};

/// `image rm`.
pub const RM: Command = Command {
    name: "image rm",
    about: "Remove images",
    description: "Arguments are names or ids of images that are here; a name stands for all images that have it. What a machine \
                  uses stays.",
    arguments: Arguments::Each(&[Word::new("IMAGE...", WordKind::Image)]),
    flags: &[
        Flag::switch("force", "Remove what machines use, too: they can't start any more").short('f').added(),
        super::JSON,
    ],
    examples: &[("docker-machine image rm debian-12", "all images of this name")],
    group: Group::Machines,
    run: remove,
};

/// `image prune`.
pub const PRUNE: Command = Command {
    name: "image prune",
    about: "Remove images that no machine uses",
    description: "Interrupted downloads and what crashes left are removed, too.",
    arguments: Arguments::None,
    flags: &[Flag::switch("force", "Do not ask").short('f').added(), super::JSON],
    examples: &[("docker-machine image prune -f", "without a question")],
    group: Group::Machines,
    run: prune,
};

impl Invocation {
    /// The images of this store.
    fn images(&self) -> Cache {
        Cache::of_store(&self.globals.store_path)
    }

    /// `--arch`, else that of this computer.
    fn arch(&self) -> Result<Arch, CliError> {
        match self.args.str("arch") {
            "" => Ok(Arch::host()),
            text => Ok(text.parse()?),
        }
    }
}

impl From<ImageError> for CliError {
    fn from(error: ImageError) -> Self {
        Self::new(error.to_string()).with_hint_if(error.hint())
    }
}

fn pull(invocation: &Invocation) -> Result<(), CliError> {
    let (cache, arch) = (invocation.images(), invocation.arch()?);
    let mut wanted = invocation.args.words().to_vec();
    if wanted.is_empty() {
        wanted.push(String::new());
    }
    let left = || Some("What came so far is kept: the same command again goes on with it.".to_owned());
    let work = async {
        let (mut images, mut errors) = (Vec::new(), Vec::new());
        for name in &wanted {
            let report = progress::reporter("", To::Stderr, View::Waits);
            match cache.pull(name, arch, &*report).await {
                Ok(image) => {
                    report.report(Event::Debug(format!("{name:?} is {}", image.file.display())));
                    images.push(image);
                }
                Err(error) => errors.push(CliError::from(error)),
            }
        }
        Ok((images, errors))
    };
    let (images, errors) = runtime::run(work, left)?;
    tell(invocation, &cache, &images)?;
    CliError::all(errors).map_or(Ok(()), Err)
}

/// Says which images were got or made: their ids, or all of them as JSON.
fn tell(invocation: &Invocation, cache: &Cache, images: &[CachedImage]) -> Result<(), CliError> {
    if invocation.json() {
        let rows: Result<Vec<_>, ImageError> =
            images.iter().map(|image| list::Row::of(cache, image).map(|row| row.json())).collect();
        return output::print_json(&rows?);
    }
    for image in images {
        // A file of the user's own has no id.
        let id = if image.id.is_empty() { &image.name } else { &image.id };
        output::print_line(id)?;
    }
    Ok(())
}

fn remove(invocation: &Invocation) -> Result<(), CliError> {
    let names = invocation.args.words();
    if names.is_empty() {
        let help = help_of(single(&RM, &[]));
        return Err(CliError::usage("Error: Expected to get one or more images as arguments", help));
    }
    let (cache, force) = (invocation.images(), invocation.args.bool("force"));
    let all = cache.list()?;
    let (mut gone, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let meant: Vec<_> = all.iter().filter(|image| image.name == *name || image.id == *name).collect();
        if meant.is_empty() {
            errors.push(
                CliError::new(format!("There is no image {name:?} here"))
                    .with_hint("`docker-machine image ls` lists them"),
            );
        }
        for image in meant {
            if gone.contains(&&image.id) {
                continue;
            }
            match cache.remove(image, force) {
                Ok(()) => gone.push(&image.id),
                Err(error) => errors.push(error.into()),
            }
        }
    }
    if invocation.json() {
        output::print_json(&json!({ "Removed": gone }))?;
    } else {
        for id in gone {
            output::print_line(id)?;
        }
    }
    CliError::all(errors).map_or(Ok(()), Err)
}

fn prune(invocation: &Invocation) -> Result<(), CliError> {
    if !invocation.args.bool("force") {
        output::note(
            "All images that no machine uses will be removed, and interrupted downloads. Built images are made again by \
             `docker-machine image build`, others are downloaded again when they are needed.",
        );
        if !invocation.confirm("Are you sure?").map_err(|error| error.with_hint("-f answers yes"))? {
            return Ok(());
        }
    }
    let pruned = invocation.images().prune()?;
    if invocation.json() {
        return output::print_json(&json!({ "Removed": pruned.images, "Bytes": pruned.bytes }));
    }
    for id in &pruned.images {
        output::print_line(id)?;
    }
    output::print_line(&format!("Total reclaimed space: {}", bytes(pruned.bytes)))
}
