//! Does a guest make progress? Watched in the first seconds with an accelerator of which that is not known.

use std::time::Duration;

use machine_core::{Cx, DriverError, Event};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::command::DISK;
use super::monitor::Monitor;
use super::qmp::{self, Qmp};
use super::state::{Files, LOOPBACK, QemuState};
use super::{process, serial};

/// A guest that gives no new sign for so long stands still. Firmware and boot loaders that are not emulated take a second or two.
const STILL_LIMIT: Duration = Duration::from_secs(15);
/// A guest that has given new signs for so long makes progress, whatever it does.
const ENOUGH: Duration = Duration::from_secs(60);
/// How often is looked.
const TICK: Duration = Duration::from_millis(250);

/// What can be seen of a guest from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// How often it read its disk.
    pub(super) reads: u64,
    /// How often it wrote: firmware and boot loaders don't, a system does as soon as it has its root.
    pub(super) writes: u64,
    /// How much it said on the serial line, bytes.
    pub(super) said: u64,
    /// Whether its SSH server answers.
    pub(super) ssh: bool,
}

/// What becomes of a watched guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its system runs.
    Boots,
    /// It does not, and why.
    Hangs(String),
}

/// Judges signs as they come.
#[derive(Debug, Default)]
pub(super) struct Judge {
    last: Signs,
    changed: Duration,
}

impl Judge {
    /// Takes what is seen so long after the start; says what that means once it is clear.
    pub(super) fn take(&mut self, signs: Signs, at: Duration) -> Option<Verdict> {
        if signs != self.last {
            self.last = signs;
            self.changed = at;
        }
        if signs.ssh || signs.writes > 0 || (at >= ENOUGH && at - self.changed < STILL_LIMIT) {
            return Some(Verdict::Boots);
        }
        (at - self.changed >= STILL_LIMIT).then(|| Verdict::Hangs(format!(
            "the guest gave no new sign for {} s ({} reads of its disk, no write, {} bytes on its serial line)",
            STILL_LIMIT.as_secs(),
            signs.reads,
            signs.said
        )))
    }
}

/// Watches a machine that was just started.
///
/// # Errors
/// Where its process can't be looked at.
pub(super) async fn watch(cx: &Cx<'_>, state: &QemuState, files: &Files) -> Result<Verdict, DriverError> {
    let begin = Instant::now();
    let mut judge = Judge::default();
    let mut qmp = Qmp::connect(Monitor::Work, files.dir(), state, qmp::SHORT).await?;
    loop {
        if process::find(&files.pid())?.is_none() {
            return Ok(Verdict::Hangs("QEMU ended by itself".to_owned()));
        }
        let status = qmp::status(&mut qmp).await?;
        if status == "internal-error" {
            return Ok(Verdict::Hangs("QEMU gave up on it (internal error)".to_owned()));
        }
        let signs = signs(&mut qmp, state, files).await?;
        let at = begin.elapsed();
        if let Some(verdict) = judge.take(signs, at) {
            cx.report
                .report(Event::Debug(format!("watched for {} ms: {signs:?}: {verdict:?}", at.as_millis())));
            return Ok(verdict);
        }
        cx.report.report(Event::Waiting {
            what: format!("the guest to boot with {}", state.accel_used),
            for_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            limit_ms: u64::try_from((ENOUGH + STILL_LIMIT).as_millis()).unwrap_or(u64::MAX),
            last: serial::last_line(&files.serial()),
        });
        sleep(TICK).await;
    }
}

async fn signs(qmp: &mut Qmp, state: &QemuState, files: &Files) -> Result<Signs, DriverError> {
    let answer = qmp.execute("query-blockstats", Value::Null).await?;
    let disk = answer.as_array().into_iter().flatten().find(|one| one.get("node-name") == Some(&DISK.into()));
    let count = |name: &str| disk.and_then(|disk| disk.get("stats")?.get(name)?.as_u64()).unwrap_or(0);
    Ok(Signs {
        reads: count("rd_operations"),
        writes: count("wr_operations"),
        said: serial::length(&files.serial()),
        ssh: ssh_answers(state.base.ssh_port).await,
    })
}

/// Whether an SSH server greets. That the port takes connections says nothing: QEMU does, for the guest.
async fn ssh_answers(port: u16) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect((LOOPBACK, port)).await.ok()?;
        let mut start = [0; 4];
        stream.read_exact(&mut start).await.ok()?;
        (&start == b"SSH-").then_some(())
    };
    matches!(timeout(TICK, greeting).await, Ok(Some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a sequence of signs, one a second.
    fn judged(signs: impl Fn(u64) -> Signs) -> (Verdict, u64) {
        let mut judge = Judge::default();
        let mut all =
            (0..1000).map(|second| (second, judge.take(signs(second), Duration::from_secs(second))));
        let (at, verdict) = all.find(|(_, verdict)| verdict.is_some()).expect("no guest is watched forever");
        (verdict.unwrap(), at)
    }

    #[test]
    fn a_system_that_writes_or_answers_boots() {
        let boots = |second: u64| Signs { reads: second * 10, writes: second / 5, ..Signs::default() };
        assert_eq!(judged(boots), (Verdict::Boots, 5));
        assert_eq!(judged(|second| Signs { ssh: second == 3, ..Signs::default() }), (Verdict::Boots, 3));
    }

    #[test]
    fn one_that_is_slow_but_goes_on_boots() {
        assert_eq!(judged(|second| Signs { said: second / 10, ..Signs::default() }), (Verdict::Boots, 60));
    }

    #[test]
    fn one_that_stops_after_its_firmware_hangs() {
        let (verdict, at) = judged(|second| Signs { reads: second.min(4), said: 120, ..Signs::default() });
        assert!(matches!(&verdict, Verdict::Hangs(why) if why.contains("4 reads")), "{verdict:?}");
        assert_eq!(at, 19);
        assert_eq!(judged(|_| Signs::default()).1, 15);
    }
}
