//! Copies over a real sshd's SFTP, and without SFTP.

mod support;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use machine_ssh::{CopyOptions, Endpoint, Error, Session, copy_between};
use support::{Settings, Sshd, have, have_sshd, run};

const RECURSIVE: CopyOptions = CopyOptions { recursive: true, preserve: false };

async fn upload(session: &Session, from: &Path, to: &Path, options: CopyOptions) -> Result<(), Error> {
    session.upload(from, to, &options, |_| {}).await
}

/// Files whose names have in them what programs stumble over.
fn odd_tree(root: &Path) {
    let odd: Vec<OsString> = vec![
        "plain".into(),
        "with space".into(),
        "new\nline".into(),
        "-rf".into(),
        "--".into(),
        "*?[a]".into(),
        "q'uo\"te$(id)`id`\\".into(),
        "ünïcödé".into(),
        OsString::from_vec(vec![0xff, 0xfe, b'x']),
        ".hidden".into(),
        "~".into(),
    ];
    for (n, name) in odd.iter().enumerate() {
        fs::create_dir_all(root.join(name).join("inner")).expect("folder");
        fs::write(root.join(name).join("inner").join(name), vec![n as u8; n * 1000]).expect("file");
    }
    fs::create_dir(root.join("empty")).expect("folder");
    fs::write(root.join("empty file"), "").expect("file");
    symlink("empty file", root.join("link to file")).expect("symlink");
    symlink("plain", root.join("link to folder")).expect("symlink");
}

/// `diff -r` follows links as a copy does.
fn assert_same(a: &Path, b: &Path) {
    run("diff", &["-r", a.to_str().expect("UTF-8"), b.to_str().expect("UTF-8")]);
}

#[tokio::test]
async fn sixty_four_mebibytes_there_and_back_are_the_same() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    // Pseudo-random, so that no block is like another.
    let mut state = 1u64;
    let data: Vec<u8> = (0..(64 << 20) / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    fs::write(at("original"), &data).expect("write");
    drop(data);
    let mut told = Vec::new();
    let options = CopyOptions::default();
    session
        .upload(&at("original"), at("there"), &options, |p| told.push((p.file, p.total)))
        .await
        .expect("upload");
    assert_eq!(told.first(), Some(&((0, 64 << 20), 0)));
    assert_eq!(told.last(), Some(&((64 << 20, 64 << 20), 64 << 20)));
    assert!(told.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    session.download(at("there"), &at("back"), &options, |_| {}).await.expect("download");
    let sums = run(
        "sha256sum",
        &["original", "there", "back"]
            .map(|n| at(n).to_str().expect("UTF-8").to_owned())
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    let sums: Vec<&str> = sums.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(sums.len() == 3 && sums[0] == sums[1] && sums[1] == sums[2], "{sums:?}");
}

#[tokio::test]
async fn a_tree_with_odd_names_is_copied_there_back_and_across() {
    if !have_sshd() || !have(&["diff"]) {
        return;
    }
    let (server, other) = (Sshd::start(), Sshd::start());
    let (session, second) = (server.connect().await, other.connect().await);
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("tree")).expect("folder");
    odd_tree(&at("tree"));

    let error =
        upload(&session, &at("tree"), &at("there"), CopyOptions::default()).await.expect_err("a folder");
    assert!(error.to_string().contains("tree") && error.to_string().contains("directory"), "{error}");

    upload(&session, &at("tree"), &at("there"), RECURSIVE).await.expect("upload");
    assert_same(&at("tree"), &at("there"));
    assert!(!at("there/link to file").is_symlink() && at("there/link to folder/inner").is_dir());
    // An existing folder gets the copy put into it; once more over what is there.
    for _ in 0..2 {
        upload(&session, &at("tree"), &at("there"), RECURSIVE).await.expect("into");
        assert_same(&at("tree"), &at("there/tree"));
    }
    session.download(at("there/tree"), &at("back"), &RECURSIVE, |_| {}).await.expect("download");
    assert_same(&at("tree"), &at("back"));

    let (from, to) = (at("tree"), at("across"));
    let from = Endpoint { session: &session, path: from.as_os_str() };
    let to = Endpoint { session: &second, path: to.as_os_str() };
    copy_between(from, to, &RECURSIVE, |_| {}).await.expect("across");
    assert_same(&at("tree"), &at("across"));
}

#[tokio::test]
async fn modes_and_times_are_kept_when_asked_for() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("tree")).expect("folder");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (name, mode) in [("run", 0o755), ("secret", 0o600), ("read-only", 0o444), ("open", 0o666)] {
        fs::write(at("tree").join(name), name).expect("write");
        fs::set_permissions(at("tree").join(name), fs::Permissions::from_mode(mode)).expect("chmod");
        fs::File::open(at("tree").join(name)).expect("open").set_modified(old).expect("utimes");
    }
    fs::File::open(at("tree")).expect("open").set_modified(old).expect("utimes");
    fs::set_permissions(at("tree"), fs::Permissions::from_mode(0o555)).expect("chmod");
    let keep = CopyOptions { recursive: true, preserve: true };
    upload(&session, &at("tree"), &at("there"), keep).await.expect("upload");
    session.download(at("there"), &at("back"), &keep, |_| {}).await.expect("download");
    for copy in ["there", "back"] {
        for name in ["", "run", "secret", "read-only", "open"] {
            let (a, b) = (at("tree").join(name), at(copy).join(name));
            let (a, b) = (fs::metadata(a).expect("stat"), fs::metadata(b).expect("stat"));
            assert_eq!((a.mode(), a.mtime()), (b.mode(), b.mtime()), "{copy}/{name}");
        }
    }
    // Without, the mode is the source's less the umask, and nothing is more open than its source.
    upload(&session, &at("tree"), &at("fresh"), RECURSIVE).await.expect("upload");
    assert_eq!(fs::metadata(at("fresh/secret")).expect("stat").mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(at("fresh/run")).expect("stat").mode() & 0o700, 0o700);
}

