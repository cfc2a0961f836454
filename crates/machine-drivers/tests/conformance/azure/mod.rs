//! `azure` against a double of the Resource Manager and Entra ID; what goes out is checked against Microsoft's models.

pub mod double;
mod models;
mod own;
mod sign_in;

use machine_core::{Driver, DriverSource, FlagValue, FlagValues};
use machine_drivers::Builtin;
use machine_testkit::conformance::{Fault, Subject};
use machine_testkit::double::{Double, Exchange, Reply, Trouble};
use serde_json::json;

use super::{conforms, text, with};
use double::{Azure, CLIENT, SECRET, SUBSCRIPTION};

/// The double, and all that was asked of it.
struct Cloud {
    double: Double<Azure>,
}

impl Cloud {
    fn new() -> Self {
        Self { double: Double::start(Azure::default()) }
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("azure-endpoint", text(self.double.url())),
            ("azure-subscription-id", text(SUBSCRIPTION)),
            ("azure-client-id", text(CLIENT)),
            ("azure-client-secret", text(SECRET)),
        ];
        given.extend_from_slice(more);
        with("azure", &given)
    }

    /// What was asked since this was last called, as `GET path`, without what stands in front of every path.
    fn asked(&self) -> Vec<String> {
        self.double.take_exchanges().iter().map(line).collect()
    }
}

/// A request, short.
fn line(exchange: &Exchange) -> String {
    let path = exchange.request.path.replace(&format!("/subscriptions/{SUBSCRIPTION}"), "");
    let path = path.replace("/resourceGroups/docker-machine/providers/Microsoft.", " ");
    format!("{} {path}", exchange.request.method)
}

fn driver() -> std::sync::Arc<dyn Driver> {
    Builtin.driver("azure").unwrap()
}

impl Subject for Cloud {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let one = |flag: &'static str, value: &str| self.flags(&[(flag, text(value))]);
        vec![
            ("no subscription", one("azure-subscription-id", "")),
            ("a user that Azure does not allow", one("azure-ssh-user", "root")),
            ("an image that is none", one("azure-image", "ubuntu")),
            ("an unknown cloud", one("azure-environment", "Nimbus")),
            ("a cloud that is closed", one("azure-environment", "AzureGermanCloud")),
            ("a subnet that is no network", one("azure-subnet-prefix", "192.168.0.0")),
            ("an address that is none", one("azure-private-ip-address", "here")),
            ("a kind of disk that is none", one("azure-storage-type", "Standard_GRS")),
            ("a zone that is none", one("azure-availability-zone", "west")),
            ("a price that is none", one("azure-spot-max-price", "cheap")),
            ("a plan that is none", one("azure-plan", "a:b")),
            ("tags that can't be", one("azure-tags", "a/b,c")),
            ("an unknown way to sign in", one("azure-auth", "magic")),
            ("a label that can't be", one("azure-dns", "-a-")),
            ("a port that is none", self.flags(&[("azure-open-port", FlagValue::List(vec!["http".into()]))])),
            ("an endpoint that is none", one("azure-endpoint", "ftp://x")),
            ("a port above 65535", self.flags(&[("azure-docker-port", FlagValue::Int(70_000))])),
            ("no disk", self.flags(&[("azure-disk-size", FlagValue::Int(-1))])),
            ("a group of rules that is none", one("azure-nsg", "/subscriptions/x")),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let one = |flag: &'static str, value: &str| self.flags(&[(flag, text(value))]);
        let missing = format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/x/providers/Microsoft.Network/networkSecurityGroups/x"
        );
        vec![
            ("the right secret", one("azure-client-secret", "not the secret")),
            ("the right client", one("azure-client-id", "00000000-0000-0000-0000-000000000000")),
            ("a tenant", one("azure-tenant-id", "00000000-0000-0000-0000-000000000001")),
            ("a region", one("azure-location", "atlantis")),
            ("a size", one("azure-size", "Standard_Z9")),
            ("a size for this subscription", one("azure-size", "Standard_M8ms")),
            ("a size in this zone", self.flags(&[("azure-availability-zone", text("3"))])),
            ("an image", one("azure-image", "canonical:UbuntuServer:16.04.0-LTS:latest")),
            ("a version of an image", one("azure-image", "Canonical:ubuntu-24_04-lts:server:1.0.0")),
            ("a file", one("azure-custom-data", "/no/such/file")),
            ("a group of rules", one("azure-nsg", &missing)),
            (
                "a size that can do it",
                self.flags(&[
                    ("azure-size", text("Standard_B2s")),
                    ("azure-accelerated-networking", FlagValue::Bool(true)),
                ]),
            ),
        ]
    }

    fn resources(&self) -> usize {
        // An empty resource group costs nothing and stays, for `gc` to take.
        let azure = self.double.provider();
        azure.ids().iter().filter(|id| id.contains("/providers/")).count()
    }

    fn inject(&self, fault: Fault) -> bool {
        let answer = |status, code: &str| {
            let body = json!({ "error": { "code": code, "message": "not now" } });
            Trouble::Answer(Reply::json(status, &body).header("retry-after", "0"))
        };
        match fault {
            Fault::LostReply => {
                self.double.trouble(1, Trouble::LostReply, |request| {
                    request.method == "PUT" && request.path.contains("/virtualMachines/")
                });
            }
            Fault::Unavailable => self.double.trouble(1, answer(503, "ServerTimeout"), |_| true),
            Fault::Throttled => self.double.trouble(1, answer(429, "TooManyRequests"), |_| true),
            Fault::WrongCredentials => self.double.provider().refuses = true,
            Fault::Quota => self.double.provider().full = true,
            Fault::HostGone => self.double.provider().lose_hosts(),
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.double.heal();
        let mut azure = self.double.provider();
        azure.refuses = false;
        azure.full = false;
    }
}

#[test]
fn azure_conforms() {
    let cloud = Cloud::new();
    conforms("azure", &cloud);
    models::check(&cloud.double.take_exchanges());
}
