//! Downloads into the cache, from a server with faults.

#[path = "../../machine-http/tests/server/mod.rs"]
mod server;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use machine_core::{Event, Reporter, Silent};
use machine_http::{HttpError, Settings};
use machine_image::catalogue::{Check, DEFAULT, Entry};
use machine_image::disk::Format;
use machine_image::{Arch, Cache, CachedImage, ImageError, Origin};
use server::{Answer, Gate, Server};

const ARCH: Arch = Arch::X86_64;
const MIB: usize = 1024 * 1024;

/// Something that passes for a raw disk, and is not the same everywhere.
fn disk(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at * 31 / 7 % 251) as u8).collect();
    bytes[..2].copy_from_slice(b"\xeb\x63");
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn sha512(bytes: &[u8]) -> String {
    hex(digest(&SHA512, bytes).as_ref())
}

fn http() -> Settings {
    Settings {
        proxies: false,
        extra_ca: None,
        tries: 3,
        pause: Duration::from_millis(1),
        ..Settings::default()
    }
}

fn entry(name: &'static str, url: String, check: Check) -> Entry {
    Entry {
        name: name.into(),
        aliases: vec![Cow::from(format!("alias-of-{name}"))],
        about: "".into(),
        url: url.into(),
        check,
    }
}

/// A store, and a server that publishes in it.
struct Place {
    store: tempfile::TempDir,
    server: Server,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        let server = Server::start();
        let cache = Cache::of_store(store.path()).with_http(http()).with_catalogue(Vec::new());
        Self { store, server, cache }
    }

    /// With the default of the catalogue at `/i/{debian}.img`, and a list of checksums.
    fn with_default(mut self) -> Self {
        let list = self.server.url("/i/SHA512SUMS");
        let url = self.server.url("/i/{debian}.img");
        self.cache = self.cache.with_catalogue(vec![entry(DEFAULT, url, Check::List(list.into()))]);
        self
    }

    fn url(&self, path: &str, content: &[u8]) -> String {
        format!("{}#sha256={}", self.server.url(path), sha256(content))
    }

    async fn fetch(&self, wanted: &str) -> Result<CachedImage, ImageError> {
        self.cache.fetch(wanted, ARCH, &Silent).await
    }

    fn unfinished(&self) -> Vec<PathBuf> {
        files(&self.cache.folder().join(".download"))
    }

    /// Nothing is left but images and the cache's lock.
    fn assert_tidy(&self) {
        assert_eq!(self.unfinished(), [] as [PathBuf; 0]);
        let hidden: Vec<_> = files(self.cache.folder())
            .into_iter()
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'))
            .filter(|path| !path.ends_with(".lock") && !path.ends_with(".download"))
            .collect();
        assert_eq!(hidden, [] as [PathBuf; 0]);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What was said.
#[derive(Default)]
struct Said(Mutex<Vec<Event>>);

impl Reporter for Said {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Said {
    fn lines(&self) -> String {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter_map(|event| match event {
                Event::Notice(line) | Event::Warning(line) => Some(format!("{line}\n")),
                _ => None,
            })
            .collect()
    }
}

// ---- what goes well

#[tokio::test]
async fn the_default_comes_with_its_checksum_and_stays() {
    let place = Place::new().with_default();
    let image = disk(3 * MIB);
    place.server.page("/i/amd64.img", Answer::ok(image.clone()));
    place.server.page("/i/SHA512SUMS", Answer::ok(format!("{}  amd64.img\n", sha512(&image))));
    assert_eq!(place.cache.find("", ARCH).unwrap(), None);
    assert!(!place.cache.folder().exists(), "a look makes nothing");
    let said = Said::default();
    let got = place.cache.fetch("", ARCH, &said).await.unwrap();
    assert!(fs::read(&got.file).unwrap() == image);
    assert_eq!((got.name.as_str(), got.format, got.bytes), (DEFAULT, Format::Raw, image.len() as u64));
    assert_eq!(got.sha256, sha256(&image));
    assert_eq!(got.id, format!("{DEFAULT}-amd64-{}", &got.sha256[..12]));
    assert_eq!(got.origin, Origin::Downloaded { url: place.server.url("/i/amd64.img") });
    assert!(got.file.metadata().unwrap().permissions().readonly());
    assert_eq!(said.lines(), "");
    let transfers: Vec<_> =
        said.0.lock().unwrap().iter().filter(|e| matches!(e, Event::Transfer { .. })).cloned().collect();
    let total = image.len() as u64;
    assert!(
        matches!(&transfers[0], Event::Transfer { what, done: 0, total: Some(all) } if what == "amd64.img" && *all == total)
    );
    assert_eq!(
        transfers.last(),
        Some(&Event::Transfer { what: "amd64.img".into(), done: total, total: Some(total) })
    );
    place.assert_tidy();
    assert_eq!(place.server.take_requests().len(), 2);
    for wanted in ["", DEFAULT, &format!("alias-of-{DEFAULT}"), &got.id] {
        assert_eq!(place.fetch(wanted).await.unwrap(), got, "{wanted}");
    }
    assert_eq!(place.cache.find("", Arch::Aarch64).unwrap(), None);
    assert!(place.server.take_requests().is_empty(), "nobody is asked for what is here");
    assert_eq!(place.cache.list().unwrap(), [got]);
}

#[tokio::test]
async fn pull_gets_what_is_new_and_leaves_the_old() {
    let place = Place::new().with_default();
    let (old, new) = (disk(MIB), disk(MIB + 512));
    let publish = |image: &[u8]| {
        place.server.page("/i/amd64.img", Answer::ok(image));
        place.server.page("/i/SHA512SUMS", Answer::ok(format!("{}  amd64.img\n", sha512(image))));
    };
    publish(&old);
    let first = place.fetch(DEFAULT).await.unwrap();
    place.server.take_requests();
    let said = Said::default();
    assert_eq!(place.cache.pull(DEFAULT, ARCH, &said).await.unwrap(), first);
    assert_eq!(said.lines(), format!("The image {DEFAULT} is up to date.\n"));
    assert_eq!(place.server.take_requests().len(), 1, "the list of checksums");
    publish(&new);
    assert_eq!(place.fetch(DEFAULT).await.unwrap(), first);
    let second = place.cache.pull(DEFAULT, ARCH, &Silent).await.unwrap();
    assert!(fs::read(&second.file).unwrap() == new && fs::read(&first.file).unwrap() == old);
    assert_eq!(place.cache.list().unwrap().len(), 2);
    assert_eq!(place.cache.find(&first.id, ARCH).unwrap(), Some(first));
}

#[tokio::test]
async fn the_three_ways_to_a_checksum() {
    let place = Place::new();
    let image = disk(MIB);
    let url = || place.server.url("/a.img");
    place.server.page("/a.img", Answer::ok(image.clone()));
    place
        .server
        .page("/a.img.CHECKSUM", Answer::ok(format!("# x\nSHA256 (another.name) = {}\n", sha256(&image))));
    place.server.page("/wrong", Answer::ok(format!("{}  a.img\n", "0".repeat(64))));
    let known = |hex: String| Check::Known(vec![(ARCH, format!("sha256:{hex}").into())]);
    let own = |path: &str| Check::Own(place.server.url(path).into());
    let cache = place.cache.clone().with_catalogue(vec![
        entry("own", url(), own("/a.img.CHECKSUM")),
        entry("known", url(), known(sha256(&image))),
        entry("own-wrong", url(), own("/wrong")),
        entry("known-wrong", url(), known("0".repeat(64))),
        entry("other", place.server.url("/b.img"), Check::List(place.server.url("/wrong").into())),
    ]);
    for name in ["own", "known"] {
        assert_eq!(cache.fetch(name, ARCH, &Silent).await.unwrap().name, name);
    }
    for name in ["own-wrong", "known-wrong"] {
        let error = cache.fetch(name, ARCH, &Silent).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ImageError::WrongChecksum { .. }), "{text}");
        assert!(text.contains(&format!("sha256:{} instead of sha256:000", sha256(&image))), "{text}");
        place.assert_tidy();
    }
    let error = cache.fetch("other", ARCH, &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} has no checksum of b.img", place.server.url("/wrong")));
    let error = cache.fetch("none-of-these", ARCH, &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no image \"none-of-these\"");
    assert!(error.hint().unwrap().contains("use one of own, known, "), "{:?}", error.hint());
}

