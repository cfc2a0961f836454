//! amazonec2 against moto.

mod more;
mod moto;

use std::time::Duration;

use machine_core::{Driver, FlagValue, FlagValues};
use machine_drivers::amazonec2::Amazonec2;
use machine_testkit::conformance::{self, Fault, Subject};
use machine_testkit::double::{Double, Request, Trouble};

use super::{text, with};
use moto::{AccessKey, Front, Moto, refusal};

/// moto behind its front, and a user there.
struct Cloud {
    front: Double<Front>,
    key: AccessKey,
}

impl Cloud {
    fn new() -> Option<Self> {
        let moto = Moto::start()?;
        let key = moto.owner();
        let front = Double::start(Front::new(moto));
        Some(Self { front, key })
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("amazonec2-access-key", text(&self.key.id)),
            ("amazonec2-secret-key", text(&self.key.secret)),
            ("amazonec2-region", text(moto::REGION)),
            ("amazonec2-endpoint", text(self.front.url())),
        ];
        given.extend_from_slice(more);
        with("amazonec2", &given)
    }

    fn without(&self, flag: &str) -> FlagValues {
        self.flags(&[(flag, text(""))])
    }
}

fn action(request: &Request) -> String {
    request.form().get("Action").cloned().unwrap_or_default()
}

fn makes(request: &Request) -> bool {
    ["RunInstances", "ImportKeyPair", "CreateSecurityGroup"].contains(&action(request).as_str())
}

impl Subject for Cloud {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let int = FlagValue::Int;
        vec![
            ("a secret without a key", self.without("amazonec2-access-key")),
            ("a key without a secret", self.without("amazonec2-secret-key")),
            ("no region", with("amazonec2", &[("amazonec2-region", text("mars"))])),
            (
                "no TLS to Amazon",
                with("amazonec2", &[("amazonec2-insecure-transport", FlagValue::Bool(true))]),
            ),
            ("a key pair without its key", self.flags(&[("amazonec2-keypair-name", text("mine"))])),
            (
                "a port without a number",
                self.flags(&[("amazonec2-open-port", FlagValue::List(vec!["http".into()]))]),
            ),
            ("a port above 65535", self.flags(&[("amazonec2-ssh-port", int(70_000))])),
            ("a volume of nothing", self.flags(&[("amazonec2-root-size", int(0))])),
            ("a volume of unknown speed", self.flags(&[("amazonec2-volume-type", text("io2"))])),
            ("tokens that are neither", self.flags(&[("amazonec2-metadata-token", text("maybe"))])),
            (
                "hops of a light year",
                self.flags(&[("amazonec2-metadata-token-response-hop-limit", int(100))]),
            ),
            ("fewer hops than none", self.flags(&[("amazonec2-http-put-response-hop-limit", int(-1))])),
            (
                "two numbers of hops",
                self.flags(&[
                    ("amazonec2-metadata-token-response-hop-limit", int(2)),
                    ("amazonec2-http-put-response-hop-limit", int(3)),
                ]),
            ),
            (
                "both forks' names, in contradiction",
                self.flags(&[
                    ("amazonec2-metadata-token", text("optional")),
                    ("amazonec2-http-tokens", text("required")),
                ]),
            ),
            (
                "two keys for one volume",
                self.flags(&[("amazonec2-kms-key", text("a")), ("amazonec2-volume-kms-key", text("b"))]),
            ),
            (
                "an endpoint that is neither on nor off",
                self.flags(&[("amazonec2-http-endpoint", text("maybe"))]),
            ),
            (
                "IPv6 only, without an address",
                self.flags(&[("amazonec2-ipv6-address-only", FlagValue::Bool(true))]),
            ),
            (
                "a price that is none",
                self.flags(&[
                    ("amazonec2-request-spot-instance", FlagValue::Bool(true)),
                    ("amazonec2-spot-price", text("cheap")),
                ]),
            ),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let one = |flag: &'static str, value: &str| self.flags(&[(flag, text(value))]);
        vec![
            ("the image", one("amazonec2-ami", "ami-00000000000000000")),
            ("the type", one("amazonec2-instance-type", "t9.mega")),
            ("the subnet", one("amazonec2-subnet-id", "subnet-00000000")),
            ("the VPC", one("amazonec2-vpc-id", "vpc-00000000")),
            ("the zone", one("amazonec2-zone", "z")),
            ("the user data's file", one("amazonec2-userdata", "/no/such/file")),
            ("the key's file", one("amazonec2-ssh-keypath", "/no/such/file")),
            ("a user with this key", one("amazonec2-secret-key", "wrong-wrong-wrong-wrong")),
            ("a volume that the image fits in", self.flags(&[("amazonec2-root-size", FlagValue::Int(1))])),
            (
                "a group that nobody may make",
                self.flags(&[
                    ("amazonec2-security-group", FlagValue::List(vec!["mine".into()])),
                    ("amazonec2-security-group-readonly", FlagValue::Bool(true)),
                ]),
            ),
        ]
    }

