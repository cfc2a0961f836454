//! What `gc` says: a table for people, an object for programs, hints and errors on stderr.

use machine_lifecycle::{AccountRubbish, Collected, Outcome, Rubbish};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::table;

/// What was found, and what became of it.
pub struct Answer {
    /// What was found.
    pub rubbish: Rubbish,
    /// What became of it, account by account, where it was to be removed.
    pub collected: Option<Vec<Collected>>,
}

/// The columns that a narrow terminal can do without, the least important first.
const LESS_IMPORTANT: [&str; 3] = ["ACCOUNT", "ABOUT", "DRIVER"];

/// The kind under which a record stands in the table.
const RECORD: &str = "record";

impl Answer {
    /// Each account with what became of what is in it.
    fn accounts(&self) -> impl Iterator<Item = (&AccountRubbish, Option<&Collected>)> {
        let collected = self.collected.as_deref();
        self.rubbish
            .accounts
            .iter()
            .enumerate()
            .map(move |(at, account)| (account, collected.and_then(|all| all.get(at))))
    }

    /// The number of things and of records that were found.
    fn counts(&self) -> (usize, usize) {
        let accounts = &self.rubbish.accounts;
        (
            accounts.iter().map(|account| account.resources.len()).sum(),
            accounts.iter().map(|account| account.hosts.len()).sum(),
        )
    }

    /// A table, fitted into a terminal of so many columns; nothing where nothing was found.
    pub fn text(&self, width: Option<usize>) -> String {
        if self.counts() == (0, 0) {
            return String::new();
        }
        let last = if self.collected.is_some() { "\tOUTCOME" } else { "" };
        let mut text = format!("KIND\tID\tMACHINE\tDRIVER\tACCOUNT\tABOUT{last}\n");
        for (account, collected) in self.accounts() {
            let mut row = |cells: [&str; 4], outcome: Option<&Outcome>| {
                let [kind, id, machine, about] = cells;
                let outcome = outcome.map(|outcome| format!("\t{}", word(outcome))).unwrap_or_default();
                let (driver, account) = (&account.driver, &account.account);
                text.push_str(&format!("{kind}\t{id}\t{machine}\t{driver}\t{account}\t{about}{outcome}\n"));
            };
            for (at, owned) in account.resources.iter().enumerate() {
                let machine = if owned.machine.is_empty() { "(shared)" } else { &owned.machine };
                let outcome = collected.and_then(|all| all.resources.get(at));
                row([&owned.kind, &owned.id, machine, &owned.about], outcome);
            }
            for (at, host) in account.hosts.iter().enumerate() {
                let incomplete = host.incomplete.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                let about = format!("its host is gone{incomplete}");
                let outcome = collected.and_then(|all| all.hosts.get(at));
                row([RECORD, &host.machine, &host.machine, &about], outcome);
            }
        }
        match width {
            Some(width) => table::fitted(&text, width, &LESS_IMPORTANT),
            None => table::columns(&text),
        }
    }

    /// An object for programs.
    pub fn json(&self) -> Value {
        let (mut accounts, mut resources, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for (account, collected) in self.accounts() {
            let place = json!({ "Driver": account.driver, "Account": account.account });
            for (at, owned) in account.resources.iter().enumerate() {
                let what = json!({
                    "Kind": owned.kind,
                    "Id": owned.id,
                    "Machine": (!owned.machine.is_empty()).then_some(&owned.machine),
                    "About": owned.about,
                });
                resources.push(joined([
                    &what,
                    &place,
                    &end(collected.and_then(|all| all.resources.get(at))),
                ]));
            }
            for (at, host) in account.hosts.iter().enumerate() {
                let what = json!({ "Machine": host.machine, "Incomplete": host.incomplete });
                records.push(joined([&what, &place, &end(collected.and_then(|all| all.hosts.get(at)))]));
            }
            let problems: Vec<String> = account.problems.iter().map(ToString::to_string).collect();
            accounts.push(joined([&place, &json!({ "Errors": problems })]));
        }
        let unreadable: Vec<Value> = self
            .rubbish
            .unreadable
            .iter()
            .map(|(machine, error)| json!({ "Machine": machine, "Error": error.to_string() }))
            .collect();
        json!({ "Accounts": accounts, "Resources": resources, "Records": records, "Unreadable": unreadable })
    }

    /// What is good to know, for stderr.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let (resources, records) = self.counts();
        if self.rubbish.accounts.is_empty() {
            notes.push(
                "There is no account to look into: no machine here is of a driver that marks what it makes. `docker-machine \
                 gc -d DRIVER` looks into the account that the driver's flags and variables name."
                    .to_owned(),
            );
        } else if (resources, records) == (0, 0) && self.errors().is_empty() {
            notes.push(format!("Nothing is left over in {}.", count(self.rubbish.accounts.len(), "account")));
        } else if self.collected.is_none() && (resources, records) != (0, 0) {
            notes.push(format!(
                "{} without a machine, {} without a host. The same command with --yes removes them. Look through the list \
                 before: a copy of this store on another computer has the same mark.",
                count(resources, "resource"),
                count(records, "record")
            ));
        }
        for (thing, outcome) in self.outcomes() {
            if let Outcome::InUse(why) = outcome {
                notes.push(format!("{thing} was left alone: {why}"));
            }
        }
        notes
    }

