//! Who may connect: the rules of a network security group.

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Event, Reporter};
use serde_json::{Value, json};

use super::arm::Arm;
use super::flags::invalid;
use super::model::{Resource, SecurityGroup};
use super::names::Names;
use super::state::AzureState;

/// The rules that say who may reach the machine by SSH and at its engine: those that can be narrowed.
const ACCESS: [&str; 3] = ["SSHAllowAny", "DockerAllowAny", "DockerSwarmAllowAny"];
/// The priority of the first of the user's ports.
const FURTHER: usize = 1000;
/// How many rules there can be between that and the lowest priority.
const MOST: usize = 3000;

/// A rule that lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    priority: usize,
    about: &'static str,
    port: String,
    protocol: &'static str,
    /// Networks; empty for everybody.
    from: Vec<String>,
}

/// The rules of a machine, with docker/machine's names and priorities. `allow_from` narrows access to the host and its
/// engine; the user's own ports are for everybody.
///
/// # Errors
/// [`ErrorKind::Config`] where ports make no sense.
pub(super) fn rules(state: &AzureState, allow_from: &[String]) -> Result<Vec<Rule>, DriverError> {
    let access = |name: &str, priority, about, port: String| Rule {
        name: name.to_owned(),
        priority,
        about,
        port,
        protocol: "Tcp",
        from: allow_from.to_vec(),
    };
    let mut rules = vec![
        access("SSHAllowAny", 100, "Allow ssh from public Internet", state.base.ssh_port.to_string()),
        access(
            "DockerAllowAny",
            300,
            "Allow docker engine access (TLS-protected)",
            state.docker_port.to_string(),
        ),
    ];
    if state.base.swarm_master {
        let port = swarm_port(&state.base.swarm_host)?;
        rules.push(access("DockerSwarmAllowAny", 500, "Allow swarm manager access (TLS-protected)", port));
    }
    if state.open_ports.len() > MOST {
        return Err(invalid("azure-open-port", "…", &format!("at most {MOST} ports")));
    }
    for (number, given) in state.open_ports.iter().enumerate() {
        rules.push(further(number, given)?);
    }
    Ok(rules)
}

/// A port of the user's: `80`, `53/udp`, `8000-8010`, `*`.
fn further(number: usize, given: &str) -> Result<Rule, DriverError> {
    let (port, protocol) = given.split_once('/').unwrap_or((given, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => "Tcp",
        "udp" => "Udp",
        "*" => "*",
        other => {
            return Err(DriverError::new(
                ErrorKind::Config,
                format!("cannot parse security rule protocol: invalid protocol {other}"),
            )
            .with_hint("give a port as 80, 80/tcp, 53/udp or 53/*"));
        }
    };
    if !is_ports(port) {
        return Err(invalid("azure-open-port", given, "a port from 1 to 65535, or several as 8000-8010"));
    }
    Ok(Rule {
        name: format!("Port{port}-{protocol}AllowAny").replace('*', "Asterisk"),
        priority: FURTHER + number,
        about: "User requested port to be accessible from Internet via docker-machine",
        port: port.to_owned(),
        protocol,
        from: Vec::new(),
    })
}

fn is_ports(text: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once('-') {
        _ if text == "*" => true,
        None => number(text).is_some(),
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first < last),
    }
}

/// The port of `tcp://0.0.0.0:3376`.
fn swarm_port(host: &str) -> Result<String, DriverError> {
    let port = host.rsplit_once(':').map_or("", |(_, port)| port.trim_end_matches('/'));
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(port.to_owned()),
        _ => Err(DriverError::new(ErrorKind::Config, format!("Could not parse swarm port in {host:?}"))
            .with_hint("give --swarm-host as tcp://0.0.0.0:3376")),
    }
}

impl Rule {
    /// What stands in a rule beside its name.
    fn properties(&self) -> Value {
        let mut properties = json!({
            "description": self.about,
            "protocol": self.protocol,
            "sourcePortRange": "*",
            "destinationPortRange": self.port,
            "destinationAddressPrefix": "*",
            "access": "Allow",
            "direction": "Inbound",
            "priority": self.priority,
        });
        match &self.from[..] {
            [] => properties["sourceAddressPrefix"] = "*".into(),
            from => properties["sourceAddressPrefixes"] = from.into(),
        }
        properties
    }

    /// The rule as a part of a group.
    pub(super) fn body(&self) -> Value {
        json!({ "name": self.name, "properties": self.properties() })
    }
}

