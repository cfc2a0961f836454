//! `image …` through the real binary, with images from a server of the test's own.

#[path = "../../machine-http/tests/server/mod.rs"]
mod server;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use machine_image::{Arch, Cache};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::{Answer, Gate, Server};

const MIB: usize = 1024 * 1024;

/// A store, and a server.
struct Place {
    dir: tempfile::TempDir,
    server: Server,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: Server::start() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-machine"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("MACHINE_STORAGE_PATH", self.store());
        command.current_dir(self.dir.path()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Publishes something that passes for a raw disk; its address with its checksum.
    fn publish(&self, path: &str) -> String {
        let mut disk = vec![7; MIB];
        disk[510..512].copy_from_slice(b"\x55\xaa");
        let digest = machine_image::checksum::of_bytes(&disk);
        self.server.page(path, Answer::ok(disk));
        format!("{}#sha256={digest}", self.server.url(path))
    }
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

#[test]
fn from_pull_to_prune() {
    let place = Place::new();
    assert_eq!(place.run(&["image", "ls", "-q"]).out, "");
    assert_eq!(place.run(&["image", "ls", "--json"]).json(), Value::Array(Vec::new()));
    let header = "NAME   ARCH   SIZE   CREATED   ORIGIN   ENGINE   IN USE   STATUS\n";
    assert_eq!(place.run(&["image", "ls"]).out, header);
    assert!(!place.store().join("cache").exists(), "a look makes nothing");

    let url = place.publish("/first.img");
    let pulled = place.run(&["image", "pull", "--arch", "arm64", &url]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.err);
    let id = pulled.out.trim_end().to_owned();
    assert!(id.starts_with("first-arm64-"), "{id}");
    assert_eq!(
        place.run(&["image", "pull", "--arch", "aarch64", &url]).err,
        "The image first is up to date.\n"
    );

    let table = place.run(&["image", "ls"]).out;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split("   ").map(str::trim).collect();
    assert_eq!((row[0], row[1], row[2]), ("first", "arm64", "1.0 MiB"), "{table}");
    assert!(table.trim_end().ends_with("ok"), "{table}");
    assert_eq!(place.run(&["image", "ls", "-q"]).out, format!("{id}\n"));
    let rows = place.run(&["image", "ls", "--json"]).json();
    assert_eq!((&rows[0]["Bytes"], &rows[0]["Origin"]), (&MIB.into(), &"downloaded".into()));
    assert_eq!(place.run(&["image", "ls", "-f", "{{.Name}} {{.Format}}"]).out, "first raw\n");

    // Damage is shown, and healed.
    let file = PathBuf::from(rows[0]["File"].as_str().unwrap());
    fs::remove_file(&file).unwrap();
    fs::write(&file, vec![8; MIB]).unwrap();
    assert_eq!(place.run(&["image", "ls", "-f", "{{.Status}}"]).out, "changed\n");
    assert_eq!(place.run(&["image", "ls", "--verify", "-f", "{{.Status}}"]).out, "damaged\n");
    assert_eq!(place.run(&["image", "pull", "--arch", "aarch64", &url]).out, format!("{id}\n"));
    assert_eq!(place.run(&["image", "ls", "--verify", "-f", "{{.Status}}"]).out, "ok\n");

    // What a machine uses stays.
    let machine = place.store().join("machines/dev");
    fs::create_dir_all(&machine).unwrap();
    let cache = Cache::of_store(&place.store());
    let image = cache.find("first", Arch::Aarch64).unwrap().unwrap();
    cache.used_by(&image, &machine).unwrap();
    let refused = place.run(&["image", "rm", "first"]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(refused.err.starts_with("the image \"first\" is used by dev\nHint: "), "{}", refused.err);
    assert_eq!(place.run(&["image", "ls", "-f", "{{.InUse}}"]).out, "dev\n");
    assert_eq!(place.run(&["image", "prune", "-f"]).out, "Total reclaimed space: 0 B\n");
    fs::remove_dir_all(machine).unwrap();
    let nobody = place.run(&["image", "prune"]);
    assert!(nobody.err.contains("EOF") && nobody.err.contains("-f answers yes"), "{}", nobody.err);
    let pruned = place.run(&["image", "prune", "-f"]);
    assert!(pruned.out.starts_with(&format!("{id}\nTotal reclaimed space: 1.0 MiB")), "{}", pruned.out);
    assert_eq!(place.run(&["image", "ls"]).out, header);
}

#[test]
fn several_at_once_and_what_goes_wrong() {
    let place = Place::new();
    let (first, second) = (place.publish("/first.img"), place.publish("/second.img"));
    let wrong = format!("{}#sha256={}", place.server.url("/first.img"), "0".repeat(64));
    let said = place.run(&["image", "pull", "--json", &first, &wrong, "no-such", &second]);
    assert_eq!(said.code, Some(1));
    let names: Vec<_> = said.json().as_array().unwrap().iter().map(|row| row["Name"].clone()).collect();
    assert_eq!(names, ["first", "second"]);
    assert!(said.err.contains("has the wrong checksum: sha256:"), "{}", said.err);
    assert!(said.err.contains("there is no image \"no-such\""), "{}", said.err);
    let said = place.run(&["image", "rm", "--json", "first", "first", "other"]);
    assert_eq!(said.json()["Removed"].as_array().unwrap().len(), 1);
    assert!(said.err.contains("There is no image \"other\" here"), "{}", said.err);
    let said = place.run(&["image", "rm"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("Error: Expected to get one or more images as arguments"), "{}", said.err);
    for (args, text) in [
        (["image", "pull", "--arch", "mips"], "unknown architecture \"mips\""),
        (["image", "build", "--arch", "mips"], "unknown architecture \"mips\""),
        (["image", "build", "--size", "0"], "invalid value \"0\" for flag -size"),
        (["image", "build", "--size", "-1"], "invalid value \"-1\" for flag -size"),
    ] {
        let said = place.run(&args);
        assert!(said.code == Some(1) && said.err.starts_with(text), "{args:?}: {}", said.err);
    }
}

#[test]
fn what_can_be_had() {
    let place = Place::new();
    let names = place.run(&["image", "ls", "--available", "-q"]).out;
    assert!(names.starts_with("debian-13\n"), "{names}");
    let table = place.run(&["image", "ls", "--available"]).out;
    assert!(table.starts_with("NAME ") && table.contains("ubuntu-24.04 "), "{table}");
    let rows = place.run(&["image", "ls", "--available", "-f", "json"]).json();
    assert!(rows[0]["Url"].as_str().unwrap().starts_with("https://"));
}

#[test]
fn interrupted_and_gone_on_with() {
    let place = Place::new();
    let url = place.publish("/first.img");
    let (path, gate) = ("/first.img", Gate::default());
    let mut disk = vec![7; MIB];
    disk[510..512].copy_from_slice(b"\x55\xaa");
    place.server.page(path, Answer::ok(disk).etag("\"1\"").hold(MIB / 2, &gate));
    let child = place.command(&["image", "pull", &url]).spawn().unwrap();
    let downloads = place.store().join("cache/images/.download");
    let part = loop {
        let entries = fs::read_dir(&downloads).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut parts = entries.filter(|path| path.extension().is_some_and(|end| end == "part"));
        if let Some(part) = parts.next() {
            break part;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    gate.open();
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.ends_with("the same command again goes on with it.\n"), "{}", said.err);
    assert!(part.exists());
    assert_eq!(place.run(&["image", "ls", "-q"]).out, "");
    let again = place.run(&["image", "pull", &url]);
    assert_eq!(again.code, Some(0), "{}", again.err);
}
