//! The calls of EC2's Query API (version 2016-11-15) that the driver makes, and what it reads of the answers.

use std::time::Duration;

use machine_core::Reporter;
use machine_http::api::{Answer, Api, ApiError, Call};
use machine_http::{Client, Url};
use roxmltree::{Document, Node};

use super::sign::Signer;
use super::trouble;
use crate::cloud::{self, MACHINE_KEY, STORE_KEY};

const VERSION: &str = "2016-11-15";
/// How many values a filter takes.
pub(super) const FILTER_VALUES: usize = 200;
/// How many hosts a page of a list has at most.
const PAGE: &str = "1000";

/// The parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// With a parameter.
    pub(super) fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// With a parameter, where there is something to say.
    pub(super) fn with_some(self, key: impl Into<String>, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(key, value) }
    }

    /// With a filter: one of these values.
    pub(super) fn filter<V: AsRef<str>>(mut self, name: &str, values: impl IntoIterator<Item = V>) -> Self {
        let at =
            1 + self.0.iter().filter(|(key, _)| key.starts_with("Filter.") && key.ends_with(".Name")).count();
        self = self.with(format!("Filter.{at}.Name"), name);
        for (number, value) in values.into_iter().enumerate() {
            self = self.with(format!("Filter.{at}.Value.{}", number + 1), value.as_ref());
        }
        self
    }

    /// With tags for what is made.
    pub(super) fn tags(mut self, at: usize, kind: &str, tags: &[(String, String)]) -> Self {
        self = self.with(format!("TagSpecification.{at}.ResourceType"), kind);
        for (number, (key, value)) in tags.iter().enumerate() {
            let tag = format!("TagSpecification.{at}.Tag.{}", number + 1);
            self = self.with(format!("{tag}.Key"), key).with(format!("{tag}.Value"), value);
        }
        self
    }

    /// The parameters in their order.
    #[cfg(test)]
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: String,
    /// EC2's word, e.g. `running`.
    pub(super) state: String,
    /// Why it is so, where EC2 says; e.g. `Client.VolumeLimitExceeded: Volume limit exceeded`.
    pub(super) reason: String,
    pub(super) public_ip: String,
    pub(super) private_ip: String,
    pub(super) ipv6: String,
    pub(super) client_token: String,
    pub(super) spot_request: String,
    pub(super) store: String,
    pub(super) machine: String,
    /// The account that it is in.
    pub(super) owner: String,
}

/// A key pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPair {
    pub(super) name: String,
    pub(super) public_key: String,
    pub(super) store: String,
    pub(super) machine: String,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) vpc: String,
    pub(super) store: String,
    pub(super) machine: String,
    pub(super) rules: Vec<Rule>,
}

/// A rule that lets something in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for all.
    pub(super) protocol: String,
    /// Ports; none for all.
    pub(super) ports: Option<(i64, i64)>,
    /// From which networks.
    pub(super) networks: Vec<String>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) id: String,
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) default: bool,
    /// The account that it is of; it may be shared with ours.
    pub(super) owner: String,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    /// EC2's word, e.g. `x86_64`.
    pub(super) arch: String,
    pub(super) root_device: String,
    /// When it was made, as text that sorts.
    pub(super) created: String,
    /// Its volumes: device and size in GiB (0 where it is not said).
    pub(super) volumes: Vec<(String, i64)>,
}

/// A request for a spot instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpotRequest {
    pub(super) id: String,
    /// EC2's word, e.g. `active`.
    pub(super) state: String,
    pub(super) machine: String,
}

/// A volume or a network interface that carries the mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) machine: String,
}

/// EC2 in one region.
pub(super) struct Ec2<'a> {
    api: Api<'a>,
    url: Url,
    settling: Duration,
}

impl<'a> Ec2<'a> {
    pub(super) fn new(client: Client, url: Url, signer: &'a Signer, report: &'a dyn Reporter) -> Self {
        Self { api: cloud::api(client, trouble::dialect, signer, report), url, settling: Duration::ZERO }
    }

    pub(super) fn retrying(self, retries: machine_http::api::Retries) -> Self {
        Self { api: self.api.retrying(retries), ..self }
    }

    pub(super) fn settling_within(self, settling: Duration) -> Self {
        Self { settling, ..self }
    }

    /// Within which time it knows everywhere what it has made.
    pub(super) fn settling(&self) -> Duration {
        self.settling
    }