#[tokio::test]
async fn errors_name_the_file() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").expect("write");
    let error = upload(&session, &at("missing"), &at("y"), RECURSIVE).await.expect_err("no such local file");
    assert!(matches!(&error, Error::LocalFile { path, .. } if *path == at("missing")), "{error:?}");
    let error =
        session.download(at("missing"), &at("y"), &RECURSIVE, |_| {}).await.expect_err("no such remote file");
    assert!(
        matches!(&error, Error::RemoteFile { path, why, .. }
        if Path::new(path) == at("missing") && why.contains("no such file")),
        "{error:?}"
    );
    let error = upload(&session, &at("file"), &at("no/folder/y"), RECURSIVE).await.expect_err("no folder");
    assert!(
        matches!(&error, Error::RemoteFile { .. }) && error.to_string().contains("no/folder/y"),
        "{error:?}"
    );
    let error = upload(&session, Path::new("/dev/null"), &at("y"), RECURSIVE).await.expect_err("a device");
    assert!(error.to_string().contains("regular"), "{error}");
    fs::create_dir(at("circle")).expect("folder");
    symlink(".", at("circle/again")).expect("symlink");
    let error = upload(&session, &at("circle"), &at("y"), RECURSIVE).await.expect_err("circle");
    assert!(error.to_string().contains("circle"), "{error}");
    // A file whose size the server does not know.
    session.download("/proc/version", &at("version"), &RECURSIVE, |_| {}).await.expect("download");
    assert_eq!(fs::read(at("version")).expect("read"), fs::read("/proc/version").expect("read"));
}

#[tokio::test]
async fn a_path_without_a_folder_is_in_the_home_directory() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("file"), "mine").expect("write");
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let name = format!(".machine-ssh-test-{}", std::process::id());
    for remote in [name.clone(), format!("~/{name}")] {
        upload(&session, &folder.path().join("file"), Path::new(&remote), CopyOptions::default())
            .await
            .expect("upload");
        assert_eq!(fs::read(home.join(&name)).expect("read"), b"mine");
        fs::remove_file(home.join(&name)).expect("remove");
    }
}

