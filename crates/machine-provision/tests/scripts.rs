//! Rendered plans, run by real shells on a stand-in for a host (see `host`).

mod host;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use host::{FakeHost, KEY, bare, facts, files_with, has, shells, wish};
use machine_core::{EngineOptions, Secret};
use machine_provision::{
    Action, Content, EngineWish, File, InstallMethod, PackageManager, Plan, RegistryCa, ScriptError, Step,
    StepEvent, When, certificates_plan, plan, registry_plan, upgrade_plan,
};
use proptest::prelude::*;

fn one_step(limit_s: u32, action: Action) -> Plan {
    let steps = vec![Step { name: "the step".to_owned(), limit_s, action }];
    Plan { steps, warnings: Vec::new(), environment: Vec::new() }
}

fn command(argv: &[&str]) -> Action {
    Action::Command { argv: argv.iter().map(|word| (*word).to_owned()).collect(), when: When::Always }
}

#[test]
fn a_second_run_changes_nothing_and_restarts_nothing() {
    for shell in shells() {
        let host = FakeHost::new(&shell);
        let wish = EngineWish {
            engine: EngineOptions {
                labels: Some(vec!["a=b c\"d\\e$f%g".to_owned()]),
                env: Some(vec!["HTTP_PROXY=http://u:p%40$@proxy/".to_owned()]),
                arbitrary_flags: Some(vec!["dns=8.8.8.8".to_owned()]),
                ..EngineOptions::default()
            },
            registry_cas: vec![RegistryCa {
                registry: Some("hub.example:5000".to_owned()),
                pem: "registry".to_owned(),
            }],
            ..wish()
        };
        let plan = plan(&facts(), &wish).unwrap();
        let (_, outcome) = host.run(&plan);
        let outcome = outcome.unwrap();
        assert_eq!(outcome.unchanged, ["open firewall for the engine", "wait for engine"], "{shell:?}");
        assert_eq!(host.read("etc/docker/server-key.pem"), KEY);
        assert_eq!(host.read("etc/docker/ca.pem"), "ca\n");
        assert_eq!(host.read("etc/docker/certs.d/hub.example:5000/ca.crt"), "registry\n");
        assert_eq!(host.mode("etc/docker/server-key.pem"), 0o600);
        assert_eq!(host.mode("etc/docker/server.pem"), 0o644);
        assert_eq!(host.mode("etc/docker"), 0o755);
        assert_eq!(host.read("etc/hostname"), "dev\n");
        assert_eq!(host.read("proc/sys/kernel/hostname"), "dev\n");
        assert_eq!(host.read("etc/hosts"), "127.0.0.1\tlocalhost\n127.0.1.1 dev\n");
        assert_eq!(
            host.read("etc/systemd/system/docker.service.d/10-machine.conf"),
            "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2376 -H unix:///var/run/docker.sock \
             --storage-driver overlay2 --tlsverify --tlscacert /etc/docker/ca.pem --tlscert /etc/docker/server.pem \
             --tlskey /etc/docker/server-key.pem --label \"a=b c\\\"d\\\\e$$f%%g\" --label provider=generic --dns=8.8.8.8\n\
             Environment=\"HTTP_PROXY=http://u:p%%40$@proxy/\"\n"
        );
        let calls = host.calls();
        let starts = calls.iter().filter(|call| call.contains(" restart ")).count();
        assert_eq!(starts, 1, "{calls:?}");
        assert!(calls.contains(&"systemctl daemon-reload".to_owned()), "{calls:?}");

        let (_, again) = host.run(&plan);
        assert_eq!(again.unwrap().changed, Vec::<String>::new(), "{shell:?}");
        let calls = host.calls();
        assert!(!calls.iter().any(|call| call.contains("restart") || call.contains("reload")), "{calls:?}");
        let mut with_key = Vec::new();
        files_with(&host.path(""), "not'a", &mut with_key);
        assert_eq!(with_key, [host.path("etc/docker/server-key.pem")]);
    }
}

