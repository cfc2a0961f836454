//! `ls`: all machines and what they are doing.

mod filter;
mod item;

use std::collections::BTreeSet;
use std::time::Duration;

use machine_lifecycle::{Debugging, Lifecycle};

use self::filter::Filters;
use self::item::Item;
use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output::rows::RowFormat;
use crate::output::{self, table};
use crate::{machines, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "ls",
    about: "List machines",
    description: "",
    arguments: Arguments::None,
    flags: &[
        Flag::switch("quiet", "Enable quiet mode").short('q'),
        Flag::list(
            "filter",
            "",
            "Filter output based on conditions provided: driver=, swarm=, state=, name=REGEXP, label=KEY[=VALUE]",
        )
        .value("KEY=VALUE"),
        Flag::int("timeout", 10, "Timeout in seconds, for each machine").short('t').value("SECONDS"),
        Flag::text("format", "", "", "Pretty-print machines using a Go template").short('f').value("TEMPLATE"),
        Flag::switch("watch", "Show the list again every two seconds until Ctrl-C").added(),
        super::JSON,
    ],
    examples: &[
        ("docker-machine ls --filter driver=generic --filter state=Running", "running servers"),
        ("docker-machine ls -f '{{.Name}} {{.URL}}'", "one line a machine, as you like it"),
        ("docker-machine ls -f 'table {{.Name}}\\t{{.DockerVersion}}'", "a table with these columns"),
    ],
    group: Group::Look,
    run,
};

/// How long `--watch` waits before it looks again.
const WATCH_PAUSE: Duration = Duration::from_secs(2);

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let list = List::of(invocation)?;
    if list.quiet && !invocation.args.bool("watch") {
        return list.print_names();
    }
    runtime::look(async {
        if !invocation.args.bool("watch") {
            return output::print(&list.text().await?);
        }
        list.watch().await
    })
    .map_err(|error| if invocation.args.bool("watch") { end_of_watch(error) } else { error })
}

/// Ctrl-C is how a watch ends; there is nothing to say about it.
fn end_of_watch(error: CliError) -> CliError {
    if error.code() != crate::error::INTERRUPTED {
        return error;
    }
    // The prompt does not stand behind the ^C.
    if output::fancy_stdout() {
        let _ = output::print("\n");
    }
    CliError::Exit(crate::error::INTERRUPTED)
}

/// What was asked for.
struct List {
    lifecycle: Lifecycle,
    filters: Filters,
    quiet: bool,
    json: bool,
    watched: bool,
    timeout: Duration,
    format: Format,
}

enum Format {
    /// The columns of the reference program.
    Default,
    /// By a template.
    Rows(RowFormat),
}

impl List {
    fn of(invocation: &Invocation) -> Result<Self, CliError> {
        let filters = Filters::parse(invocation.args.list("filter"))?;
        let quiet = invocation.args.bool("quiet");
        let format = if quiet { Format::Default } else { Format::parse(invocation.args.str("format"))? };
        Ok(Self {
            lifecycle: invocation.lifecycle(),
            filters,
            quiet,
            json: invocation.json(),
            watched: invocation.args.bool("watch"),
            timeout: invocation.args.seconds("timeout")?,
            format,
        })
    }

    /// Names only: no machine is asked unless a filter asks for its state.
    fn print_names(&self) -> Result<(), CliError> {
        let (names, _) = self.filters.choose(&self.lifecycle)?;
        let names = if self.filters.by_state() {
            runtime::look(async { Ok(self.with_states(names).await) })?
        } else {
            names
        };
        self.names_text(&names).and_then(|text| output::print(&text))
    }

    fn names_text(&self, names: &[String]) -> Result<String, CliError> {
        if self.json {
            return Ok(machine_store::go_json::to_string_indented(&names) + "\n");
        }
        Ok(names.iter().map(|name| format!("{name}\n")).collect())
    }

    async fn with_states(&self, names: Vec<String>) -> Vec<String> {
        let states = machines::all(&names, |name| async move {
            let asked = self.lifecycle.status(name, &Debugging);
            match tokio::time::timeout(self.timeout, asked).await {
                Ok(Ok(state)) => state,
                Ok(Err(error)) => {
                    tracing::debug!(%name, %error, "no state");
                    machine_core::State::Error
                }
                Err(_) => machine_core::State::Timeout,
            }
        })
        .await;
        let wanted = states.into_iter().map(|state| self.filters.takes_state(state));
        names.into_iter().zip(wanted).filter_map(|(name, wanted)| wanted.then_some(name)).collect()
    }

    async fn watch(&self) -> Result<(), CliError> {
        let mut last = String::new();
        loop {
            let text = self.text().await?;
            if output::fancy_stdout() {
                // Cursor home, the text, and what is left of the last one cleared.
                let lines = text.replace('\n', "\x1b[K\n");
                output::print(&format!(
                    "\x1b[H{}{lines}\x1b[J",
                    if last.is_empty() { "\x1b[2J" } else { "" }
                ))?;
            } else if text != last {
                output::print(&text)?;
            }
            last = text;
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    /// The whole list as text.
    async fn text(&self) -> Result<String, CliError> {
        let (names, broken) = self.filters.choose(&self.lifecycle)?;
        if self.quiet {
            let names = if self.filters.by_state() { self.with_states(names).await } else { names };
            return self.names_text(&names);
        }
        let (items, warnings) = self.items(names, broken).await;
        if !self.watched {
            warnings.iter().for_each(|warning| output::note(&format!("WARNING: {warning}")));
        }
        if self.json {
            let rows: Vec<_> = items.iter().map(Item::json).collect();
            return Ok(machine_store::go_json::to_string_indented(&rows) + "\n");
        }
        self.format.text(&items)
    }

    /// What is to be shown, and what the user should know of certificates, each thing once.
    async fn items(&self, names: Vec<String>, broken: Vec<String>) -> (Vec<Item>, BTreeSet<String>) {
        let all: Vec<String> = names.iter().chain(&broken).cloned().collect();
        let seen = self.lifecycle.observe(&all, self.timeout).await;
        let docker_host = std::env::var("DOCKER_HOST").unwrap_or_default();
        // A record that can't be read is shown whatever state was asked for.
        let (mut seen, mut unreadable): (Vec<_>, Vec<_>) = seen.into_iter().partition(item::is_readable);
        if self.filters.by_state() {
            seen.retain(|look| self.filters.takes_state(look.state));
        }
        let warnings = seen.iter().flat_map(|look| look.warnings.iter().cloned()).collect();
        let masters = filter::masters(seen.iter().map(|look| (look.name.as_str(), &look.swarm)));
        seen.append(&mut unreadable);
        let mut items: Vec<Item> =
            seen.into_iter().map(|look| Item::of(look, &masters, &docker_host)).collect();
        items.sort_by(|a, b| machines::natural(&a.name, &b.name));
        (items, warnings)
    }
}

impl Format {
    fn parse(format: &str) -> Result<Self, CliError> {
        if format.is_empty() { Ok(Self::Default) } else { Ok(Self::Rows(RowFormat::parse(format)?)) }
    }

    fn text(&self, items: &[Item]) -> Result<String, CliError> {
        match self {
            Self::Default => {
                let rows: String = items.iter().map(Item::row).collect();
                let text = item::header_row() + &rows;
                Ok(match output::columns_of_stdout() {
                    Some(width) => table::fitted(&text, width, &item::LESS_IMPORTANT),
                    None => table::columns(&text),
                })
            }
            Self::Rows(format) => format.text(&item::HEADERS, items.iter().map(Item::fields)),
        }
    }
}
