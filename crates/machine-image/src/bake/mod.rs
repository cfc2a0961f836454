//! Makes an image with an engine in it, from the packages of a distribution.
//!
//! ```text
//! apt's configuration ─► Recipe ─► mmdebstrap (packages; hooks/prepare, hooks/finish with the files in image/)
//!                                    └► a file system in a disk image ─► boot loader ─► qcow2 ─► Cache::add
//! ```
//!
//! Everything happens in one workshop of the cache, which goes with all that is in it when the future ends or is dropped. No loop device and
//! no mount on this computer is needed: `mke2fs -d` fills the file system.

mod disk;
mod host;
mod recipe;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use machine_core::{Event, ImageEngine, ImageFacts, Reporter, StepStatus};
use machine_process::{Output, ProcessError, Program};

use crate::disk::Format;
use crate::{Arch, Cache, CachedImage, DirectBoot, ImageError, NewImage};
use host::{Host, Mode};
use recipe::Recipe;

/// What to make.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// What it is called in the cache.
    pub name: String,
    /// For which processors.
    pub arch: Arch,
    /// The release of Debian by its code name, e.g. `bookworm`; where it is not given, that of this computer if it runs Debian, else the
    /// current stable one.
    pub suite: Option<String>,
    /// The address of the package archive, e.g. `http://deb.debian.org/debian`; where it is not given, the one in apt's configuration.
    pub mirror: Option<String>,
    /// The size of the disk, MiB. Machines may have larger ones: the image grows with them.
    pub disk_mib: u64,
    /// Further packages.
    pub packages: Vec<String>,
}

/// The size of the disk where none is asked for, MiB.
pub const DISK_MIB: u64 = 2600;

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            name: "debian-docker".to_owned(),
            arch: Arch::host(),
            suite: None,
            mirror: None,
            disk_mib: DISK_MIB,
            packages: Vec::new(),
        }
    }
}

/// Longest time for all packages to come and be unpacked.
const PACKAGES_LIMIT: Duration = Duration::from_secs(3600);
/// Longest time for each of the smaller programs.
const SMALL_LIMIT: Duration = Duration::from_secs(600);
/// How often it is said what is going on.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Makes an image and puts it into the cache.
///
/// # Errors
/// [`ImageError::BuildNeeds`] with all that is missing here; [`ImageError::CantBuild`] where it can't be done on this computer;
/// [`ImageError::BuildStep`] with what failed. Nothing is left then.
pub async fn build(
    options: &BuildOptions,
    cache: &Cache,
    report: &dyn Reporter,
) -> Result<CachedImage, ImageError> {
    let host = Host::look(options).await?;
    let recipe = Recipe::new(options, &host)?;
    let workshop = cache.workshop()?;
    let bench = match host.mode {
        Mode::Root => None,
        Mode::Unshare => Some(recipe::public_folder()?),
    };
    let bench = bench.as_ref().map_or(workshop.path(), tempfile::TempDir::path);
    recipe.lay_out(bench)?;

    let raw = bench.join(recipe::RAW);
    disk::partition(&host, &raw, recipe.disk_mib).await?;
    packages(&recipe, &host, bench, report).await?;
    let qcow2 = workshop.path().join("disk.qcow2");
    let step = Step::begin(report, "make the disk");
    step.end(finish_disk(&host, bench, &raw, &qcow2).await)?;

    let step = Step::begin(report, "keep the image");
    let out = bench.join(recipe::OUT);
    let boot = DirectBoot {
        kernel: keep(&out, "kernel", workshop.path())?,
        initrd: keep(&out, "initrd", workshop.path())?,
        cmdline: recipe::CMDLINE.to_owned(),
    };
    let new = NewImage {
        name: options.name.clone(),
        file: qcow2,
        format: Format::Qcow2,
        arch: options.arch,
        facts: Some(facts(&out, options.arch)?),
        boot: Some(boot),
    };
    step.end(cache.add(new))
}

/// Fills the file system.
async fn packages(
    recipe: &Recipe,
    host: &Host,
    bench: &Path,
    report: &dyn Reporter,
) -> Result<(), ImageError> {
    let step = Step::begin(report, format!("install {} and packages", recipe.suite));
    let (program, args) = recipe.mmdebstrap(host, bench);
    let work = run(&program, &args, "packages could not be installed", PACKAGES_LIMIT);
    let log = bench.join(recipe::LOG);
    let done = telling(work, report, &step.name, &log).await;
    step.end(done.map(drop).map_err(|error| explained(error, &log)))
}

/// mmdebstrap's reasons are in its log. A full disk is named long before its end.
fn explained(error: ImageError, log: &Path) -> ImageError {
    let full = |text: Vec<u8>| String::from_utf8_lossy(&text).contains("No space left on device");
    match error {
        ImageError::BuildStep { .. } if fs::read(log).is_ok_and(full) => {
            ImageError::DiskFull { path: log.parent().unwrap_or(log).to_owned() }
        }
        ImageError::BuildStep { failed, source: ProcessError::Failed { status, .. } } => {
            ImageError::BuildTold {
                failed,
                said: format!("mmdebstrap failed ({status}): {}", last_lines(log)),
            }
        }
        other => other,
    }
}

