//! Subnets and security groups.

use std::collections::BTreeSet;

use machine_core::{Checkpoint, Cx, DriverError, ErrorKind, Reporter};
use machine_http::api::{ApiError, Seen};

use super::api::{Ec2, Group, Params, Rule, Subnet};
use super::flags::SHARED_GROUP;
use super::request;
use super::state::Ec2State;
use super::trouble::trouble;
use crate::base::{Base, DEFAULT_SSH_PORT};
use crate::cloud::{self, Mark};

/// The engine's port.
pub(super) const ENGINE_PORT: u16 = 2376;
const SWARM_PORT: u16 = 3376;
/// From everywhere, as the reference program opens its ports.
const ANYWHERE: &str = "0.0.0.0/0";
const ANYWHERE_V6: &str = "::/0";

/// A port that is opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    number: u16,
    protocol: String,
}

impl Port {
    fn tcp(number: u16) -> Self {
        Self { number, protocol: "tcp".to_owned() }
    }

    /// Reads `PORT[/PROTOCOL]`.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number = number.parse().ok().filter(|number| *number != 0);
        match number.filter(|_| ["tcp", "udp"].contains(&protocol)) {
            Some(number) => Ok(Self { number, protocol: protocol.to_owned() }),
            None => Err(DriverError::new(ErrorKind::Config, format!("invalid port number {text}"))
                .with_hint("--amazonec2-open-port takes a port from 1 to 65535, e.g. 8080 or 53/udp")),
        }
    }
}

/// The port of a Swarm master, where the machine is to be one.
pub(super) fn swarm_port(base: &Base) -> Result<Option<u16>, DriverError> {
    if !base.swarm_master {
        return Ok(None);
    }
    let port = base.swarm_host.rsplit_once(':').map(|(_, port)| port.trim_end_matches('/').parse::<u16>());
    match port {
        None => Ok(Some(SWARM_PORT)),
        Some(Ok(port)) => Ok(Some(port)),
        Some(Err(_)) => Err(DriverError::new(
            ErrorKind::Config,
            format!("error parsing swarm host: {:?} has no port", base.swarm_host),
        )),
    }
}

/// A port and the networks that may reach it.
type Opening = (Port, Vec<String>);

/// The openings that can be narrowed.
fn narrow_openings(state: &Ec2State, networks: &[String]) -> Result<Vec<Opening>, DriverError> {
    let ssh = if state.base.ssh_port == 0 { DEFAULT_SSH_PORT } else { state.base.ssh_port };
    let ports: BTreeSet<u16> =
        [Some(ssh), Some(ENGINE_PORT), swarm_port(&state.base)?].into_iter().flatten().collect();
    Ok(ports.into_iter().map(|port| (Port::tcp(port), networks.to_vec())).collect())
}

fn everywhere(state: &Ec2State) -> Vec<String> {
    let v6 = (state.ipv6_address_count > 0).then_some(ANYWHERE_V6);
    [ANYWHERE].into_iter().chain(v6).map(str::to_owned).collect()
}

/// All that a machine needs opened.
fn openings(state: &Ec2State) -> Result<Vec<Opening>, DriverError> {
    let anywhere = everywhere(state);
    let mut all =
        narrow_openings(state, if state.allow_from.is_empty() { &anywhere } else { &state.allow_from })?;
    for port in &state.open_ports {
        let opening = (Port::parse(port)?, anywhere.clone());
        // EC2 takes none of a request in which one is twice.
        if !all.contains(&opening) {
            all.push(opening);
        }
    }
    Ok(all)
}

fn covers(rule: &Rule, port: &Port) -> bool {
    let ports = rule.ports.is_none_or(|(from, to)| (from..=to).contains(&i64::from(port.number)));
    rule.protocol == "-1" || (rule.protocol == port.protocol && ports)
}

/// Whether a rule is for just this port.
fn is_exact(rule: &Rule, port: &Port) -> bool {
    let number = i64::from(port.number);
    rule.protocol == port.protocol && rule.ports == Some((number, number))
}

