//! boot2docker, for those who bring its CD image: where the image comes from, and how its machines get their SSH key.
//!
//! Nobody makes boot2docker any more (its last release is of 2020), so it is used only where a flag names an image: by URL, by path, or by the name
//! of a file in `STORE/cache`, where the reference program has its own.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event, Reporter};
use machine_http::{Client, HttpError, Resume, Settings, Url};
use machine_image::checksum::{self, Digest, Hasher};

use crate::hypervisor_lock;

/// The image's name in a machine's folder, as in the reference program.
pub(crate) const ISO: &str = "boot2docker.iso";
/// How long another process may take for the same download.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(3600);
/// Where an ISO 9660 image says what it is (ECMA-119, 8.1.2: byte 1 of sector 16).
const SIGNATURE_AT: u64 = 0x8001;
const SIGNATURE: &[u8] = b"CD001";
/// By these first bytes of a disk boot2docker knows that it may format it.
const MAGIC: &str = "boot2docker, please format-me";
/// The unit in which a tar archive is written (POSIX, pax interchange format), bytes.
const BLOCK: usize = 512;

/// Where an image is, as the flag names it.
enum Source {
    /// To be downloaded; maybe to have this checksum.
    Url(Url, Option<Digest>),
    /// A file.
    File(PathBuf, Option<Digest>),
}

/// Gets the CD image that `--*-boot2docker-url` names to this computer: a URL is downloaded into the cache once, a file is used where it lies. A
/// checksum after it (`#sha256=…`) is compared each time.
///
/// # Errors
/// [`ErrorKind::Config`] where the value makes no sense or names something else; [`ErrorKind::Unavailable`] where it can't be downloaded now.
pub(crate) async fn fetch(cx: &Cx<'_>, wanted: &str) -> Result<PathBuf, DriverError> {
    let cache = cx.store_path.join("cache");
    match read(wanted, &cache)? {
        Source::File(path, digest) => {
            check(&path, wanted, digest.as_ref())?;
            Ok(path)
        }
        Source::Url(url, digest) => download(&cache, &url, digest.as_ref(), cx.report).await,
    }
}

/// The machine's own copy of the CD image. One that is there already is what the machine boots, whatever became of its source.
///
/// # Errors
/// As [`fetch`]; where it can't be copied.
pub(crate) async fn iso_for(cx: &Cx<'_>, wanted: &str) -> Result<PathBuf, DriverError> {
    let own = cx.machine_dir.join(ISO);
    if own.is_file() {
        return Ok(own);
    }
    let source = fetch(cx, wanted).await?;
    cx.report.report(Event::DriverLine(format!("Copying {} to {}...", source.display(), own.display())));
    let part = cx.machine_dir.join("boot2docker.iso.part");
    let copied = fs::copy(&source, &part).and_then(|_| fs::rename(&part, &own));
    copied.map_err(|error| unwritten(&own, error))?;
    Ok(own)
}