    /// A call that only reads, or that may be made twice.
    pub(super) async fn ask(&self, action: &'static str, params: &Params) -> Result<Answer, ApiError> {
        let fixed = [("Action", action), ("Version", VERSION)];
        let given = params.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let call =
            Call::post(self.url.clone()).form(fixed.into_iter().chain(given)).named(action).repeatable();
        self.api.send(&call).await
    }

    /// All pages of a list.
    async fn list<T>(
        &self,
        action: &'static str,
        params: Params,
        set: &str,
        read: impl Fn(Node<'_, '_>) -> T,
    ) -> Result<Vec<T>, ApiError> {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = params.clone().with_some("NextToken", &token);
            let answer = self.ask(action, &page).await?;
            let text = answer.text();
            let document = parse(&answer, &text)?;
            let root = document.root_element();
            found.extend(items(root, set).map(&read));
            token = text_of(root, "nextToken").to_owned();
            if token.is_empty() {
                return Ok(found);
            }
        }
    }

    pub(super) async fn instances(&self, params: Params) -> Result<Vec<Instance>, ApiError> {
        let params = params.with("MaxResults", PAGE);
        let reservations = self.list("DescribeInstances", params, "reservationSet", |reservation| {
            items(reservation, "instancesSet").map(|node| instance(node, reservation)).collect::<Vec<_>>()
        });
        Ok(reservations.await?.into_iter().flatten().collect())
    }

    pub(super) async fn run_instances(&self, params: &Params) -> Result<Instance, ApiError> {
        let answer = self.ask("RunInstances", params).await?;
        let text = answer.text();
        let document = parse(&answer, &text)?;
        let root = document.root_element();
        let made = items(root, "instancesSet").next().map(|node| instance(node, root));
        made.filter(|made| !made.id.is_empty())
            .ok_or_else(|| answer.unreadable("it has no instance with an id in it"))
    }

    pub(super) async fn key_pairs(&self, params: Params) -> Result<Vec<KeyPair>, ApiError> {
        self.list("DescribeKeyPairs", params, "keySet", |node| {
            let (store, machine) = mark(node);
            KeyPair {
                name: text_of(node, "keyName").to_owned(),
                public_key: text_of(node, "publicKey").trim().to_owned(),
                store,
                machine,
            }
        })
        .await
    }

    pub(super) async fn groups(&self, params: Params) -> Result<Vec<Group>, ApiError> {
        self.list("DescribeSecurityGroups", params, "securityGroupInfo", group).await
    }

    pub(super) async fn create_group(&self, params: &Params) -> Result<String, ApiError> {
        let answer = self.ask("CreateSecurityGroup", params).await?;
        let text = answer.text();
        let document = parse(&answer, &text)?;
        let id = text_of(document.root_element(), "groupId");
        if id.is_empty() { Err(answer.unreadable("it has no groupId")) } else { Ok(id.to_owned()) }
    }

    pub(super) async fn subnets(&self, params: Params) -> Result<Vec<Subnet>, ApiError> {
        self.list("DescribeSubnets", params, "subnetSet", |node| Subnet {
            id: text_of(node, "subnetId").to_owned(),
            vpc: text_of(node, "vpcId").to_owned(),
            zone: text_of(node, "availabilityZone").to_owned(),
            default: text_of(node, "defaultForAz") == "true",
            owner: text_of(node, "ownerId").to_owned(),
        })
        .await
    }

    pub(super) async fn images(&self, params: Params) -> Result<Vec<Image>, ApiError> {
        self.list("DescribeImages", params, "imagesSet", image).await
    }

    pub(super) async fn spot_requests(&self, params: Params) -> Result<Vec<SpotRequest>, ApiError> {
        self.list("DescribeSpotInstanceRequests", params, "spotInstanceRequestSet", |node| SpotRequest {
            id: text_of(node, "spotInstanceRequestId").to_owned(),
            state: text_of(node, "state").to_owned(),
            machine: mark(node).1,
        })
        .await
    }

    pub(super) async fn volumes(&self, params: Params) -> Result<Vec<Marked>, ApiError> {
        self.list("DescribeVolumes", params, "volumeSet", |node| Marked {
            id: text_of(node, "volumeId").to_owned(),
            state: text_of(node, "status").to_owned(),
            machine: mark(node).1,
        })
        .await
    }

    pub(super) async fn interfaces(&self, params: Params) -> Result<Vec<Marked>, ApiError> {
        self.list("DescribeNetworkInterfaces", params, "networkInterfaceSet", |node| Marked {
            id: text_of(node, "networkInterfaceId").to_owned(),
            state: text_of(node, "status").to_owned(),
            machine: mark(node).1,
        })
        .await
    }

    /// The architectures of an instance type, e.g. `x86_64`, `arm64`.
    pub(super) async fn architectures(&self, kind: &str) -> Result<Vec<String>, ApiError> {
        let params = Params::default().with("InstanceType.1", kind);
        let answer = self.ask("DescribeInstanceTypes", &params).await?;
        let text = answer.text();
        let document = parse(&answer, &text)?;
        let Some(node) = items(document.root_element(), "instanceTypeSet").next() else {
            return Ok(Vec::new());
        };
        let processor = child(node, "processorInfo");
        let names = processor.into_iter().flat_map(|info| items(info, "supportedArchitectures"));
        Ok(names.filter_map(|name| name.text()).map(|name| name.trim().to_owned()).collect())
    }
}

