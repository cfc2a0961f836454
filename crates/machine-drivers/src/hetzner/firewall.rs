//! The firewall of a machine's own: who may connect by SSH and to the engine.

use std::collections::BTreeMap;

use machine_core::{Cx, DriverError};
use serde_json::{Value, json};

use super::api::{Made, Named, Project};
use super::create::{is_ours, marked, own_name};
use super::state::ENGINE_PORT;
use crate::base::Base;

/// Makes it, or finds the one that was made; gives its number. `server` is the server that it is applied to at once.
pub(super) async fn make(
    cx: &Cx<'_>,
    project: &Project<'_>,
    base: &Base,
    networks: &[String],
    server: Option<i64>,
) -> Result<i64, DriverError> {
    let name = own_name(cx);
    let mut body =
        json!({ "name": name, "labels": marked(cx, BTreeMap::new()), "rules": rules(base, networks) });
    if let Some(server) = server {
        body["apply_to"] = json!([{ "type": "server", "server": { "id": server } }]);
    }
    match project.make::<Value>("firewalls", &body).await? {
        Made::New(made) => Ok(made["firewall"]["id"].as_i64().unwrap_or_default()),
        Made::Perhaps(error) => {
            let named: Vec<Named> = project.all("firewalls", &[("name", &name)]).await?;
            let ours = named.into_iter().find(|found| is_ours(cx, &found.labels)).ok_or(error)?;
            narrow(project, ours.id, base, networks).await?;
            if server.is_some() {
                let body = json!({ "apply_to": body["apply_to"] });
                project.act("firewalls", ours.id, "apply_to_resources", Some(&body)).await?;
            }
            Ok(ours.id)
        }
    }
}

/// Gives it other networks.
pub(super) async fn narrow(
    project: &Project<'_>,
    id: i64,
    base: &Base,
    networks: &[String],
) -> Result<(), DriverError> {
    let body = json!({ "rules": rules(base, networks) });
    project.act("firewalls", id, "set_rules", Some(&body)).await
}

/// What may come in; everything else may not, and everything may go out.
fn rules(base: &Base, networks: &[String]) -> Value {
    let names = ["SSH", "Docker", "Swarm"];
    let rule = |(port, what): (u16, &str)| {
        json!({
            "direction": "in", "protocol": "tcp", "port": port.to_string(), "source_ips": networks,
            "description": what,
        })
    };
    base.ports(ENGINE_PORT).into_iter().zip(names).map(rule).collect()
}