/// The first bytes of a disk from which boot2docker takes the key of its user `docker` before it formats the disk: a tar archive that begins with the
/// words which allow that. All else of the disk is zero.
#[must_use]
pub(crate) fn disk_head(authorized_key: &str) -> Vec<u8> {
    let key = format!("{}\n", authorized_key.trim_end());
    let mut tar = Vec::new();
    entry(&mut tar, MAGIC, b'0', 0o644, MAGIC.as_bytes());
    entry(&mut tar, ".ssh/", b'5', 0o700, b"");
    entry(&mut tar, ".ssh/authorized_keys", b'0', 0o644, key.as_bytes());
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// One file of a tar archive, in the form of POSIX's `ustar`.
fn entry(tar: &mut Vec<u8>, name: &str, kind: u8, mode: u32, content: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    header[156] = kind;
    // The sum is made over the header with spaces in its place.
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

fn config(text: String) -> DriverError {
    DriverError::new(ErrorKind::Config, text).with_hint(
        "boot2docker is named by a URL or a path, maybe with #sha256=… after it; without it the machine is made of a cloud image",
    )
}

/// Reads what the flag says.
fn read(wanted: &str, cache: &Path) -> Result<Source, DriverError> {
    let (place, fragment) =
        wanted.split_once('#').map_or((wanted, ""), |(place, fragment)| (place, fragment));
    let digest = (!fragment.is_empty()).then(|| fragment.parse::<Digest>()).transpose();
    let digest = digest
        .map_err(|why| config(format!("the checksum of the boot2docker image makes no sense: {why}")))?;
    let is_url = place.contains("://");
    if !is_url {
        let path = PathBuf::from(place);
        let cached = cache.join(&path);
        let bare = path.components().count() == 1 && !path.is_file() && cached.is_file();
        return Ok(Source::File(if bare { cached } else { path }, digest));
    }
    let url = Url::parse(place)
        .map_err(|error| config(format!("the address of the boot2docker image makes no sense: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(Source::Url(url, digest)),
        "file" => match url.to_file_path() {
            Ok(path) => Ok(Source::File(path, digest)),
            Err(()) => Err(config(format!("{place} names no file of this computer"))),
        },
        other => Err(config(format!("a boot2docker image can't be had by {other}://"))),
    }
}

/// Whether a file is a CD image, and the right one.
fn check(path: &Path, shown: &str, digest: Option<&Digest>) -> Result<(), DriverError> {
    let unreadable = |error: io::Error| {
        DriverError::new(
            ErrorKind::Config,
            format!("the boot2docker image {} can't be read: {error}", path.display()),
        )
        .with_source(error)
    };
    if !is_iso(path).map_err(unreadable)? {
        return Err(config(format!("{} is no CD image (ISO 9660)", path.display())));
    }
    let Some(digest) = digest else { return Ok(()) };
    let mut hasher = Hasher::new(Some(digest));
    File::open(path).and_then(|file| hasher.read(file)).map_err(unreadable)?;
    compare(hasher, digest, shown)
}

fn compare(hasher: Hasher, digest: &Digest, shown: &str) -> Result<(), DriverError> {
    let (_, made) = hasher.finish();
    if made.contains(digest) {
        return Ok(());
    }
    let has = made.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(DriverError::new(ErrorKind::Config, format!("{shown} has the checksum {has} instead of {digest}"))
        .with_hint("either the checksum is that of another version, or somebody changed the image"))
}

fn is_iso(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut signature = [0; SIGNATURE.len()];
    file.seek(SeekFrom::Start(SIGNATURE_AT))?;
    match file.read_exact(&mut signature) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| signature == SIGNATURE),
    }
}

/// The file in the cache for what is at an address, which is downloaded where it is missing or not what it should be.
async fn download(
    cache: &Path,
    url: &Url,
    digest: Option<&Digest>,
    report: &dyn Reporter,
) -> Result<PathBuf, DriverError> {
    let shown = machine_http::shown(url);
    let key = checksum::of_text(url.as_str());
    let file = cache.join(format!("boot2docker-{}.iso", key.get(..12).unwrap_or_default()));
    if file.is_file() && check(&file, &shown, digest).is_ok() {
        return Ok(file);
    }
    let lock = file.with_extension("lock");
    let _turn = hypervisor_lock::wait_for(
        &lock,
        "another docker-machine that downloads boot2docker",
        DOWNLOAD_LIMIT,
        report,
    )
    .await?;
    // Whoever had the lock may have brought it.
    if file.is_file() && check(&file, &shown, digest).is_ok() {
        return Ok(file);
    }
    report.report(Event::DriverLine(format!("Downloading {} from {shown}...", file.display())));
    let part = file.with_extension("part");
    let brought = bring(url, &part, digest, report).await;
    let kept = brought.and_then(|()| {
        check(&part, &shown, None)?;
        fs::rename(&part, &file).map_err(|error| unwritten(&file, error))
    });
    if kept.is_err() {
        let _ = fs::remove_file(&part);
    }
    kept.map(|()| file)
}

/// Downloads to a file; a connection that breaks off goes on where it was.
async fn bring(
    url: &Url,
    part: &Path,
    digest: Option<&Digest>,
    report: &dyn Reporter,
) -> Result<(), DriverError> {
    let client = Client::new(&Settings::default()).map_err(of_http)?;
    let mut state = Download {
        file: File::create(part).map_err(|error| unwritten(part, error))?,
        done: 0,
        hasher: Hasher::new(digest),
        validator: None,
    };
    let mut failures = 0;
    loop {
        match state.go_on(&client, url, part, digest, report).await? {
            None => break,
            Some(error) => {
                failures += 1;
                let Some(pause) = client.pause_after(failures).filter(|_| error.may_pass()) else {
                    return Err(of_http(error));
                };
                report
                    .report(Event::Notice(format!("{error}; trying again in {:.1} s", pause.as_secs_f32())));
                tokio::time::sleep(pause).await;
            }
        }
    }
    state.file.sync_all().map_err(|error| unwritten(part, error))?;
    match digest {
        Some(digest) => compare(state.hasher, digest, &machine_http::shown(url)),
        None => Ok(()),
    }
}

/// How far a download is.
struct Download {
    file: File,
    done: u64,
    hasher: Hasher,
    validator: Option<String>,
}

impl Download {
    /// Takes what comes in one connection; the error by which it broke off.
    async fn go_on(
        &mut self,
        client: &Client,
        url: &Url,
        part: &Path,
        digest: Option<&Digest>,
        report: &dyn Reporter,
    ) -> Result<Option<HttpError>, DriverError> {
        let rest = Resume { offset: self.done, validator: self.validator.as_deref() };
        // Without a validator the rest might be that of something else.
        let asked = if self.done > 0 && self.validator.is_some() {
            client.get_rest(url, rest).await
        } else {
            client.get(url).await
        };
        let mut response = match asked {
            Ok(response) => response,
            Err(error) => return Ok(Some(error)),
        };
        if response.offset() != self.done {
            self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|error| unwritten(part, error))?;
            (self.done, self.hasher) = (0, Hasher::new(digest));
        }
        self.validator = response.validator();
        let total = response.total();
        loop {
            match response.chunk().await {
                Err(error) => return Ok(Some(error)),
                Ok(None) => break,
                Ok(Some(piece)) => {
                    self.file.write_all(&piece).map_err(|error| unwritten(part, error))?;
                    self.hasher.update(&piece);
                    self.done += piece.len() as u64;
                    report.report(Event::Transfer { what: ISO.to_owned(), done: self.done, total });
                }
            }
        }
        report.report(Event::Transfer { what: ISO.to_owned(), done: self.done, total: Some(self.done) });
        Ok(None)
    }
}

fn of_http(error: HttpError) -> DriverError {
    let kind = if error.may_pass() { ErrorKind::Unavailable } else { ErrorKind::Config };
    let hint = error.hint();
    let made = DriverError::new(kind, format!("boot2docker can't be downloaded: {error}")).with_source(error);
    match hint {
        Some(hint) => made.with_hint(hint),
        None => made,
    }
}

fn unwritten(file: &Path, error: io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        _ => ErrorKind::Other,
    };
    DriverError::new(kind, format!("{} could not be written: {error}", file.display())).with_source(error)
}

#[cfg(test)]
mod tests;
