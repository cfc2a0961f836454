//! The suite passes a driver that keeps its promises, and fails one that breaks any of them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, ErrorKind,
    Event, FlagSpec, FlagValue, FlagValues, Known, Observed, Power, State,
};
use serde_json::json;

use super::{Fault, Subject, run};

/// The ways in which the driver below can break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    SecretNotMarked,
    MakesBeforeSaving,
    ForgetsOnResume,
    RemoveLeavesDisk,
    RemoveTwiceFails,
    SeesTheDead,
    DropsUnknownKeys,
    TellsTheSecret,
    ReportsTheSecret,
    HidesSaveError,
    StopDoesNothing,
    CallsQuotaOther,
    TakesNonsense,
}

const DEFECTS: [(Defect, &str); 13] = [
    (Defect::SecretNotMarked, "sounds secret"),
    (Defect::MakesBeforeSaving, "made before the first save"),
    (Defect::ForgetsOnResume, "holds something else"),
    (Defect::RemoveLeavesDisk, "remove left something"),
    (Defect::RemoveTwiceFails, "second time"),
    (Defect::SeesTheDead, "a host that is gone"),
    (Defect::DropsUnknownKeys, "dropped a key"),
    (Defect::TellsTheSecret, "shows in an error"),
    (Defect::ReportsTheSecret, "shows in an event"),
    (Defect::HidesSaveError, "although its state could not be saved"),
    (Defect::StopDoesNothing, "did not become Stopped"),
    (Defect::CallsQuotaOther, "Quota"),
    (Defect::TakesNonsense, "configure took flags"),
];

/// A provider in memory: hosts with a disk each, by number.
#[derive(Default)]
struct Provider {
    next: u64,
    disks: Vec<u64>,
    hosts: Vec<(u64, bool)>,
    fault: Option<Fault>,
}

struct Pretend {
    spec: DriverSpec,
    defect: Defect,
    provider: Arc<Mutex<Provider>>,
}

const SECRET: &str = "correct-horse-battery";

impl Pretend {
    fn new(defect: Defect) -> Self {
        let token = FlagSpec::str("pretend-token", "PRETEND_TOKEN", "", "Token");
        let token = if defect == Defect::SecretNotMarked { token } else { token.secret() };
        let spec = DriverSpec {
            name: "pretend".into(),
            summary: "hosts in memory".into(),
            flags: vec![token, FlagSpec::int("pretend-size", "", 1, "Size in GiB")].into(),
            capabilities: Capabilities { ssh: true, ..Capabilities::default() },
        };
        Self { spec, defect, provider: Arc::default() }
    }

    fn number(state: &DriverState, key: &str) -> Option<u64> {
        state.0.get(key).and_then(serde_json::Value::as_u64)
    }

    /// What every request to the provider may meet.
    fn request(&self, makes: bool) -> Result<(), DriverError> {
        let mut provider = self.provider.lock().unwrap();
        let refuse =
            |kind, text: &str| Err(DriverError::new(kind, text).with_hint("see the provider's console"));
        match provider.fault {
            Some(Fault::Unavailable | Fault::Throttled) => {
                provider.fault = None;
                refuse(ErrorKind::Unavailable, "try later")
            }
            Some(Fault::WrongCredentials) if self.defect == Defect::TellsTheSecret => {
                refuse(ErrorKind::Credentials, &format!("token {SECRET} is wrong"))
            }
            Some(Fault::WrongCredentials) => refuse(ErrorKind::Credentials, "the token is wrong"),
            Some(Fault::Quota) if makes && self.defect == Defect::CallsQuotaOther => {
                refuse(ErrorKind::Other, "full")
            }
            Some(Fault::Quota) if makes => refuse(ErrorKind::Quota, "full"),
            _ => Ok(()),
        }
    }

    /// Makes what belongs to a token, once: the provider knows tokens that it has seen, as real ones do.
    fn make(&self, token: u64, host: bool) -> Result<(), DriverError> {
        self.request(true)?;
        let mut provider = self.provider.lock().unwrap();
        if host && !provider.hosts.iter().any(|(id, _)| *id == token) {
            provider.hosts.push((token, true));
        } else if !host && !provider.disks.contains(&token) {
            provider.disks.push(token);
        }
        if provider.fault == Some(Fault::LostReply) {
            provider.fault = None;
            return Err(DriverError::new(ErrorKind::Unavailable, "the answer got lost"));
        }
        Ok(())
    }

    fn token(&self) -> u64 {
        let mut provider = self.provider.lock().unwrap();
        provider.next += 1;
        provider.next
    }
}

