//! From where a host may be reached. Networks that are known beforehand are the driver's from the first rule on; where this
//! computer itself comes from, only the host can say: until the first contact it is open, and it is narrowed then.

use std::net::IpAddr;
use std::time::Duration;

use machine_core::{Driver, DriverError, ErrorKind, Event, Machine, Reporter};
use machine_ssh::{ExecLimits, Session};
use machine_store::{Journal, MachineLock};
use serde_json::Value;

use crate::recorder::Recorder;
use crate::request::{AllowFrom, Extras};
use crate::wait::{self, Look};
use crate::{Error, Lifecycle};

/// Where the journal has the networks to which the host was narrowed after the first contact.
const ALLOWED: &str = "allowedFrom";
/// Prints from where and to where this session goes, as four words.
const WHERE_FROM: &str = "printf '%s\\n' \"$SSH_CONNECTION\"";
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// How long new rules may take until they hold, and let us in.
const AGAIN_LIMIT: Duration = Duration::from_secs(30);

/// That the driver can narrow who may connect, where that is asked for.
pub(crate) fn check(driver: &dyn Driver, extras: &Extras) -> Result<(), Error> {
    if extras.allow_from.is_empty() || driver.spec().capabilities.firewall {
        return Ok(());
    }
    let error = driver.spec().cannot("narrow who may connect (--allow-from)");
    let hint = "leave --allow-from out, and narrow it with the firewall of your network or of the host";
    Err(Error::Precreate(Box::new(error.with_hint(hint))))
}

/// The networks for which the driver makes rules in `create`; empty for all, also where the host has to tell first who we are.
pub(crate) fn at_create(journal: &Journal, extras: &Extras) -> Vec<String> {
    let narrowed = narrowed(journal);
    if !narrowed.is_empty() || extras.allow_from.contains(&AllowFrom::Me) {
        return narrowed;
    }
    networks(extras, None)
}

/// Whether the host is to be narrowed at the first contact, and was not yet.
pub(crate) fn is_due(journal: &Journal, extras: &Extras) -> bool {
    extras.allow_from.contains(&AllowFrom::Me) && narrowed(journal).is_empty()
}

/// Says that the host is open until it is narrowed, where that is so.
pub(crate) fn warn_of_open(journal: &Journal, extras: &Extras, report: &dyn Reporter) {
    if is_due(journal, extras) {
        report.report(Event::Notice(
            "--allow-from me: everybody can reach the host's ports until it has told from which address it sees this \
             computer; then its rules are narrowed"
                .into(),
        ));
    }
}

