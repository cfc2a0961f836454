//! The engine's command line, and the file that it stands in.

use machine_core::StringList;

use super::daemon_json;
use super::layout::{Form, Layout};
use super::{Content, File, Piece};
use crate::shell::quote;
use crate::systemd::{environment, exec_argument, refuse, split_command_line};
use crate::{EngineWish, Family, HostFacts, PlanError};

/// The file with the engine's command line and environment.
pub fn options_file(facts: &HostFacts, wish: &EngineWish, layout: &Layout) -> Result<File, PlanError> {
    let arguments = arguments(facts, wish, layout)?;
    daemon_json::check(facts, &arguments)?;
    let environment = environment_of(wish)?;
    let content = match layout.form {
        Form::DropIn => drop_in(facts, &arguments, &environment),
        Form::OpenRc => openrc(&arguments, &environment),
        Form::Boot2Docker => boot2docker(wish, layout, &arguments, &environment)?,
        Form::RancherOs => rancheros(&arguments, &environment)?,
    };
    // A proxy may have a password in its address.
    let mode = if wish.proxies.iter().any(|(_, value)| value.expose().contains('@')) { 0o600 } else { 0o644 };
    Ok(File {
        path: layout.options_file.to_owned(),
        content,
        mode,
        restarts_engine: true,
        keep_original: layout.form != Form::DropIn,
    })
}

/// The arguments of dockerd, in the reference program's order. Source: `libmachine/provision/systemd.go` of docker/machine.
fn arguments(facts: &HostFacts, wish: &EngineWish, layout: &Layout) -> Result<Vec<String>, PlanError> {
    let engine = &wish.engine;
    let dir = layout.certificates_dir;
    let mut arguments: Vec<String> =
        ["-H", &format!("tcp://0.0.0.0:{}", wish.port), "-H", "unix:///var/run/docker.sock"]
            .map(str::to_owned)
            .into();
    if let Some(driver) = storage_driver(facts, wish) {
        check("--engine-storage-driver", &driver)?;
        arguments.extend(["--storage-driver".to_owned(), driver]);
    }
    arguments.push("--tlsverify".to_owned());
    for (flag, file) in
        [("--tlscacert", "ca.pem"), ("--tlscert", "server.pem"), ("--tlskey", "server-key.pem")]
    {
        arguments.extend([flag.to_owned(), format!("{dir}/{file}")]);
    }
    if engine.selinux_enabled || facts.engine.selinux_by_distribution {
        arguments.push("--selinux-enabled".to_owned());
    }
    let mut labels = engine.labels.clone().unwrap_or_default();
    let provider = format!("provider={}", wish.provider);
    if !labels.contains(&provider) {
        labels.push(provider);
    }
    for label in &labels {
        if !label.contains('=') {
            return Err(bad("--engine-label", label, "it has no =; a label is KEY=VALUE"));
        }
    }
    for (what, flag, values) in [
        ("--engine-label", "--label", &Some(labels)),
        ("--engine-insecure-registry", "--insecure-registry", &engine.insecure_registry),
        ("--engine-registry-mirror", "--registry-mirror", &engine.registry_mirror),
    ] {
        for value in values.iter().flatten() {
            check(what, value)?;
            arguments.extend([flag.to_owned(), value.clone()]);
        }
    }
    arguments.extend(free_flags(&engine.arbitrary_flags)?);
    Ok(arguments)
}

/// `--engine-opt`: `dns=8.8.8.8` becomes `--dns=8.8.8.8`, and `log-opt max-size=10m` becomes two arguments, because the reference
/// program pastes the text behind two dashes and lets systemd divide it.
fn free_flags(flags: &StringList) -> Result<Vec<String>, PlanError> {
    let mut arguments = Vec::new();
    for flag in flags.iter().flatten() {
        check("--engine-opt", flag)?;
        let text = flag.trim_start_matches('-').trim();
        if text.is_empty() {
            return Err(bad("--engine-opt", flag, "it is empty"));
        }
        match text.split_once(char::is_whitespace) {
            Some((name, value)) if !name.contains('=') => {
                arguments.extend([format!("--{name}"), value.trim_start().to_owned()]);
            }
            _ => arguments.push(format!("--{text}")),
        }
    }
    Ok(arguments)
}