#[tokio::test]
async fn addresses() {
    let place = Place::new();
    let image = disk(MIB);
    place.server.page("/x/My%20disk.qcow2", Answer::ok(image.clone()));
    let plain = place.server.url("/x/My%20disk.qcow2?token=hidden").replace("http://", "http://me:hidden@");
    let said = Said::default();
    let got = place.cache.fetch(&plain, ARCH, &said).await.unwrap();
    assert!(
        said.lines().starts_with("http://127.0.0.1") && said.lines().contains("unprotected"),
        "{}",
        said.lines()
    );
    assert!(!format!("{said:?} {got:?}", said = said.lines()).contains("hidden"));
    let record = fs::read_to_string(got.file.parent().unwrap().join("image.json")).unwrap();
    assert!(!record.contains("hidden"), "{record}");
    assert_eq!(got.name, "My-20disk");
    // The same address is the same image, another query is not.
    assert_eq!(place.cache.find(&plain, ARCH).unwrap(), Some(got.clone()));
    assert_eq!(place.cache.find(&plain.replace("token", "other"), ARCH).unwrap(), None);
    // A checksum must fit what is here.
    let right = format!("{plain}#sha256={}", sha256(&image));
    assert_eq!(place.cache.find(&right, ARCH).unwrap(), Some(got.clone()));
    assert_eq!(place.cache.find(&format!("{plain}#sha256={}", "0".repeat(64)), ARCH).unwrap(), None);
    assert_eq!(place.cache.find("My-20disk", ARCH).unwrap(), Some(got));
    let wrong = place.fetch(&format!("{plain}#sha512={}", "0".repeat(128))).await.unwrap_err();
    assert!(matches!(wrong, ImageError::WrongChecksum { .. }), "{wrong}");
    let long = format!("{}#sha512={}", place.server.url("/x/My%20disk.qcow2"), sha512(&image));
    place.fetch(&long).await.unwrap();
    place.assert_tidy();
}