    fn resources(&self) -> usize {
        self.front.provider().moto.admin(|admin| admin.resources())
    }

    fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::LostReply => self.front.trouble(1, Trouble::LostReply, makes),
            Fault::Unavailable => {
                let reply =
                    refusal(503, "Unavailable", "The server is overloaded and can't handle the request.");
                self.front.trouble(1, Trouble::Answer(reply), |_| true);
            }
            Fault::Throttled => {
                let reply = refusal(503, "RequestLimitExceeded", "Request limit exceeded.");
                self.front.trouble(1, Trouble::Answer(reply), |_| true);
            }
            Fault::WrongCredentials => {
                let message = "AWS was not able to validate the provided access credentials";
                let reply = refusal(401, "AuthFailure", message);
                self.front.trouble(usize::MAX, Trouble::Answer(reply), |_| true);
            }
            Fault::Quota => {
                let message =
                    "You have requested more vCPU capacity than your current vCPU limit of 32 allows";
                let reply = refusal(400, "VcpuLimitExceeded", message);
                self.front
                    .trouble(usize::MAX, Trouble::Answer(reply), |request| action(request) == "RunInstances");
            }
            Fault::HostGone => self.front.provider().end_all(),
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.front.heal();
    }

    fn settle_seconds(&self) -> u64 {
        20
    }
}

/// The suite in parts, so that they can run at the same time.
fn part(ask: impl AsyncFnOnce(&dyn Driver, &dyn Subject)) {
    let Some(cloud) = Cloud::new() else { return };
    // What the front hides is hidden for a moment only.
    let driver = Amazonec2::new().settling_within(Duration::from_secs(5));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&driver, &cloud));
}

#[test]
fn amazonec2_conforms() {
    part(async |driver, cloud| {
        conformance::spec_is_sane(driver, cloud);
        conformance::configuring_is_pure(driver, cloud);
        conformance::bad_flags_are_refused(driver, cloud);
        conformance::state_round_trips(driver, cloud);
        conformance::unmet_conditions_are_seen_before_create(driver, cloud).await;
        conformance::create_observe_remove(driver, cloud).await;
        conformance::power_as_declared(driver, cloud).await;
    });
}

#[test]
fn interrupted_creates_of_amazonec2_go_on() {
    part(async |driver, cloud| conformance::interrupted_creates_go_on(driver, cloud).await);
}

#[test]
fn interrupted_creates_of_amazonec2_can_be_removed() {
    part(async |driver, cloud| conformance::interrupted_creates_can_be_removed(driver, cloud).await);
}

#[test]
fn faults_of_amazonec2_are_survived() {
    part(async |driver, cloud| {
        conformance::faults_are_survived(driver, cloud).await;
        conformance::secrets_stay_secret(driver, cloud).await;
    });
}