/// Whether a rule lets in some networks of the family of this one. Whoever made a rule for just this port that names no
/// networks, but groups or lists, wants it so; a rule for more, such as that of a VPC's group `default`, is about its members.
fn opens(rule: &Rule, port: &Port, network: &str) -> bool {
    let is_v6 = |network: &str| network.contains(':');
    match rule.networks.as_slice() {
        [] => is_exact(rule, port),
        some => covers(rule, port) && some.iter().any(|other| is_v6(other) == is_v6(network)),
    }
}

/// What of these a group lacks. As in the reference program, a port that somebody opened for some network is left as it is
/// in shared groups, of each family; in the machine's own every network counts.
fn lacking(group: &Group, openings: &[Opening], own: bool) -> Vec<Opening> {
    let missing = openings.iter().filter_map(|(port, networks)| {
        let there = |network: &String| {
            group.rules.iter().any(|rule| match own {
                true => covers(rule, port) && rule.networks.contains(network),
                false => opens(rule, port, network),
            })
        };
        let missing: Vec<String> = networks.iter().filter(|network| !there(network)).cloned().collect();
        (!missing.is_empty()).then(|| (port.clone(), missing))
    });
    missing.collect()
}

/// Rules as parameters.
fn permissions(openings: &[Opening]) -> Params {
    let mut params = Params::default();
    for (at, (port, networks)) in openings.iter().enumerate() {
        let rule = format!("IpPermissions.{}", at + 1);
        let number = port.number.to_string();
        params = params
            .with(format!("{rule}.IpProtocol"), &port.protocol)
            .with(format!("{rule}.FromPort"), &number)
            .with(format!("{rule}.ToPort"), &number);
        let (mut v4, mut v6) = (0, 0);
        for network in networks {
            let key = if network.contains(':') {
                v6 += 1;
                format!("{rule}.Ipv6Ranges.{v6}.CidrIpv6")
            } else {
                v4 += 1;
                format!("{rule}.IpRanges.{v4}.CidrIp")
            };
            params = params.with(key, network);
        }
    }
    params
}

/// The name of the group that is a machine's own.
fn own_name(cx: &Cx<'_>) -> String {
    let store: String = cx.store_id.chars().take(8).collect();
    format!("{SHARED_GROUP}-{}-{store}", cx.name)
}

/// Whether the machine is, or is to be, in a group of its own, which can be narrowed.
fn has_own_group(cx: &Cx<'_>, state: &Ec2State) -> bool {
    !cx.allow_from.is_empty() || cx.narrowed_later || !state.own_security_group.is_empty()
}

/// The names of the groups that the machine is to be in: those of the user, and its own where it is to be narrowed.
pub(super) fn wanted_groups(cx: &Cx<'_>, state: &Ec2State) -> Vec<String> {
    let mut names = state.group_names();
    if has_own_group(cx, state) {
        names.retain(|name| name != SHARED_GROUP);
        names.push(own_name(cx));
    }
    names
}

/// The groups of these names.
pub(super) async fn groups(ec2: &Ec2<'_>, vpc: &str, names: &[String]) -> Result<Vec<Group>, DriverError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut params = Params::default().filter("group-name", names);
    if !vpc.is_empty() {
        params = params.filter("vpc-id", [vpc]);
    }
    ec2.groups(params).await.map_err(|error| trouble("the security groups can't be looked up", &error))
}

/// Sees to it that the groups are there with their rules, and puts their ids into the state. `known` is what was looked up
/// a moment ago; `None` for nothing.
pub(super) async fn ensure_groups(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &mut Ec2State,
    known: Option<Vec<Group>>,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    if !cx.allow_from.is_empty() {
        state.allow_from = cx.allow_from.to_vec();
    }
    if has_own_group(cx, state) {
        state.own_security_group = own_name(cx);
    }
    let names = wanted_groups(cx, state);
    let known = match known {
        Some(known) => known,
        None => groups(ec2, &state.vpc_id, &names).await?,
    };
    state.security_group_id.clear();
    state.security_group_ids.clear();
    for name in &names {
        let own = *name == state.own_security_group;
        let found = known.iter().find(|group| group.name == *name && group.vpc == state.vpc_id);
        let group = match found {
            Some(group) => group.clone(),
            None => {
                may_make(state, &state.vpc_id, name, own)?;
                // The name is the intent.
                save.save(&state.write()?)?;
                make_group(ec2, cx, state, name, own).await?
            }
        };
        state.security_group_ids.push(group.id.clone());
        save.save(&state.write()?)?;
        // With a group of its own, the others are as their owner wants them.
        if own || (!state.security_group_read_only && state.own_security_group.is_empty()) {
            ensure_rules(ec2, cx.report, &group, &openings(state)?, own).await?;
        }
    }
    Ok(())
}