/// An address may end in a name of the catalogue; it is not what is meant by that name.
#[tokio::test]
async fn an_address_does_not_take_the_place_of_the_catalogue() {
    let place = Place::new().with_default();
    let image = disk(MIB);
    place.server.page(&format!("/{DEFAULT}.img"), Answer::ok(image.clone()));
    let got = place.fetch(&place.url(&format!("/{DEFAULT}.img"), &image)).await.unwrap();
    assert_eq!(got.name, DEFAULT);
    assert_eq!(place.cache.find(DEFAULT, ARCH).unwrap(), None);
    assert_eq!(place.cache.find("", ARCH).unwrap(), None);
}

// ---- faults

#[tokio::test]
async fn what_breaks_off_goes_on() {
    let place = Place::new();
    let image = disk(4 * MIB);
    let whole = Answer::ok(image.clone()).etag("\"1\"");
    place.server.pages("/a.img", [whole.clone().cut(MIB), whole.clone().cut(MIB + 7), whole]);
    let got = place.fetch(&place.url("/a.img", &image)).await.unwrap();
    assert!(fs::read(&got.file).unwrap() == image);
    let ranges: Vec<_> =
        place.server.take_requests().iter().map(|request| request.header("range").to_owned()).collect();
    assert_eq!(ranges, ["".to_owned(), format!("bytes={MIB}-"), format!("bytes={}-", 2 * MIB + 7)]);
    place.assert_tidy();
}

#[tokio::test]
async fn it_gives_up_and_goes_on_later() {
    let place = Place::new();
    let image = disk(4 * MIB);
    let url = place.url("/a.img", &image);
    let whole = Answer::ok(image.clone()).etag("\"1\"");
    place.server.pages("/a.img", [whole.clone().cut(3 * MIB), whole.clone().cut(0)]);
    let said = Said::default();
    let error = place.cache.fetch(&url, ARCH, &said).await.unwrap_err();
    assert!(matches!(error, ImageError::Http(HttpError::Cut { .. })), "{error}");
    assert!(
        said.lines().contains("the transfer broke off") && said.lines().contains("trying again in"),
        "{}",
        said.lines()
    );
    let part = place.unfinished().into_iter().find(|path| path.extension().is_some_and(|end| end == "part"));
    assert_eq!(part.unwrap().metadata().unwrap().len(), 3 * MIB as u64);
    place.server.take_requests();
    place.server.page("/a.img", whole);
    let said = Said::default();
    let got = place.cache.fetch(&url, ARCH, &said).await.unwrap();
    assert!(
        said.lines().contains("Going on with the download of a.img: 3 MiB are there."),
        "{}",
        said.lines()
    );
    assert!(fs::read(&got.file).unwrap() == image);
    let requests = place.server.take_requests();
    assert_eq!((requests.len(), requests[0].header("range")), (1, &*format!("bytes={}-", 3 * MIB)));
    // The checksum tells in the end.
    assert_eq!(requests[0].header("if-range"), "");
    place.assert_tidy();
}