/// From the filled file system to the image.
async fn finish_disk(host: &Host, bench: &Path, raw: &Path, qcow2: &Path) -> Result<(), ImageError> {
    disk::boot_loader(host, bench, raw).await?;
    disk::compress(host, raw, qcow2).await?;
    fs::remove_file(raw).map_err(ImageError::io("removed", raw))
}

/// Copies a file that the hooks put out to where it can be moved into the cache, as a file of our own.
fn keep(out: &Path, name: &str, workshop: &Path) -> Result<std::path::PathBuf, ImageError> {
    let (from, to) = (out.join(name), workshop.join(name));
    fs::copy(&from, &to).map_err(ImageError::io("copied", &from))?;
    Ok(to)
}

/// What the finished system says of itself.
fn facts(out: &Path, arch: Arch) -> Result<ImageFacts, ImageError> {
    let read = |name: &str| {
        let file = out.join(name);
        fs::read_to_string(&file).map_err(ImageError::io("read", &file))
    };
    let engine = read("engine")?;
    let mut lines = engine.lines();
    let version = lines.next().unwrap_or_default();
    Ok(ImageFacts {
        os_release: read("os-release")?,
        arch: arch.as_str().to_owned(),
        engine: Some(ImageEngine {
            package: recipe::ENGINE.to_owned(),
            version: upstream(version).to_owned(),
            dockerd: lines.next().unwrap_or("/usr/sbin/dockerd").to_owned(),
        }),
    })
}

/// The upstream part of a Debian version, e.g. `20.10.24` of `1:20.10.24+dfsg1-1+deb12u1`. Source: deb-version(7).
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    version.split('+').next().unwrap_or(version)
}

/// Runs a program; a failure says what could not be done.
async fn run(
    program: &Program,
    args: &[String],
    failed: &'static str,
    limit: Duration,
) -> Result<Output, ImageError> {
    program.run(args, limit).await.map_err(|source| ImageError::BuildStep { failed, source })
}

/// Waits for work and says meanwhile what its log says last.
async fn telling<T>(work: impl Future<Output = T>, report: &dyn Reporter, what: &str, log: &Path) -> T {
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(TELL_EVERY, &mut work).await {
            return done;
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        report.report(Event::Waiting {
            what: what.to_owned(),
            for_ms: millis(start.elapsed()),
            limit_ms: millis(PACKAGES_LIMIT),
            last: last_line(log),
        });
    }
}

/// The last whole line of a log that is being written; empty where there is none.
fn last_line(log: &Path) -> String {
    let text = end_of(log);
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    whole.lines().next_back().unwrap_or_default().trim().to_owned()
}

/// How many lines of a log are repeated in an error.
const LINES_MAX: usize = 12;

fn last_lines(log: &Path) -> String {
    let text = end_of(log);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned()
}

/// A step that says how it ends.
struct Step<'a> {
    report: &'a dyn Reporter,
    name: String,
}

impl<'a> Step<'a> {
    fn begin(report: &'a dyn Reporter, name: impl Into<String>) -> Self {
        let name = name.into();
        report.report(Event::Step { name: name.clone(), status: StepStatus::Started });
        Self { report, name }
    }

    fn end<T>(self, result: Result<T, ImageError>) -> Result<T, ImageError> {
        let status = match &result {
            Ok(_) => StepStatus::Changed,
            Err(error) => StepStatus::Failed(error.to_string()),
        };
        self.report.report(Event::Step { name: self.name, status });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_versions() {
        assert_eq!(upstream("20.10.24+dfsg1-1+deb12u1+b3"), "20.10.24");
        assert_eq!(upstream("26.1.5+dfsg1-9+b9"), "26.1.5");
        assert_eq!(upstream("5:27.1.1-1~debian.12~bookworm"), "27.1.1");
    }

    #[test]
    fn the_last_line_of_a_log_is_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(last_line(&log), "");
        fs::write(&log, "I: first\nI: second\nI: thi").unwrap();
        assert_eq!(last_line(&log), "I: second");
    }

    #[tokio::test]
    async fn a_full_disk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "dpkg: error: failed to write: No space left on device\nE: mmdebstrap failed\n")
            .unwrap();
        let failed = || async {
            let program = Program::find(&["false"], &[]).unwrap();
            run(&program, &[], "packages could not be installed", SMALL_LIMIT).await.unwrap_err()
        };
        let error = explained(failed().await, &log);
        assert!(matches!(&error, ImageError::DiskFull { path } if path == dir.path()), "{error}");
        fs::write(&log, "E: no such package\n").unwrap();
        let error = explained(failed().await, &log).to_string();
        assert!(error.contains("no such package"), "{error}");
    }
}