#[tokio::test]
async fn without_sftp_single_files_go_through_cat() {
    if !have_sshd() {
        return;
    }
    for extra in ["# Subsystem\n", "Subsystem sftp /nonexistent/sftp-server\n"] {
        let server = Sshd::with(&Settings { extra, ..Settings::default() });
        let session = server.connect().await;
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 253) as u8).collect();
        fs::write(at("it's big"), &data).expect("write");
        fs::set_permissions(at("it's big"), fs::Permissions::from_mode(0o750)).expect("chmod");
        let keep = CopyOptions { recursive: false, preserve: true };
        upload(&session, &at("it's big"), &at("the re"), keep).await.expect("upload");
        assert!(fs::read(at("the re")).expect("read") == data);
        assert_eq!(fs::metadata(at("the re")).expect("stat").mode() & 0o777, 0o750);
        fs::create_dir(at("into")).expect("folder");
        session.download(at("the re"), &at("into"), &CopyOptions::default(), |_| {}).await.expect("download");
        assert!(fs::read(at("into/the re")).expect("read") == data);

        let error = upload(&session, &at("into"), &at("x"), RECURSIVE).await.expect_err("a folder");
        assert!(error.to_string().contains("no SFTP"), "{error}");
        let error = session.download(at("missing"), &at("x"), &RECURSIVE, |_| {}).await.expect_err("missing");
        assert!(error.to_string().contains("no such file"), "{error}");
        let error = upload(&session, &at("the re"), &at("no/x"), RECURSIVE).await.expect_err("no folder");
        assert!(matches!(&error, Error::RemoteFile { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_noisy_start_up_file_is_named_as_the_trouble() {
    if !have_sshd() {
        return;
    }
    // Stands in for a .bashrc that prints: the subsystem's output starts with text.
    let extra = "Subsystem sftp echo Welcome to the machine, have a nice day\n";
    let server = Sshd::with(&Settings { extra, ..Settings::default() });
    let session = server.connect().await;
    let error = upload(&session, &server.key, Path::new("/tmp/never"), RECURSIVE).await.expect_err("noise");
    assert!(error.to_string().contains("start-up file"), "{error}");
}

#[tokio::test]
async fn a_connection_cut_during_a_copy_is_said_to_be_one() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let folder = tempfile::tempdir().expect("folder");
    let from = folder.path().join("from");
    fs::File::create(&from).expect("create").set_len(256 << 20).expect("truncate");
    let killer = session.clone();
    let mut killed = false;
    let result = session
        .upload(&from, folder.path().join("to"), &CopyOptions::default(), |progress| {
            if progress.total > 1 << 20 && !killed {
                killed = true;
                let killer = killer.clone();
                tokio::spawn(async move {
                    let _ = killer
                        .exec("kill -9 $PPID", bytes::Bytes::new(), &machine_ssh::ExecLimits::default())
                        .await;
                });
            }
        })
        .await;
    let error = result.expect_err("cut");
    assert!(
        matches!(&error, Error::Closed { doing, .. } if doing.contains("from") || doing.contains("to")),
        "{error:?}"
    );
}

/// As where a start-up file of the login shell waits for somebody to type.
#[tokio::test]
async fn an_sftp_server_that_never_starts_is_given_up() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { extra: "Subsystem sftp /bin/sleep 600", ..Settings::default() });
    let session = server.connect().await;
    let file = server.folder.path().join("user_key.pub");
    let error =
        upload(&session, &file, Path::new("/tmp/never"), CopyOptions::default()).await.expect_err("hangs");
    assert!(
        matches!(error, Error::TimedOut { .. }) && error.to_string().contains("the start of SFTP"),
        "{error:?}"
    );
    assert_eq!(session.exec("echo still", "", &Default::default()).await.expect("alive").stdout, b"still\n");
}