#[tokio::test]
async fn what_can_not_go_on_begins_again() {
    let (old, new) = (disk(3 * MIB), disk(3 * MIB + 512));
    let next = Answer::ok(new.clone());
    // It knows no parts; it changed; it is shorter now than what is there; nothing says whether it changed.
    for (first, second) in [
        (Answer::ok(old.clone()).etag("\"1\""), next.clone().etag("\"1\"").without_ranges()),
        (Answer::ok(old.clone()).etag("\"1\""), next.clone().etag("\"2\"")),
        (Answer::ok(disk(5 * MIB)).etag("\"1\"").cut(4 * MIB), next.clone().etag("\"1\"")),
        (Answer::ok(old.clone()), next.clone()),
    ] {
        let place = Place::new();
        // Without a checksum: else the address would be another with another content.
        let url = place.server.url("/a.img");
        let cut = Answer { cut_after: first.cut_after.or(Some(2 * MIB)), ..first };
        place.server.pages("/a.img", [cut, Answer::status(404)]);
        assert!(place.fetch(&url).await.is_err());
        place.server.page("/a.img", second);
        let got = place.fetch(&url).await.unwrap();
        assert!(fs::read(&got.file).unwrap() == new);
        place.assert_tidy();
    }
}

#[tokio::test]
async fn a_wrong_rest_is_found_by_the_checksum() {
    let place = Place::new();
    let image = disk(2 * MIB);
    let url = place.url("/a.img", &image);
    place.server.pages("/a.img", [Answer::ok(image.clone()).cut(MIB), Answer::status(404)]);
    assert!(place.fetch(&url).await.is_err());
    // No validator, but a checksum: it goes on, and finds out.
    place.server.page("/a.img", Answer::ok(vec![7; 2 * MIB]));
    let error = place.fetch(&url).await.unwrap_err();
    assert!(matches!(error, ImageError::WrongChecksum { .. }), "{error}");
    place.assert_tidy();
    // Two mirrors, of which one has something else: it begins again by itself.
    place.server.pages("/a.img", [Answer::ok(vec![7; 2 * MIB]).cut(MIB), Answer::ok(image)]);
    let said = Said::default();
    place.cache.fetch(&url, ARCH, &said).await.unwrap();
    assert!(said.lines().ends_with("beginning again\n"), "{}", said.lines());
    let ranges: Vec<_> =
        place.server.take_requests().iter().rev().take(2).map(|r| r.header("range").to_owned()).collect();
    assert_eq!(ranges, ["".to_owned(), format!("bytes={MIB}-")]);
}

#[tokio::test]
async fn what_was_whole_already_needs_nothing_more() {
    let place = Place::new();
    let image = disk(MIB);
    let url = place.url("/a.img", &image);
    // All bytes came, but not the end that was promised.
    place.server.page("/a.img", Answer::ok(image.clone()).length(image.len() + 1));
    assert!(fs::read(place.fetch(&url).await.unwrap().file).unwrap() == image);
    let requests = place.server.take_requests();
    assert_eq!((requests.len(), requests[1].header("range")), (2, &*format!("bytes={MIB}-")));
}

#[tokio::test]
async fn refusals() {
    let place = Place::new();
    let image = disk(MIB);
    let url = place.url("/a.img", &image);
    for (answer, requests, text) in [
        (Answer::status(404), 1, "the server answered 404 Not Found"),
        (Answer::status(403), 1, "the server answered 403 Forbidden"),
        (Answer::status(500), 3, "the server answered 500 Internal Server Error"),
        (Answer::redirect("/a.img"), 11, "it redirects more than 10 times"),
        (Answer::ok(image.clone()).cut(0), 3, "the transfer broke off"),
    ] {
        place.server.page("/a.img", answer);
        let error = place.fetch(&url).await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert_eq!(place.server.take_requests().len(), requests, "{text}");
        assert!(place.cache.list().unwrap().is_empty());
    }
    // It passes.
    place.server.pages("/a.img", [Answer::status(503), Answer::status(500), Answer::ok(image)]);
    place.fetch(&url).await.unwrap();
}