/// Which storage driver is put on the command line.
///
/// The reference program names overlay2 if the user names none. That was a help when engines chose aufs or
/// devicemapper; today it does harm: since 18.09 engines choose overlay2 by themselves, they go on with the driver that has their
/// data (btrfs, zfs, …), and from 29 on a fresh engine uses containerd's image store, which `--storage-driver overlay2` turns off so that
/// all its images and containers are gone from sight (docs.docker.com/engine/storage/containerd). So:
///
/// - what the user names is taken;
/// - a driver that our own drop-in already names is kept, so that nothing changes from run to run;
/// - overlay2, as the reference program has it, for an engine before 29 that was there before us and has no data of another driver;
/// - else none: the engine knows best.
fn storage_driver(facts: &HostFacts, wish: &EngineWish) -> Option<String> {
    let wished = &wish.engine.storage_driver;
    if !wished.is_empty() {
        // The same key in daemon.json and on the command line is an error of dockerd even where both agree.
        let agrees = daemon_json::string(facts, "storage-driver").is_some_and(|there| there == *wished);
        return (!agrees).then(|| wished.clone());
    }
    if facts.family == Family::RancherOs {
        return Some("overlay".to_owned());
    }
    if daemon_json::string(facts, "storage-driver").is_some() {
        return None;
    }
    if let Some(text) = &facts.engine.drop_in {
        return named_in(text);
    }
    let before_29 = facts.engine.version_number().is_some_and(|(major, _)| major < 29);
    let no_other_data = facts.engine.data_of.iter().all(|driver| driver == "overlay2");
    let overlay_works = !matches!(facts.engine.filesystem.as_str(), "btrfs" | "zfs");
    (before_29 && no_other_data && overlay_works).then(|| "overlay2".to_owned())
}

/// The storage driver that a drop-in names.
fn named_in(drop_in: &str) -> Option<String> {
    let line = drop_in.lines().rev().find_map(|line| {
        line.trim().strip_prefix("ExecStart=").map(str::trim).filter(|command| !command.is_empty())
    })?;
    let words = split_command_line(line);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-s" | "--storage-driver" => return words.next().cloned(),
            _ => {
                if let Some(value) = word.strip_prefix("--storage-driver=") {
                    return Some(value.to_owned());
                }
            }
        }
    }
    None
}

/// The engine's environment: the user's, and the proxies that it does not name itself.
fn environment_of(wish: &EngineWish) -> Result<Vec<(String, String)>, PlanError> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for assignment in wish.engine.env.iter().flatten() {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(bad("--engine-env", assignment, "it has no =; a variable is NAME=VALUE"));
        };
        check_name("--engine-env", name)?;
        check("--engine-env", value)?;
        variables.push((name.to_owned(), value.to_owned()));
    }
    for (name, value) in &wish.proxies {
        let value = value.expose();
        check_name("proxy variable", name)?;
        if refuse(value).is_some() {
            return Err(bad("proxy variable", name, "its value has a line end or control character"));
        }
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.clone(), value.to_owned()));
        }
    }
    Ok(variables)
}

