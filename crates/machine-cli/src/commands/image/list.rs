//! `image ls`: the images that are here.

use std::time::{SystemTime, UNIX_EPOCH};

use machine_image::{Cache, CachedImage, ImageError, Origin, catalogue};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output::{self, rows::RowFormat};
use crate::progress::bytes;
use crate::runtime;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "image ls",
    about: "List images",
    description: "Images that were downloaded or built here, newest first under each name. STATUS says `changed` where the file is \
                  not as it was when it came here; `--verify` reads it all and says whether it is damaged.",
    arguments: Arguments::None,
    flags: &[
        Flag::switch("quiet", "Only ids").short('q').added(),
        Flag::switch("verify", "Compare the files with their checksums").added(),
        Flag::switch("available", "The names of images that can be downloaded instead").added(),
        Flag::text("format", "", "", "A Go template for each image, a table by one (\"table …\"), or json")
            .short('f')
            .value("TEMPLATE")
            .added(),
        super::super::JSON,
    ],
    examples: &[
        ("docker-machine image ls", "what is here, and which machines use it"),
        ("docker-machine image ls --available", "what can be had by its name"),
        ("docker-machine image ls -f '{{.Name}} {{.File}}'", "one line an image, as you like it"),
    ],
    group: Group::Look,
    run,
};

/// The fields of an image for templates, with the headers of their columns.
const HEADERS: [(&str, &str); 12] = [
    ("Id", "ID"),
    ("Name", "NAME"),
    ("Arch", "ARCH"),
    ("Size", "SIZE"),
    ("Created", "CREATED"),
    ("Origin", "ORIGIN"),
    ("Engine", "ENGINE"),
    ("InUse", "IN USE"),
    ("Status", "STATUS"),
    ("Format", "FORMAT"),
    ("File", "FILE"),
    ("Sha256", "SHA256"),
];

const TABLE: &str =
    "table {{.Name}}\t{{.Arch}}\t{{.Size}}\t{{.Created}}\t{{.Origin}}\t{{.Engine}}\t{{.InUse}}\t{{.Status}}";

fn run(invocation: &Invocation) -> Result<(), CliError> {
    if invocation.args.bool("available") {
        return available(invocation);
    }
    let cache = invocation.images();
    let images = cache.list()?;
    if invocation.args.bool("quiet") {
        let ids: Vec<_> = images.iter().map(|image| &image.id).collect();
        if invocation.json() {
            return output::print_json(&ids);
        }
        return output::print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let mut rows = images.iter().map(|image| Row::of(&cache, image)).collect::<Result<Vec<_>, _>>()?;
    if invocation.args.bool("verify") {
        runtime::look(async {
            for row in &mut rows {
                row.verify(&cache).await?;
            }
            Ok(())
        })?;
    }
    let format = invocation.args.str("format");
    if invocation.json() || format == "json" {
        return output::print_json(&rows.iter().map(Row::json).collect::<Vec<_>>());
    }
    let format = if format.is_empty() { TABLE } else { format };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    output::print(&RowFormat::parse(format)?.text(&HEADERS, rows.iter().map(|row| row.shown(now)))?)
}

/// The names that there are.
fn available(invocation: &Invocation) -> Result<(), CliError> {
    let entries = catalogue::entries();
    let arch = machine_image::Arch::host();
    let rows = entries.iter().map(|entry| {
        json!({
            "Name": entry.name,
            "Aliases": entry.aliases.join(", "),
            "About": entry.about,
            "Url": entry.url(arch),
        })
    });
    const HEADERS: [(&str, &str); 4] =
        [("Name", "NAME"), ("Aliases", "ALIASES"), ("About", "WHAT"), ("Url", "URL")];
    if invocation.args.bool("quiet") {
        let names = entries.iter().map(|entry| format!("{}\n", entry.name));
        return output::print(&names.collect::<String>());
    }
    let format = invocation.args.str("format");
    if invocation.json() || format == "json" {
        return output::print_json(&rows.collect::<Vec<_>>());
    }
    let format = if format.is_empty() { "table {{.Name}}\t{{.Aliases}}\t{{.About}}" } else { format };
    output::print(&RowFormat::parse(format)?.text(&HEADERS, rows)?)
}

/// An image, and what is known of its use.
pub struct Row<'a> {
    image: &'a CachedImage,
    machines: Vec<String>,
    status: &'static str,
}

impl<'a> Row<'a> {
    /// Looks at an image's marks, and at the length and time of its file.
    pub fn of(cache: &Cache, image: &'a CachedImage) -> Result<Self, ImageError> {
        let status = if cache.looks_unchanged(image) { "ok" } else { "changed" };
        Ok(Self { image, machines: cache.usage(image)?.machines, status })
    }

