//! What docker/machine 0.16.2 answered about a machine whose engine runs (`data/live.json`), byte for byte, and what
//! real shells make of `env`.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use machine_testkit::lab::{Host, Variant};
use machine_testkit::skip;
use support::World;

/// The address that the recorded table was made with had as many characters.
const RECORDED_WIDTH: usize = "10.99.1.2".len();

fn recorded() -> BTreeMap<String, String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/live.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The command line of a recorded case and what its environment had besides.
fn command_line(case: &str) -> (Vec<&str>, Vec<(&'static str, &'static str)>) {
    let env = |shell: &'static str| vec!["env", "--shell", shell, "g2"];
    let no_proxy = |shell: &'static str| vec!["env", "--shell", shell, "--no-proxy", "g2"];
    match case {
        "env-autodetect" => (vec!["env", "g2"], vec![]),
        "env-noSHELL" => (vec!["env", "g2"], vec![("SHELL", "")]),
        "env-bash" => (env("bash"), vec![]),
        "env-sh" => (env("sh"), vec![]),
        "env-fish" => (env("fish"), vec![]),
        "env-cmd" => (env("cmd"), vec![]),
        "env-powershell" => (env("powershell"), vec![]),
        "env-noproxy-bash" => (no_proxy("bash"), vec![]),
        "env-noproxy-fish" => (no_proxy("fish"), vec![]),
        "env-noproxy-set-bash" => (no_proxy("bash"), vec![("NO_PROXY", "localhost")]),
        "env-noproxy-lower-bash" => (no_proxy("bash"), vec![("no_proxy", "lower")]),
        "config" | "ip" | "status" | "url" | "version" => (vec![case, "g2"], vec![]),
        "ls" => (vec!["ls"], vec![]),
        "ls-active" => (vec!["ls"], vec![("DOCKER_HOST", "tcp://@IP@:2376")]),
        other => panic!("no command line for the recorded case {other}"),
    }
}

fn expected(text: &str, store: &str, ip: &str) -> String {
    let wider = " ".repeat(ip.len() - RECORDED_WIDTH);
    let header = |line: &str| line.replacen("URL ", &format!("URL {wider}"), 1);
    let lines =
        text.split('\n').map(|line| if line.starts_with("NAME ") { header(line) } else { line.into() });
    lines.collect::<Vec<_>>().join("\n").replace("@STORE@", store).replace("@IP@", ip)
}

#[test]
fn answers_about_a_running_machine() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let created = world.create(&host, "g2", &[]);
    let told = "run: docker-machine env g2\n";
    assert!(created.ok().ends_with(told), "{created}");
    let (store, ip) = (world.store().to_str().unwrap().to_owned(), host.address().to_string());
    for (case, text) in recorded() {
        let (args, more) = command_line(&case);
        let mut command = world.command(&args);
        for (key, value) in more {
            match value {
                "" => command.env_remove(key),
                _ => command.env(key, value.replace("@IP@", &ip)),
            };
        }
        let output = command.output().unwrap();
        let mut said = String::from_utf8(output.stdout).unwrap();
        // The recording of the failure has both streams; a hint of ours follows.
        if case == "env-noSHELL" {
            assert_eq!(output.status.code(), Some(1), "{case}");
            let error = String::from_utf8(output.stderr).unwrap();
            said += error.split_inclusive('\n').next().unwrap();
            assert!(error.contains("--shell"), "{error}");
        } else {
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{case}");
        }
        assert_eq!(said, expected(&text, &store, &ip), "{case}");
    }
    shells_take_env(&world, &host);
    a_second_store_with_odd_characters(&host);
}

const SHOW: &str =
    r#"printf '%s|' "$DOCKER_HOST" "$DOCKER_CERT_PATH" "$DOCKER_MACHINE_NAME" "$DOCKER_TLS_VERIFY""#;
const SHOW_TCSH: &str =
    r#"printf "%s|" "$DOCKER_HOST" "$DOCKER_CERT_PATH" "$DOCKER_MACHINE_NAME" "$DOCKER_TLS_VERIFY""#;

/// (program, value of `--shell`, how its users evaluate it, how it shows the variables).
const SHELLS: &[(&str, &str, &str, &str)] = &[
    ("bash", "bash", "eval $(docker-machine env --shell bash g2)", SHOW),
    ("bash", "sh", "eval \"$(docker-machine env --shell sh g2)\"", SHOW),
    ("dash", "sh", "eval $(docker-machine env --shell sh g2)", SHOW),
    ("zsh", "zsh", "eval $(docker-machine env --shell zsh g2)", SHOW),
    ("fish", "fish", "eval (docker-machine env --shell fish g2)", SHOW),
    ("fish", "fish", "docker-machine env --shell fish g2 | source", SHOW),
    ("tcsh", "tcsh", "eval `docker-machine env --shell tcsh g2`", SHOW_TCSH),
];

/// Every shell that is installed takes the variables, finds the engine with them, and forgets them again.
fn shells_take_env(world: &World, host: &Host) {
    for (program, shell, evaluate, show) in SHELLS {
        if !skip::require(&[program]) {
            continue;
        }
        let want = format!("tcp://{}:2376|{}|g2|1|", host.address(), world.machine_dir("g2").display());
        let run = world.shell(program, &format!("{evaluate}\n{show}"));
        assert_eq!(run.ok(), want, "{program}");
        let unset = evaluate.replace("env --shell", "env -u --shell").replace(" g2", "");
        let gone = match *program {
            "tcsh" => format!("{evaluate}\n{unset}\nenv | grep -c DOCKER_; true"),
            _ => format!("{evaluate}\n{unset}\nenv | grep -c DOCKER_ || true"),
        };
        assert_eq!(world.shell(program, &gone).ok(), "0\n", "{program} {shell} -u");
    }
}

/// Spaces, quotes and dollars in the path of a store reach the shell as they are.
fn a_second_store_with_odd_characters(host: &Host) {
    let Some(world) = World::with_store("a b'c\"d$HOME`e") else { return };
    world.create(host, "g2", &[]).ok();
    for (program, _, evaluate, show) in SHELLS {
        if !skip::require(&[program]) {
            continue;
        }
        // csh can't evaluate a double quote or a backtick in a double-quoted word, whatever is done to them.
        if *program == "tcsh" {
            continue;
        }
        let want = format!("tcp://{}:2376|{}|g2|1|", host.address(), world.machine_dir("g2").display());
        assert_eq!(world.shell(program, &format!("{evaluate}\n{show}")).ok(), want, "{program}");
    }
    assert_eq!(world.answer(&["ssh", "g2", "echo", "hello"]), "hello\n");
}