fn drop_in(facts: &HostFacts, arguments: &[String], variables: &[(String, String)]) -> Content {
    let mut head = String::from("[Service]\n");
    if facts.family == Family::Flatcar {
        head.push_str("Environment=TMPDIR=/var/tmp\n");
    }
    head.push_str("ExecStart=\nExecStart=");
    let mut tail = String::new();
    for argument in arguments {
        tail.push(' ');
        tail.push_str(&exec_argument(argument));
    }
    if facts.family == Family::Flatcar {
        // Set by the system's own units, e.g. flannel's; the reference program appends them there as well.
        tail.push_str(" $DOCKER_OPTS $DOCKER_OPT_BIP $DOCKER_OPT_MTU $DOCKER_OPT_IPMASQ");
    }
    tail.push('\n');
    if !variables.is_empty() {
        let words: Vec<String> =
            variables.iter().map(|(name, value)| environment(&format!("{name}={value}"))).collect();
        tail.push_str(&format!("Environment={}\n", words.join(" ")));
    }
    let program = match &facts.engine.dockerd_path {
        Some(path) => Piece::Text(exec_argument(path)),
        None => Piece::DockerdPath,
    };
    Content::Pieces(vec![Piece::Text(head), program, Piece::Text(tail)])
}

/// OpenRC evaluates the value of `DOCKER_OPTS` once more, so each argument is quoted for the shell, and then the whole.
fn openrc(arguments: &[String], variables: &[(String, String)]) -> Content {
    let words: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
    let mut text = format!("# Written by docker-machine.\nDOCKER_OPTS={}\n", quote(&words.join(" ")));
    for (name, value) in variables {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    text.into()
}

/// Source: `libmachine/provision/boot2docker.go` of docker/machine.
fn boot2docker(
    wish: &EngineWish,
    layout: &Layout,
    arguments: &[String],
    variables: &[(String, String)],
) -> Result<Content, PlanError> {
    let driver = if wish.engine.storage_driver.is_empty() { "overlay2" } else { &wish.engine.storage_driver };
    let dir = layout.certificates_dir;
    // The profile has variables of its own for the addresses, the storage driver and the certificates.
    let extra: Vec<String> = without_profile_variables(arguments);
    let mut text = format!(
        "EXTRA_ARGS={}\nCACERT={dir}/ca.pem\nDOCKER_HOST='-H tcp://0.0.0.0:{}'\nDOCKER_STORAGE={}\nDOCKER_TLS=auto\n\
         SERVERKEY={dir}/server-key.pem\nSERVERCERT={dir}/server.pem\n",
        quote(&divided_at_space(&extra)?),
        wish.port,
        quote(driver),
    );
    for (name, value) in variables {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    Ok(text.into())
}

fn without_profile_variables(arguments: &[String]) -> Vec<String> {
    let mut rest = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-H" | "--storage-driver" | "--tlscacert" | "--tlscert" | "--tlskey" => {
                words.next();
            }
            "--tlsverify" => {}
            _ => rest.push(word.clone()),
        }
    }
    rest
}

/// Source: `libmachine/provision/generic.go` and `rancheros.go` of docker/machine.
fn rancheros(arguments: &[String], variables: &[(String, String)]) -> Result<Content, PlanError> {
    let mut text = format!("DOCKER_OPTS={}\n", quote(&divided_at_space(arguments)?));
    for (name, value) in variables {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    Ok(text.into())
}

/// Arguments for a file whose reader divides at white space and knows no quotes.
fn divided_at_space(arguments: &[String]) -> Result<String, PlanError> {
    for argument in arguments {
        if argument.is_empty() || argument.contains(|c: char| c.is_whitespace() || "*?[".contains(c)) {
            return Err(bad(
                "engine option",
                argument,
                "this system divides options at spaces and can't quote",
            ));
        }
    }
    Ok(arguments.join(" "))
}

fn check(what: &'static str, value: &str) -> Result<(), PlanError> {
    refuse(value).map_or(Ok(()), |why| Err(bad(what, value, why)))
}

/// A variable's name as shells and systemd take it.
fn check_name(what: &'static str, name: &str) -> Result<(), PlanError> {
    let ok = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if ok { Ok(()) } else { Err(bad(what, name, "a variable's name has letters, digits and _ only")) }
}

fn bad(what: &'static str, value: &str, why: &'static str) -> PlanError {
    PlanError::BadValue { what, value: value.to_owned(), why }
}
