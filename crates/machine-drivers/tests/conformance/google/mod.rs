//! `google` against a double of Compute Engine; every exchange is held against Google's description of the API.

mod credentials;
mod discovery;
mod double;
mod flags;
mod life;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine_core::{Cx, Driver, DriverError, DriverState, FlagValue, FlagValues, State};
use machine_drivers::google::Google;
use machine_testkit::conformance::{Bench, Cut, Fault, Journal, Subject, full_text};
use machine_testkit::double::{Double, Reply, Request, Trouble};
use serde_json::{Value, json};

use super::{conforms, text, with};
use double::{Auth, Gcp, PROJECT, Room};

/// The name of the suite's machine.
const NAME: &str = "conformance";
const ZONE: &str = "us-central1-a";

/// A key of a service account, made once for all tests: PKCS #8 in PEM, and the public key.
fn key() -> &'static (String, Vec<u8>) {
    static KEY: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).unwrap();
        let body = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        (pem, pair.public_key().as_ref().to_vec())
    })
}

/// The project at the double.
struct Project {
    double: Double<Gcp>,
}

impl Project {
    fn new() -> Self {
        Self { double: Double::start(Gcp::shy()) }
    }

    fn service_account(&self) -> Value {
        json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": "0a1b2c", "private_key": key().0,
            "client_email": "maker@acme-dev-4711.iam.gserviceaccount.com",
            "token_uri": format!("{}/token", self.double.url()),
        })
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("google-project", text(PROJECT)),
            ("google-endpoint", text(self.double.url())),
            ("google-auth-encoded-json", text(STANDARD.encode(self.service_account().to_string()))),
            ("google-operation-backoff-initial-interval", FlagValue::Int(0)),
        ];
        given.extend_from_slice(more);
        with("google", &given)
    }

    /// The requests since they were last counted, as `METHOD path` below the project, without those for tokens.
    fn calls(&self) -> Vec<String> {
        let prefix = format!("/compute/v1/projects/{PROJECT}/");
        let exchanges = self.double.take_exchanges();
        let of_api =
            exchanges.iter().map(|exchange| &exchange.request).filter(|r| r.path.starts_with("/compute"));
        of_api.map(|r| format!("{} {}", r.method, r.path.strip_prefix(&prefix).unwrap_or(&r.path))).collect()
    }
}

fn making(request: &Request) -> bool {
    request.method == "POST"
        && (request.path.ends_with("/instances") || request.path.ends_with("/bulkInsert"))
}

fn of_api(request: &Request) -> bool {
    request.path.starts_with("/compute/")
}

impl Subject for Project {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        flags::bad(self)
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        flags::unmet(self)
    }

    fn resources(&self) -> usize {
        self.double.provider().held()
    }

    fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::LostReply => self.double.trouble(1, Trouble::LostReply, making),
            Fault::Unavailable => self.double.trouble(1, Trouble::Answer(Reply::empty(503)), of_api),
            Fault::Throttled => {
                let body = json!({ "error": { "code": 403, "message": "Rate Limit Exceeded",
                    "errors": [{ "domain": "usageLimits", "reason": "rateLimitExceeded" }] } });
                let reply = Reply::json(403, &body).header("retry-after", "1");
                self.double.trouble(1, Trouble::Answer(reply), of_api);
            }
            Fault::WrongCredentials => {
                let mut gcp = self.double.provider();
                gcp.auth = Auth::NoToken;
                gcp.expire_tokens();
            }
            Fault::Quota => {
                self.double.provider().room =
                    Room::Fails("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded. Limit: 24.0 in region us-central1.")
            }
            Fault::HostGone => {
                let mut gcp = self.double.provider();
                gcp.vms.clear();
                gcp.disks.clear();
            }
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.double.heal();
        let mut gcp = self.double.provider();
        gcp.auth = Auth::Good;
        gcp.room = Room::Plenty;
    }
}

#[test]
fn google_conforms() {
    let project = Project::new();
    conforms("google", &project);
    discovery::check(&project.double.take_exchanges());
}

#[test]
fn google_conforms_in_bulk() {
    let project = Bulk(Project::new());
    conforms("google", &project);
    discovery::check(&project.0.double.take_exchanges());
}

/// The same, with the provider choosing zone and machine type.
struct Bulk(Project);

impl Subject for Bulk {
    fn good_flags(&self) -> FlagValues {
        self.0.flags(&[
            ("google-bulk-insert", FlagValue::Bool(true)),
            ("google-region", text("us-central1")),
            ("google-flex-machine-type", FlagValue::List(vec!["n2-standard-2".into(), "e2-medium".into()])),
            ("google-location-zone", FlagValue::List(vec!["us-central1-a:DENY".into()])),
        ])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        self.0.bad_flags()
    }

    fn resources(&self) -> usize {
        self.0.resources()
    }

    fn inject(&self, fault: Fault) -> bool {
        self.0.inject(fault)
    }

    fn heal(&self) {
        self.0.heal();
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ok<T>(result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

/// Whatever a driver says of an error, in one text.
fn why<T>(result: Result<T, DriverError>) -> String {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => full_text(&error),
    }
}

/// A machine with its bench.
struct Made {
    driver: Google,
    bench: Bench,
    state: DriverState,
}

impl Made {
    /// Makes a machine of these flags, with the context changed.
    async fn with(flags: &FlagValues, allow_from: &[String]) -> Result<Self, DriverError> {
        let (driver, bench) = (Google::new(), Bench::new());
        let wish = bench.wish(&driver, flags);
        let state = {
            let cx = Cx { allow_from, ..bench.cx() };
            driver.precreate(&cx, &wish).await?;
            driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await?
        };
        Ok(Self { driver, bench, state })
    }

    async fn of(flags: &FlagValues) -> Result<Self, DriverError> {
        Self::with(flags, &[]).await
    }

    async fn remove(&self) {
        ok(self.driver.remove(&self.bench.cx(), &self.state).await);
    }

    /// Looks until it is in this state.
    async fn settles(&mut self, to: State) {
        for _ in 0..20 {
            let seen = ok(self.driver.observe(&self.bench.cx(), &self.state).await);
            if let Some(changed) = seen.changed {
                self.state = changed;
            }
            if seen.state == to {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not become {to}");
    }
}

/// The values of an instance's metadata.
fn metadata(vm: &Value) -> BTreeMap<String, String> {
    let items = vm["metadata"]["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items.iter().map(|item| (text(&item["key"]), text(&item["value"]))).collect()
}
