//! The calls that are made, of <https://docs.digitalocean.com/reference/api/>.

use std::net::IpAddr;

use machine_core::{DriverError, Reporter};
use machine_http::api::{Answer, Api, ApiError, Call, Refusal, Token};
use machine_http::{Client, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::flags::{CA_FLAG, ENDPOINT_FLAG, TOKEN_FLAG};
use super::state::DigitalOceanState;
use super::trouble::explain;
use crate::base::zero_if_null;
use crate::cloud::{self, Clients};

/// DigitalOcean's own address.
const ENDPOINT: &str = "https://api.digitalocean.com";
/// The most that a page holds.
const PAGE: &str = "200";
/// More pages than any account has.
const MOST_PAGES: u32 = 500;

/// # Errors
/// [`machine_core::ErrorKind::Config`] where the endpoint is no address.
pub(super) fn check_endpoint(state: &DigitalOceanState) -> Result<(), DriverError> {
    cloud::endpoint(ENDPOINT_FLAG, &state.endpoint, ENDPOINT).map(drop)
}

/// Who asks, and where.
pub(super) struct Login {
    client: Client,
    endpoint: String,
    token: Token,
}

impl Login {
    /// # Errors
    /// [`machine_core::ErrorKind::Config`] where the endpoint or the certificates are no good,
    /// [`machine_core::ErrorKind::Credentials`] where the token can't be one.
    pub(super) fn of(clients: &Clients, state: &DigitalOceanState) -> Result<Self, DriverError> {
        let token = Token::bearer(state.access_token.expose());
        Ok(Self {
            client: clients.get(&state.ca_cert, CA_FLAG)?,
            endpoint: cloud::endpoint(ENDPOINT_FLAG, &state.endpoint, ENDPOINT)?,
            token: token.map_err(|error| explain(&format!("--{TOKEN_FLAG}"), &error))?,
        })
    }

    /// The API; each exchange is told to `report`.
    pub(super) fn cloud<'a>(&'a self, report: &'a dyn Reporter) -> Cloud<'a> {
        let api = cloud::api(self.client.clone(), Refusal::of, &self.token, report);
        Cloud { api, endpoint: &self.endpoint, report }
    }
}

/// DigitalOcean's API.
pub(super) struct Cloud<'a> {
    api: Api<'a>,
    endpoint: &'a str,
    pub(super) report: &'a dyn Reporter,
}

/// A droplet, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Droplet {
    pub(super) id: u64,
    pub(super) name: String,
    /// `new`, `active`, `off`, `archive`.
    pub(super) status: String,
    #[serde(deserialize_with = "zero_if_null")]
    networks: Networks,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) tags: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Networks {
    #[serde(deserialize_with = "zero_if_null")]
    v4: Vec<Network>,
    #[serde(deserialize_with = "zero_if_null")]
    v6: Vec<Network>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    ip_address: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Droplet {
    /// Where it can be reached: its public address, else, once it runs, the one that it has instead.
    pub(super) fn address(&self) -> Option<String> {
        let settled = self.status != "new";
        first(&self.networks.v4, "public")
            .or_else(|| first(&self.networks.v6, "public").filter(|_| settled))
            .or_else(|| self.private_address().filter(|_| settled))
    }

    /// Its address in the VPC.
    pub(super) fn private_address(&self) -> Option<String> {
        first(&self.networks.v4, "private")
    }
}

/// The first address of a kind; what is no address is not believed.
fn first(networks: &[Network], kind: &str) -> Option<String> {
    let of_kind = networks.iter().filter(|network| network.kind == kind);
    of_kind.filter_map(|network| network.ip_address.parse::<IpAddr>().ok()).map(|ip| ip.to_string()).next()
}

/// What is asked for a droplet.
#[derive(Debug, Serialize)]
pub(super) struct NewDroplet<'a> {
    pub(super) name: &'a str,
    pub(super) region: &'a str,
    pub(super) size: &'a str,
    pub(super) image: NumberOr<'a>,
    pub(super) ssh_keys: Vec<NumberOr<'a>>,
    pub(super) backups: bool,
    pub(super) ipv6: bool,
    pub(super) monitoring: bool,
    pub(super) tags: Vec<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user_data: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) private_networking: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) vpc_uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) with_droplet_agent: Option<bool>,
}

/// The number of something, or the name that it has besides.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum NumberOr<'a> {
    Number(u64),
    Name(&'a str),
}

impl<'a> NumberOr<'a> {
    /// A number where the text is one.
    pub(super) fn of(text: &'a str) -> Self {
        text.parse().map_or(Self::Name(text), Self::Number)
    }
}

/// A key of the account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) fingerprint: String,
}

/// Something that is being done.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    pub(super) id: u64,
    /// `in-progress`, `completed`, `errored`.
    pub(super) status: String,
}

