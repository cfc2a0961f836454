//! Commands on a real sshd.

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use machine_ssh::{Error, ExecLimits, ExitStatus, Stream};
use support::{Settings, Sshd, have_sshd};

fn limits() -> ExecLimits {
    ExecLimits::of(Duration::from_secs(60))
}

#[tokio::test]
async fn exit_statuses_and_signals_come_through() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    for code in [0, 1, 255] {
        let output = session.exec(&format!("exit {code}"), Bytes::new(), &limits()).await.expect("exec");
        assert_eq!(output.status, ExitStatus::Code(code));
        assert_eq!(output.status.code(), i32::try_from(code).expect("small"));
        assert_eq!(output.status.success(), code == 0);
    }
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11)] {
        let output = session.exec(&format!("kill -{name} $$"), Bytes::new(), &limits()).await.expect("exec");
        assert_eq!(output.status, ExitStatus::Signal(name.into()));
        assert_eq!(output.status.code(), 128 + number);
    }
    let output = session.exec("/nonexistent/program", Bytes::new(), &limits()).await.expect("exec");
    assert_eq!(output.status, ExitStatus::Code(127));
    assert!(output.stderr_text().contains("/nonexistent/program"));
}

#[tokio::test]
async fn streams_stay_apart_and_input_ends() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let output = session.exec("cat; echo oops >&2; exit 3", "hello", &limits()).await.expect("exec");
    assert_eq!((output.stdout_text().as_str(), output.stderr_text().as_str()), ("hello", "oops\n"));
    assert_eq!(output.status, ExitStatus::Code(3));
    // Any byte, and more of them than a window holds, there and back.
    let data: Vec<u8> = (0..5_000_000u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let output = session.exec("cat", data.clone(), &limits()).await.expect("exec");
    assert_eq!(output.stdout.len(), data.len());
    assert!(output.stdout == data);
    // A command that does not read its input ends all the same.
    let output = session.exec("exit 4", data, &limits()).await.expect("exec");
    assert_eq!(output.status, ExitStatus::Code(4));
}

#[tokio::test]
async fn lines_are_handed_out_while_the_command_runs() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let marker = server.folder.path().join("seen");
    // The command goes on only after its first line has been seen here.
    let command = format!(
        "printf 'one\\r\\n'; while [ ! -e {0} ]; do sleep 0.05; done; echo two >&2; printf 'caf\\303\\251\\377'",
        marker.display()
    );
    let mut lines = Vec::new();
    let output = session
        .exec_streaming(&command, Bytes::new(), &limits(), |stream, line| {
            if line == "one" {
                std::fs::write(&marker, "").expect("marker");
            }
            lines.push((stream, line.to_owned()));
        })
        .await
        .expect("exec");
    assert!(output.status.success());
    let of = |wanted| {
        lines
            .iter()
            .filter(|(stream, _)| *stream == wanted)
            .map(|(_, line)| line.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(Stream::Stdout), ["one", "café\u{fffd}"]);
    assert_eq!(of(Stream::Stderr), ["two"]);
}

#[tokio::test]
async fn a_command_over_its_limit_is_ended_and_its_output_kept() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let ended = server.folder.path().join("ended");
    let command = format!("trap '' PIPE; while echo going; do sleep 0.05; done; touch {}", ended.display());
    let limit = ExecLimits::of(Duration::from_millis(700));
    let error = session.exec(&command, Bytes::new(), &limit).await.expect_err("limit");
    let Error::CommandTimedOut { received, .. } = &error else { panic!("{error:?}") };
    assert!(received.stdout_text().starts_with("going\n"));
    assert!(error.to_string().contains("going"), "{error}");
    // The session goes on, and nobody listens to the command any more. (It is sent SIGTERM too, which OpenSSH does not
    // pass on for root.)
    for _ in 0..400 {
        if ended.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(ended.exists(), "the command still has somebody to talk to");
    let output = session.exec("echo still here", Bytes::new(), &limits()).await.expect("exec");
    assert_eq!(output.stdout_text(), "still here\n");
}

