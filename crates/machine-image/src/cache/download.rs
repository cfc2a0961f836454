//! Downloads: one process does it, the others wait; what broke off goes on; what is wrong is thrown away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use machine_core::{Event, Reporter};
use machine_http::{Client, HttpError, Resume, Url};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::record::Record;
use super::wanted::{self, Source};
use super::{Cache, CachedImage, Origin, files};
use crate::catalogue::Sums;
use crate::checksum::{self, Digest, Hasher};
use crate::content::{self, Content};
use crate::disk::Format;
use crate::{Arch, ImageError};

/// The folder of unfinished downloads in the cache's.
const FOLDER: &str = ".download";
/// How long another process may take for the same download.
const OTHERS_LIMIT: Duration = Duration::from_secs(2 * 3600);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(200);
/// How often progress is reported at most.
const TICK: Duration = Duration::from_millis(100);
/// A list of checksums is not longer than this, bytes.
const LONGEST_LIST: usize = 4 * 1024 * 1024;
/// So many bytes more, and a connection that breaks off is no reason to give up.
const WORTH_GOING_ON: u64 = 256 * 1024;

impl Cache {
    /// Downloads an image, unless it is here. `fresh`: one that is here is only good enough if it is what the
    /// publisher has now.
    pub(super) async fn download(
        &self,
        source: &Source,
        arch: Arch,
        client: &Client,
        fresh: bool,
        report: &dyn Reporter,
    ) -> Result<CachedImage, ImageError> {
        refuse_compressed(source)?;
        let expected = expected(source, client, report).await?;
        if fresh && let Some(image) = self.whole(source, arch, expected.as_ref(), None).await? {
            report.report(Event::Notice(format!("The image {} is up to date.", image.name)));
            return Ok(image);
        }
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let part = Part::of(&self.folder, source, expected.as_ref())?;
        let lock = part.lock(report).await?;
        // Whoever had the lock may have brought it.
        let since = expected.is_none().then_some(began);
        if let Some(image) = self.whole(source, arch, expected.as_ref(), since).await? {
            part.forget();
            return Ok(image);
        }
        if expected.is_none() {
            report.report(unverified(source));
        }
        let sha256 =
            Transfer { client, source, part: &part, expected: expected.as_ref(), report }.run().await?;
        let format = part.format(source)?;
        let image = self.keep(source, arch, expected, sha256, format, &part)?;
        part.forget();
        drop(lock);
        Ok(image)
    }

