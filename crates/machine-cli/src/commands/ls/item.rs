//! One row of `ls`.

use std::collections::HashMap;

use machine_core::State;
use machine_lifecycle::Observation;
use serde_json::{Value, json};

use crate::commands::active::{Active, active};
use crate::output::go;

/// The fields of a row for templates, with their headers: the reference program's.
pub const HEADERS: [(&str, &str); 13] = [
    ("Name", "NAME"),
    ("Active", "ACTIVE"),
    ("ActiveHost", "ACTIVE_HOST"),
    ("ActiveSwarm", "ACTIVE_SWARM"),
    ("DriverName", "DRIVER"),
    ("State", "STATE"),
    ("URL", "URL"),
    ("SwarmOptions", "SWARM_OPTIONS"),
    ("Swarm", "SWARM"),
    ("EngineOptions", "ENGINE_OPTIONS"),
    ("Error", "ERRORS"),
    ("DockerVersion", "DOCKER"),
    ("ResponseTime", "RESPONSE"),
];

/// The columns of the default table that go first where a terminal is narrow.
pub const LESS_IMPORTANT: [&str; 4] = ["DOCKER", "DRIVER", "ACTIVE", "URL"];

/// What `ls` says of a machine.
pub struct Item {
    /// Its name.
    pub name: String,
    seen: Observation,
    active: Active,
    swarm: String,
    readable: bool,
}

impl Item {
    /// Makes a row of what was seen.
    pub fn of(mut seen: Observation, masters: &HashMap<String, String>, docker_host: &str) -> Self {
        let readable = is_readable(&seen);
        if seen.state == State::Timeout {
            // The reference program gives up on the whole row.
            seen.docker_version.clear();
        }
        seen.error = seen.error.replace('\n', "");
        let active = match seen.state {
            State::Running => active(&seen.url, seen.swarm.master, &seen.swarm.host, docker_host),
            _ => Active::No,
        };
        let mut swarm = String::new();
        if !seen.swarm.discovery.is_empty() {
            swarm = masters.get(&seen.swarm.discovery).cloned().unwrap_or_default();
            if seen.swarm.master {
                swarm.push_str(" (master)");
            }
        }
        Self { name: seen.name.clone(), seen, active, swarm, readable }
    }

    fn active_text(&self) -> &'static str {
        match self.active {
            Active::Host => "*",
            Active::Swarm => "* (swarm)",
            Active::No if !self.readable || self.seen.state == State::Timeout => "",
            Active::No => "-",
        }
    }

    /// The cells of the default table, with tabs between them.
    pub fn row(&self) -> String {
        let seen = &self.seen;
        let cells = [
            &self.name,
            self.active_text(),
            &seen.driver_name,
            seen.state.as_str(),
            &seen.url,
            &self.swarm,
            &seen.docker_version,
            &seen.error,
        ];
        cells.join("\t") + "\n"
    }

    /// The row for templates and JSON.
    pub fn fields(&self) -> Value {
        let seen = &self.seen;
        json!({
            "Name": self.name,
            "Active": self.active_text(),
            "ActiveHost": self.active == Active::Host,
            "ActiveSwarm": self.active == Active::Swarm,
            "DriverName": seen.driver_name,
            "State": seen.state.as_str(),
            "URL": seen.url,
            "SwarmOptions": if self.readable { json!(seen.swarm) } else { Value::Null },
            "Swarm": self.swarm,
            "EngineOptions": if self.readable { json!(seen.engine) } else { Value::Null },
            "Error": seen.error,
            "DockerVersion": seen.docker_version,
            "ResponseTime": go::duration(seen.response_time),
        })
    }

    /// The row as JSON: the fields of templates, the time as a number, and why a machine is incomplete.
    pub fn json(&self) -> Value {
        let mut fields = self.fields();
        fields["ResponseTime"] =
            u64::try_from(self.seen.response_time.as_millis()).unwrap_or(u64::MAX).into();
        fields["Incomplete"] = json!(self.seen.incomplete);
        fields
    }
}

/// Whether the record behind a look could be read.
pub fn is_readable(seen: &Observation) -> bool {
    seen.driver_name != "not found"
}

/// The header of the default table.
pub fn header_row() -> String {
    "NAME\tACTIVE\tDRIVER\tSTATE\tURL\tSWARM\tDOCKER\tERRORS\n".to_owned()
}