#[tokio::test]
async fn output_over_the_cap_is_dropped_and_counted() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let limits = ExecLimits { output: 1000, ..limits() };
    let output = session.exec("head -c 3000000 /dev/zero", Bytes::new(), &limits).await.expect("exec");
    assert_eq!((output.stdout.len(), output.dropped), (1000, 2_999_000));
    assert!(output.status.success());
}

#[tokio::test]
async fn forty_commands_run_at_once_on_one_connection() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let gate = server.folder.path().join("gate");
    // All forty have to be running before any of them ends.
    let folder = server.folder.path().display();
    let runs = (0..40).map(|n| {
        let session = session.clone();
        let command = format!(
            "touch {folder}/up{n}; if [ $(ls {folder} | grep -c '^up') = 40 ]; then touch {0}; fi; \
             while [ ! -e {0} ]; do sleep 0.05; done; cat; echo {n}",
            gate.display()
        );
        async move { session.exec(&command, format!("in{n} "), &limits()).await.expect("exec") }
    });
    for (n, output) in join_all(runs).await.into_iter().enumerate() {
        assert_eq!(output.stdout_text(), format!("in{n} {n}\n"));
    }
    assert_eq!(server.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test]
async fn a_server_that_allows_one_session_gets_them_one_after_the_other() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { extra: "MaxSessions 1\n", ..Settings::default() });
    let session = server.connect().await;
    for n in 0..3 {
        let output = session.exec(&format!("echo {n}"), Bytes::new(), &limits()).await.expect("exec");
        assert_eq!(output.stdout_text(), format!("{n}\n"));
    }
    let runs =
        (0..6).map(|n| {
            let session = session.clone();
            async move {
                session.exec(&format!("sleep 0.1; echo {n}"), Bytes::new(), &limits()).await.expect("exec")
            }
        });
    for (n, output) in join_all(runs).await.into_iter().enumerate() {
        assert_eq!(output.stdout_text(), format!("{n}\n"));
    }
    assert_eq!(server.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test]
async fn a_server_that_allows_no_session_is_said_to_refuse() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { extra: "MaxSessions 0\n", ..Settings::default() });
    let session = server.connect().await;
    let error = session.exec("true", Bytes::new(), &limits()).await.expect_err("refused");
    assert!(matches!(&error, Error::ChannelRefused { what, .. } if what == "a session"), "{error:?}");
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_gives_what_was_received() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    // The shell's parent is the sshd process of this connection.
    let error =
        session.exec("echo before; sleep 0.3; kill -9 $PPID; sleep 60", Bytes::new(), &limits()).await;
    let error = error.expect_err("cut");
    let Error::Closed { received: Some(received), .. } = &error else { panic!("{error:?}") };
    assert_eq!(received.stdout_text(), "before\n");
    assert!(session.is_closed());
    let again = session.exec("true", Bytes::new(), &limits()).await.expect_err("gone");
    assert!(matches!(again, Error::Closed { .. }), "{again:?}");
}

#[tokio::test]
async fn an_abandoned_command_frees_its_place() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::with(&Settings { extra: "MaxSessions 2\n", ..Settings::default() });
    let session = server.connect().await;
    for _ in 0..4 {
        let limits = limits();
        let abandoned = session.exec("while echo going; do sleep 0.05; done", Bytes::new(), &limits);
        assert!(tokio::time::timeout(Duration::from_millis(300), abandoned).await.is_err());
    }
    let output = session.exec("echo free", Bytes::new(), &limits()).await.expect("exec");
    assert_eq!(output.stdout_text(), "free\n");
}

/// As a service that a script starts and that keeps the script's output open.
#[tokio::test]
async fn what_a_command_leaves_running_is_not_waited_for() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let session = server.connect().await;
    let limits = ExecLimits::of(Duration::from_secs(30));
    let output = session.exec("sleep 600 & echo $!; exit 3", "", &limits).await.expect("it ended");
    assert_eq!(output.status, ExitStatus::Code(3));
    let pid = output.stdout_text();
    assert!(!pid.trim().is_empty(), "{output:?}");
    let ended = session.exec(&format!("kill {pid}"), "", &limits).await.expect("the session goes on");
    assert!(ended.status.success(), "{ended:?}");
}
