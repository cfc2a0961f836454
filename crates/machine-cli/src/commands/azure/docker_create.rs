//! `azure vm docker create`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{EngineOptions, FlagValue, FlagValues, MachineName, Secret, SwarmOptions};
use machine_drivers::azure::NAME;
use machine_lifecycle::{ConnectOptions, CreateRequest, Error, InstallMethod, Lifecycle};
use machine_ssh::ExecLimits;

use super::{configured, driver_flags, password};
use crate::commands::create;
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress;
use crate::{output, runtime};

/// The client's files.
const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];
/// How long the setting of the password may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the machine, gives its user the password, and puts the certificates where `docker` looks for them.
pub fn run(
    invocation: &Invocation,
    name: &str,
    image: &str,
    user: &str,
    given: &str,
) -> Result<(), CliError> {
    let password = password::read(given)?;
    let flags = flags(invocation, name, image, user)?;
    configured(invocation, name, &flags)?;
    let folder = folder(invocation)?;
    let lifecycle = invocation.lifecycle();
    fits(&invocation.globals.store_path, &folder)?;
    let request = request(name, flags)?;
    let report = progress::reporter(name, create::to(invocation), create::view(invocation));
    let made = runtime::run(async { Ok(lifecycle.create(request, &*report).await) }, || {
        Some(create::left(&lifecycle, name, &invocation.program.called()))
    })?;
    drop(report);
    let machine = made.map_err(CliError::from)?;
    // Without the certificates the host is of no use; without the password it is.
    copy(&lifecycle.store().machine_dir(name), &folder)?;
    let password_set = set_password(&lifecycle, name, user, &password);
    let url = lifecycle.known(&machine)?.url;
    output::print_line(&format!("To see that it works, run: {}", trial(&folder, &url)))?;
    password_set
}

/// The command that tries the engine, with the certificates of this folder.
fn trial(folder: &Path, url: &str) -> String {
    let docker = format!("docker --tls -H {url} info");
    if usual().is_some_and(|usual| usual == folder) {
        return docker;
    }
    format!("DOCKER_CERT_PATH={} {docker}", quoted(&folder.to_string_lossy()))
}

/// As a word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Where `docker --tls` looks for certificates.
fn usual() -> Option<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.map(|home| home.join(".docker"))
}

fn flags(invocation: &Invocation, name: &str, image: &str, user: &str) -> Result<FlagValues, CliError> {
    let mut flags = driver_flags(invocation)?;
    let short = invocation.args.int("dp");
    let port = if short == 0 { invocation.args.int("docker-port") } else { short };
    let mut set = |flag: &str, value| flags.set(flag, value);
    set("azure-dns", FlagValue::Str(name.to_ascii_lowercase()));
    set("azure-image", FlagValue::Str(image.to_owned()));
    set("azure-ssh-user", FlagValue::Str(user.to_owned()));
    set("azure-docker-port", FlagValue::Int(port));
    if invocation.args.int("ssh") != 22 {
        return Err(CliError::new("SSH listens on port 22: Azure forwards no other port to it any more")
            .with_hint("leave -e away"));
    }
    Ok(flags)
}

fn request(name: &str, flags: FlagValues) -> Result<CreateRequest, CliError> {
    let list = || Some(Vec::new());
    Ok(CreateRequest {
        name: MachineName::new(name).map_err(|error| CliError::from(Error::BadName(error)))?,
        driver: NAME.to_owned(),
        flags,
        engine: EngineOptions {
            arbitrary_flags: list(),
            env: list(),
            insecure_registry: list(),
            labels: list(),
            registry_mirror: list(),
            tls_verify: true,
            install_url: "https://get.docker.com".to_owned(),
            ..EngineOptions::default()
        },
        swarm: SwarmOptions::default(),
        tls_sans: Vec::new(),
        key_algorithm: machine_tls::KeyAlgorithm::default(),
        install: InstallMethod::Url,
        registry_cas: Vec::new(),
        ssh_jumps: Vec::new(),
        allow_from: Vec::new(),
        rollback: false,
    })
}

/// `-dc`, else `~/.docker`.
fn folder(invocation: &Invocation) -> Result<PathBuf, CliError> {
    let (short, long) = (invocation.args.str("dc"), invocation.args.str("docker-cert-dir"));
    let given = if short.is_empty() { long } else { short };
    if !given.is_empty() {
        return Ok(PathBuf::from(given));
    }
    usual()
        .ok_or_else(|| CliError::new("this user has no home folder").with_hint("give --docker-cert-dir DIR"))
}