    /// What went wrong.
    pub fn errors(&self) -> Vec<CliError> {
        let unreadable = self.rubbish.unreadable.iter().map(|(machine, error)| {
            CliError::new(format!("The account of machine {machine:?} can't be told: {error}"))
                .with_hint_if(error.hint())
        });
        let problems = self.rubbish.accounts.iter().flat_map(|account| {
            account.problems.iter().map(|error| {
                CliError::new(format!("{} {}: {error}", account.driver, account.account))
                    .with_hint_if(error.hint())
            })
        });
        let failed = self.outcomes().into_iter().filter_map(|(thing, outcome)| match outcome {
            Outcome::Failed(error) => {
                Some(CliError::new(format!("{thing} can't be removed: {error}")).with_hint_if(error.hint()))
            }
            Outcome::Removed | Outcome::InUse(_) => None,
        });
        unreadable.chain(problems).chain(failed).collect()
    }

    /// Each thing that was to be removed, in words, and what became of it.
    fn outcomes(&self) -> Vec<(String, &Outcome)> {
        let mut all = Vec::new();
        for (account, collected) in self.accounts() {
            let Some(collected) = collected else { continue };
            let resources = account.resources.iter().map(|owned| format!("{} {}", owned.kind, owned.id));
            all.extend(resources.zip(&collected.resources));
            let records = account.hosts.iter().map(|host| format!("{RECORD} {}", host.machine));
            all.extend(records.zip(&collected.hosts));
        }
        all
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Removed => "removed",
        Outcome::InUse(_) => "in use",
        Outcome::Failed(_) => "failed",
    }
}

/// What became of something, for programs: nulls where nothing was to become of it.
fn end(outcome: Option<&Outcome>) -> Value {
    let why = match outcome {
        Some(Outcome::InUse(why)) => Some(why.clone()),
        Some(Outcome::Failed(error)) => Some(error.to_string()),
        Some(Outcome::Removed) | None => None,
    };
    json!({ "Outcome": outcome.map(word), "Error": why })
}