#[async_trait]
impl Driver for Pretend {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        if flags.str("pretend-token").is_empty() && self.defect != Defect::TakesNonsense {
            return Err(DriverError::new(ErrorKind::Config, "pretend requires the --pretend-token option"));
        }
        let state =
            json!({"IPAddress": "", "MachineName": cx.name.as_str(), "Token": flags.str("pretend-token")});
        DriverState::from_typed(&state)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        match state.0.get("IPAddress") {
            None | Some(serde_json::Value::String(_)) => {
                Ok(Known { ip: state.str("IPAddress").into(), ..Known::default() })
            }
            Some(_) => Err(DriverError::new(ErrorKind::Config, "IPAddress is no text")),
        }
    }

    async fn precreate(&self, _cx: &Cx<'_>, _wish: &DriverState) -> Result<(), DriverError> {
        self.request(false)
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let mut state = wish;
        if self.defect == Defect::ReportsTheSecret {
            cx.report.report(Event::Debug(format!("token={SECRET}")));
        }
        if self.defect == Defect::DropsUnknownKeys {
            state.0.shift_remove("KeyOfALaterVersion");
        }
        for (key, host) in [("Disk", false), ("Host", true)] {
            let known = Self::number(&state, key).filter(|_| self.defect != Defect::ForgetsOnResume);
            let token = known.unwrap_or_else(|| self.token());
            state.0.insert(key.to_owned(), json!(token));
            if self.defect == Defect::MakesBeforeSaving {
                self.make(token, host)?;
            }
            match save.save(&state) {
                Err(_) if self.defect == Defect::HidesSaveError => {}
                other => other?,
            }
            self.make(token, host)?;
        }
        Ok(state)
    }

    async fn observe(&self, _cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let id = Self::number(state, "Host");
        let provider = self.provider.lock().unwrap();
        let found = provider.hosts.iter().find(|(host, _)| Some(*host) == id);
        let state = match found {
            Some((_, true)) => State::Running,
            Some((_, false)) => State::Stopped,
            None if self.defect == Defect::SeesTheDead => State::Running,
            None => State::NotFound,
        };
        Ok(Observed { state, ..Observed::default() })
    }

    async fn power(&self, _cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let id = Self::number(state, "Host");
        let mut provider = self.provider.lock().unwrap();
        if let Some(host) = provider.hosts.iter_mut().find(|(host, _)| Some(*host) == id) {
            let off = matches!(op, Power::Stop | Power::Kill) && self.defect != Defect::StopDoesNothing;
            host.1 = !off;
        }
        Ok(state.clone())
    }

    async fn remove(&self, _cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let (host, disk) = (Self::number(state, "Host"), Self::number(state, "Disk"));
        let mut provider = self.provider.lock().unwrap();
        let before = provider.hosts.len();
        provider.hosts.retain(|(id, _)| Some(*id) != host);
        if self.defect == Defect::RemoveTwiceFails && provider.hosts.len() == before {
            return Err(DriverError::new(ErrorKind::NotFound, "no such host"));
        }
        if self.defect != Defect::RemoveLeavesDisk {
            provider.disks.retain(|id| Some(*id) != disk);
        }
        Ok(())
    }
}

struct PretendSubject(Arc<Mutex<Provider>>);

impl Subject for PretendSubject {
    fn good_flags(&self) -> FlagValues {
        let mut flags = FlagValues::default();
        flags.set("pretend-token", FlagValue::Str(SECRET.into()));
        flags
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![("no token", FlagValues::default())]
    }

    fn resources(&self) -> usize {
        let provider = self.0.lock().unwrap();
        provider.hosts.len() + provider.disks.len()
    }

    fn inject(&self, fault: Fault) -> bool {
        let mut provider = self.0.lock().unwrap();
        if fault == Fault::HostGone {
            provider.hosts.clear();
            provider.disks.clear();
        } else {
            provider.fault = Some(fault);
        }
        true
    }

    fn heal(&self) {
        self.0.lock().unwrap().fault = None;
    }

    fn settle_seconds(&self) -> u64 {
        0
    }
}

/// Runs the suite on its own thread; gives the text of its panic.
fn verdict(defect: Defect) -> Result<(), String> {
    let run = std::thread::spawn(move || {
        let driver = Pretend::new(defect);
        let subject = PretendSubject(Arc::clone(&driver.provider));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&driver, &subject));
    });
    run.join().map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map(ToString::to_string).unwrap_or_default(),
    })
}

#[test]
fn a_driver_that_keeps_its_promises_passes() {
    assert_eq!(verdict(Defect::None), Ok(()));
}

#[test]
fn a_driver_that_breaks_one_fails_for_that_reason() {
    for (defect, reason) in DEFECTS {
        match verdict(defect) {
            Ok(()) => panic!("{defect:?} was not seen"),
            Err(text) => assert!(text.contains(reason), "{defect:?} failed for another reason: {text}"),
        }
    }
}
