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
    set_password(&lifecycle, name, user, &password)?;
    copy(&lifecycle.store().machine_dir(name), &folder)?;
    let url = lifecycle.known(&machine)?.url;
    output::print_line(&format!("To see that it works, run: docker --tls -H {url} info"))
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
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.map(|home| home.join(".docker"))
        .ok_or_else(|| CliError::new("this user has no home folder").with_hint("give --docker-cert-dir DIR"))
}

/// Somebody else's certificates must not be written over: that is seen before anything is made.
fn fits(store: &Path, folder: &Path) -> Result<(), CliError> {
    let (Ok(there), ours) = (fs::read(folder.join("ca.pem")), fs::read(store.join("certs/ca.pem"))) else {
        return Ok(());
    };
    if ours.is_ok_and(|ours| ours == there) {
        return Ok(());
    }
    Err(CliError::new(format!("{} has certificates of another CA in it", folder.display()))
        .with_hint("give another folder: --docker-cert-dir DIR, and DOCKER_CERT_PATH=DIR to docker"))
}

fn copy(machine: &Path, folder: &Path) -> Result<(), CliError> {
    let failed = |file: &str, error: std::io::Error| {
        CliError::new(format!("{file} can't be put into {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(|error| failed("nothing", error))?;
    for file in FILES {
        let (from, to) = (machine.join(file), folder.join(file));
        let content = fs::read(&from).map_err(|error| failed(file, error))?;
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        write_private(&to, &content).map_err(|error| failed(file, error))?;
    }
    Ok(())
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content)
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
