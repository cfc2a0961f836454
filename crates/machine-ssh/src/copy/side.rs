//! The two ends of a copy: this machine, a host with SFTP, a host without.

use std::ffi::OsString;
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::plain::{Plain, PlainReader, PlainWriter};
use super::remote_error;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::sftp::{Attributes, Failure, RemoteReader, RemoteWriter, Sftp};

/// A piece of a local file: large enough to keep many requests under way.
const PIECE: usize = 256 * 1024;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_FOLDER: u32 = 0o040_000;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Other,
}

/// A file or folder to copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Access and modification time, seconds since 1970.
    times: Option<(u32, u32)>,
}

/// An end of a copy.
pub(super) enum Side {
    Local,
    Sftp(Sftp),
    Plain(Plain),
}

impl Side {
    pub(super) async fn remote(session: &Session) -> Result<Self> {
        Ok(match Sftp::open(session).await? {
            Some(sftp) => Self::Sftp(sftp),
            None => Self::Plain(Plain::new(session)),
        })
    }

    pub(super) fn error(&self, path: &Path, why: &str) -> Error {
        match self {
            Self::Local => local_error(path, io::Error::other(why.to_owned())),
            Self::Sftp(sftp) => remote_error(sftp.session(), path, why),
            Self::Plain(plain) => remote_error(plain.session(), path, why),
        }
    }

    pub(super) fn missing(&self, path: &Path) -> Error {
        self.error(path, "no such file or directory")
    }

    /// What is there; `None` if nothing is.
    pub(super) async fn look(&self, path: &Path) -> Result<Option<Source>> {
        match self {
            Self::Local => match tokio::fs::metadata(path).await {
                Ok(metadata) => Ok(Some(Source::of_local(&metadata))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(local_error(path, e)),
            },
            Self::Sftp(sftp) => match sftp.stat(bytes(path)).await {
                Ok(attributes) => Ok(Some(Source::of_remote(&attributes))),
                Err(failure) if failure.is_missing() => Ok(None),
                Err(failure) => Err(sftp_error(sftp, path, &failure)),
            },
            Self::Plain(plain) => {
                let source = |kind| Source { kind, size: 0, mode: 0o644, times: None };
                Ok(plain.kind(path).await?.map(source))
            }
        }
    }

    pub(super) async fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        match self {
            Self::Local => {
                let read = |e| local_error(path, e);
                let mut names = Vec::new();
                let mut entries = tokio::fs::read_dir(path).await.map_err(read)?;
                while let Some(entry) = entries.next_entry().await.map_err(read)? {
                    names.push(entry.file_name());
                }
                Ok(names)
            }
            Self::Sftp(sftp) => {
                let names =
                    sftp.list(bytes(path)).await.map_err(|failure| sftp_error(sftp, path, &failure))?;
                names.iter().map(|name| self.own_file_name(path, name)).collect()
            }
            Self::Plain(_) => Err(self.no_folders(path)),
        }
    }

    /// A host must not write outside the folder that we copy into.
    fn own_file_name(&self, folder: &Path, name: &Bytes) -> Result<OsString> {
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(self.error(folder, "holds a file name with a slash or a NUL; refused"));
        }
        Ok(OsString::from_vec(name.to_vec()))
    }

    fn no_folders(&self, path: &Path) -> Error {
        self.error(path, "the server has no SFTP, without which only single files can be copied")
    }

    pub(super) async fn make_folder(&self, path: &Path, mode: u32) -> Result<()> {
        match self {
            Self::Local => match std::fs::DirBuilder::new().mode(mode & 0o777).create(path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
                other => other.map_err(|e| local_error(path, e)),
            },
            Self::Sftp(sftp) => match sftp.make_folder(bytes(path), mode & 0o777).await {
                Ok(()) => Ok(()),
                // Version 3 has no word for "exists already".
                Err(failure) => match sftp.stat(bytes(path)).await {
                    Ok(found) if Source::of_remote(&found).kind == Kind::Folder => Ok(()),
                    _ => Err(sftp_error(sftp, path, &failure)),
                },
            },
            Self::Plain(_) => Err(self.no_folders(path)),
        }
    }

    /// Gives a copy the permission bits and times of its source.
    pub(super) async fn set_attributes(&self, path: &Path, source: &Source) -> Result<()> {
        match self {
            Self::Local => set_local_attributes(path, source).map_err(|e| local_error(path, e)),
            Self::Sftp(sftp) => {
                let attributes = Attributes { size: None, mode: Some(source.mode), times: source.times };
                let set = sftp.set_attributes(bytes(path), &attributes).await;
                set.map_err(|failure| sftp_error(sftp, path, &failure))
            }
            Self::Plain(plain) => plain.set_mode(path, source.mode).await,
        }
    }

    pub(super) async fn read(&self, path: &Path, source: &Source) -> Result<Reader<'_>> {
        let path = path.to_owned();
        Ok(match self {
            Self::Local => {
                let file = tokio::fs::File::open(&path).await.map_err(|e| local_error(&path, e))?;
                Reader::Local { file, path }
            }
            Self::Sftp(sftp) => {
                let opened = RemoteReader::open(sftp, bytes(&path), source.size).await;
                let reader = opened.map_err(|failure| sftp_error(sftp, &path, &failure))?;
                Reader::Sftp { sftp, reader, path }
            }
            Self::Plain(plain) => Reader::Plain(plain.read(&path).await?),
        })
    }

    pub(super) async fn write(&self, path: &Path, mode: u32) -> Result<Writer<'_>> {
        let path = path.to_owned();
        Ok(match self {
            Self::Local => {
                let mut options = std::fs::OpenOptions::new();
                let opened = options.write(true).create(true).truncate(true).mode(mode).open(&path);
                let file = tokio::fs::File::from_std(opened.map_err(|e| local_error(&path, e))?);
                Writer::Local { file, path }
            }
            Self::Sftp(sftp) => {
                let created = RemoteWriter::create(sftp, bytes(&path), mode).await;
                let writer = created.map_err(|failure| sftp_error(sftp, &path, &failure))?;
                Writer::Sftp { sftp, writer, path }
            }
            Self::Plain(plain) => Writer::Plain(plain.write(&path).await?),
        })
    }
}

