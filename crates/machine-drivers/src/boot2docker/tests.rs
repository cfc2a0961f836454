//! CD images that are there, that are not, and what a machine's disk begins with.

use machine_core::{MachineName, Silent};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

struct Place {
    dir: TempDir,
    name: MachineName,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: TempDir::new().unwrap(), name: MachineName::new("dev").unwrap() };
        fs::create_dir_all(place.dir.path().join("cache")).unwrap();
        place
    }

    async fn fetch(&self, wanted: &str) -> Result<PathBuf, DriverError> {
        fetch(&self.cx(), wanted).await
    }

    fn cx(&self) -> Cx<'_> {
        Cx {
            name: &self.name,
            machine_dir: self.dir.path(),
            store_path: self.dir.path(),
            report: &Silent,
            seed: None,
            store_id: "",
            allow_from: &[],
            narrowed_later: false,
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn iso() -> Vec<u8> {
    let mut bytes = vec![0; 40_000];
    let at = usize::try_from(SIGNATURE_AT).unwrap();
    bytes[at..at + SIGNATURE.len()].copy_from_slice(SIGNATURE);
    bytes
}

/// Serves this body to each who asks, cutting the first answers off in the middle; the number of requests is the task's value.
async fn serve(
    body: Vec<u8>,
    cuts: usize,
    requests: usize,
) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/boot2docker.iso", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for number in 0..requests {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let from = head
                .split_once("range: bytes=")
                .map_or(0, |(_, rest)| rest.split('-').next().unwrap().parse::<usize>().unwrap());
            let status = if from > 0 {
                format!(
                    "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                    body.len() - 1,
                    body.len()
                )
            } else {
                "200 OK".to_owned()
            };
            let to = if number < cuts { body.len() / 2 } else { body.len() };
            let length = body.len() - from;
            let answer = format!(
                "HTTP/1.1 {status}\r\nETag: \"a\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&body[from..to]).await.unwrap();
            heads.push(head);
        }
        heads
    });
    (url, task)
}

#[tokio::test]
async fn a_file_is_used_where_it_lies() {
    let place = Place::new();
    let file = place.put("mine.iso", &iso());
    assert_eq!(place.fetch(&file).await.unwrap(), Path::new(&file));
    assert_eq!(place.fetch(&format!("file://{file}")).await.unwrap(), Path::new(&file));
    let sum = checksum::of_file(Path::new(&file)).unwrap();
    assert!(place.fetch(&format!("{file}#sha256={sum}")).await.is_ok());
    let error = place.fetch(&format!("{file}#sha256={}", "0".repeat(64))).await.unwrap_err();
    assert!(error.to_string().contains(&sum), "{error}");
    let cached = place.put("cache/boot2docker.iso", &iso());
    assert_eq!(place.fetch("boot2docker.iso").await.unwrap(), Path::new(&cached));
}

#[tokio::test]
async fn what_is_no_cd_image_is_refused() {
    let place = Place::new();
    let text = place.put("text", b"hello");
    for (wanted, says) in [
        (text.as_str(), "is no CD image"),
        ("/no/such/file", "can't be read"),
        ("ftp://example.com/b.iso", "ftp://"),
        ("http://", "makes no sense"),
        ("/x#sha256=12", "checksum"),
    ] {
        let error = place.fetch(wanted).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wanted}");
        assert!(error.to_string().contains(says), "{wanted}: {error}");
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off_and_is_kept() {
    let place = Place::new();
    let (url, served) = serve(iso(), 1, 2).await;
    let sum = checksum::of_text(&String::from_utf8(iso()).unwrap());
    let file = place.fetch(&format!("{url}#sha256={sum}")).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), iso());
    let heads = served.await.unwrap();
    assert!(heads[1].contains("range: bytes=20000-"), "{}", heads[1]);
    // From now on nobody is asked.
    assert_eq!(place.fetch(&url).await.unwrap(), file);
    let own = iso_for(&place.cx(), &url).await.unwrap();
    assert_eq!(own, place.dir.path().join(ISO));
    fs::remove_file(&file).unwrap();
    assert_eq!(iso_for(&place.cx(), &url).await.unwrap(), own, "what the machine has is its own");
}

#[tokio::test]
async fn a_download_that_is_something_else_is_not_kept() {
    let place = Place::new();
    for (body, fragment, says) in [
        (b"<html>".to_vec(), String::new(), "is no CD image"),
        (iso(), format!("#sha256={}", "0".repeat(64)), "has the checksum"),
    ] {
        let (url, served) = serve(body, 0, 1).await;
        let error = place.fetch(&format!("{url}{fragment}")).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        served.await.unwrap();
    }
    let left = fs::read_dir(place.dir.path().join("cache")).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() != Some("lock".as_ref()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The real `tar` reads it, and it begins with the words and fits into what boot2docker reads of a disk (4096 bytes).
#[test]
fn the_head_of_a_disk_is_a_tar_archive() {
    let key = format!("ssh-rsa {} dev", "A".repeat(700));
    let head = disk_head(&key);
    assert!(head.starts_with(MAGIC.as_bytes()) && head.len() <= 4096, "{}", head.len());
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("head.tar"), &head).unwrap();
    let untar = std::process::Command::new("tar").args(["-xf", "head.tar"]).current_dir(dir.path()).status();
    assert!(untar.unwrap().success());
    assert_eq!(fs::read_to_string(dir.path().join(".ssh/authorized_keys")).unwrap(), format!("{key}\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(".ssh"), mode(".ssh/authorized_keys")), (0o700, 0o644));
    }
}