/// The keys of all of these objects, in order.
fn joined<const N: usize>(parts: [&Value; N]) -> Value {
    let keys = parts.into_iter().filter_map(Value::as_object).flatten();
    Value::Object(keys.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use machine_core::Owned;
    use machine_lifecycle::{Error, GoneHost};

    use super::*;

    fn wrong(text: &str) -> Error {
        Error::SwarmDiscovery(text.to_owned())
    }

    fn thing(kind: &str, id: &str, machine: &str, about: &str) -> Owned {
        Owned { kind: kind.into(), id: id.into(), machine: machine.into(), about: about.into() }
    }

    fn found() -> Rubbish {
        let mut a = AccountRubbish::default();
        (a.driver, a.account) = ("amazonec2".into(), "AKIA1/us-east-1".into());
        a.resources = vec![
            thing("instance", "i-0abc", "old", "running, 203.0.113.7"),
            thing("security group", "sg-1", "", ""),
        ];
        let mut b = AccountRubbish::default();
        (b.driver, b.account) = ("hetzner".into(), "h1".into());
        b.hosts = vec![
            GoneHost { machine: "web9".into(), incomplete: None },
            GoneHost { machine: "web10".into(), incomplete: Some("creating was interrupted".into()) },
        ];
        b.problems = vec![wrong("no answer")];
        Rubbish { accounts: vec![a, b], unreadable: vec![("torn".into(), wrong("torn"))] }
    }

    fn removed() -> Answer {
        let a = Collected {
            resources: vec![Outcome::Removed, Outcome::InUse("web1 has a record by now".into())],
            hosts: Vec::new(),
        };
        let b = Collected {
            resources: Vec::new(),
            hosts: vec![Outcome::Removed, Outcome::Failed(wrong("no answer"))],
        };
        Answer { rubbish: found(), collected: Some(vec![a, b]) }
    }

    #[test]
    fn a_list_for_people() {
        let answer = Answer { rubbish: found(), collected: None };
        assert_eq!(
            answer.text(None),
            "KIND             ID       MACHINE    DRIVER      ACCOUNT           ABOUT\n\
             instance         i-0abc   old        amazonec2   AKIA1/us-east-1   running, 203.0.113.7\n\
             security group   sg-1     (shared)   amazonec2   AKIA1/us-east-1   \n\
             record           web9     web9       hetzner     h1                its host is gone\n\
             record           web10    web10      hetzner     h1                its host is gone (creating was interrupted)\n"
        );
        assert!(answer.text(Some(60)).lines().all(|line| line.chars().count() <= 60));
        let notes = answer.notes();
        assert!(
            notes[0].starts_with("2 resources without a machine, 2 records without a host.")
                && notes[0].contains("--yes"),
            "{notes:?}"
        );
        let errors: Vec<String> = answer.errors().iter().map(|error| error.message().to_owned()).collect();
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0].contains("machine \"torn\"") && errors[1].starts_with("hetzner h1: "),
            "{errors:?}"
        );
    }

    #[test]
    fn outcomes_for_people() {
        let answer = removed();
        let text = answer.text(None);
        let ends: Vec<&str> = text.lines().map(|line| line.rsplit("   ").next().unwrap()).collect();
        assert_eq!(ends, ["OUTCOME", "removed", "in use", "removed", "failed"]);
        assert_eq!(answer.notes(), ["security group sg-1 was left alone: web1 has a record by now"]);
        let last = answer.errors().pop().unwrap();
        assert!(last.message().starts_with("record web10 can't be removed: "), "{last:?}");
        assert_eq!(last.code(), 1);
    }

    #[test]
    fn an_object_for_programs() {
        let json = Answer { rubbish: found(), collected: None }.json();
        assert_eq!(
            json["Resources"][0],
            json!({
                "Kind": "instance", "Id": "i-0abc", "Machine": "old", "About": "running, 203.0.113.7",
                "Driver": "amazonec2", "Account": "AKIA1/us-east-1", "Outcome": null, "Error": null,
            })
        );
        assert_eq!(json["Resources"][1]["Machine"], Value::Null);
        assert_eq!(json["Records"][1]["Incomplete"], "creating was interrupted");
        assert_eq!(
            json["Accounts"][0],
            json!({ "Driver": "amazonec2", "Account": "AKIA1/us-east-1", "Errors": [] })
        );
        assert_eq!(json["Accounts"][1]["Errors"].as_array().unwrap().len(), 1);
        assert_eq!(json["Unreadable"][0]["Machine"], "torn");
        let json = removed().json();
        assert_eq!(json["Resources"][1]["Outcome"], "in use");
        assert_eq!(json["Resources"][1]["Error"], "web1 has a record by now");
        assert_eq!(json["Records"][0]["Outcome"], "removed");
    }

    #[test]
    fn nothing_is_left_over() {
        let mut account = AccountRubbish::default();
        account.driver = "hetzner".into();
        let answer =
            |accounts| Answer { rubbish: Rubbish { accounts, unreadable: Vec::new() }, collected: None };
        assert_eq!(answer(vec![account]).text(None), "");
        let one = AccountRubbish::default();
        assert_eq!(answer(vec![one]).notes(), ["Nothing is left over in 1 account."]);
        assert!(answer(Vec::new()).notes()[0].contains("gc -d DRIVER"));
    }
}
