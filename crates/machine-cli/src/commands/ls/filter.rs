//! `ls --filter`: which machines are meant. Filters of one kind are alternatives; all kinds have to agree.

use std::collections::HashMap;

use machine_core::{Machine, State, SwarmOptions};
use machine_lifecycle::Lifecycle;
use regex::Regex;

use crate::error::CliError;

/// All filters of a command line.
#[derive(Default)]
pub struct Filters {
    swarm: Vec<String>,
    driver: Vec<String>,
    state: Vec<String>,
    name: Vec<Regex>,
    label: Vec<String>,
}

impl Filters {
    /// Reads `KEY=VALUE`s.
    ///
    /// # Errors
    /// A filter without `=`, with a key that there is not, or a name that is no regular expression; in the reference
    /// program's words.
    pub fn parse(texts: &[String]) -> Result<Self, CliError> {
        let mut filters = Self::default();
        for text in texts {
            let Some((key, value)) = text.split_once('=') else {
                return Err(CliError::new("Unsupported filter syntax")
                    .with_hint(format!("{text:?} has no \"=\"; write KEY=VALUE, e.g. driver=generic")));
            };
            let value = value.to_owned();
            match key.to_lowercase().as_str() {
                "swarm" => filters.swarm.push(value),
                "driver" => filters.driver.push(value),
                "state" => filters.state.push(value),
                "name" => filters.name.push(regular_expression(&value)?),
                "label" => filters.label.push(value),
                key => {
                    return Err(CliError::new(format!("Unsupported filter key '{key}'"))
                        .with_hint("keys are driver, swarm, state, name and label"));
                }
            }
        }
        Ok(filters)
    }

    /// Whether machines have to be asked.
    pub fn by_state(&self) -> bool {
        !self.state.is_empty()
    }

    /// Whether a state is one that was asked for.
    pub fn takes_state(&self, state: State) -> bool {
        self.state.is_empty() || self.state.iter().any(|wanted| wanted.eq_ignore_ascii_case(state.as_str()))
    }

    /// The machines that all filters but `state` take, in the order of their folders; and those of which a filter
    /// can't tell because their record can't be read. Records are read only where a filter asks for what is in them,
    /// so that names alone cost one look at the folder of machines; a torn record counts as a machine there.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn choose(&self, lifecycle: &Lifecycle) -> Result<(Vec<String>, Vec<String>), CliError> {
        let store = lifecycle.store();
        let (mut names, mut broken) = (Vec::new(), Vec::new());
        let records = !(self.swarm.is_empty() && self.driver.is_empty() && self.label.is_empty());
        let mut loaded: HashMap<String, Machine> = HashMap::new();
        for name in store.machine_names()? {
            if records {
                match store.load(&name) {
                    Ok(machine) => drop(loaded.insert(name.clone(), machine)),
                    Err(_) => {
                        broken.push(name);
                        continue;
                    }
                }
            }
            names.push(name);
        }
        if records {
            let options =
                loaded.iter().map(|(name, machine)| (name.as_str(), &machine.host_options.swarm_options));
            let masters = masters(options);
            names.retain(|name| loaded.get(name).is_some_and(|machine| self.takes_record(machine, &masters)));
        }
        names.retain(|name| self.name.is_empty() || self.name.iter().any(|wanted| wanted.is_match(name)));
        Ok((names, broken))
    }

    fn takes_record(&self, machine: &Machine, masters: &HashMap<String, String>) -> bool {
        let any = |wanted: &[String], is: &str| {
            wanted.is_empty() || wanted.iter().any(|text| text.to_lowercase() == is)
        };
        let master = masters.get(&machine.host_options.swarm_options.discovery);
        let in_swarm =
            self.swarm.is_empty() || master.is_some_and(|master| any(&self.swarm, &master.to_lowercase()));
        let labels = machine.host_options.engine_options.labels.as_deref().unwrap_or_default();
        in_swarm
            && any(&self.driver, &machine.driver_name.to_lowercase())
            && (self.label.is_empty() || self.label.iter().any(|wanted| has_label(labels, wanted)))
    }
}

/// `KEY=VALUE`, upper and lower case of the value alike; `KEY` alone for any value.
fn has_label(labels: &[String], wanted: &str) -> bool {
    labels.iter().any(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        match wanted.split_once('=') {
            Some((wanted_key, wanted_value)) => {
                key == wanted_key && value.to_lowercase() == wanted_value.to_lowercase()
            }
            None => key == wanted,
        }
    })
}

/// Which machine is the master of the Swarm of a discovery URL.
pub fn masters<'a>(machines: impl Iterator<Item = (&'a str, &'a SwarmOptions)>) -> HashMap<String, String> {
    machines
        .filter(|(_, swarm)| swarm.master)
        .map(|(name, swarm)| (swarm.discovery.clone(), name.to_owned()))
        .collect()
}

/// A regular expression; Go's words for the mistakes that people make.
fn regular_expression(pattern: &str) -> Result<Regex, CliError> {
    Regex::new(pattern).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let reason = match reason {
            "unclosed character class" => "missing closing ]",
            "unclosed group" => "missing closing )",
            "unopened group" => "unexpected )",
            "repetition operator missing expression" => "missing argument to repetition operator",
            other => other,
        };
        CliError::new(format!("error parsing regexp: {reason}: `{pattern}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_by_key_and_by_value() {
        let labels = ["env=Prod".to_owned(), "gpu".to_owned()];
        for (wanted, is) in
            [("env=prod", true), ("env", true), ("env=", false), ("gpu", true), ("gpu=", true), ("en", false)]
        {
            assert_eq!(has_label(&labels, wanted), is, "{wanted}");
        }
    }

    #[test]
    fn mistakes_are_said_in_the_reference_s_words() {
        let message = |text: &str| Filters::parse(&[text.to_owned()]).err().unwrap().message().to_owned();
        assert_eq!(message("name=["), "error parsing regexp: missing closing ]: `[`");
        assert_eq!(message("bogus=1"), "Unsupported filter key 'bogus'");
        assert_eq!(message("bogus"), "Unsupported filter syntax");
    }
}