    /// Reads the whole file.
    async fn verify(&mut self, cache: &Cache) -> Result<(), ImageError> {
        self.status = match cache.verify(self.image, true).await {
            Ok(()) => "ok",
            Err(ImageError::Corrupt { .. }) => "damaged",
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// As people read it.
    fn shown(&self, now_s: u64) -> Value {
        let image = self.image;
        let engine = image.facts.as_ref().and_then(|facts| facts.engine.as_ref());
        json!({
            "Id": image.id,
            "Name": image.name,
            "Arch": image.arch.debian(),
            "Size": bytes(image.bytes),
            "Created": ago(now_s.saturating_sub(image.added_s)),
            "Origin": match &image.origin {
                Origin::Downloaded { url } => host_of(url).to_owned(),
                Origin::Built => "built".to_owned(),
                Origin::Local => "local".to_owned(),
            },
            "Engine": engine.map_or_else(|| "-".to_owned(), |engine| engine.version.clone()),
            "InUse": if self.machines.is_empty() { "-".to_owned() } else { self.machines.join(",") },
            "Status": self.status,
            "Format": image.format.qemu(),
            "File": image.file,
            "Sha256": image.sha256,
        })
    }

    /// For programs: the time as RFC 3339, the size in bytes, machines as a list.
    pub fn json(&self) -> Value {
        let image = self.image;
        let url = match &image.origin {
            Origin::Downloaded { url } => url.as_str(),
            Origin::Built | Origin::Local => "",
        };
        let created =
            i64::try_from(image.added_s).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
        json!({
            "Id": image.id,
            "Name": image.name,
            "Arch": image.arch.debian(),
            "Bytes": image.bytes,
            "Created": created.and_then(|at| at.format(&Rfc3339).ok()),
            "Origin": match image.origin {
                Origin::Downloaded { .. } => "downloaded",
                Origin::Built => "built",
                Origin::Local => "local",
            },
            "Url": url,
            "Engine": image.facts.as_ref().and_then(|facts| facts.engine.as_ref()),
            "InUse": self.machines,
            "Status": self.status,
            "Format": image.format.qemu(),
            "File": image.file,
            "Sha256": image.sha256,
        })
    }
}

/// The host of an address.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// How long ago, as `docker image ls` says it.
fn ago(seconds: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (365 * 24 * 3600, "year"),
        (30 * 24 * 3600, "month"),
        (7 * 24 * 3600, "week"),
        (24 * 3600, "day"),
        (3600, "hour"),
        (60, "minute"),
    ];
    // From two of a unit on, so that nothing is rounded by half.
    match UNITS.iter().find(|(length, _)| seconds >= 2 * length) {
        Some((length, unit)) => format!("{} {unit}s ago", seconds / length),
        None => format!("{seconds} seconds ago"),
    }
}

#[cfg(test)]
mod tests {
    use machine_core::{ImageEngine, ImageFacts};
    use machine_image::Arch;
    use machine_image::disk::Format;

    use super::*;

    fn image() -> CachedImage {
        CachedImage {
            id: "mine-amd64-0123".into(),
            name: "mine".into(),
            file: "/store/disk.qcow2".into(),
            format: Format::Qcow2,
            arch: Arch::X86_64,
            origin: Origin::Built,
            sha256: "0123".into(),
            bytes: 3 << 20,
            added_s: 1_764_000_000,
            facts: Some(ImageFacts {
                engine: Some(ImageEngine { version: "20.10.24".into(), ..ImageEngine::default() }),
                ..ImageFacts::default()
            }),
            boot: None,
        }
    }

    #[test]
    fn for_people() {
        let image = image();
        let url = "https://x.example/a/b.img".to_owned();
        let other = CachedImage { origin: Origin::Downloaded { url }, facts: None, ..image.clone() };
        let used = vec!["dev".to_owned(), "web".to_owned()];
        let rows = [
            Row { image: &image, machines: used, status: "ok" },
            Row { image: &other, machines: Vec::new(), status: "changed" },
        ];
        let rows = rows.iter().map(|row| row.shown(1_764_000_000 + 3 * 24 * 3600));
        assert_eq!(
            RowFormat::parse(TABLE).unwrap().text(&HEADERS, rows).unwrap(),
            "NAME   ARCH    SIZE      CREATED      ORIGIN      ENGINE     IN USE    STATUS\n\
             mine   amd64   3.0 MiB   3 days ago   built       20.10.24   dev,web   ok\n\
             mine   amd64   3.0 MiB   3 days ago   x.example   -          -         changed\n"
        );
    }

    #[test]
    fn for_programs() {
        let image = image();
        let json = Row { image: &image, machines: Vec::new(), status: "ok" }.json();
        assert_eq!(json["Created"], "2025-11-24T16:00:00Z");
        assert_eq!((&json["Bytes"], &json["Engine"]["version"]), (&(3 << 20).into(), &"20.10.24".into()));
    }

    #[test]
    fn how_long_ago() {
        for (seconds, want) in [
            (0, "0 seconds ago"),
            (119, "119 seconds ago"),
            (120, "2 minutes ago"),
            (3 * 3600, "3 hours ago"),
            (47 * 3600, "47 hours ago"),
            (13 * 24 * 3600, "13 days ago"),
            (800 * 24 * 3600, "2 years ago"),
        ] {
            assert_eq!(ago(seconds), want);
        }
    }
}
