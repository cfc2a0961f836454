//! The protocol against the real QEMU without a machine.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::monitor::Monitor;
use super::super::qmp::{self, Qmp, QmpError};
use super::super::state::QemuState;
use super::*;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_conversation_with_the_real_qemu() {
    if !skip::require(&["qemu-system-x86_64"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-machine", "none", "-nodefaults", "-display", "none", "-S"])
        .args(["-qmp", "unix:qmp.sock,server=on,wait=on"])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let state = QemuState::default();
    let mut qmp = loop {
        match Qmp::connect(Monitor::Work, dir.path(), &state, LIMIT).await {
            Ok(qmp) => break qmp,
            Err(QmpError::Connect(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
        assert!(qemu.try_wait().unwrap().is_none(), "QEMU ended");
    };
    assert_eq!(qmp::status(&mut qmp).await.unwrap(), "prelaunch");
    let error = qmp.execute("no-such-command", Value::Null).await.unwrap_err();
    assert!(matches!(error, QmpError::Refused { .. }), "{error}");
    let error = qmp.execute("query-status", json!({"nonsense": 1})).await.unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
    qmp.execute("cont", Value::Null).await.unwrap();
    assert_eq!(qmp::status(&mut qmp).await.unwrap(), "running");
    let _ = qmp.execute("quit", Value::Null).await;
    assert!(qemu.wait().unwrap().success());
    assert!(matches!(qmp.execute("query-status", Value::Null).await, Err(QmpError::Closed)));
}