#[test]
fn a_restart_that_failed_is_done_by_the_next_run() {
    for shell in shells() {
        let host = FakeHost::new(&shell);
        host.write("state/broken", "");
        let plan = plan(&facts(), &wish()).unwrap();
        let (events, outcome) = host.run(&plan);
        let Err(ScriptError::Step { step, status, output, limit_s }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((step.as_str(), status, limit_s), ("restart engine", 1, None));
        assert_eq!(output.last().map(String::as_str), Some("failed to start daemon: something is wrong"));
        assert!(
            !events.contains(&StepEvent::Started { name: "wait for engine".to_owned() }),
            "it stops there"
        );

        // As if somebody had started it with the old command line: it runs and listens, but has not read the files.
        std::fs::remove_file(host.path("state/broken")).unwrap();
        host.write("state/active", "active\n");
        host.write("proc/net/tcp", "   0: 00000000:0948 00000000:0000 0A 0\n");
        let (_, outcome) = host.run(&plan);
        assert_eq!(outcome.unwrap().changed, ["restart engine"]);
        let (_, outcome) = host.run(&plan);
        assert_eq!(outcome.unwrap().changed, Vec::<String>::new());
    }
}

#[test]
fn new_certificates_restart_once_and_a_wrong_mode_does_not() {
    for shell in shells() {
        let host = FakeHost::new(&shell);
        host.run(&plan(&facts(), &wish()).unwrap()).1.unwrap();
        host.calls();
        std::fs::set_permissions(
            host.path("etc/docker/server-key.pem"),
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )
        .unwrap();
        let (_, outcome) = host.run(&certificates_plan(&facts(), &wish()).unwrap());
        assert_eq!(outcome.unwrap().changed, ["write server key"]);
        assert_eq!(host.mode("etc/docker/server-key.pem"), 0o600);
        assert!(!host.calls().iter().any(|call| call.contains("restart")));

        let mut renewed = wish();
        renewed.certificates.server_cert_pem = "renewed".to_owned();
        let (_, outcome) = host.run(&certificates_plan(&facts(), &renewed).unwrap());
        assert_eq!(outcome.unwrap().changed, ["write server certificate", "restart engine"]);
    }
}

#[test]
fn the_authority_of_one_registry_needs_no_restart() {
    let host = FakeHost::new(&shells()[0]);
    let registry_cas = vec![
        RegistryCa { registry: Some("a:1".to_owned()), pem: "one\n".to_owned() },
        RegistryCa { registry: Some("a:1".to_owned()), pem: "two".to_owned() },
    ];
    let (_, outcome) = host.run(&registry_plan(&facts(), &EngineWish { registry_cas, ..wish() }).unwrap());
    assert_eq!(outcome.unwrap().changed, ["write CA of registry a:1"]);
    assert_eq!(host.read("etc/docker/certs.d/a:1/ca.crt"), "one\ntwo\n");
    host.calls();

    host.shim("update-ca-certificates", "");
    let registry_cas = vec![RegistryCa { registry: None, pem: "all".to_owned() }];
    let (_, outcome) = host.run(&registry_plan(&facts(), &EngineWish { registry_cas, ..wish() }).unwrap());
    assert_eq!(outcome.unwrap().changed, ["write registry CA", "update trusted CAs", "restart engine"]);
    assert_eq!(host.read("usr/local/share/ca-certificates/docker-machine-registry.crt"), "all\n");
}

#[test]
fn names_in_etc_hosts() {
    for shell in shells() {
        for (before, after) in [
            (
                "127.0.0.1 localhost\n127.0.1.1\told.example old\n",
                "127.0.0.1 localhost\n127.0.1.1 dev old.example old\n",
            ),
            ("10.0.0.1 other\n127.0.1.1 dev.example dev\n", "10.0.0.1 other\n127.0.1.1 dev.example dev\n"),
            ("# dev\n127.0.0.1 devil dev.example", "# dev\n127.0.0.1 devil dev.example\n127.0.1.1 dev\n"),
            ("", "\n127.0.1.1 dev\n"),
            ("10.0.0.9\tdev\n", "10.0.0.9\tdev\n"),
        ] {
            let host = FakeHost::new(&shell);
            host.write("etc/hosts", before);
            let plan = one_step(9, Action::HostsEntry { name: "dev".to_owned() });
            host.run(&plan).1.unwrap();
            assert_eq!(host.read("etc/hosts"), after, "{shell:?}");
            assert_eq!(host.run(&plan).1.unwrap().changed, Vec::<String>::new(), "{shell:?}");
        }
        let host = FakeHost::new(&shell);
        std::fs::remove_file(host.path("etc/hosts")).unwrap();
        host.run(&one_step(9, Action::HostsEntry { name: "dev".to_owned() })).1.unwrap();
        assert_eq!(host.read("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 dev\n");
    }
}

/// A server that answers each request with the same text, on a port of its own.
fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/install", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn install_from(
    host: &FakeHost,
    url: &str,
) -> (Vec<StepEvent>, Result<machine_provision::Outcome, ScriptError>) {
    std::fs::remove_file(host.path("usr/bin/dockerd")).unwrap();
    let wish = EngineWish { install: InstallMethod::Url(url.to_owned()), set_hostname: false, ..wish() };
    host.run(&plan(&bare(), &wish).unwrap())
}

#[test]
fn an_engine_is_installed_by_a_script_that_may_read_and_print_what_it_likes() {
    if !has("curl") {
        return;
    }
    for shell in shells() {
        let host = FakeHost::new(&shell);
        let script = host.path("install.sh");
        let dockerd = host.path("usr/sbin/dockerd");
        let text = format!(
            "#!/bin/sh\ncat\nprintf 'no line end'\nmkdir -p {dir}\nprintf '#!/bin/sh\\n' >{path}\nchmod 755 {path}\n",
            dir = dockerd.parent().unwrap().display(),
            path = dockerd.display()
        );
        std::fs::write(&script, text).unwrap();
        let (events, outcome) = install_from(&host, &format!("file://{}", script.display()));
        assert!(outcome.unwrap().changed.contains(&"install engine".to_owned()), "{events:?}");
        let drop_in = host.read("etc/systemd/system/docker.service.d/10-machine.conf");
        assert!(drop_in.contains("\nExecStart=/usr/sbin/dockerd -H tcp"), "the path is looked up: {drop_in}");
        assert!(!drop_in.contains("storage-driver"), "a fresh engine chooses by itself: {drop_in}");
    }
}

#[test]
fn what_is_no_install_script_is_not_run() {
    if !has("curl") {
        return;
    }
    let host = FakeHost::new(&shells()[0]);
    for (answer, said, hint) in [
        ("HTTP/1.0 404 Gone\r\nContent-Length: 3\r\n\r\n#!x", "404", "--engine-install-url"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "no shell script", ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "nothing came", ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n#!/bin/sh\n", "there is no dockerd", ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 16\r\n\r\n#!/bin/sh\nexit 3", "", ""),
    ] {
        host.program("usr/bin/dockerd", ":");
        let (_, outcome) = install_from(&host, &server(answer));
        let error = outcome.unwrap_err();
        assert!(matches!(&error, ScriptError::Step { step, .. } if step == "install engine"), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error}: {:?}", error.hint());
        if answer.ends_with("exit 3") {
            assert!(matches!(error, ScriptError::Step { status: 3, .. }), "{error}");
        }
    }
    host.program("usr/bin/dockerd", ":");
    let (_, outcome) = install_from(&host, "http://127.0.0.1:1/");
    let error = outcome.unwrap_err();
    assert!(error.hint().unwrap().contains("does not reach the outside"), "{error}");
}

#[test]
fn an_engine_from_the_distribution_waits_for_locks_and_repairs() {
    // busybox prefers a dpkg of its own to the stand-in; no system with apt has it as its sh.
    for shell in shells().into_iter().filter(|argv| argv[0] != "busybox") {
        let host = FakeHost::new(&shell);
        std::fs::remove_file(host.path("usr/bin/dockerd")).unwrap();
        host.write("var/lib/dpkg/updates/0001", "");
        host.shim("dpkg", "rm \"$R/var/lib/dpkg/updates/0001\"");
        host.shim("apt-cache", "[ \"$2\" != docker-cli ] || echo 'Package: docker-cli'");
        host.shim(
            "apt-get",
            "case \"$*\" in *install*) mkdir -p \"$R/usr/sbin\"; echo '#!/bin/sh' >\"$R/usr/sbin/dockerd\"; chmod 755 \"$R/usr/sbin/dockerd\" ;; esac",
        );
        let wish = EngineWish { install: InstallMethod::Distro, set_hostname: false, ..wish() };
        let (_, outcome) = host.run(&plan(&bare(), &wish).unwrap());
        outcome.unwrap();
        let calls = host.calls();
        let installs: Vec<_> = calls
            .iter()
            .filter(|call| call.ends_with("install docker.io ca-certificates docker-cli"))
            .collect();
        assert_eq!(installs.len(), 1, "{calls:?}");
        assert!(installs[0].contains("-o DPkg::Lock::Timeout="), "{calls:?}");
        assert!(calls.contains(&"dpkg --force-confold --configure -a".to_owned()), "{calls:?}");
    }
}

#[test]
fn openrc_gets_the_same_arguments_and_is_restarted_once() {
    for shell in shells() {
        let host = FakeHost::new(&shell);
        std::fs::remove_dir(host.path("run/systemd/system")).unwrap();
        host.write("etc/conf.d/docker", "# the package's own\n");
        host.shim("rc-update", "case $1 in add) : >\"$R/state/enabled\" ;; show) [ ! -e \"$R/state/enabled\" ] || echo '   docker |   default' ;; esac");
        host.shim(
            "rc-service",
            "case $2 in status) grep -q '^active' \"$R/state/active\" ;; \
             restart) echo active >\"$R/state/active\"; echo ':0948 00000000:0000 0A ' >>\"$R/proc/net/tcp\" ;; esac",
        );
        let label = "a=it's \"b\" c\\d $e `f` *";
        let engine = EngineOptions {
            labels: Some(vec![label.to_owned()]),
            env: Some(vec!["A=it's $x".to_owned()]),
            ..EngineOptions::default()
        };
        let facts = machine_provision::HostFacts { init: machine_provision::InitSystem::OpenRc, ..facts() };
        let plan = plan(&facts, &EngineWish { engine, set_hostname: false, ..wish() }).unwrap();
        let (_, outcome) = host.run(&plan);
        assert!(outcome.unwrap().changed.contains(&"enable engine at boot".to_owned()), "{shell:?}");
        assert_eq!(host.read("etc/conf.d/docker.before-docker-machine"), "# the package's own\n");
        // As OpenRC does it: the file is sourced, and the arguments are evaluated once more.
        let conf = host.path("etc/conf.d/docker");
        let script =
            format!(". {}; eval \"set -- $DOCKER_OPTS\"; printf '%s\\n' \"$A\" \"$@\"", conf.display());
        let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &script]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[..3], ["it's $x", "-H", "tcp://0.0.0.0:2376"], "{shell:?}");
        assert!(lines.contains(&label), "{shell:?}: {lines:?}");
        host.calls();
        let (_, again) = host.run(&plan);
        assert_eq!(again.unwrap().changed, Vec::<String>::new(), "{shell:?}");
        assert!(!host.calls().iter().any(|call| call.contains("restart")));
    }
}

