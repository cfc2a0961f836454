//! The engine over TLS: is it there, does it know us?

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use machine_core::{AuthOptions, Event, Machine, Reporter};
use machine_engine::{EngineError, Identity, TlsConfig};
use machine_store::Operation;
use machine_tls::CertificateInfo;
use time::OffsetDateTime;

use crate::power::can_be_started;
use crate::provision::Work;
use crate::wait::{self, Look};
use crate::{Error, Lifecycle};

/// From how many days before a certificate's end on the user is told.
const WARN_DAYS: i64 = 30;

/// How long an engine behind jump hosts is waited for: as a rule there is no way to it at all.
const BEHIND_LIMIT: Duration = Duration::from_secs(10);

/// An engine that answered, and what a client needs for it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The engine's (or Swarm's) URL.
    pub url: String,
    /// Where the certificates are.
    pub auth: AuthOptions,
    /// Certificates that will end soon, one line each.
    pub warnings: Vec<String>,
}

impl Lifecycle {
    /// Makes sure that a machine's engine (or Swarm master) answers over TLS and that both sides accept each other.
    ///
    /// # Errors
    /// [`Error::Connection`] with the reference program's text; [`Error::SwarmNotStarted`] where only the Swarm is
    /// missing; [`Error::NotSwarmMaster`].
    pub async fn check_connection(&self, machine: &Machine, swarm: bool) -> Result<Connection, Error> {
        let url = self.known(machine)?.url;
        if url.is_empty() {
            return Err(Error::NoAddress { machine: machine.name.clone() });
        }
        let dialled = if swarm { swarm_url(machine, &url)? } else { url.clone() };
        let tls = TlsConfigs::default().of(machine)?;
        let peer = match machine_engine::check_tls(&dialled, &tls, self.settings.dial_limit).await {
            Ok(peer) => peer,
            Err(source) => {
                let engine =
                    swarm && machine_engine::check_tls(&url, &tls, self.settings.dial_limit).await.is_ok();
                return Err(if engine {
                    Error::SwarmNotStarted
                } else {
                    connection_error(machine, &dialled, source)
                });
            }
        };
        let now = OffsetDateTime::now_utc();
        let days = (peer.not_after - now.unix_timestamp()).div_euclid(24 * 60 * 60);
        let mut warnings = local_warnings(machine, now);
        // What the engine shows counts more than the copy here.
        if let Some(shown) = expiring("the engine's certificate", days, &machine.name)
            && !warnings.contains(&shown)
        {
            warnings.push(shown);
        }
        Ok(Connection { url: dialled, auth: machine.host_options.auth_options.clone(), warnings })
    }

    /// [`Lifecycle::check_connection`]; where the engine is not found, the driver is asked once whether the host is somewhere
    /// else by now. Then that is kept, and the engine gets a certificate for it.
    ///
    /// # Errors
    /// As [`Lifecycle::check_connection`].
    pub async fn connection(
        &self,
        machine: Machine,
        swarm: bool,
        report: &dyn Reporter,
    ) -> Result<(Machine, Connection), Error> {
        let first = match self.check_connection(&machine, swarm).await {
            Ok(connection) => return Ok((machine, connection)),
            Err(error) => error,
        };
        let elsewhere = match &first {
            Error::NoAddress { .. } => self.find_again(&machine, report).await?,
            // Who answers with another certificate may be somebody else, who has the address now.
            Error::Connection { source, .. } if source.is_unreachable() || source.is_certificate() => {
                self.find_again(&machine, report).await?
            }
            _ => None,
        };
        let Some(machine) = elsewhere else { return Err(first) };
        match self.check_connection(&machine, swarm).await {
            Ok(connection) => Ok((machine, connection)),
            Err(Error::Connection { source, .. }) if source.is_certificate() => {
                self.provision_for_new_address(&machine.name, &source, report).await?;
                let machine = self.store.load(&machine.name)?;
                let connection = self.check_connection(&machine, swarm).await?;
                Ok((machine, connection))
            }
            Err(error) => Err(error),
        }
    }

