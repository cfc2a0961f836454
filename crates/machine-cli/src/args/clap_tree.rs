//! Declarations as clap commands, of which help, completion, man pages and the reference are made.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction};
use machine_core::FlagKind;

use super::declare::{Arguments, Command, Family, Flag, Group};
use super::globals::GLOBAL_FLAGS;

/// The id of the words that are not flags.
const WORDS: &str = "arg";

const COMMAND_HELP: &str = "Usage: {usage}\n\n{about-with-newline}\n{before-help}{all-args}{after-help}";

/// One command, with further flags (a driver's).
pub fn single(command: &Command, more: &[Flag]) -> clap::Command {
    let clap = clap::Command::new(command.last_word());
    let clap = if command.description.is_empty() { clap } else { clap.before_help(command.description) };
    clap.about(command.about)
        .override_usage(command.usage())
        .after_help(examples(command))
        .help_template(COMMAND_HELP)
        // One line a flag, however long.
        .term_width(0)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .hide(command.group == Group::Hidden)
        .args(command.flags.iter().chain(more).map(argument))
        .arg(help_argument())
        .args(words(command.arguments))
}

/// What stands behind the flags, hidden: the usage line shows it.
fn words(arguments: Arguments) -> Vec<Arg> {
    let hidden = |arg: Arg| arg.hide(true).allow_hyphen_values(true);
    let Arguments::Each(words) = arguments else {
        return vec![hidden(Arg::new(WORDS).num_args(0..).action(ArgAction::Append))];
    };
    let declared = words.iter().enumerate().map(|(at, word)| {
        let arg = Arg::new(format!("{WORDS}{at}"));
        hidden(if word.repeats() { arg.num_args(0..).action(ArgAction::Append) } else { arg })
    });
    declared.collect()
}

/// The program with all its commands, each with further flags (a driver's).
pub fn command_tree(
    commands: &[&'static Command],
    families: &'static [Family],
    more: impl Fn(&Command) -> Vec<Flag>,
) -> clap::Command {
    let one = |command: &&'static Command| single(command, &more(command));
    let alone = commands.iter().filter(|command| command.family().is_none()).map(one);
    let has_members = |family: &&Family| commands.iter().any(|command| command.family() == Some(family.name));
    let families = families.iter().filter(has_members).map(|family| {
        let members = commands.iter().filter(|command| command.family() == Some(family.name)).map(one);
        clap::Command::new(family.name)
            .about(family.about)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .disable_help_subcommand(true)
            .arg(help_argument())
            .subcommands(members)
    });
    clap::Command::new("docker-machine")
        .about("Create and manage machines running Docker.")
        .version(crate::version::VERSION)
        .override_usage("docker-machine [OPTIONS] COMMAND [arg...]")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(GLOBAL_FLAGS.iter().map(argument))
        .arg(help_argument())
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Print the version"),
        )
        .subcommands(alone)
        .subcommands(families)
}

/// The help text of a command.
pub fn help_of(mut command: clap::Command) -> String {
    command.render_help().to_string()
}

fn help_argument() -> Arg {
    Arg::new("help").long("help").short('h').action(ArgAction::SetTrue).help("Show help")
}

fn argument(flag: &Flag) -> Arg {
    let name = flag.spec.name.to_string();
    let mut arg = Arg::new(name.clone()).long(name).help(help_text(flag));
    if let Some(letter) = flag.short {
        arg = arg.short(letter);
    }
    if !flag.heading().is_empty() {
        arg = arg.help_heading(flag.heading().to_owned());
    }
    let value_name = if flag.value_name.is_empty() { "VALUE" } else { flag.value_name };
    match flag.spec.kind {
        FlagKind::Bool(_) => arg.action(ArgAction::SetTrue),
        FlagKind::Int(_) => arg
            .action(ArgAction::Set)
            .allow_hyphen_values(true)
            .value_name(if flag.value_name.is_empty() { "N" } else { value_name }),
        FlagKind::Str(_) => arg.action(ArgAction::Set).allow_hyphen_values(true).value_name(value_name),
        FlagKind::List(_) => arg.action(ArgAction::Append).allow_hyphen_values(true).value_name(value_name),
    }
}

/// Help with default, environment variable and the note that a flag may be repeated.
pub fn help_text(flag: &Flag) -> StyledStr {
    let spec = &flag.spec;
    let mut text = spec.help.to_string();
    let default = match &spec.kind {
        FlagKind::Str(default) if !default.is_empty() => Some(default.to_string()),
        FlagKind::Int(default) => Some(default.to_string()),
        FlagKind::Bool(true) => Some("true".to_owned()),
        _ => None,
    };
    if let Some(default) = default {
        text.push_str(&format!(" (default: {default})"));
    }
    if matches!(spec.kind, FlagKind::List(_)) {
        text.push_str(" (may be repeated)");
    }
    if !spec.env.is_empty() {
        text.push_str(&format!(" [${}]", spec.env));
    }
    text.into()
}

fn examples(command: &Command) -> String {
    if command.examples.is_empty() {
        return String::new();
    }
    let mut text = String::from("Examples:\n");
    for (line, what) in command.examples {
        text.push_str(&format!("  # {what}\n  {line}\n"));
    }
    text
}

impl Arguments {
    /// Whether the words are names of machines.
    pub fn are_machines(self) -> bool {
        matches!(self, Self::Machine | Self::Machines | Self::MachineThenRaw)
    }
}