/// Somebody else's certificates must not be written over: that is seen before anything is made.
fn fits(store: &Path, folder: &Path) -> Result<(), CliError> {
    let ours = |file: &str| fs::read(store.join("certs").join(file)).ok();
    let there = |file: &str| fs::read(folder.join(file)).ok();
    // Below our CA all three are ours. Where there is none, each speaks for itself.
    let [ca, rest @ ..] = FILES;
    let judged: &[&str] = if there(ca).is_some() { &[ca] } else { &rest };
    let Some(other) = judged.iter().find(|file| there(file).is_some_and(|there| ours(file) != Some(there)))
    else {
        return Ok(());
    };
    Err(CliError::new(format!("{} has certificates of another CA in it ({other})", folder.display()))
        .with_hint("give another folder: --docker-cert-dir DIR, and DOCKER_CERT_PATH=DIR to docker"))
}

fn copy(machine: &Path, folder: &Path) -> Result<(), CliError> {
    let failed = |file: &str, error: std::io::Error| {
        CliError::new(format!("{file} can't be put into {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(|error| failed("nothing", error))?;
    for file in FILES {
        let content = fs::read(machine.join(file)).map_err(|error| failed(file, error))?;
        write_private(folder, file, &content).map_err(|error| failed(file, error))?;
    }
    Ok(())
}

/// Puts a file there that nobody else can read, whole or not at all, whatever was in its place.
fn write_private(folder: &Path, file: &str, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let new = folder.join(format!(".{file}.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&new).and_then(|mut opened| {
        opened.write_all(content)?;
        opened.sync_all()
    });
    written.and_then(|()| fs::rename(&new, folder.join(file))).inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

/// By the machine's own SSH connection, on standard input: it is in no argument and in no record.
fn set_password(lifecycle: &Lifecycle, name: &str, user: &str, password: &Secret) -> Result<(), CliError> {
    let report = progress::reporter(name, progress::To::Stderr, progress::View::Lines);
    let line = format!("{user}:{}\n", password.expose());
    let limits = ExecLimits { time: LIMIT, output: 4096 };
    runtime::look(async {
        let session = lifecycle.connect(name, &ConnectOptions::default(), &*report).await?;
        let said = session.exec("sudo chpasswd", line, &limits).await;
        session.close().await;
        match said {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(CliError::new(format!(
                "the password of {user:?} could not be set ({:?}); the machine works without it",
                output.status
            ))),
            Err(error) => Err(CliError::new(format!("the password of {user:?} could not be set: {error}"))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store with a CA, a client's certificate and key.
    fn store() -> tempfile::TempDir {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join("certs")).unwrap();
        for file in FILES {
            fs::write(store.path().join("certs").join(file), format!("our {file}")).unwrap();
        }
        store
    }

    #[test]
    fn certificates_of_others_are_not_written_over() {
        let store = store();
        for (there, fine) in [
            (vec![], true),
            (vec![("ca.pem", "our ca.pem"), ("cert.pem", "one of before")], true),
            (vec![("cert.pem", "our cert.pem")], true),
            (vec![("ca.pem", "another")], false),
            (vec![("key.pem", "another")], false),
            (vec![("cert.pem", "another")], false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (file, content) in &there {
                fs::write(folder.path().join(file), content).unwrap();
            }
            assert_eq!(fits(store.path(), folder.path()).is_ok(), fine, "{there:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_what_is_copied() {
        use std::os::unix::fs::PermissionsExt;
        let (store, folder) = (store(), tempfile::tempdir().unwrap());
        let key = folder.path().join("key.pem");
        for before in ["another", "our key.pem"] {
            fs::write(&key, before).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
            copy(&store.path().join("certs"), folder.path()).unwrap();
            assert_eq!(fs::read_to_string(&key).unwrap(), "our key.pem");
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), FILES.len());
    }

    #[test]
    fn the_command_names_the_folder_of_the_certificates() {
        let url = "tcp://old.westus.cloudapp.azure.com:4243";
        let docker = format!("docker --tls -H {url} info");
        assert_eq!(trial(&usual().unwrap(), url), docker);
        assert_eq!(trial(Path::new("./certs"), url), format!("DOCKER_CERT_PATH=./certs {docker}"));
        assert_eq!(trial(Path::new("/my folder"), url), format!("DOCKER_CERT_PATH='/my folder' {docker}"));
    }
}
