//! Turning a host that was reached into one with an engine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use machine_core::{
    EngineOptions, ErrorKind, Event, Machine, MachineName, Reporter, Secret, State, StepStatus,
};
use machine_engine::Client;
use machine_provision::{
    Action, EngineWish, HostFacts, InstallMethod as PlannedInstall, Outcome, Plan, ProbeError, Progress,
    RegistryCa, ScriptError, StepEvent, probe, render, swarm,
};
use machine_ssh::{ExecLimits, Session, Stream};
use machine_store::{MachineLock, Operation, Phase, Status};
use serde_json::{Map, Value, json};

use crate::connection::TlsConfigs;
use crate::power::{can_be_started, line};
use crate::recorder::Recorder;
use crate::request::{Extras, InstallMethod};
use crate::{Error, Lifecycle};

/// What is to be done with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// All: host name, engine, certificates, options, registries, Swarm.
    Everything,
    /// New certificates only.
    Certificates,
}

impl Lifecycle {
    /// Sets up the engine again: certificates, options, registries. Changes nothing where all is as it should be. It
    /// also completes a create that stopped.
    ///
    /// # Errors
    /// [`Error::NoSsh`] for a machine that is only a URL; else what reaching or provisioning says.
    pub async fn provision(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        let machine = self.store.load(name)?;
        self.require_ssh(&machine, "provision")?;
        let journal = self.store.load_journal(name)?.unwrap_or_default();
        let unfinished = journal.operation == Operation::Create && journal.status != Status::Done;
        if unfinished && journal.phase <= Phase::Host {
            return self.resume(name, report).await.map(drop);
        }
        self.journaled(name, Operation::Provision, "provision", Work::Everything, report).await
    }

    /// Does work over SSH with the journal open, and waits for the engine afterwards.
    pub(crate) async fn journaled(
        &self,
        name: &str,
        operation: Operation,
        what: &'static str,
        work: Work,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let (lock, mut machine) = self.lock_and_load(name, report).await?;
        self.require_ssh(&machine, what)?;
        let mut recorder = Recorder::open(&self.store, &lock, report)?;
        recorder.begin(operation, Phase::Certificates);
        let done = async {
            self.ensure_certificates(recorder.key_algorithm(), report).await?;
            self.ask_whether_it_runs(&mut machine, &lock, report).await?;
            recorder.advance(Phase::Reach)?;
            self.work_over_ssh(&mut machine, &lock, &mut recorder, work, report).await?;
            self.wait_until_ready(&machine, report).await
        }
        .await;
        recorder.close(done)
    }

    /// Asks the driver once where the host is, before minutes are spent on an address at which it is no more. A driver that
    /// does not know either is no reason to stop: the way to a host is by SSH.
    async fn ask_whether_it_runs(
        &self,
        machine: &mut Machine,
        lock: &MachineLock,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let driver = self.driver(&machine.driver_name)?;
        if !can_be_started(&*driver) {
            return Ok(());
        }
        let host = self.host(&*driver, &self.name(&machine.name)?, report)?;
        let name = machine.name.clone();
        let look = self.look(&*driver, &host, machine, lock);
        match tokio::time::timeout(self.settings.dial_limit, look).await {
            Ok(Ok(state @ (State::Stopped | State::Saved | State::Paused))) => {
                Err(Error::NotRunning { machine: name, state })
            }
            Ok(Err(Error::Driver { source, .. })) if source.kind() != ErrorKind::NotFound => {
                report.report(Event::Warning(format!(
                    "where the host of {name:?} is could not be asked: {source}"
                )));
                Ok(())
            }
            Ok(asked) => asked.map(drop),
            Err(_) => {
                report.report(Event::Warning(format!(
                    "where the host of {name:?} is could not be asked: its driver did not answer within {} s",
                    self.settings.dial_limit.as_secs()
                )));
                Ok(())
            }
        }
    }