#[test]
fn proxies_reach_what_fetches() {
    let host = FakeHost::new(&shells()[0]);
    std::fs::remove_file(host.path("usr/bin/dockerd")).unwrap();
    host.shim("curl", "echo \"proxies: $http_proxy $HTTPS_PROXY\"; exit 7");
    let wish = EngineWish {
        engine: EngineOptions {
            env: Some(vec!["HTTP_PROXY=http://a".to_owned()]),
            ..EngineOptions::default()
        },
        proxies: vec![("https_proxy".to_owned(), Secret::new("http://b'c"))],
        ..wish()
    };
    let (events, _) = host.run(&plan(&bare(), &wish).unwrap());
    assert!(events.contains(&StepEvent::Output("proxies: http://a http://b'c".to_owned())), "{events:?}");
}

#[test]
fn cloud_init_is_waited_for_by_its_stage() {
    let host = FakeHost::new(&shells()[0]);
    host.write("run/cloud-init/status.json", "{\"v1\": {\"stage\": \"modules-config\"}}\n");
    host.shim("systemctl", "case $1 in show) echo ActiveState=activating ;; esac");
    let plan = one_step(3, Action::WaitForCloudInit);
    let (events, outcome) = host.run(&plan);
    let Err(ScriptError::Step { limit_s: Some(3), output, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(output, ["cloud-init is still at work: stage modules-config"]);
    let waits = |event: &StepEvent| matches!(event, StepEvent::Waiting { last, .. } if last.ends_with("stage modules-config"));
    assert!(events.iter().any(waits), "{events:?}");
    host.write("run/cloud-init/result.json", "{}");
    host.run(&plan).1.unwrap();
}

#[test]
fn who_holds_a_lock_is_named() {
    if !has("flock") {
        return;
    }
    for shell in shells() {
        let host = FakeHost::new(&shell);
        host.write("var/lib/dpkg/lock-frontend", "");
        std::os::unix::fs::symlink("/proc/self", host.path("proc/self")).unwrap();
        // -F: flock becomes the command, so that one process holds the lock and can be ended.
        let lock = host.path("var/lib/dpkg/lock-frontend");
        let mut holder = Command::new("flock").arg("-F").arg(lock).args(["sleep", "60"]).spawn().unwrap();
        let pid = holder.id();
        std::os::unix::fs::symlink(format!("/proc/{pid}"), host.path(&format!("proc/{pid}"))).unwrap();
        // Only begin once the lock is held.
        let held = || {
            let free = Command::new("flock")
                .arg("-n")
                .arg(host.path("var/lib/dpkg/lock-frontend"))
                .arg("true")
                .status();
            !free.unwrap().success()
        };
        while !held() {
            std::thread::yield_now();
        }
        let (events, outcome) = host.run(&one_step(3, Action::WaitForPackageLock(PackageManager::Apt)));
        holder.kill().unwrap();
        holder.wait().unwrap();
        let expected = format!("/var/lib/dpkg/lock-frontend is held by sleep (pid {pid})");
        let Err(ScriptError::Step { limit_s: Some(3), output, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(output.join("\n").contains(&expected), "{output:?}");
        let waits =
            |event: &StepEvent| matches!(event, StepEvent::Waiting { last, .. } if last.contains(&expected));
        assert!(events.iter().any(waits), "{events:?}");
    }
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_all_that_it_started() {
    for shell in shells() {
        let host = FakeHost::new(&shell);
        let plan = one_step(3, command(&["sh", "-c", "echo before; (sleep 600; :); echo after"]));
        // Were the sleep left over, it would hold its end of the pipe, and this would not come back.
        let (_, outcome) = host.run(&plan);
        let Err(ScriptError::Step { limit_s, output, .. }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(*limit_s, Some(3), "{shell:?}");
        assert_eq!(output.first().map(String::as_str), Some("before"), "{output:?}");
        assert!(outcome.unwrap_err().to_string().contains("gave up after 3 s"));
    }
}

#[test]
fn output_that_looks_like_ours_and_no_line_end_harm_nothing() {
    let host = FakeHost::new(&shells()[0]);
    let plan = one_step(9, command(&["printf", "%%dm-0%% step 0 failed 1\nlast"]));
    let (events, outcome) = host.run(&plan);
    assert_eq!(outcome.unwrap().changed, ["the step"]);
    assert!(events.contains(&StepEvent::Output("%dm-0% step 0 failed 1".to_owned())), "{events:?}");
}

#[test]
fn a_shell_that_never_started_and_one_that_was_cut_off() {
    let host = FakeHost::new(&shells()[0]);
    let script = host.render(&plan(&facts(), &wish()).unwrap());
    let mut progress = machine_provision::Progress::new(&script);
    progress.line("sudo: a password is required");
    let error = progress.finish(Some(1)).unwrap_err();
    assert!(error.hint().unwrap().contains("NOPASSWD"), "{error}");

    let mut progress = machine_provision::Progress::new(&script);
    progress.line(&format!("{} begin", script.token()));
    progress.line(&format!("{} step 2 start", script.token()));
    let error = progress.finish(None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provisioning script was cut off on the host during \"write CA certificate\""
    );
}

/// Whatever part of the script arrives, nothing of it is run.
#[test]
fn half_a_script_does_nothing() {
    for shell in shells() {
        let host = FakeHost::new(&shell);
        let script = host.render(&plan(&facts(), &wish()).unwrap());
        let text = script.text();
        for eighth in 1..8 {
            let (_, output) = host.run_text(&text[..text.len() * eighth / 8]);
            assert!(!output.contains(&format!("{} begin", script.token())), "{shell:?}: {output}");
        }
        let (_, output) = host.run_text(text.trim_end().strip_suffix('}').unwrap());
        assert!(!output.contains(&format!("{} begin", script.token())), "{shell:?}: {output}");
        assert_eq!(host.calls(), Vec::<String>::new());
        assert!(!host.path("etc/docker").exists());
    }
}

#[test]
fn upgrades_restart_only_for_a_new_version_that_the_package_did_not_start() {
    for (new, restarted_by_package, expected) in [(false, false, 0), (true, false, 1), (true, true, 0)] {
        let host = FakeHost::new(&shells()[0]);
        host.run(&plan(&facts(), &wish()).unwrap()).1.unwrap();
        host.calls();
        host.write("state/since", "1");
        host.shim("dpkg-query", "[ \"$4\" = docker.io ] && echo 'install ok installed'");
        let install = format!(
            "case \"$*\" in *install*) {} {} ;; esac",
            if new { "echo 'echo Docker version 24.0.0, build 2' >\"$R/usr/bin/dockerd\";" } else { "" },
            if restarted_by_package { "echo 2 >\"$R/state/since\"" } else { ":" }
        );
        host.shim("apt-get", &install);
        let (_, outcome) = host.run(&upgrade_plan(&facts(), &wish()).unwrap());
        assert_eq!(outcome.unwrap().changed.contains(&"upgrade engine".to_owned()), new);
        let calls = host.calls();
        assert_eq!(
            calls.iter().filter(|call| call.starts_with("systemctl restart")).count(),
            expected,
            "{calls:?}"
        );
        assert!(calls.iter().any(|call| call.ends_with("--only-upgrade install docker.io")), "{calls:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_content_arrives_as_it_is(text in any::<String>(), secret in any::<String>()) {
        for shell in shells() {
            let host = FakeHost::new(&shell);
            let file = |path: &str, content, mode| {
                let file = File { path: path.to_owned(), content, mode, restarts_engine: false, keep_original: false };
                Step { name: format!("write {path}"), limit_s: 9, action: Action::File(file) }
            };
            let steps = vec![
                file("/etc/some/text", Content::from(text.clone()), 0o644),
                file("/etc/other/secret", Content::Secret(Secret::new(secret.clone())), 0o600),
            ];
            let plan = Plan { steps, warnings: Vec::new(), environment: Vec::new() };
            host.run(&plan).1.unwrap();
            prop_assert_eq!(host.read("etc/some/text"), text.clone());
            prop_assert_eq!(host.read("etc/other/secret"), secret.clone());
        }
    }

    #[test]
    fn any_word_reaches_a_command(words in proptest::collection::vec("[^\0]{0,40}", 1..5)) {
        for shell in shells() {
            let host = FakeHost::new(&shell);
            let mut argv = vec!["sh".to_owned(), "-c".to_owned(), "shift; for w; do printf '%s|' \"$w\"; done >\"$0\"".to_owned()];
            argv.push(host.path("words").to_str().unwrap().to_owned());
            argv.push("-".to_owned());
            argv.extend(words.iter().cloned());
            host.run(&one_step(9, Action::Command { argv, when: When::Always })).1.unwrap();
            let expected: String = words.iter().map(|word| format!("{word}|")).collect();
            prop_assert_eq!(host.read("words"), expected);
        }
    }
}