#[tokio::test]
async fn what_is_no_disk_image_is_refused() {
    let place = Place::new();
    let mut backed = disk(MIB);
    backed[..16].copy_from_slice(b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0");
    for (content, text) in [
        (b"<!DOCTYPE html><html>".to_vec(), "is not a disk image but a web page"),
        (b"\xfd7zXZ\0abc".to_vec(), "is not a disk image but a compressed file (xz)"),
        (b"# Disk DescriptorFile".to_vec(), "refers to other files, and is not used"),
        (backed, "refers to other files, and is not used"),
    ] {
        place.server.page("/a.img", Answer::ok(content));
        let error = place.fetch(&place.server.url("/a.img")).await.unwrap_err();
        assert!(error.to_string().ends_with(text), "{error}");
        assert!(error.hint().is_some());
        place.assert_tidy();
    }
    place.server.take_requests();
    let error = place.fetch(&place.server.url("/a.qcow2.XZ")).await.unwrap_err();
    assert!(error.to_string().ends_with("a compressed file"), "{error}");
    assert!(place.server.take_requests().is_empty(), "it is not downloaded first");
}

// ---- two processes, and one that dies

/// What a child process of these tests gets: `store` and `url`.
const CHILD: &str = "MACHINE_TEST_FETCH";

/// Not a test of its own: what a child process does.
#[tokio::test]
async fn child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let (store, url) = order.split_once(' ').unwrap();
    let cache = Cache::of_store(Path::new(store)).with_http(http());
    cache.fetch(url, ARCH, &Silent).await.unwrap();
}

fn spawn(place: &Place, url: &str) -> Child {
    let order = format!("{} {url}", place.store.path().display());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child"]).env(CHILD, order).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until the part has so many bytes.
fn wait_for_part(place: &Place, bytes: u64) -> PathBuf {
    loop {
        let part =
            place.unfinished().into_iter().find(|path| path.extension().is_some_and(|end| end == "part"));
        if let Some(part) = part.filter(|part| part.metadata().is_ok_and(|meta| meta.len() >= bytes)) {
            return part;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn killed_and_gone_on_with() {
    let place = Place::new();
    let image = disk(9 * MIB);
    let url = place.url("/a.img", &image);
    let gate = Gate::default();
    place.server.page("/a.img", Answer::ok(image.clone()).etag("\"1\"").hold(8 * MIB, &gate));
    let mut child = spawn(&place, &url);
    // What is written lags a little behind what came.
    wait_for_part(&place, 4 * MIB as u64);
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();
    let mut ends: Vec<_> = place
        .unfinished()
        .iter()
        .map(|path| path.extension().unwrap().to_string_lossy().into_owned())
        .collect();
    ends.sort();
    assert_eq!(ends, ["json", "lock", "part"]);
    assert!(place.cache.list().unwrap().is_empty());
    let there = wait_for_part(&place, 1).metadata().unwrap().len();
    place.server.page("/a.img", Answer::ok(image.clone()).etag("\"1\""));
    place.server.take_requests();
    let got = place.fetch(&url).await.unwrap();
    assert!(fs::read(&got.file).unwrap() == image);
    assert_eq!(place.server.take_requests()[0].header("range"), format!("bytes={there}-"));
    place.assert_tidy();
}

/// Opens a gate when it hears of another process.
struct Opens<'a>(&'a Gate, Said);

impl Reporter for Opens<'_> {
    fn report(&self, event: Event) {
        if matches!(event, Event::Waiting { .. }) {
            self.0.open();
        }
        self.1.report(event);
    }
}

#[tokio::test]
async fn one_downloads_and_the_other_waits() {
    for with_checksum in [true, false] {
        let place = Place::new();
        let image = disk(2 * MIB);
        let url = if with_checksum { place.url("/a.img", &image) } else { place.server.url("/a.img") };
        let gate = Gate::default();
        place.server.page("/a.img", Answer::ok(image.clone()).hold(MIB, &gate));
        let mut child = spawn(&place, &url);
        wait_for_part(&place, 1);
        let report = Opens(&gate, Said::default());
        let got = place.cache.pull(&url, ARCH, &report).await.unwrap();
        assert!(child.wait().unwrap().success());
        assert!(fs::read(&got.file).unwrap() == image);
        assert_eq!(report.1.lines(), "Another docker-machine is downloading a.img: waiting for it.\n");
        assert_eq!(place.server.take_requests().len(), 1);
        assert_eq!(place.cache.list().unwrap().len(), 1);
        place.assert_tidy();
    }
}

#[tokio::test]
async fn prune_leaves_what_is_being_downloaded() {
    let place = Place::new();
    let image = disk(2 * MIB);
    let url = place.url("/a.img", &image);
    let gate = Gate::default();
    place.server.page("/a.img", Answer::ok(image).hold(MIB, &gate));
    let mut child = spawn(&place, &url);
    wait_for_part(&place, 1);
    assert_eq!(place.cache.prune().unwrap().bytes, 0);
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();
    assert!(place.cache.prune().unwrap().bytes > 0);
    place.assert_tidy();
}
