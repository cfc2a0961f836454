//! What a start chose, beside the record: `qemu.run.json`. It is written before QEMU is started, so that a machine whose start was
//! interrupted is found again with the ports that it has.

use std::fs;

use machine_core::{DriverError, ErrorKind};
use serde::{Deserialize, Serialize};

use super::state::{Files, QemuState};

/// What a start chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Run {
    ssh_port: u16,
    engine_port: u16,
    monitor_ports: [u16; 2],
    accel_used: String,
    booted_directly: bool,
}

impl Run {
    fn of(state: &QemuState) -> Self {
        Self {
            ssh_port: state.base.ssh_port,
            engine_port: state.engine_port,
            monitor_ports: state.monitor_ports,
            accel_used: state.accel_used.clone(),
            booted_directly: state.booted_directly,
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub(super) fn keep(state: &QemuState, files: &Files) -> Result<(), DriverError> {
        let (file, new) = (files.run(), files.run().with_extension("json.new"));
        let text = serde_json::to_vec(&Self::of(state)).unwrap_or_default();
        fs::write(&new, text).and_then(|()| fs::rename(&new, &file)).map_err(|error| {
            DriverError::new(ErrorKind::Other, format!("{} can't be written: {error}", file.display()))
                .with_source(error)
        })
    }

    /// Brings a record up to what the running machine has; true where that changed something.
    pub(super) fn bring_up(state: &mut QemuState, files: &Files) -> bool {
        let read = fs::read(files.run()).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let Some(run) = read.filter(|run| *run != Self::of(state)) else { return false };
        state.base.ssh_port = run.ssh_port;
        state.engine_port = run.engine_port;
        state.monitor_ports = run.monitor_ports;
        state.accel_used = run.accel_used;
        state.booted_directly = run.booted_directly;
        true
    }
}