    /// An image from this source that is here, with this checksum or added since then, and whose file is unchanged.
    async fn whole(
        &self,
        source: &Source,
        arch: Arch,
        expected: Option<&Digest>,
        since: Option<u64>,
    ) -> Result<Option<CachedImage>, ImageError> {
        if expected.is_none() && since.is_none() {
            return Ok(None);
        }
        let key = source.key();
        let right = |record: &Record| {
            record.arch == arch
                && record.source.as_ref() == Some(&key)
                && (source.catalogue.is_none() || record.catalogue == source.catalogue)
                && wanted::fits(record, expected)
                && since.is_none_or(|since| record.added_s >= since)
        };
        let found = self.records()?.into_iter().find(|(_, record)| right(record));
        let Some((folder, record)) = found else { return Ok(None) };
        let image = record.image(&folder);
        match self.verify(&image, false).await {
            Ok(()) => Ok(Some(image)),
            Err(ImageError::Corrupt { .. } | ImageError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts what was downloaded into the cache.
    fn keep(
        &self,
        source: &Source,
        arch: Arch,
        expected: Option<Digest>,
        sha256: String,
        format: Format,
        part: &Part,
    ) -> Result<CachedImage, ImageError> {
        let origin = Origin::Downloaded { url: machine_http::shown(&source.url) };
        let file = PathBuf::from(format!("disk.{}", format.extension()));
        let mut record = Record::new(source.name.clone(), arch, origin, file, format);
        record.catalogue = source.catalogue.clone();
        record.source = Some(source.key());
        record.published = expected;
        record.sha256 = sha256;
        self.publish(record, &part.file, None)
    }
}

/// The publisher's checksum of an image.
async fn expected(
    source: &Source,
    client: &Client,
    report: &dyn Reporter,
) -> Result<Option<Digest>, ImageError> {
    let (text, only) = match &source.sums {
        Sums::None => return Ok(None),
        Sums::Known(digest) => return Ok(Some(digest.clone())),
        Sums::List(url) => (url, false),
        Sums::Own(url) => (url, true),
    };
    let url = Url::parse(text)
        .map_err(|error| ImageError::Address { url: text.clone(), why: error.to_string() })?;
    let list = list(&url, client, report).await?;
    let file = source.file_name();
    match checksum::in_list(&list, file, only) {
        Some(digest) => Ok(Some(digest)),
        None => Err(ImageError::NoChecksum { sums: text.clone(), file: file.to_owned() }),
    }
}

/// A publisher's list of checksums.
async fn list(url: &Url, client: &Client, report: &dyn Reporter) -> Result<String, ImageError> {
    let mut failures = 0;
    loop {
        let got = match client.get(url).await {
            Ok(response) => response.text(LONGEST_LIST).await,
            Err(error) => Err(error),
        };
        match got {
            Ok(text) => return Ok(text),
            Err(error) => again(client, &mut failures, error, report).await?,
        }
    }
}

/// Waits before the next try, or gives up with the error.
async fn again(
    client: &Client,
    failures: &mut u32,
    error: HttpError,
    report: &dyn Reporter,
) -> Result<(), ImageError> {
    *failures += 1;
    let Some(pause) = client.pause_after(*failures).filter(|_| error.may_pass()) else {
        return Err(error.into());
    };
    report.report(Event::Notice(format!("{error}; trying again in {:.1} s", pause.as_secs_f32())));
    tokio::time::sleep(pause).await;
    Ok(())
}

/// What is said of an image without a checksum.
fn unverified(source: &Source) -> Event {
    let url = machine_http::shown(&source.url);
    let how = "append #sha256=… to its address to have it compared";
    if source.url.scheme() == "https" {
        return Event::Notice(format!("No checksum of {url} is known: {how}."));
    }
    Event::Warning(format!("{url} comes unprotected over HTTP and no checksum of it is known: {how}."))
}

/// Compressed images are refused before a gigabyte was downloaded.
fn refuse_compressed(source: &Source) -> Result<(), ImageError> {
    const ENDS: [&str; 8] = [".xz", ".gz", ".bz2", ".zst", ".zip", ".7z", ".tar", ".tgz"];
    let name = source.file_name().to_ascii_lowercase();
    if !ENDS.iter().any(|end| name.ends_with(end)) {
        return Ok(());
    }
    Err(ImageError::NotADisk {
        what: machine_http::shown(&source.url),
        is: "a compressed file",
        hint: "download it, unpack it and name the file that comes out, or look for an image in the format qcow2",
    })
}

/// What came of a download so far.
struct Part {
    /// What it is called in messages.
    what: String,
    file: PathBuf,
    note: PathBuf,
    lock: PathBuf,
}

/// What is known of a part.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// What must not have changed if it is to go on.
    validator: Option<String>,
    /// Length of the whole, bytes.
    total: Option<u64>,
}

impl Part {
    /// The part of a source: another address or another checksum is another download.
    fn of(cache: &Path, source: &Source, expected: Option<&Digest>) -> Result<Self, ImageError> {
        let folder = cache.join(FOLDER);
        fs::create_dir_all(&folder).map_err(ImageError::io("made", &folder))?;
        let expected = expected.map(Digest::to_string).unwrap_or_default();
        let key = checksum::of_text(&format!("{} {expected}", source.key()));
        let name = files::safe_name(source.file_name());
        let stem = format!("{name}-{}", key.get(..12).unwrap_or_default());
        Ok(Self {
            what: name,
            file: folder.join(format!("{stem}.part")),
            note: folder.join(format!("{stem}.json")),
            lock: folder.join(format!("{stem}.lock")),
        })
    }

    /// The right to download this: of all processes one has it.
    async fn lock(&self, report: &dyn Reporter) -> Result<fs::File, ImageError> {
        let began = Instant::now();
        let mut said = false;
        loop {
            if let Some(lock) = files::try_lock(&self.lock)? {
                return Ok(lock);
            }
            if !said {
                let what = &self.what;
                report.report(Event::Notice(format!(
                    "Another docker-machine is downloading {what}: waiting for it."
                )));
                said = true;
            }
            let waited = began.elapsed();
            if waited > OTHERS_LIMIT {
                return Err(ImageError::Busy { what: self.what.clone(), waited });
            }
            report.report(Event::Waiting {
                what: format!("another docker-machine that downloads {}", self.what),
                for_ms: ms(waited),
                limit_ms: ms(OTHERS_LIMIT),
                last: format!("{} MiB are there", files::length(&self.file).unwrap_or(0) / (1024 * 1024)),
            });
            tokio::time::sleep(LOOK).await;
        }
    }

    fn read_note(&self) -> Note {
        fs::read(&self.note).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn write_note(&self, note: &Note) -> Result<(), ImageError> {
        let text = serde_json::to_vec(note).map_err(|error| ImageError::Io {
            doing: "written",
            path: self.note.clone(),
            source: error.into(),
        })?;
        files::write(&self.note, &text)
    }

    /// What it is, where it is whole; what can't be used is thrown away.
    fn format(&self, source: &Source) -> Result<Format, ImageError> {
        let content = content::of_file(&self.file).map_err(ImageError::io("read", &self.file))?;
        let what = machine_http::shown(&source.url);
        let error = match content {
            Content::Disk { format, refers: false } => return Ok(format),
            Content::Disk { .. } => ImageError::Refers { what },
            Content::Other { what: is, hint } => ImageError::NotADisk { what, is, hint },
        };
        self.forget();
        Err(error)
    }

    /// Removes all of it. To be called with the lock held.
    fn forget(&self) {
        // Where one of them stays, `prune` gets it.
        for file in [&self.file, &self.note, &self.lock] {
            let _ = fs::remove_file(file);
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Removes unfinished downloads that nobody works on; how many bytes they had.
pub(super) fn remove_unfinished(cache: &Path) -> Result<u64, ImageError> {
    let folder = cache.join(FOLDER);
    let mut stems: Vec<PathBuf> =
        files::entries(&folder)?.into_iter().map(|path| path.with_extension("")).collect();
    stems.sort_unstable();
    stems.dedup();
    let mut bytes = 0;
    for stem in stems {
        let with = |end: &str| {
            let mut path = stem.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        let Some(_lock) = files::try_lock(&with(".lock"))? else { continue };
        for file in [with(".part"), with(".json"), with(".lock")] {
            bytes += files::length(&file).unwrap_or(0);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && cfg!(unix) => {
                    return Err(ImageError::io("removed", &file)(error));
                }
                _ => {}
            }
        }
    }
    Ok(bytes)
}

/// A download by the process that has the lock.
struct Transfer<'a> {
    client: &'a Client,
    source: &'a Source,
    part: &'a Part,
    expected: Option<&'a Digest>,
    report: &'a dyn Reporter,
}

/// How far it is.
struct Progress {
    /// Bytes in the part.
    done: u64,
    /// What went into them.
    hasher: Hasher,
    note: Note,
    /// Whether it came in more than one piece.
    pieced: bool,
}

impl Transfer<'_> {
    /// Brings all of it; its SHA-256.
    async fn run(&self) -> Result<String, ImageError> {
        let mut progress = self.begin().await?;
        let mut again = false;
        loop {
            self.bring(&mut progress).await?;
            let (sha256, made) = progress.hasher.clone().finish();
            let Err(error) = self.compare(&made) else { return Ok(sha256) };
            // Parts of different files may have come together, e.g. from two mirrors of which one is old.
            if again || !progress.pieced {
                self.part.forget();
                return Err(error);
            }
            self.report.report(Event::Notice(format!("{error}; beginning again")));
            self.start_over(&mut progress)?;
            again = true;
        }
    }

    /// Brings what is missing.
    async fn bring(&self, progress: &mut Progress) -> Result<(), ImageError> {
        let mut failures = 0;
        // What was whole when a process died needs no request.
        while progress.done == 0 || progress.note.total != Some(progress.done) {
            let before = progress.done;
            let Err(error) = self.go_on(progress).await else { break };
            let ImageError::Http(error) = error else { return Err(error) };
            if let HttpError::NothingThere { total, .. } = error {
                if total == Some(progress.done) {
                    break;
                }
                self.start_over(progress)?;
                continue;
            }
            if progress.done >= before + WORTH_GOING_ON {
                failures = 0;
            }
            again(self.client, &mut failures, error, self.report).await?;
        }
        self.tell(progress.done, Some(progress.done));
        Ok(())
    }

    /// What is there already.
    async fn begin(&self) -> Result<Progress, ImageError> {
        let note = self.part.read_note();
        // Without either the rest might be that of something else.
        let usable = note.validator.is_some() || self.expected.is_some();
        let hasher = Hasher::new(self.expected);
        let mut progress = Progress { done: 0, hasher, note, pieced: false };
        let Some(length) = files::length(&self.part.file).filter(|length| *length > 0) else {
            return Ok(progress);
        };
        if !usable {
            self.start_over(&mut progress)?;
            return Ok(progress);
        }
        let (file, mut hasher) = (self.part.file.clone(), progress.hasher.clone());
        let hashed = tokio::task::spawn_blocking(move || {
            hasher.read(fs::File::open(file)?)?;
            Ok(hasher)
        });
        progress.hasher = hashed
            .await
            .map_err(io::Error::other)
            .and_then(|hashed| hashed)
            .map_err(ImageError::io("read", &self.part.file))?;
        (progress.done, progress.pieced) = (length, true);
        let mib = length / (1024 * 1024);
        self.report.report(Event::Notice(format!(
            "Going on with the download of {}: {mib} MiB are there.",
            self.part.what
        )));
        Ok(progress)
    }

    /// Throws away what is there.
    fn start_over(&self, progress: &mut Progress) -> Result<(), ImageError> {
        match fs::remove_file(&self.part.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::io("removed", &self.part.file)(error));
            }
            _ => {}
        }
        let hasher = Hasher::new(self.expected);
        *progress = Progress { done: 0, hasher, note: Note::default(), pieced: false };
        Ok(())
    }

    /// One request, and what comes of it.
    async fn go_on(&self, progress: &mut Progress) -> Result<(), ImageError> {
        let url = &self.source.url;
        let mut response = if progress.done == 0 {
            self.client.get(url).await?
        } else {
            // Where a checksum tells in the end, mirrors that say different things of the same file are no reason
            // to begin again.
            let validator = progress.note.validator.as_deref().filter(|_| self.expected.is_none());
            progress.pieced = true;
            self.client.get_rest(url, Resume { offset: progress.done, validator }).await?
        };
        if response.offset() == 0 {
            self.start_over(progress)?;
        }
        progress.note = Note { validator: response.validator(), total: response.total() };
        self.part.write_note(&progress.note)?;
        let wrong = || ImageError::io("written", &self.part.file);
        let mut file = tokio::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.part.file)
            .await
            .map_err(wrong())?;
        let mut told = Instant::now();
        self.tell(progress.done, progress.note.total);
        let ended = loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            file.write_all(&piece).await.map_err(wrong())?;
            progress.hasher.update(&piece);
            progress.done += piece.len() as u64;
            if told.elapsed() >= TICK {
                self.tell(progress.done, progress.note.total);
                told = Instant::now();
            }
        };
        // What was counted must be in the file before the next try counts on it.
        file.flush().await.map_err(wrong())?;
        file.sync_data().await.map_err(wrong())?;
        Ok(ended?)
    }

    fn tell(&self, done: u64, total: Option<u64>) {
        self.report.report(Event::Transfer { what: self.part.what.clone(), done, total });
    }

    /// Whether it is what the publisher says.
    fn compare(&self, made: &[Digest]) -> Result<(), ImageError> {
        let Some(expected) = self.expected else { return Ok(()) };
        if made.contains(expected) {
            return Ok(());
        }
        let found = made.iter().find(|digest| digest.algorithm() == expected.algorithm());
        let found = found.map(Digest::to_string).unwrap_or_default();
        Err(ImageError::WrongChecksum {
            what: machine_http::shown(&self.source.url),
            expected: expected.to_string(),
            found,
        })
    }
}