fn narrowed(journal: &Journal) -> Vec<String> {
    let listed = journal.extra.get(ALLOWED).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// The networks, each once, with ours in the place of `me`.
fn networks(extras: &Extras, me: Option<&str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for from in &extras.allow_from {
        let network = match from {
            AllowFrom::Me => me,
            AllowFrom::Network(network) => Some(network.as_str()),
        };
        if let Some(network) = network.filter(|network| !all.iter().any(|have| have == network)) {
            all.push(network.to_owned());
        }
    }
    all
}

impl Lifecycle {
    /// Narrows who may connect after the first contact, where that was asked for and not done yet; we must still get in.
    pub(crate) async fn narrow(
        &self,
        session: &Session,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let extras = recorder.extras()?;
        if !is_due(&recorder.journal, &extras) {
            return Ok(());
        }
        let driver = self.driver(&machine.driver_name)?;
        let me = where_from(session, machine).await?;
        let networks = networks(&extras, Some(&me));
        let listed = networks.join(", ");
        report.report(Event::Notice(format!(
            "{:?} sees this computer come from {me}; its ports are open to {listed} only from now on",
            machine.name
        )));
        let host = self.host(&*driver, &self.name(&machine.name)?, report)?;
        let state = driver.allow_from(&host.cx(), &machine.driver, &networks).await;
        let state = state.map_err(|error| Error::driver(&machine.name, error))?;
        self.keep(machine, lock, Some(state))?;
        recorder.journal.extra.insert(ALLOWED.to_owned(), Value::from(networks));
        recorder.save()?;
        let again = self.reach_again(machine, recorder, report).await;
        again.map_err(|source| Error::LockedOut {
            machine: machine.name.clone(),
            networks: listed,
            source: Box::new(source),
        })
    }

    /// [`Lifecycle::narrow`] for a host that nobody needed to log into.
    pub(crate) async fn narrow_by_itself(
        &self,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        if !is_due(&recorder.journal, &recorder.extras()?) {
            return Ok(());
        }
        let session = self.reach(machine, recorder, report).await?;
        self.narrow(&session, machine, lock, recorder, report).await?;
        session.close().await;
        Ok(())
    }

    async fn reach_again(
        &self,
        machine: &Machine,
        recorder: &Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let what = format!("machine {:?} to let this computer in by its new rules", machine.name);
        let limit = AGAIN_LIMIT.min(self.settings.reach_limit);
        wait::until(&what, limit, report, async || {
            match self.dial_to_look(machine, &recorder.journal).await {
                Ok(session) => {
                    session.close().await;
                    Ok(Look::Found(()))
                }
                Err(Error::Ssh { source, .. }) if source.is_transient() => {
                    Ok(Look::NotYet(source.to_string()))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// The address that the host sees a session come from, as a network.
async fn where_from(session: &Session, machine: &Machine) -> Result<String, Error> {
    let output = session.exec(WHERE_FROM, "", &ExecLimits::of(ASK_LIMIT)).await;
    let output = output.map_err(|source| Error::ssh(machine, source))?;
    let said = String::from_utf8_lossy(&output.stdout);
    network_of(&said).ok_or_else(|| {
        let text =
            format!("the host does not say from where it sees this computer come, but {:?}", said.trim());
        Error::driver(
            &machine.name,
            DriverError::new(ErrorKind::Other, text)
                .with_hint("give --allow-from the network of this computer instead of \"me\""),
        )
    })
}

fn network_of(ssh_connection: &str) -> Option<String> {
    let address = ssh_connection.split_whitespace().next()?;
    // Link-local addresses have the interface behind them.
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(match address.to_canonical() {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_we_are_to_the_host() {
        for (said, network) in [
            ("203.0.113.9 51122 10.0.0.5 22\n", Some("203.0.113.9/32")),
            ("::ffff:203.0.113.9 51122 ::ffff:10.0.0.5 22\n", Some("203.0.113.9/32")),
            ("2001:db8::9 51122 2001:db8::1 22\n", Some("2001:db8::9/128")),
            ("fe80::1%eth0 51122 fe80::2%eth0 22\n", Some("fe80::1/128")),
            ("\n", None),
            ("UNKNOWN 65535 UNKNOWN 65535\n", None),
        ] {
            assert_eq!(network_of(said).as_deref(), network, "{said:?}");
        }
    }

    #[test]
    fn networks_are_listed_once_and_rules_wait_for_us() {
        let network = |text: &str| AllowFrom::parse(text).unwrap();
        let mut extras =
            Extras { allow_from: vec![network("192.0.2.1"), network("192.0.2.1/32")], ..Extras::default() };
        let mut journal = Journal::default();
        assert_eq!(at_create(&journal, &extras), ["192.0.2.1/32"]);
        extras.allow_from.push(AllowFrom::Me);
        assert!(at_create(&journal, &extras).is_empty(), "we might be somewhere else");
        assert_eq!(networks(&extras, Some("198.51.100.1/32")), ["192.0.2.1/32", "198.51.100.1/32"]);
        assert_eq!(networks(&extras, Some("192.0.2.1/32")), ["192.0.2.1/32"]);
        journal.extra.insert(ALLOWED.into(), serde_json::json!(["198.51.100.1/32"]));
        assert_eq!(at_create(&journal, &extras), ["198.51.100.1/32"]);
    }
}