/// A region, with the sizes that can be had there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Region {
    pub(super) slug: String,
    pub(super) available: bool,
    pub(super) sizes: Vec<String>,
}

/// An image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Image {
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) regions: Vec<String>,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) status: String,
}

/// A network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Vpc {
    pub(super) region: String,
}

/// A firewall. What else the provider says of it is kept, as it is sent back whole.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Firewall {
    #[serde(skip_serializing)]
    pub(super) id: String,
    pub(super) name: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) inbound_rules: Vec<serde_json::Value>,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) outbound_rules: Vec<serde_json::Value>,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) droplet_ids: Vec<u64>,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) tags: Vec<String>,
}

/// Where the next page is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Links {
    #[serde(deserialize_with = "zero_if_null")]
    pages: Pages,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pages {
    next: Option<String>,
}

/// An answer that is one page of a list. `T` reads the list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(flatten)]
    items: T,
    #[serde(default, deserialize_with = "zero_if_null")]
    links: Links,
}

/// The name that a thing has in answers, for one and for a list.
macro_rules! answers {
    ($($one:ident { $field:ident: $type:ty })*) => {$(
        #[derive(Deserialize)]
        struct $one { $field: $type }
    )*};
}

answers! {
    OneDroplet { droplet: Droplet }
    ManyDroplets { droplets: Vec<Droplet> }
    OneKey { ssh_key: Key }
    ManyKeys { ssh_keys: Vec<Key> }
    OneAction { action: Action }
    ManyRegions { regions: Vec<Region> }
    OneImage { image: Image }
    OneVpc { vpc: Vpc }
    OneFirewall { firewall: Firewall }
    ManyFirewalls { firewalls: Vec<Firewall> }
}