    /// Reaches the host and works on it; the engine is to be waited for then. A host that restarts itself meanwhile, as its user
    /// data may have told it to, is reached again.
    pub(crate) async fn work_over_ssh(
        &self,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
        work: Work,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        line(report, "Waiting for SSH to be available...");
        let session = self.reach(machine, recorder, report).await?;
        if work == Work::Everything {
            self.replace_host_key(&session, machine, recorder, report).await?;
            self.narrow(&session, machine, lock, recorder, report).await?;
        }
        recorder.advance(Phase::Provision)?;
        line(report, "Detecting the provisioner...");
        let (session, facts) = self.settled(session, machine, recorder, report).await?;
        let done = self.provision_over(&session, &facts, machine, lock, recorder, work, report).await;
        let may_restart = !facts.boot.is_empty() && self.is_fresh(machine);
        let session = match done {
            Ok(()) => session,
            Err(broken) if may_restart && (is_cut_off(&broken) || goes_down(&session, &broken).await) => {
                let session = self.reach_restarted(machine, &broken, recorder, report).await?;
                let (session, now) = self.settled(session, machine, recorder, report).await?;
                if now.boot == facts.boot {
                    return Err(broken);
                }
                // The plan finds what it has done already.
                self.provision_over(&session, &now, machine, lock, recorder, work, report).await?;
                session
            }
            Err(error) => return Err(error),
        };
        session.close().await;
        recorder.advance(Phase::Ready)
    }

