//! The containers of the retired standalone Swarm (not `docker swarm`), as the reference program makes them.
//!
//! Source: `libmachine/provision/configure_swarm.go` of docker/machine v0.16.2.

use machine_core::{EngineOptions, StringList, SwarmOptions};

/// A container to be created and started on the machine's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmContainer {
    /// Its name: `swarm-agent-master` or `swarm-agent`.
    pub name: &'static str,
    /// The image, to be pulled first.
    pub image: String,
    /// What it runs, as arguments of the image's entry point.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Bind mounts, `HOST:CONTAINER`.
    pub binds: Vec<String>,
    /// `PORT/tcp`.
    pub exposed_ports: Vec<String>,
    /// TCP ports published on every address of the host under the same number.
    pub published_ports: Vec<u16>,
    /// The restart policy's name; always `always`.
    pub restart: &'static str,
}

/// The Swarm flags can't be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--swarm-host {host:?} names no port: it has the form tcp://0.0.0.0:3376")]
pub struct BadSwarmHost {
    host: String,
}

/// What Swarm's containers have to know of their host.
#[derive(Clone, Copy, Debug)]
pub struct SwarmHost<'a> {
    /// The machine's address.
    pub ip: &'a str,
    /// The engine's port.
    pub engine_port: u16,
    /// The folder of the engine's certificates on the host: [`crate::Plan::certificates_dir`].
    pub certificates_dir: &'a str,
}

/// The containers which these options ask for: none, the agent, the manager, or manager and agent in this order.
///
/// # Errors
/// [`BadSwarmHost`] where a manager is wanted and `--swarm-host` has no port.
pub fn containers(
    swarm: &SwarmOptions,
    engine: &EngineOptions,
    host: &SwarmHost<'_>,
) -> Result<Vec<SwarmContainer>, BadSwarmHost> {
    let mut containers = Vec::new();
    if !swarm.is_swarm {
        return Ok(containers);
    }
    if swarm.master {
        containers.push(manager(swarm, engine, host)?);
    }
    if swarm.agent {
        containers.push(agent(swarm, engine, host));
    }
    Ok(containers)
}

fn manager(
    swarm: &SwarmOptions,
    engine: &EngineOptions,
    host: &SwarmHost<'_>,
) -> Result<SwarmContainer, BadSwarmHost> {
    let port = swarm
        .host
        .rsplit_once(':')
        .and_then(|(_, port)| port.trim_end_matches('/').parse::<u16>().ok())
        .ok_or_else(|| BadSwarmHost { host: swarm.host.clone() })?;
    let dir = host.certificates_dir;
    let mut cmd = experimental(swarm);
    cmd.extend([
        "manage".to_owned(),
        "--tlsverify".to_owned(),
        format!("--tlscacert={dir}/ca.pem"),
        format!("--tlscert={dir}/server.pem"),
        format!("--tlskey={dir}/server-key.pem"),
        "-H".to_owned(),
        swarm.host.clone(),
        "--strategy".to_owned(),
        swarm.strategy.clone(),
        "--advertise".to_owned(),
        // The reference program names this port whatever --swarm-host says; other managers look for it there.
        format!("{}:3376", host.ip),
    ]);
    cmd.extend(flags(&swarm.arbitrary_flags));
    cmd.push(swarm.discovery.clone());
    Ok(SwarmContainer {
        name: "swarm-agent-master",
        image: swarm.image.clone(),
        cmd,
        env: engine.env.clone().unwrap_or_default(),
        binds: vec![format!("{dir}:{dir}")],
        exposed_ports: vec!["2375/tcp".to_owned(), format!("{port}/tcp")],
        published_ports: vec![port],
        restart: "always",
    })
}

fn agent(swarm: &SwarmOptions, engine: &EngineOptions, host: &SwarmHost<'_>) -> SwarmContainer {
    let mut cmd = experimental(swarm);
    cmd.extend(["join".to_owned(), "--advertise".to_owned(), format!("{}:{}", host.ip, host.engine_port)]);
    cmd.extend(flags(&swarm.arbitrary_join_flags));
    cmd.push(swarm.discovery.clone());
    SwarmContainer {
        name: "swarm-agent",
        image: swarm.image.clone(),
        cmd,
        env: engine.env.clone().unwrap_or_default(),
        binds: Vec::new(),
        exposed_ports: Vec::new(),
        published_ports: Vec::new(),
        restart: "always",
    }
}

fn experimental(swarm: &SwarmOptions) -> Vec<String> {
    if swarm.is_experimental { vec!["--experimental".to_owned()] } else { Vec::new() }
}

fn flags(list: &StringList) -> impl Iterator<Item = String> {
    list.iter().flatten().map(|flag| format!("--{flag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: SwarmHost<'static> =
        SwarmHost { ip: "203.0.113.7", engine_port: 2376, certificates_dir: "/etc/docker" };

    fn options() -> SwarmOptions {
        SwarmOptions {
            is_swarm: true,
            agent: true,
            master: true,
            discovery: "token://1234".to_owned(),
            host: "tcp://0.0.0.0:3376".to_owned(),
            image: "swarm:latest".to_owned(),
            strategy: "spread".to_owned(),
            arbitrary_flags: Some(vec!["cluster-driver=mesos".to_owned()]),
            arbitrary_join_flags: Some(vec!["heartbeat=5s".to_owned()]),
            ..SwarmOptions::default()
        }
    }

    #[test]
    fn manager_and_agent() {
        let engine = EngineOptions { env: Some(vec!["A=b".to_owned()]), ..EngineOptions::default() };
        let both = containers(&options(), &engine, &HOST).unwrap();
        let [manager, agent] = both.as_slice() else { panic!("{both:?}") };
        assert_eq!(
            manager.cmd.join(" "),
            "manage --tlsverify --tlscacert=/etc/docker/ca.pem --tlscert=/etc/docker/server.pem \
             --tlskey=/etc/docker/server-key.pem -H tcp://0.0.0.0:3376 --strategy spread \
             --advertise 203.0.113.7:3376 --cluster-driver=mesos token://1234"
        );
        assert_eq!(manager.exposed_ports, ["2375/tcp", "3376/tcp"]);
        assert_eq!(
            (manager.name, manager.published_ports.as_slice()),
            ("swarm-agent-master", [3376].as_slice())
        );
        assert_eq!(manager.binds, ["/etc/docker:/etc/docker"]);
        assert_eq!(agent.cmd.join(" "), "join --advertise 203.0.113.7:2376 --heartbeat=5s token://1234");
        assert_eq!((agent.name, agent.env.as_slice()), ("swarm-agent", ["A=b".to_owned()].as_slice()));
    }

    #[test]
    fn only_what_was_asked_for() {
        let engine = EngineOptions::default();
        let none = SwarmOptions { is_swarm: false, ..options() };
        assert_eq!(containers(&none, &engine, &HOST).unwrap(), []);
        let experimental = SwarmOptions { master: false, is_experimental: true, ..options() };
        let one = containers(&experimental, &engine, &HOST).unwrap();
        assert_eq!(one[0].cmd[..2], ["--experimental", "join"]);
        let no_port = SwarmOptions { host: "tcp://0.0.0.0".to_owned(), ..options() };
        assert!(containers(&no_port, &engine, &HOST).is_err());
    }
}