fn may_make(state: &Ec2State, vpc: &str, name: &str, own: bool) -> Result<(), DriverError> {
    if own || !state.security_group_read_only {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Precreate,
        format!("there is no security group {name:?} in {vpc}, and none is made with --amazonec2-security-group-readonly"),
    )
    .with_hint("make it, name another with --amazonec2-security-group, or leave out the flag"))
}

/// Whether all the groups that may not be made are there. The machine's own always may be.
pub(super) fn check_groups(
    cx: &Cx<'_>,
    state: &Ec2State,
    vpc: &str,
    known: &[Group],
) -> Result<(), DriverError> {
    let own = own_name(cx);
    let there = |name: &String| known.iter().any(|group| group.name == *name && group.vpc == vpc);
    match wanted_groups(cx, state).iter().find(|name| **name != own && !there(name)) {
        Some(name) => may_make(state, vpc, name, false),
        None => Ok(()),
    }
}

async fn make_group(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &Ec2State,
    name: &str,
    own: bool,
) -> Result<Group, DriverError> {
    let machine = if own { cx.name.to_string() } else { String::new() };
    let mark = Mark { store: cx.store_id.to_owned(), machine: machine.clone() };
    let mut tags = request::tags(state, &mark);
    if !own {
        // A group that machines share has no machine's name.
        tags = vec![("Name".to_owned(), name.to_owned())];
        tags.extend(mark.pairs());
    }
    let params = Params::default()
        .with("GroupName", name)
        .with("GroupDescription", "Docker Machine")
        .with("VpcId", &state.vpc_id)
        .tags(1, "security-group", &tags);
    match ec2.create_group(&params).await {
        Ok(id) => Ok(Group {
            id,
            name: name.to_owned(),
            vpc: state.vpc_id.clone(),
            store: mark.store,
            machine,
            rules: Vec::new(),
        }),
        // Another machine made it meanwhile, or we did and the answer got lost.
        Err(error) if error.code() == "InvalidGroup.Duplicate" => {
            listed(ec2, cx.report, &state.vpc_id, name).await
        }
        Err(error) => Err(trouble(&format!("the security group {name:?} can't be made"), &error)),
    }
}

/// A group that is there: one made a moment ago is not listed at once.
async fn listed(ec2: &Ec2<'_>, report: &dyn Reporter, vpc: &str, name: &str) -> Result<Group, DriverError> {
    let (what, names) = (format!("EC2 to list the security group {name:?}"), [name.to_owned()]);
    cloud::wait_for(report, &what, ec2.settling(), || async {
        Ok(match groups(ec2, vpc, &names).await?.into_iter().next() {
            Some(group) => Seen::Done(group),
            None => Seen::NotYet("there is one of that name, and it is not listed yet".to_owned()),
        })
    })
    .await
}

/// Whether EC2 says that it knows no such group: it is gone, or it is too new.
pub(super) fn is_unknown_group(error: &ApiError) -> bool {
    ["InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"].contains(&error.code())
}

/// Adds what a group lacks. Other machines may add the same at the same time.
async fn ensure_rules(
    ec2: &Ec2<'_>,
    report: &dyn Reporter,
    group: &Group,
    wanted: &[Opening],
    own: bool,
) -> Result<(), DriverError> {
    let missing = lacking(group, wanted, own);
    if missing.is_empty() || authorize(ec2, report, group, &missing).await? {
        return Ok(());
    }
    for rule in one_by_one(&missing) {
        authorize(ec2, report, group, &[rule]).await?;
    }
    Ok(())
}

