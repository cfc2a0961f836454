//! Where QEMU's monitors listen.
//!
//! A monitor talks to one client at a time. There are two, so that a look at a machine does not wait for somebody who saves its memory.

use std::io;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::state::{LOOPBACK, QemuState};

/// One of QEMU's monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Monitor {
    /// For those who change something; the machine's lock lets in one at a time.
    Work,
    /// For those who look.
    Look,
}

/// A connection to a monitor.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Monitor {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Work, Self::Look];

    /// Its socket in the machine's folder.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Work => "qmp.sock",
            Self::Look => "look.sock",
        }
    }

    /// The value of `-qmp`. The socket's name is relative: QEMU is started in the machine's folder, because an absolute path may be longer than
    /// a socket's address can be (104 or 108 bytes).
    pub(super) fn option(self, state: &QemuState, socket_files: bool) -> String {
        if socket_files {
            format!("unix:{},server=on,wait=off", self.file())
        } else {
            format!("tcp:{LOOPBACK}:{},server=on,wait=off", self.port(state))
        }
    }

    fn port(self, state: &QemuState) -> u16 {
        match self {
            Self::Work => state.monitor_ports[0],
            Self::Look => state.monitor_ports[1],
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub(super) async fn connect(self, dir: &Path, state: &QemuState) -> io::Result<Box<dyn Stream>> {
        if super::platform::HAS_SOCKET_FILES {
            return socket::connect(dir, self.file()).await;
        }
        Ok(Box::new(TcpStream::connect((LOOPBACK, self.port(state))).await?))
    }
}

#[cfg(unix)]
mod socket {
    use std::io;
    use std::path::{Path, PathBuf};

    use tokio::net::UnixStream;

    use super::Stream;

    /// What fits into a socket's address on all systems.
    const MAX_PATH: usize = 100;

    pub(super) async fn connect(dir: &Path, file: &str) -> io::Result<Box<dyn Stream>> {
        let path = dir.join(file);
        if path.as_os_str().len() <= MAX_PATH {
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
        let link = Link::to(dir)?;
        Ok(Box::new(UnixStream::connect(link.0.join(file)).await?))
    }

    /// A short name for a folder, for as long as this lives. Nobody else can make it lead elsewhere: it is ours, and its name is new.
    struct Link(PathBuf);

    impl Link {
        fn to(dir: &Path) -> io::Result<Self> {
            let mut number = [0; 8];
            getrandom::fill(&mut number).map_err(io::Error::other)?;
            let name = format!("dm-{:016x}", u64::from_ne_bytes(number));
            let mut folder = std::env::temp_dir();
            if folder.as_os_str().len() + name.len() > MAX_PATH - 16 {
                folder = PathBuf::from("/tmp");
            }
            let path = folder.join(name);
            std::os::unix::fs::symlink(dir, &path)?;
            Ok(Self(path))
        }
    }

    impl Drop for Link {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[cfg(not(unix))]
mod socket {
    use std::io;
    use std::path::Path;

    use super::Stream;

    pub(super) async fn connect(_dir: &Path, _file: &str) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Listens as QEMU does: by a relative name. The socket is made under a short path and moved.
    async fn speaks_in(dir: &Path) {
        let short = tempfile::tempdir().unwrap();
        let listener = tokio::net::UnixListener::bind(short.path().join("s")).unwrap();
        std::fs::rename(short.path().join("s"), dir.join(Monitor::Look.file())).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
        };
        let client = async {
            let mut stream = Monitor::Look.connect(dir, &QemuState::default()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        assert_eq!(tokio::join!(server, client).1, "hello");
    }

    #[tokio::test]
    async fn a_folder_may_be_deeper_than_a_sockets_address_is_long() {
        let short = tempfile::tempdir().unwrap();
        speaks_in(short.path()).await;
        let deep = short.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        speaks_in(&deep).await;
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let Err(error) = Monitor::Work.connect(dir.path(), &QemuState::default()).await else {
            panic!("nobody listens")
        };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