fn parse<'t>(answer: &Answer, text: &'t str) -> Result<Document<'t>, ApiError> {
    Document::parse(text).map_err(|error| answer.unreadable(&error.to_string()))
}

/// A child element; the namespace differs between versions of the API and its imitators.
fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    child(node, name).and_then(|child| child.text()).unwrap_or_default()
}

fn items<'a, 'i>(node: Node<'a, 'i>, set: &str) -> impl Iterator<Item = Node<'a, 'i>> + use<'a, 'i> {
    let set = child(node, set);
    set.into_iter().flat_map(|set| set.children()).filter(|item| item.is_element())
}

/// The store and the machine of the mark.
fn mark(node: Node<'_, '_>) -> (String, String) {
    let value = |key: &str| {
        items(node, "tagSet")
            .find(|tag| text_of(*tag, "key") == key)
            .map_or_else(String::new, |tag| text_of(tag, "value").to_owned())
    };
    (value(STORE_KEY), value(MACHINE_KEY))
}

/// An instance, and the reservation that it is in.
fn instance(node: Node<'_, '_>, reservation: Node<'_, '_>) -> Instance {
    let text = |name: &str| text_of(node, name).to_owned();
    let state = child(node, "instanceState").map_or("", |state| text_of(state, "name"));
    let reason = child(node, "stateReason").map_or("", |reason| text_of(reason, "message"));
    let addresses = items(node, "networkInterfaceSet").flat_map(|card| items(card, "ipv6AddressesSet"));
    let ipv6 = addresses.map(|address| text_of(address, "ipv6Address")).find(|address| !address.is_empty());
    let (store, machine) = mark(node);
    Instance {
        id: text("instanceId"),
        state: state.to_owned(),
        reason: reason.to_owned(),
        public_ip: text("ipAddress"),
        private_ip: text("privateIpAddress"),
        ipv6: ipv6.unwrap_or(text_of(node, "ipv6Address")).to_owned(),
        client_token: text("clientToken"),
        spot_request: text("spotInstanceRequestId"),
        store,
        machine,
        owner: text_of(reservation, "ownerId").to_owned(),
    }
}

fn group(node: Node<'_, '_>) -> Group {
    let text = |name: &str| text_of(node, name).to_owned();
    let (store, machine) = mark(node);
    let rules = items(node, "ipPermissions").map(rule).collect();
    Group { id: text("groupId"), name: text("groupName"), vpc: text("vpcId"), store, machine, rules }
}

fn rule(node: Node<'_, '_>) -> Rule {
    let number = |name: &str| text_of(node, name).parse::<i64>().ok();
    let networks = items(node, "ipRanges")
        .map(|range| text_of(range, "cidrIp"))
        .chain(items(node, "ipv6Ranges").map(|range| text_of(range, "cidrIpv6")));
    Rule {
        protocol: text_of(node, "ipProtocol").to_owned(),
        ports: number("fromPort").zip(number("toPort")),
        networks: networks.map(str::to_owned).collect(),
    }
}

fn image(node: Node<'_, '_>) -> Image {
    let text = |name: &str| text_of(node, name).to_owned();
    let volumes = items(node, "blockDeviceMapping").filter_map(|mapping| {
        let size = text_of(child(mapping, "ebs")?, "volumeSize").parse().unwrap_or(0);
        Some((text_of(mapping, "deviceName").to_owned(), size))
    });
    Image {
        id: text("imageId"),
        arch: text("architecture"),
        root_device: text("rootDeviceName"),
        created: text("creationDate"),
        volumes: volumes.collect(),
    }
}