    /// The machine where the record has no address, and its driver, asked once, knows one; else as it is.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub async fn with_address(&self, machine: Machine, report: &dyn Reporter) -> Result<Machine, Error> {
        if !self.lacks_address(&machine)? {
            return Ok(machine);
        }
        Ok(self.find_again(&machine, report).await?.unwrap_or(machine))
    }

    /// Whether the record has no address although the machine's host would have one: asking the driver may help. No I/O.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn lacks_address(&self, machine: &Machine) -> Result<bool, Error> {
        let driver = self.driver(&machine.driver_name)?;
        Ok(can_be_started(&*driver) && self.known(machine)?.ip.is_empty())
    }

    /// Asks the driver once where a host is that was not found. `None` where it is not known to be somewhere else.
    pub(crate) async fn find_again(
        &self,
        machine: &Machine,
        report: &dyn Reporter,
    ) -> Result<Option<Machine>, Error> {
        let driver = self.driver(&machine.driver_name)?;
        // One that can't turn hosts on knows no more of them than what the user once said.
        if !can_be_started(&*driver) {
            return Ok(None);
        }
        let host = self.host(&*driver, &self.name(&machine.name)?, report)?;
        let cx = host.cx();
        let asked = driver.observe(&cx, &machine.driver);
        let observed = match tokio::time::timeout(self.settings.dial_limit, asked).await {
            Ok(Ok(observed)) => observed,
            Ok(Err(error)) => {
                report.report(Event::Debug(format!("where {:?} is: {error}", machine.name)));
                return Ok(None);
            }
            Err(_) => {
                report.report(Event::Debug(format!("where {:?} is: its driver is silent", machine.name)));
                return Ok(None);
            }
        };
        let Some(elsewhere) = observed.changed.and_then(|changed| self.keep_if_free(machine, changed)) else {
            return Ok(None);
        };
        let (before, now) = (self.known(machine)?, self.known(&elsewhere)?);
        let moved = now != before && !(now.ip.is_empty() && now.url.is_empty());
        Ok(moved.then_some(elsewhere))
    }

    async fn provision_for_new_address(
        &self,
        name: &str,
        why: &EngineError,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        report.report(Event::Notice(format!(
            "the engine's certificate does not fit any more ({why}); machine {name:?} gets a new one"
        )));
        self.journaled(name, Operation::Provision, "provision", Work::Everything, report).await
    }

    /// Waits until the engine answers over TLS. Errors that waiting can't heal end it at once.
    pub(crate) async fn wait_until_ready(
        &self,
        machine: &Machine,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let url = self.known(machine)?.url;
        let tls = TlsConfigs::default().of(machine)?;
        let what = format!("the engine of machine {:?} to answer over TLS on {url}", machine.name);
        let behind = self.is_behind_jump_hosts(&machine.name)?;
        let limit = if behind { BEHIND_LIMIT } else { self.settings.engine_limit };
        let answered = wait::until(&what, limit, report, async || {
            match machine_engine::check_tls(&url, &tls, self.settings.dial_limit).await {
                Ok(_) => Ok(Look::Found(())),
                Err(error) if error.is_unreachable() => Ok(Look::NotYet(error.to_string())),
                Err(error) => Err(connection_error(machine, &url, error)),
            }
        })
        .await;
        match answered {
            // The host itself has seen its engine listen; only the way to it is missing.
            Err(Error::TimedOut(timed_out)) if behind => {
                report.report(Event::Warning(format!(
                    "the engine of {name:?} runs, but this computer can't reach {url} past the jump hosts ({last}): \
                     forward its port with `docker-machine ssh {name} -N -L {port}:localhost:{port}` and use \
                     tcp://localhost:{port}",
                    name = machine.name,
                    last = timed_out.last,
                    port = url.rsplit_once(':').map_or("2376", |(_, port)| port),
                )));
                Ok(())
            }
            other => other,
        }
    }

    /// Waits for the engine of a host that was (re)started. Where the host's address is new, the engine's certificate
    /// does not name it: then it gets one that does.
    pub(crate) async fn wait_for_engine(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        // What is seen while it is waited for, e.g. an address, is kept where nobody else is at work on the machine.
        let lock = self.store.lock_machine(name, Duration::ZERO).ok();
        let mut machine = self.store.load(name)?;
        let driver = self.driver(&machine.driver_name)?;
        let answered = if driver.spec().capabilities.user_data {
            let host = self.host(&*driver, &self.name(name)?, report)?;
            self.wait_for_booted_engine(&*driver, &host, &mut machine, lock.as_ref()).await
        } else {
            self.wait_until_ready(&machine, report).await
        };
        drop(lock);
        match answered {
            Err(Error::Connection { source, .. }) if source.is_certificate() => {
                self.provision_for_new_address(name, &source, report).await
            }
            other => other,
        }
    }
}