/// Adds rules. False where one of them is there already: EC2 has added none of them then.
async fn authorize(
    ec2: &Ec2<'_>,
    report: &dyn Reporter,
    group: &Group,
    rules: &[Opening],
) -> Result<bool, DriverError> {
    let doing = format!("ports can't be opened in the security group {:?}", group.name);
    let what = format!("EC2 to know the security group {:?}", group.name);
    let params = permissions(rules).with("GroupId", &group.id);
    cloud::wait_for(report, &what, ec2.settling(), || async {
        match ec2.ask("AuthorizeSecurityGroupIngress", &params).await {
            Ok(_) => Ok(Seen::Done(true)),
            Err(error) if error.code() == "InvalidPermission.Duplicate" => Ok(Seen::Done(false)),
            Err(error) if is_unknown_group(&error) => Ok(Seen::NotYet(error.to_string())),
            Err(error) => Err(trouble(&doing, &error)),
        }
    })
    .await
}

/// Openings of one port for one network each.
fn one_by_one(openings: &[Opening]) -> impl Iterator<Item = Opening> {
    openings
        .iter()
        .flat_map(|(port, networks)| networks.iter().map(|network| (port.clone(), vec![network.clone()])))
}

/// Narrows the machine's own group to these networks.
pub(super) async fn narrow(
    ec2: &Ec2<'_>,
    report: &dyn Reporter,
    state: &Ec2State,
    networks: &[String],
) -> Result<(), DriverError> {
    let name = &state.own_security_group;
    if name.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Unsupported,
            format!(
                "the security groups {} are not the machine's own: other machines may be in them",
                state.group_names().join(", ")
            ),
        )
        .with_hint("create the machine with --allow-from, which makes a group of its own, or change the rules in Amazon's console"));
    }
    let found = groups(ec2, &state.vpc_id, std::slice::from_ref(name)).await?.into_iter().next();
    let group = found.ok_or_else(|| {
        DriverError::new(ErrorKind::NotFound, format!("there is no security group {name:?} any more"))
    })?;
    let wanted = narrow_openings(state, networks)?;
    // First in, then out: who is named twice is never locked out.
    ensure_rules(ec2, report, &group, &wanted, true).await?;
    close(ec2, report, &group, &wanted).await
}

/// What a group opens to others than it should.
fn superfluous(group: &Group, wanted: &[Opening]) -> Vec<Opening> {
    let open = wanted.iter().filter_map(|(port, networks)| {
        let exact = group.rules.iter().filter(|rule| is_exact(rule, port));
        let there = exact.flat_map(|rule| &rule.networks);
        let old: Vec<String> = there.filter(|network| !networks.contains(network)).cloned().collect();
        (!old.is_empty()).then(|| (port.clone(), old))
    });
    open.collect()
}

/// Closes what is open to others, until EC2 lists nothing of it: in a default VPC it says yes to what it leaves as it is.
async fn close(
    ec2: &Ec2<'_>,
    report: &dyn Reporter,
    group: &Group,
    wanted: &[Opening],
) -> Result<(), DriverError> {
    let open = superfluous(group, wanted);
    if open.is_empty() {
        return Ok(());
    }
    revoke(ec2, group, &open).await?;
    let what = format!("EC2 to list the ports of the security group {:?} as closed", group.name);
    cloud::wait_for(report, &what, ec2.settling(), || async {
        let now = ec2.groups(Params::default().filter("group-id", [group.id.as_str()])).await;
        let now = now.map_err(|error| trouble("the security group can't be looked at", &error))?;
        let Some(now) = now.into_iter().next() else {
            return Ok(Seen::NotYet("the group is not listed".to_owned()));
        };
        let open = superfluous(&now, wanted);
        let Some((port, networks)) = open.first() else { return Ok(Seen::Done(())) };
        revoke(ec2, group, &open).await?;
        Ok(Seen::NotYet(format!("{} is open to {}", port.number, networks.join(", "))))
    })
    .await
}

