//! Copying files and folders between this machine and hosts, as `scp -r` does it: symbolic links are followed, and
//! what is copied into an existing folder keeps its name there.

mod plain;
mod side;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, stream};

use self::side::{Kind, Side, Source};
use crate::error::{Error, Result};
use crate::session::Session;

/// Files on their way at the same time: small files take round trips, not bandwidth.
const FILES_AT_ONCE: usize = 8;
/// As scp: deeper than this, links are going in circles.
const DEEPEST: usize = 64;

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Folders too, with all that is in them.
    pub recursive: bool,
    /// Keep permission bits (all of them, whatever the umask) and times.
    pub preserve: bool,
}

/// How far a copy has come, told after each piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProgress<'a> {
    /// The file that the piece belongs to, at the source.
    pub path: &'a Path,
    /// Bytes of this file that were copied, and its size.
    pub file: (u64, u64),
    /// Bytes of all files that were copied.
    pub total: u64,
}

/// A path on a host.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// The host.
    pub session: &'a Session,
    /// The path there; relative to the home directory, and `~/` is it too. Empty: the home directory.
    pub path: &'a OsStr,
}

/// Called after each piece.
type OnProgress<'a> = &'a mut (dyn FnMut(&CopyProgress<'_>) + Send);

impl Session {
    /// Copies a local file or folder to the host. An existing folder as `remote` gets the copy put into it.
    ///
    /// # Errors
    /// [`Error::LocalFile`] and [`Error::RemoteFile`] name the file; the copy ends with the first one.
    pub async fn upload(
        &self,
        local: &Path,
        remote: impl AsRef<OsStr>,
        options: &CopyOptions,
        mut progress: impl FnMut(&CopyProgress<'_>) + Send,
    ) -> Result<()> {
        let to = Side::remote(self).await?;
        let remote = home_relative(remote.as_ref());
        Copy::new(&Side::Local, &to, options, &mut progress).run(local, &remote).await
    }

    /// Copies a file or folder of the host to this machine. An existing folder as `local` gets the copy put into it.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub async fn download(
        &self,
        remote: impl AsRef<OsStr>,
        local: &Path,
        options: &CopyOptions,
        mut progress: impl FnMut(&CopyProgress<'_>) + Send,
    ) -> Result<()> {
        let from = Side::remote(self).await?;
        let remote = home_relative(remote.as_ref());
        Copy::new(&from, &Side::Local, options, &mut progress).run(&remote, local).await
    }
}

/// Copies from one host to another through this machine, without a file in between.
///
/// # Errors
/// As [`Session::upload`].
pub async fn copy_between(
    from: Endpoint<'_>,
    to: Endpoint<'_>,
    options: &CopyOptions,
    mut progress: impl FnMut(&CopyProgress<'_>) + Send,
) -> Result<()> {
    let (source, target) = (Side::remote(from.session).await?, Side::remote(to.session).await?);
    let copy = Copy::new(&source, &target, options, &mut progress);
    copy.run(&home_relative(from.path), &home_relative(to.path)).await
}

/// SFTP knows no `~`, but starts in the home directory.
fn home_relative(path: &OsStr) -> PathBuf {
    let bytes = path.as_bytes();
    let rest = match bytes.strip_prefix(b"~") {
        Some(b"") => b"",
        Some([b'/', rest @ ..]) => &rest[rest.iter().take_while(|&&b| b == b'/').count()..],
        _ => bytes,
    };
    PathBuf::from(OsStr::from_bytes(if rest.is_empty() { b"." } else { rest }))
}

/// One file still to be copied.
struct Job {
    from: PathBuf,
    to: PathBuf,
    source: Source,
}

struct Copy<'a> {
    from: &'a Side,
    to: &'a Side,
    options: CopyOptions,
    progress: Mutex<(u64, OnProgress<'a>)>,
}

impl<'a> Copy<'a> {
    fn new(from: &'a Side, to: &'a Side, options: &CopyOptions, progress: OnProgress<'a>) -> Self {
        Self { from, to, options: *options, progress: Mutex::new((0, progress)) }
    }

    async fn run(&self, from: &Path, to: &Path) -> Result<()> {
        let source = self.from.look(from).await?.ok_or_else(|| self.from.missing(from))?;
        let into = match self.to.look(to).await? {
            Some(Source { kind: Kind::Folder, .. }) => to.join(own_name(from)),
            _ => to.to_owned(),
        };
        match source.kind {
            Kind::File => self.file(&Job { from: from.to_owned(), to: into, source }).await,
            Kind::Folder if self.options.recursive => self.tree(from, &into, source).await,
            Kind::Folder => Err(self.from.error(from, "is a directory; a recursive copy (-r) takes those")),
            Kind::Other => Err(self.from.error(from, "is not a regular file")),
        }
    }

    /// Folders first, each before what is in it; then the files, several at once; then the folders' attributes, which
    /// may forbid writing into them.
    async fn tree(&self, from: &Path, to: &Path, source: Source) -> Result<()> {
        let (mut folders, mut files) = (Vec::new(), Vec::new());
        let mut open = vec![(from.to_owned(), to.to_owned(), source, 0)];
        while let Some((from, to, source, depth)) = open.pop() {
            if depth > DEEPEST {
                return Err(self.from.error(&from, "is nested too deep (does a symbolic link lead back?)"));
            }
            self.to.make_folder(&to, source.mode | 0o700).await?;
            for name in self.from.list(&from).await? {
                let (from, to) = (from.join(&name), to.join(&name));
                let source = self.from.look(&from).await?.ok_or_else(|| self.from.missing(&from))?;
                match source.kind {
                    Kind::Folder => open.push((from, to, source, depth + 1)),
                    Kind::File => files.push(Job { from, to, source }),
                    Kind::Other => return Err(self.from.error(&from, "is not a regular file")),
                }
            }
            folders.push((to, source));
        }
        let mut running = stream::iter(&files).map(|job| self.file(job)).buffer_unordered(FILES_AT_ONCE);
        while let Some(result) = running.next().await {
            result?;
        }
        if self.options.preserve {
            for (path, source) in folders.iter().rev() {
                self.to.set_attributes(path, source).await?;
            }
        }
        Ok(())
    }

    async fn file(&self, job: &Job) -> Result<()> {
        let mut reader = self.from.read(&job.from, &job.source).await?;
        let mut writer = self.to.write(&job.to, job.source.mode & 0o777).await?;
        let mut done = 0;
        self.report(job, done, 0);
        while let Some(data) = reader.next().await? {
            let length = data.len() as u64;
            writer.write(data).await?;
            done += length;
            self.report(job, done, length);
        }
        reader.finish().await?;
        writer.finish().await?;
        if self.options.preserve {
            self.to.set_attributes(&job.to, &job.source).await?;
        }
        Ok(())
    }

    fn report(&self, job: &Job, done: u64, more: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.0 += more;
        let told = CopyProgress { path: &job.from, file: (done, job.source.size), total: progress.0 };
        (progress.1)(&told);
    }
}

/// The last part of a path. `.`, `..` and `/` have none of their own: their content is meant.
fn own_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(OsStr::new("."))
}

/// The error for a file on a host.
fn remote_error(session: &Session, path: &Path, why: impl Into<String>) -> Error {
    let path = path.to_string_lossy().into_owned();
    Error::RemoteFile { address: session.target().address(), path, why: why.into() }
}