/// The networks for the rules of a machine, of those that are asked for; empty for all. The host has addresses of IPv4
/// only, and Azure takes no rule with networks of both families.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where the rules are not the machine's own; [`ErrorKind::Config`] where no network is of IPv4.
pub(super) fn networks(
    state: &AzureState,
    asked: &[String],
    report: &dyn Reporter,
) -> Result<Vec<String>, DriverError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    has_own_rules(state)?;
    let (sixes, fours): (Vec<&String>, Vec<&String>) =
        asked.iter().partition(|network| network.contains(':'));
    if fours.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Config,
            "--allow-from: machines of Azure's have addresses of IPv4 only, and none of these networks is of IPv4",
        )
        .with_hint("give a network of IPv4, e.g. 198.51.100.0/24, or \"me\""));
    }
    for network in sixes {
        report.report(Event::Notice(format!(
            "--allow-from: {network} gets no rule: machines of Azure's have addresses of IPv4 only"
        )));
    }
    Ok(fours.into_iter().cloned().collect())
}

/// That the machine's rules are its own.
///
/// # Errors
/// [`ErrorKind::Unsupported`].
pub(super) fn has_own_rules(state: &AzureState) -> Result<(), DriverError> {
    if state.nsg.is_empty() {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Unsupported,
        format!(
            "who may connect can't be narrowed for {} alone (--allow-from): the network security group {} (--azure-nsg) is not its own",
            state.base.machine_name, state.nsg
        ),
    )
    .with_hint("the machine is as open as that group: narrow its rules (`az network nsg rule list`), or leave one of the two flags out"))
}

/// Narrows who may reach a machine.
pub(super) async fn narrow(
    arm: &Arm<'_>,
    cx: &Cx<'_>,
    mut state: AzureState,
    asked: &[String],
) -> Result<DriverState, DriverError> {
    let networks = networks(&state, asked, cx.report)?;
    let names = Names::of(&state, &arm.subscription);
    let doing = "the rules of who may connect can't be changed";
    let group: Option<Resource<SecurityGroup>> = arm.get(doing, &names.nsg, &[]).await?;
    let group = group.ok_or_else(|| {
        DriverError::new(ErrorKind::NotFound, format!("{doing}: there is no network security group any more"))
    })?;
    if state.base.ssh_port == 0 {
        state.base.ssh_port = crate::base::DEFAULT_SSH_PORT;
    }
    let rules = rules(&state, &networks)?;
    for rule in rules.iter().filter(|rule| ACCESS.contains(&rule.name.as_str())) {
        // A rule that somebody removed lets nobody in: that is narrower still.
        if group.properties.security_rules.iter().any(|there| there.name == rule.name) {
            let id = format!("{}/securityRules/{}", names.nsg, rule.name);
            arm.make::<Value>(doing, &id, &json!({ "properties": rule.properties() })).await?;
        }
    }
    state.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ports: &[&str]) -> AzureState {
        let mut state = AzureState { docker_port: 2376, ..AzureState::default() };
        state.base.ssh_port = 22;
        state.open_ports = ports.iter().map(|port| (*port).to_owned()).collect();
        state
    }

    #[test]
    fn rules_are_those_of_docker_machine() {
        let rules =
            rules(&state(&["80", "53/udp", "*/*", "8000-8010"]), &["198.51.100.0/24".into()]).unwrap();
        let seen: Vec<(&str, usize, bool)> =
            rules.iter().map(|rule| (rule.name.as_str(), rule.priority, rule.from.is_empty())).collect();
        assert_eq!(
            seen,
            [
                ("SSHAllowAny", 100, false),
                ("DockerAllowAny", 300, false),
                ("Port80-TcpAllowAny", 1000, true),
                ("Port53-UdpAllowAny", 1001, true),
                ("PortAsterisk-AsteriskAllowAny", 1002, true),
                ("Port8000-8010-TcpAllowAny", 1003, true),
            ]
        );
        assert_eq!(rules[0].properties()["sourceAddressPrefixes"], json!(["198.51.100.0/24"]));
        assert_eq!(rules[2].properties()["sourceAddressPrefix"], "*");
    }

    #[test]
    fn ports_that_are_none_are_refused() {
        for bad in ["http", "0", "70000", "80/icmp", "9-8", ""] {
            assert!(rules(&state(&[bad]), &[]).is_err(), "{bad}");
        }
        let mut master = state(&[]);
        master.base.swarm_master = true;
        master.base.swarm_host = "tcp://0.0.0.0".into();
        assert!(rules(&master, &[]).is_err());
        master.base.swarm_host = "tcp://0.0.0.0:3376".into();
        assert_eq!(rules(&master, &[]).unwrap()[2].name, "DockerSwarmAllowAny");
    }
}
