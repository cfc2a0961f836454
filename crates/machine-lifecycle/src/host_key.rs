//! The SSH host key of a host whose user data others can read: it is good for the first contact only. Then the host makes
//! one of its own, which nobody else has seen.
//!
//! Both keys are pinned while one takes the other's place, so that a host is known whenever that is interrupted.

use std::time::Duration;

use machine_core::{Event, Machine, Reporter};
use machine_provision::host_key;
use machine_ssh::{ExecLimits, PublicKey, Session};
use machine_store::Journal;
use serde_json::Value;

use crate::key_file::KeyFile;
use crate::recorder::Recorder;
use crate::seed::HOST_KEY_FILE;
use crate::wait::{self, Look};
use crate::{Error, Lifecycle};

/// Where the journal has the host keys (public, as lines) whose private halves were in user data that others can read.
const EXPOSED: &str = "exposedHostKeys";
/// How long the host may take for either of the two steps.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take until its SSH server shows the new key.
const SHOW_LIMIT: Duration = Duration::from_secs(20);

/// Notes that others can read the private half of this key.
pub(crate) fn note_exposed(journal: &mut Journal, line: &str) {
    let mut lines = exposed(journal);
    if !lines.iter().any(|known| known == line) {
        lines.push(line.to_owned());
        journal.extra.insert(EXPOSED.to_owned(), Value::from(lines));
    }
}

/// Whether the host shows, or will show, a key that it was told.
pub(crate) fn is_seeded(journal: &Journal) -> bool {
    !exposed(journal).is_empty()
}

fn exposed(journal: &Journal) -> Vec<String> {
    let lines = journal.extra.get(EXPOSED).and_then(Value::as_array);
    lines.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

impl Lifecycle {
    /// Has the host make a key of its own where the one that it shows could be read by others, and pins only that.
    ///
    /// A host that can't is told of: it is as safe as its user data is, and the next `provision` tries again.
    pub(crate) async fn replace_host_key(
        &self,
        session: &Session,
        machine: &Machine,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let exposed = exposed(&recorder.journal);
        if exposed.is_empty() {
            return Ok(());
        }
        let shown = session.host_key();
        let own = if exposed.contains(&shown.to_line()) {
            match self.exchange(session, machine, recorder, report).await? {
                Ok(own) => own,
                Err(why) => {
                    report.report(Event::Warning(format!(
                        "the host key of {name:?} stands in its user data, and the host did not make another one: \
                         {why}; who can read the user data can pretend to be this host. `docker-machine provision \
                         {name}` tries again",
                        name = machine.name
                    )));
                    return Ok(());
                }
            }
        } else {
            // An exchange that was interrupted had come that far.
            shown.clone()
        };
        recorder.journal.host_keys = vec![own.to_line()];
        recorder.journal.extra.remove(EXPOSED);
        recorder.save()?;
        KeyFile::forget(&recorder.dir().join(HOST_KEY_FILE));
        report.report(Event::Notice(format!(
            "{:?} has made a host key of its own, {} {}; only that is pinned from now on",
            machine.name,
            own.algorithm(),
            own.fingerprint()
        )));
        Ok(())
    }

    /// The new key, once the host shows it; or why it does not.
    async fn exchange(
        &self,
        session: &Session,
        machine: &Machine,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<Result<PublicKey, String>, Error> {
        let say = |what: &str| report.report(Event::Debug(format!("host key: {what}")));
        say("to be made");
        let said = match run(session, machine, host_key::make_script()).await? {
            Ok(said) => said,
            Err(why) => return Ok(Err(why)),
        };
        let own = match PublicKey::parse(said.trim()) {
            Ok(own) => own,
            Err(error) => return Ok(Err(error.to_string())),
        };
        say("made, to be pinned");
        recorder.pin(own.to_line())?;
        say("pinned, to be put in place");
        if let Err(why) = run(session, machine, host_key::place_script()).await? {
            return Ok(Err(why));
        }
        say("in place, to be seen");
        let shown = self.wait_for_key(machine, &own, recorder, report).await;
        say("seen, to be the only one");
        match shown {
            Ok(()) => Ok(Ok(own)),
            Err(Error::TimedOut(timed_out)) => Ok(Err(timed_out.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn wait_for_key(
        &self,
        machine: &Machine,
        own: &PublicKey,
        recorder: &Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let only = Journal { host_keys: vec![own.to_line()], ..recorder.journal.clone() };
        let what = format!("machine {:?} to show its new host key", machine.name);
        wait::until(&what, SHOW_LIMIT, report, async || match self.dial_to_look(machine, &only).await {
            Ok(session) => {
                session.close().await;
                Ok(Look::Found(()))
            }
            Err(Error::Ssh { source, .. }) if shows_another_key(&source) || source.is_transient() => {
                Ok(Look::NotYet(source.to_string()))
            }
            Err(error) => Err(error),
        })
        .await
    }
}

fn shows_another_key(error: &machine_ssh::Error) -> bool {
    matches!(error, machine_ssh::Error::HostKeyChanged { .. })
}

/// What a script of [`host_key`] printed; or what it complained.
async fn run(session: &Session, machine: &Machine, script: String) -> Result<Result<String, String>, Error> {
    let output = session.exec(host_key::COMMAND, script, &ExecLimits::of(STEP_LIMIT)).await;
    let output = output.map_err(|source| Error::ssh(machine, source))?;
    Ok(if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{} ({})", output.stderr_text().trim(), output.status))
    })
}
