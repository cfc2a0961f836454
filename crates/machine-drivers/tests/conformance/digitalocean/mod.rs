//! `digitalocean` against a double of DigitalOcean, each exchange held against DigitalOcean's own description.

mod double;
mod own;

use machine_core::{FlagValue, FlagValues};
use machine_testkit::conformance::{Fault, Subject};
use machine_testkit::double::{Double, Reply, Trouble};
use machine_testkit::openapi::Description;
use serde_json::json;

use super::{conforms, text, with};
use double::{Account, TOKEN};

/// A double, and the description that everything said to it must keep.
struct Cloud {
    double: Double<Account>,
    description: Option<Description>,
}

impl Cloud {
    fn new() -> Self {
        let description = Description::open("digitalocean.openapi.json");
        Self { double: Double::start(Account::default()), description }
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("digitalocean-access-token", text(TOKEN)),
            ("digitalocean-endpoint", text(self.double.url())),
        ];
        given.extend_from_slice(more);
        with("digitalocean", &given)
    }

    /// Holds all exchanges since the last time against the description; gives them as method and path.
    fn checked(&self) -> Vec<String> {
        let exchanges = self.double.take_exchanges();
        if let Some(description) = &self.description {
            description.require(&exchanges);
        }
        exchanges.iter().map(|one| format!("{} {}", one.request.method, one.request.path)).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.checked();
        }
    }
}

impl Subject for Cloud {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let word = |flag, value: &str| self.flags(&[(flag, text(value))]);
        vec![
            ("no token", with("digitalocean", &[])),
            ("port 0", self.flags(&[("digitalocean-ssh-port", FlagValue::Int(0))])),
            ("a path as image", word("digitalocean-image", "../account")),
            ("an empty region", word("digitalocean-region", "")),
            ("a tag with a space", word("digitalocean-tags", "web,two words")),
            ("an agent that may be", word("digitalocean-droplet-agent", "maybe")),
            ("an endpoint that is none", word("digitalocean-endpoint", "ftp://x")),
            ("a VPC with a slash", word("digitalocean-vpc-uuid", "a/b")),
            ("a fingerprint with a space", word("digitalocean-ssh-key-fingerprint", "3b 16")),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let word = |flag, value: &str| self.flags(&[(flag, text(value))]);
        let key = [
            ("digitalocean-ssh-key-path", text("/nosuchfile")),
            ("digitalocean-ssh-key-fingerprint", text("512190")),
        ];
        vec![
            ("a token that is believed", word("digitalocean-access-token", "dop_v1_of_somebody_else")),
            ("a region", word("digitalocean-region", "mars1")),
            ("a size", word("digitalocean-size", "512mb")),
            ("a size in this region", word("digitalocean-size", "c-2")),
            ("an image", word("digitalocean-image", "ubuntu-16-04-x64")),
            (
                "an image in this region",
                self.flags(&[
                    ("digitalocean-image", text("debian-12-x64")),
                    ("digitalocean-region", text("sfo3")),
                ]),
            ),
            ("a key of the account", word("digitalocean-ssh-key-fingerprint", "00:11")),
            ("a key without a fingerprint", word("digitalocean-ssh-key-path", "/nosuchfile")),
            ("a key file", self.flags(&key)),
            ("a file with user data", word("digitalocean-userdata", "/nosuchfile")),
            ("a VPC", word("digitalocean-vpc-uuid", "00000000-9653-4bd1-bef5-d6bff52042e4")),
            (
                "a VPC in this region",
                self.flags(&[
                    ("digitalocean-vpc-uuid", text(double::VPC)),
                    ("digitalocean-region", text("fra1")),
                ]),
            ),
        ]
    }

    fn resources(&self) -> usize {
        let account = self.double.provider();
        let ours = account.tags.iter().filter(|tag| tag.starts_with("docker-machine-name")).count();
        // The user's own key was there before.
        account.droplets.len() + account.keys.len() - 1 + account.firewalls.len() + ours
    }

    fn inject(&self, fault: Fault) -> bool {
        let made = |request: &machine_testkit::double::Request| request.method == "POST";
        let down = Reply::json(
            503,
            &json!({"id": "service_unavailable", "message": "Server was unable to give you a response."}),
        );
        let enough =
            Reply::json(429, &json!({"id": "too_many_requests", "message": "API Rate limit exceeded."}));
        match fault {
            Fault::LostReply => self.double.trouble(1, Trouble::LostReply, made),
            Fault::Unavailable => self.double.trouble(1, Trouble::Answer(down), made),
            Fault::Throttled => {
                self.double.trouble(1, Trouble::Answer(enough.header("retry-after", "1")), made)
            }
            Fault::WrongCredentials => self.double.provider().refuses = true,
            Fault::Quota => self.double.provider().limit = 0,
            Fault::HostGone => {
                let mut account = self.double.provider();
                account.droplets.clear();
                account.actions.iter_mut().for_each(double::Action::end);
            }
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.double.heal();
        let mut account = self.double.provider();
        account.refuses = false;
        account.limit = Account::default().limit;
    }
}

#[test]
fn digitalocean_conforms() {
    let cloud = Cloud::new();
    conforms("digitalocean", &cloud);
    assert!(cloud.checked().len() > 100, "nothing was asked of the double");
}