/// Takes rules out. Where one of them is gone already, EC2 takes out none of a request.
async fn revoke(ec2: &Ec2<'_>, group: &Group, rules: &[Opening]) -> Result<(), DriverError> {
    let doing = format!("ports can't be closed in the security group {:?}", group.name);
    let (gone, action) = ("InvalidPermission.NotFound", "RevokeSecurityGroupIngress");
    match ec2.ask(action, &permissions(rules).with("GroupId", &group.id)).await {
        Ok(_) => return Ok(()),
        Err(error) if error.code() == gone => {}
        Err(error) => return Err(trouble(&doing, &error)),
    }
    for rule in one_by_one(rules) {
        match ec2.ask(action, &permissions(&[rule]).with("GroupId", &group.id)).await {
            Err(error) if error.code() != gone => return Err(trouble(&doing, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// The zone in full.
fn zone(state: &Ec2State, region: &str) -> String {
    if state.zone.len() == 1 { format!("{region}{}", state.zone) } else { state.zone.clone() }
}

/// The subnet that the machine is to be in.
pub(super) async fn subnet(ec2: &Ec2<'_>, state: &Ec2State, region: &str) -> Result<Subnet, DriverError> {
    if !state.subnet_id.is_empty() {
        return named_subnet(ec2, state, region).await;
    }
    let zone = zone(state, region);
    let params = match state.vpc_id.as_str() {
        "" => Params::default().filter("default-for-az", ["true"]),
        vpc => Params::default().filter("vpc-id", [vpc]),
    };
    let all = ec2.subnets(params).await.map_err(|error| trouble("the subnets can't be looked up", &error))?;
    let (mut here, elsewhere): (Vec<Subnet>, Vec<Subnet>) =
        all.into_iter().partition(|subnet| subnet.zone == zone);
    here.sort_by_key(|subnet| !subnet.default);
    if let Some(subnet) = here.into_iter().next() {
        return Ok(subnet);
    }
    let zones: BTreeSet<String> = elsewhere.into_iter().map(|subnet| subnet.zone).collect();
    Err(no_subnet(state, region, &zone, &zones))
}

fn no_subnet(state: &Ec2State, region: &str, zone: &str, zones: &BTreeSet<String>) -> DriverError {
    let wrong = |text: String| DriverError::new(ErrorKind::Precreate, text);
    let names: Vec<&str> = zones.iter().map(String::as_str).collect();
    match (state.vpc_id.as_str(), names.as_slice()) {
        ("", []) => wrong(
            "amazonec2 driver requires either the --amazonec2-subnet-id or --amazonec2-vpc-id option or an AWS Account with a default vpc-id"
                .to_owned(),
        )
        .with_hint(format!("`aws ec2 create-default-vpc --region {region}` makes one")),
        ("", names) => wrong(format!("the default VPC has no subnet in the zone {zone}"))
            .with_hint(format!("give --amazonec2-zone one of {}", names.join(", "))),
        (vpc, []) => wrong(format!("unable to find a subnet that is both in the zone {zone} and belonging to VPC ID {vpc}"))
            .with_hint(format!("`aws ec2 describe-subnets --region {region} --filters Name=vpc-id,Values={vpc}` lists its subnets")),
        (vpc, names) => wrong(format!("unable to find a subnet that is both in the zone {zone} and belonging to VPC ID {vpc}"))
            .with_hint(format!("it has some in {}: give one to --amazonec2-zone", names.join(", "))),
    }
}

async fn named_subnet(ec2: &Ec2<'_>, state: &Ec2State, region: &str) -> Result<Subnet, DriverError> {
    let id = &state.subnet_id;
    let found = ec2.subnets(Params::default().filter("subnet-id", [id])).await;
    let found = found.map_err(|error| trouble(&format!("the subnet {id} can't be looked up"), &error))?;
    let wrong = |text: String| DriverError::new(ErrorKind::Precreate, text);
    let Some(subnet) = found.into_iter().next() else {
        return Err(wrong("The desired subnet could not be located in this region. Is '--amazonec2-subnet-id' or AWS_SUBNET_ID configured correctly?".to_owned())
            .with_hint(format!("`aws ec2 describe-subnets --region {region}` lists those of the account")));
    };
    if !state.vpc_id.is_empty() && subnet.vpc != state.vpc_id {
        return Err(wrong(format!("SubnetId: {id} does not belong to VpcId: {}", state.vpc_id))
            .with_hint("leave out --amazonec2-vpc-id: the subnet knows its VPC"));
    }
    // "a" may be only the flag's default.
    if state.zone != "a" && !state.zone.is_empty() && subnet.zone != zone(state, region) {
        return Err(wrong(format!(
            "the subnet {id} is in the zone {}, not in {}",
            subnet.zone,
            zone(state, region)
        ))
        .with_hint("leave out --amazonec2-zone: the subnet knows its zone"));
    }
    Ok(subnet)
}