impl Source {
    fn of_local(metadata: &Metadata) -> Self {
        let seconds = |time: i64| u32::try_from(time).unwrap_or(0);
        Self {
            kind: kind_of(metadata.mode()),
            size: metadata.len(),
            mode: metadata.mode() & 0o7777,
            times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
        }
    }

    fn of_remote(attributes: &Attributes) -> Self {
        let mode = attributes.mode.unwrap_or(TYPE_FILE | 0o644);
        let size = attributes.size.unwrap_or(0);
        Self { kind: kind_of(mode), size, mode: mode & 0o7777, times: attributes.times }
    }
}

fn kind_of(mode: u32) -> Kind {
    match mode & TYPE_MASK {
        TYPE_FILE => Kind::File,
        TYPE_FOLDER => Kind::Folder,
        _ => Kind::Other,
    }
}

fn set_local_attributes(path: &Path, source: &Source) -> io::Result<()> {
    if let Some((accessed, modified)) = source.times {
        let time = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        let times = FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified));
        File::open(path)?.set_times(times)?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(source.mode))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn local_error(path: &Path, source: io::Error) -> Error {
    Error::LocalFile { path: path.to_owned(), source }
}

fn sftp_error(sftp: &Sftp, path: &Path, failure: &Failure) -> Error {
    if sftp.session().is_closed() {
        return sftp.session().closed(format!("copying {}", path.display()));
    }
    remote_error(sftp.session(), path, failure.why())
}

/// A file being read.
pub(super) enum Reader<'a> {
    Local { file: tokio::fs::File, path: PathBuf },
    Sftp { sftp: &'a Sftp, reader: RemoteReader, path: PathBuf },
    Plain(PlainReader<'a>),
}

impl Reader<'_> {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Local { file, path } => {
                let mut piece = BytesMut::with_capacity(PIECE);
                file.read_buf(&mut piece).await.map_err(|e| local_error(path, e))?;
                Ok((!piece.is_empty()).then(|| piece.freeze()))
            }
            Self::Sftp { sftp, reader, path } => {
                reader.next().await.map_err(|failure| sftp_error(sftp, path, &failure))
            }
            Self::Plain(reader) => reader.next().await,
        }
    }

    pub(super) async fn finish(self) -> Result<()> {
        match self {
            Self::Sftp { sftp, reader, path } => {
                reader.finish().await.map_err(|failure| sftp_error(sftp, &path, &failure))
            }
            Self::Local { .. } | Self::Plain(_) => Ok(()),
        }
    }
}

/// A file being written.
pub(super) enum Writer<'a> {
    Local { file: tokio::fs::File, path: PathBuf },
    Sftp { sftp: &'a Sftp, writer: RemoteWriter, path: PathBuf },
    Plain(PlainWriter<'a>),
}

impl Writer<'_> {
    pub(super) async fn write(&mut self, data: Bytes) -> Result<()> {
        match self {
            Self::Local { file, path } => file.write_all(&data).await.map_err(|e| local_error(path, e)),
            Self::Sftp { sftp, writer, path } => {
                writer.write(data).await.map_err(|failure| sftp_error(sftp, path, &failure))
            }
            Self::Plain(writer) => writer.write(data).await,
        }
    }

    pub(super) async fn finish(self) -> Result<()> {
        match self {
            Self::Local { mut file, path } => file.flush().await.map_err(|e| local_error(&path, e)),
            Self::Sftp { sftp, writer, path } => {
                writer.finish().await.map_err(|failure| sftp_error(sftp, &path, &failure))
            }
            Self::Plain(writer) => writer.finish().await,
        }
    }
}