    /// The host's facts once cloud-init has finished. Until then nothing is done there but waiting, so that it can be begun anew
    /// over another session where this one breaks.
    async fn settled(
        &self,
        mut session: Session,
        machine: &Machine,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(Session, HostFacts), Error> {
        let mut restarts = 0;
        loop {
            match self.settled_facts(&session, machine, report).await {
                Err(broken) if is_cut_off(&broken) && self.is_fresh(machine) && restarts < RESTARTS => {
                    restarts += 1;
                    session = self.reach_restarted(machine, &broken, recorder, report).await?;
                }
                facts => return Ok((session, facts?)),
            }
        }
    }

    /// Another session with a host that ended the last one.
    async fn reach_restarted(
        &self,
        machine: &Machine,
        broken: &Error,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<Session, Error> {
        report.report(Event::Notice(format!(
            "the work on {:?} was cut short, the host may be restarting: it is reached again ({})",
            machine.name,
            broken.to_string().trim()
        )));
        // On its way down it may take connections for a moment still.
        tokio::time::sleep(GOING_DOWN).await;
        self.reach(machine, recorder, report).await
    }

    /// Plans, and sends the plan.
    #[expect(clippy::too_many_arguments, reason = "what there is to work with, and the work")]
    async fn provision_over(
        &self,
        session: &Session,
        facts: &HostFacts,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &Recorder<'_>,
        work: Work,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let name = machine.name.clone();
        report.report(Event::Debug(format!("the host is {}", facts.display_name())));
        line(report, format!("Provisioning with {}...", provisioner_name(facts)));
        line(report, "Copying certs to the local machine directory...");
        let anew = work == Work::Certificates;
        let certificates = self.machine_certificates(machine, lock, recorder.key_algorithm(), anew)?;
        let plan_error = |source| Error::Plan { machine: name.clone(), source };
        let remote_dir = Plan::certificates_dir(facts).map_err(plan_error)?;
        self.keep_remote_paths(machine, lock, remote_dir)?;
        let wish = self.wish(machine, certificates, &recorder.extras()?)?;
        let planned = match work {
            Work::Everything => machine_provision::plan(facts, &wish),
            Work::Certificates => machine_provision::certificates_plan(facts, &wish),
        };
        let plan = planned.map_err(plan_error)?;
        if plan.steps.iter().any(|step| matches!(step.action, Action::InstallEngine(_))) {
            line(report, "Installing Docker...");
        }
        line(report, "Copying certs to the remote machine...");
        line(report, "Setting Docker configuration on the remote daemon...");
        self.run(session, machine, facts, &plan, report).await?;
        if work == Work::Everything { self.configure_swarm(machine, report).await } else { Ok(()) }
    }

    /// What the host is once cloud-init has done its work there: it may be installing the engine. What it could not do is told;
    /// the plan does it then.
    async fn settled_facts(
        &self,
        session: &Session,
        machine: &Machine,
        report: &dyn Reporter,
    ) -> Result<HostFacts, Error> {
        let mut facts = self.probe(session, machine, report).await?;
        if let Some(wait) = machine_provision::wait_plan(&facts) {
            line(report, "Waiting for cloud-init to finish on the host...");
            self.run(session, machine, &facts, &wait, report).await?;
            facts = self.probe(session, machine, report).await?;
        }
        // On a host that somebody else has set up it is their matter.
        if self.is_fresh(machine) {
            for error in &facts.cloud_init_errors {
                report.report(Event::Warning(format!(
                    "cloud-init of {:?} failed: {error}; what it left undone is done over SSH (its log on the host: \
                     /var/log/cloud-init-output.log)",
                    machine.name
                )));
            }
            for error in &facts.unread_user_data {
                report.report(Event::Warning(format!(
                    "cloud-init of {:?} passed over a part of its user data: {error}; what is asked for there was not done \
                     (its log on the host: /var/log/cloud-init.log)",
                    machine.name
                )));
            }
        }
        Ok(facts)
    }

    /// What the host is.
    pub(crate) async fn probe(
        &self,
        session: &Session,
        machine: &Machine,
        report: &dyn Reporter,
    ) -> Result<HostFacts, Error> {
        let ssh = |source| Error::ssh(machine, source);
        let output =
            session.exec(probe::COMMAND, probe::script(), &ExecLimits::of(PROBE_LIMIT)).await.map_err(ssh)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let facts = HostFacts::parse(&text)
            .map_err(|source| Error::Probe { machine: machine.name.clone(), source })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let Some(skew) = facts.clock_skew_s(now).filter(|skew| skew.abs() > CLOCK_SKEW_S) {
            let which = if skew > 0 { "ahead of" } else { "behind" };
            report.report(Event::Warning(format!(
                "the clock of {:?} is {} s {which} this computer's: certificates and package signatures may be \
                 refused there until it is set (`timedatectl set-ntp true`)",
                machine.name,
                skew.unsigned_abs()
            )));
        }
        Ok(facts)
    }

    /// Sends a plan and follows it.
    pub(crate) async fn run(
        &self,
        session: &Session,
        machine: &Machine,
        facts: &HostFacts,
        plan: &Plan,
        report: &dyn Reporter,
    ) -> Result<Outcome, Error> {
        warn_of(plan, report);
        let script = render::script(plan);
        let mut progress = Progress::new(&script);
        let limits = ExecLimits::of(Duration::from_secs(script.limit_s()) + SCRIPT_SLACK);
        let output = session
            .exec_streaming(
                script.command(facts),
                script.text().as_bytes().to_vec(),
                &limits,
                |_: Stream, text| {
                    if let Some(event) = progress.line(text) {
                        report_step(report, event);
                    }
                },
            )
            .await
            .map_err(|source| Error::ssh(machine, source))?;
        progress
            .finish(Some(output.status.code()))
            .map_err(|source| Error::Step { machine: machine.name.clone(), source: Box::new(source) })
    }

    /// Puts the paths on the host into the record, as the reference program does.
    pub(crate) fn keep_remote_paths(
        &self,
        machine: &mut Machine,
        lock: &MachineLock,
        remote_dir: &str,
    ) -> Result<(), Error> {
        let before = machine.host_options.auth_options.clone();
        let auth = &mut machine.host_options.auth_options;
        auth.ca_cert_remote_path = format!("{remote_dir}/ca.pem");
        auth.server_cert_remote_path = format!("{remote_dir}/server.pem");
        auth.server_key_remote_path = format!("{remote_dir}/server-key.pem");
        if *auth != before {
            self.store.save(lock, machine)?;
        }
        Ok(())
    }

    pub(crate) fn wish(
        &self,
        machine: &Machine,
        certificates: machine_provision::Certificates,
        extras: &Extras,
    ) -> Result<EngineWish, Error> {
        let engine = machine.host_options.engine_options.clone();
        let install = match extras.install {
            InstallMethod::Url if engine.install_url.is_empty() => PlannedInstall::default(),
            InstallMethod::Url => PlannedInstall::Url(engine.install_url.clone()),
            InstallMethod::Distro => PlannedInstall::Distro,
            InstallMethod::None => PlannedInstall::None,
        };
        let registry_cas = extras
            .registry_cas
            .iter()
            .map(|ca| RegistryCa { registry: ca.registry.clone(), pem: ca.pem.clone() })
            .collect();
        let proxies = proxies_of(&engine);
        Ok(EngineWish {
            machine: MachineName::new(machine.name.as_str()).map_err(Error::BadName)?,
            set_hostname: true,
            port: self.engine_port(machine)?,
            engine,
            provider: machine.driver_name.clone(),
            certificates,
            install,
            registry_cas,
            proxies,
        })
    }

    /// The port on which the engine listens on the host itself.
    fn engine_port(&self, machine: &Machine) -> Result<u16, Error> {
        let known = self.known(machine)?;
        let of_url =
            || known.url.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok());
        Ok(known.engine_port.or_else(of_url).unwrap_or(DEFAULT_PORT))
    }

    /// Starts the retired Swarm's containers where the machine belongs to one, replacing those that are there.
    pub(crate) async fn configure_swarm(
        &self,
        machine: &Machine,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        if !machine.host_options.swarm_options.is_swarm {
            return Ok(());
        }
        line(report, "Configuring swarm...");
        self.wait_until_ready(machine, report).await?;
        report.report(Event::Warning(
            "standalone Swarm is retired; `docker swarm` is its successor and is part of the engine".into(),
        ));
        let known = self.known(machine)?;
        let options = &machine.host_options;
        let remote_dir = options.auth_options.server_cert_remote_path.rsplit_once('/');
        let host = swarm::SwarmHost {
            ip: &known.ip,
            engine_port: self.engine_port(machine)?,
            certificates_dir: remote_dir.map_or("/", |(dir, _)| dir),
        };
        let containers = swarm::containers(&options.swarm_options, &options.engine_options, &host)
            .map_err(|error| Error::SwarmHost { machine: machine.name.clone(), source: error })?;
        let tls = TlsConfigs::default().of(machine)?;
        let client = Client::new(&known.url, Some(&tls), self.settings.dial_limit)
            .map_err(|error| Error::Version(Box::new(error)))?;
        for container in containers {
            start_container(&client, &container, report).await.map_err(|source| Error::Swarm {
                machine: machine.name.clone(),
                container: container.name.to_owned(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// A machine without SSH can't be worked on: an error at once instead of a wait.
    pub(crate) fn require_ssh(&self, machine: &Machine, what: &'static str) -> Result<(), Error> {
        let driver = self.driver(&machine.driver_name)?;
        if driver.spec().capabilities.ssh {
            return Ok(());
        }
        Err(Error::NoSsh { machine: machine.name.clone(), driver: machine.driver_name.clone(), what })
    }
}

/// What the reference program calls the provisioner of a distribution; the distribution's id where it has none.
fn provisioner_name(facts: &HostFacts) -> &str {
    match facts.os.id.as_str() {
        "ubuntu" => "ubuntu(systemd)",
        "rhel" => "redhat",
        "opensuse" | "sles" => "SUSE",
        "" => "an unknown system",
        id => id,
    }
}

/// Whether the host, or the way to it, was lost while something was under way there.
fn is_cut_off(error: &Error) -> bool {
    match error {
        Error::Ssh { source, .. } => source.is_transient(),
        Error::Step { source, .. } => matches!(**source, ScriptError::CutOff { .. }),
        Error::Probe { source, .. } => matches!(source, ProbeError::CutOff { .. }),
        _ => false,
    }
}

/// Whether a step failed because the host is on its way down, where nothing can be started any more. If so, it is down when
/// this returns, as far as that can be told.
async fn goes_down(session: &Session, error: &Error) -> bool {
    if !matches!(error, Error::Step { .. }) {
        return false;
    }
    let limits = ExecLimits::of(DOWN_LIMIT);
    let asked = session.exec(WAIT_UNTIL_DOWN, "", &limits).await;
    asked.map_or(true, |output| output.status.code() != 0)
}

/// Ends at once with 0 on a host that is not going down; on one that is, its end comes first, or it is another status.
/// systemd calls one whose boot was not over "starting" still, and has jobs for its end; in the end it answers nobody.
const WAIT_UNTIL_DOWN: &str = "[ -d /run/systemd/system ] || exit 0\n\
     case $(systemctl is-system-running 2>&1; systemctl list-jobs --no-legend 2>&1) in \
     *stopping* | *shutdown.target* | *'Failed to connect'*) sleep 60; exit 1 ;; esac";
const DOWN_LIMIT: Duration = Duration::from_secs(70);
/// How often a host may restart itself while its first boot is waited for.
const RESTARTS: usize = 5;
/// How long a host that restarts itself may take until it takes no more connections.
const GOING_DOWN: Duration = Duration::from_secs(3);
/// A probe is some forty short commands.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// What a script may take beyond the limits of its steps: starting, and saying what it did.
const SCRIPT_SLACK: Duration = Duration::from_secs(30);
/// The engine's port where the URL names none.
const DEFAULT_PORT: u16 = 2376;
/// Certificates are made valid from five minutes before now on.
const CLOCK_SKEW_S: i64 = 240;

/// Says what the user should know although the plan can be carried out.
pub(crate) fn warn_of(plan: &Plan, report: &dyn Reporter) {
    for warning in &plan.warnings {
        report.report(Event::Warning(warning.clone()));
    }
}

fn report_step(report: &dyn Reporter, event: StepEvent) {
    let step = |name, status| Event::Step { name, status };
    report.report(match event {
        StepEvent::Started { name } => step(name, StepStatus::Started),
        StepEvent::Changed { name } => step(name, StepStatus::Changed),
        StepEvent::Unchanged { name } => step(name, StepStatus::Unchanged),
        StepEvent::Failed { name } => step(name, StepStatus::Failed(String::new())),
        StepEvent::Waiting { name, for_s, limit_s, last } => {
            Event::Waiting { what: name, for_ms: for_s * 1000, limit_ms: limit_s * 1000, last }
        }
        StepEvent::Output(text) => Event::Debug(text),
        _ => return,
    });
}

async fn start_container(
    client: &Client,
    container: &swarm::SwarmContainer,
    report: &dyn Reporter,
) -> Result<(), machine_engine::EngineError> {
    client.remove_container(container.name, true).await?;
    let pulled = client.pull_image(&container.image, |progress| {
        report.report(Event::Debug(format!("{}: {}", container.image, progress.status)));
    });
    // An image that is there already is good enough where the registry can't be reached: creating says so otherwise.
    if let Err(error) = pulled.await {
        report.report(Event::Warning(format!("{} could not be pulled: {error}", container.image)));
    }
    let id = client.create_container(container.name, &container_config(container)).await?;
    client.start_container(&id).await
}

/// The body of `POST /containers/create` for a container of the Swarm.
fn container_config(container: &swarm::SwarmContainer) -> Value {
    let exposed: Map<String, Value> =
        container.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect();
    let published: Map<String, Value> = container
        .published_ports
        .iter()
        .map(|port| (format!("{port}/tcp"), json!([{ "HostIp": "0.0.0.0", "HostPort": port.to_string() }])))
        .collect();
    json!({
        "Image": container.image,
        "Cmd": container.cmd,
        "Env": container.env,
        "ExposedPorts": exposed,
        "HostConfig": {
            "Binds": container.binds,
            "PortBindings": published,
            "RestartPolicy": { "Name": container.restart },
        },
    })
}

/// The proxy variables among `--engine-env`: what installs the engine needs them as well as the engine. Those of this
/// computer are not passed on: a proxy here need not be one there.
fn proxies_of(engine: &EngineOptions) -> Vec<(String, Secret)> {
    const NAMES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
    let variables = engine.env.iter().flatten().filter_map(|line| line.split_once('='));
    variables
        .filter(|(name, _)| NAMES.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| (name.to_owned(), Secret::new(value)))
        .collect()
}