pub(crate) fn connection_error(machine: &Machine, url: &str, source: EngineError) -> Error {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).to_owned();
    Error::Connection { machine: machine.name.clone(), host, source: Box::new(source) }
}

/// The URL of a Swarm master: the machine's address with the port of `--swarm-host`.
fn swarm_url(machine: &Machine, url: &str) -> Result<String, Error> {
    let swarm = &machine.host_options.swarm_options;
    if !swarm.master {
        return Err(Error::NotSwarmMaster(machine.name.clone()));
    }
    let port = swarm.host.rsplit_once(':').map_or("3376", |(_, port)| port);
    let host = url.rsplit_once(':').map_or(url, |(host, _)| host);
    Ok(format!("{host}:{port}"))
}

/// Warnings about the certificates of a machine that are on this computer: the engine's, the CA's, the client's.
pub(crate) fn local_warnings(machine: &Machine, now: OffsetDateTime) -> Vec<String> {
    let auth = &machine.host_options.auth_options;
    let files = [
        ("the engine's certificate", &auth.server_cert_path, machine.name.as_str()),
        // Shared by all machines, so that the text is the same whichever machine is looked at.
        ("the CA's certificate", &auth.ca_cert_path, "--client-certs MACHINE..."),
        ("the client's certificate", &auth.client_cert_path, "--client-certs MACHINE..."),
    ];
    let warning = |(what, path, arguments): (&str, &String, &str)| {
        let pem = std::fs::read_to_string(path).ok()?;
        let info = CertificateInfo::from_pem(&pem).ok()?;
        expiring(what, info.days_left(now), arguments)
    };
    files.into_iter().filter_map(warning).collect()
}

fn expiring(what: &str, days: i64, arguments: &str) -> Option<String> {
    (days < WARN_DAYS).then(|| {
        let when = match days {
            ..0 => "has expired".to_owned(),
            0 => "ends today".to_owned(),
            1 => "ends in 1 day".to_owned(),
            _ => format!("ends in {days} days"),
        };
        format!("{what} {when}: run `docker-machine regenerate-certs {arguments}`")
    })
}

/// The TLS settings of machines, each made once for the same certificates: machines of one store share them.
#[derive(Default)]
pub(crate) struct TlsConfigs {
    made: Mutex<HashMap<Files, TlsConfig>>,
}

/// The contents of CA, certificate and key.
type Files = [Vec<u8>; 3];

impl TlsConfigs {
    /// The settings for a machine: from the files in its folder, which are what `docker` uses through
    /// `DOCKER_CERT_PATH`; from the store's where it has none, as a machine that is only a URL.
    pub(crate) fn of(&self, machine: &Machine) -> Result<TlsConfig, Error> {
        let auth = &machine.host_options.auth_options;
        let dir = Path::new(&auth.store_path);
        let own = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.join(name));
        let files = match read_all(&own) {
            Ok(files) => files,
            Err(_) => {
                let shared =
                    [&auth.ca_cert_path, &auth.client_cert_path, &auth.client_key_path].map(PathBuf::from);
                read_all(&shared)?
            }
        };
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(config) = made.get(&files) {
            return Ok(config.clone());
        }
        let [ca, cert, key] = files.clone();
        let config = TlsConfig::new(&Identity::new(ca, cert, key)).map_err(|source| Error::Connection {
            machine: machine.name.clone(),
            host: machine.name.clone(),
            source: Box::new(source),
        })?;
        made.insert(files, config.clone());
        Ok(config)
    }
}

fn read_all(paths: &[PathBuf; 3]) -> Result<Files, Error> {
    let mut files = Files::default();
    for (file, path) in files.iter_mut().zip(paths) {
        *file =
            std::fs::read(path).map_err(|source| Error::CertificateFile { path: path.clone(), source })?;
    }
    Ok(files)
}