/// The answer to a wish for a droplet.
#[derive(Deserialize)]
struct Made {
    droplet: Droplet,
    #[serde(default)]
    links: MadeLinks,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MadeLinks {
    actions: Vec<Action>,
}

/// What is missing is no error.
pub(super) fn found<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Cloud<'_> {
    /// An address below the endpoint. That was parsed before.
    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let all: Vec<&str> = std::iter::once("v2").chain(segments.iter().copied()).collect();
        cloud::url(self.endpoint, &all, query).expect("an endpoint that was checked")
    }

    async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<T, ApiError> {
        self.api.send(&call).await?.json()
    }

    async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, ApiError> {
        self.send(Call::get(self.url(segments, &[]))).await
    }

    /// Deletes; "gone" is success. True where it was there.
    async fn delete(&self, segments: &[&str]) -> Result<bool, ApiError> {
        let answer: Result<Answer, _> = self.api.send(&Call::delete(self.url(segments, &[]))).await;
        Ok(found(answer)?.is_some())
    }

    /// Goes through the pages of a list until `each` has enough.
    async fn pages<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        filter: &[(&str, &str)],
        mut each: impl FnMut(T) -> bool,
    ) -> Result<(), ApiError> {
        for number in 1..=MOST_PAGES {
            let number = number.to_string();
            let mut query = filter.to_vec();
            query.extend([("per_page", PAGE), ("page", number.as_str())]);
            let answer = self.api.send(&Call::get(self.url(segments, &query))).await?;
            let page: Page<T> = answer.json()?;
            if !each(page.items) || page.links.pages.next.is_none() {
                return Ok(());
            }
            if number.parse() == Ok(MOST_PAGES) {
                // What is missing in a list that was cut off would be taken for gone.
                return Err(answer.unreadable("the list does not end"));
            }
        }
        Ok(())
    }

    /// All regions.
    pub(super) async fn regions(&self) -> Result<Vec<Region>, ApiError> {
        let mut all = Vec::new();
        let each = |page: ManyRegions| {
            all.extend(page.regions);
            true
        };
        self.pages(&["regions"], &[], each).await?;
        Ok(all)
    }

    /// An image, by slug or number.
    pub(super) async fn image(&self, image: &str) -> Result<Option<Image>, ApiError> {
        Ok(found(self.get::<OneImage>(&["images", image]).await)?.map(|one| one.image))
    }

    /// A network.
    pub(super) async fn vpc(&self, uuid: &str) -> Result<Option<Vpc>, ApiError> {
        Ok(found(self.get::<OneVpc>(&["vpcs", uuid]).await)?.map(|one| one.vpc))
    }

    /// A key, by number or fingerprint.
    pub(super) async fn key(&self, key: &str) -> Result<Option<Key>, ApiError> {
        Ok(found(self.get::<OneKey>(&["account", "keys", key]).await)?.map(|one| one.ssh_key))
    }

    /// Goes through the account's keys.
    pub(super) async fn keys(&self, mut each: impl FnMut(Key)) -> Result<(), ApiError> {
        let each = |page: ManyKeys| {
            page.ssh_keys.into_iter().for_each(&mut each);
            true
        };
        self.pages(&["account", "keys"], &[], each).await
    }

    /// Adds a key to the account.
    pub(super) async fn add_key(&self, name: &str, public_key: &str) -> Result<Key, ApiError> {
        let body = serde_json::json!({ "name": name, "public_key": public_key });
        let call = Call::post(self.url(&["account", "keys"], &[])).json(&body);
        Ok(self.send::<OneKey>(call).await?.ssh_key)
    }

    /// Removes a key from the account.
    pub(super) async fn delete_key(&self, id: u64) -> Result<bool, ApiError> {
        self.delete(&["account", "keys", &id.to_string()]).await
    }

    /// Asks for a droplet. Gives the action that makes it, too.
    pub(super) async fn make_droplet(
        &self,
        wish: &NewDroplet<'_>,
    ) -> Result<(Droplet, Option<Action>), ApiError> {
        let made: Made = self.send(Call::post(self.url(&["droplets"], &[])).json(wish)).await?;
        Ok((made.droplet, made.links.actions.into_iter().next()))
    }

    /// A droplet.
    pub(super) async fn droplet(&self, id: u64) -> Result<Option<Droplet>, ApiError> {
        Ok(found(self.get::<OneDroplet>(&["droplets", &id.to_string()]).await)?.map(|one| one.droplet))
    }

    /// Goes through droplets: of a tag, or all, until `each` has enough.
    pub(super) async fn droplets(
        &self,
        tag: Option<&str>,
        mut each: impl FnMut(Vec<Droplet>) -> bool,
    ) -> Result<(), ApiError> {
        let filter: Vec<(&str, &str)> = tag.map(|tag| ("tag_name", tag)).into_iter().collect();
        self.pages(&["droplets"], &filter, |page: ManyDroplets| each(page.droplets)).await
    }

    /// Destroys a droplet.
    pub(super) async fn delete_droplet(&self, id: u64) -> Result<bool, ApiError> {
        self.delete(&["droplets", &id.to_string()]).await
    }

    /// Has something done to a droplet. `again` says that it does no harm twice.
    pub(super) async fn act(&self, id: u64, what: &str, again: bool) -> Result<Action, ApiError> {
        let url = self.url(&["droplets", &id.to_string(), "actions"], &[]);
        let call = Call::post(url).json(&serde_json::json!({ "type": what }));
        let call = if again { call.repeatable() } else { call };
        Ok(self.send::<OneAction>(call).await?.action)
    }

    /// How something that is being done goes.
    pub(super) async fn action(&self, id: u64) -> Result<Option<Action>, ApiError> {
        Ok(found(self.get::<OneAction>(&["actions", &id.to_string()]).await)?.map(|one| one.action))
    }

    /// Makes a tag where it is missing.
    pub(super) async fn make_tag(&self, name: &str) -> Result<(), ApiError> {
        let body = serde_json::json!({ "name": name });
        let call = Call::post(self.url(&["tags"], &[])).json(&body).repeatable();
        match self.api.send(&call).await {
            Err(error) if matches!(error.status(), Some(400 | 409 | 422)) => {
                // The description does not say what comes of a tag that is there.
                let there = self.api.send(&Call::get(self.url(&["tags", name], &[]))).await;
                if there.is_ok() { Ok(()) } else { Err(error) }
            }
            made => made.map(drop),
        }
    }

    /// Deletes a tag.
    pub(super) async fn delete_tag(&self, name: &str) -> Result<bool, ApiError> {
        self.delete(&["tags", name]).await
    }

    /// Goes through the account's firewalls.
    pub(super) async fn firewalls(&self, mut each: impl FnMut(Firewall)) -> Result<(), ApiError> {
        let each = |page: ManyFirewalls| {
            page.firewalls.into_iter().for_each(&mut each);
            true
        };
        self.pages(&["firewalls"], &[], each).await
    }

    /// A firewall.
    pub(super) async fn firewall(&self, id: &str) -> Result<Option<Firewall>, ApiError> {
        Ok(found(self.get::<OneFirewall>(&["firewalls", id]).await)?.map(|one| one.firewall))
    }

    /// Makes a firewall.
    pub(super) async fn make_firewall(&self, wish: &Firewall) -> Result<Firewall, ApiError> {
        let call = Call::post(self.url(&["firewalls"], &[])).json(wish);
        Ok(self.send::<OneFirewall>(call).await?.firewall)
    }

    /// Makes a firewall what it is to be.
    pub(super) async fn set_firewall(&self, id: &str, wish: &Firewall) -> Result<(), ApiError> {
        let call = Call::put(self.url(&["firewalls", id], &[])).json(wish);
        self.api.send(&call).await.map(drop)
    }

    /// Deletes a firewall.
    pub(super) async fn delete_firewall(&self, id: &str) -> Result<bool, ApiError> {
        self.delete(&["firewalls", id]).await
    }
}
