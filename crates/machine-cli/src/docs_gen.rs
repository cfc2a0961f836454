//! Manual pages and the pages of `docs/reference`, from the declarations: the same input gives the same bytes.

use std::fmt::Write as _;
use std::path::Path;

use machine_core::{Capabilities, DriverSource, DriverSpec, FlagKind, PowerSupport};

use crate::args::{Command, Flag, GLOBAL_FLAGS, Group, command_tree};
use crate::commands::{COMMANDS, FAMILIES, create};
use crate::error::CliError;
use crate::invocation;

/// A file's name and content.
type Page = (String, String);

/// Writes pages into a folder, which is made where it is missing.
///
/// # Errors
/// Where that fails.
pub fn write_all(folder: &Path, pages: Vec<Page>) -> Result<(), CliError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| CliError::new(format!("{path} can't be written: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, content) in pages {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(failed(&path))?;
    }
    Ok(())
}

/// Manual pages of the program and each command. `create` has the flags of all built-in drivers.
///
/// # Errors
/// Where a page can't be made.
pub fn man_pages() -> Result<Vec<Page>, CliError> {
    let more = |command: &Command| match command.name {
        "create" => all_driver_flags(),
        _ => Vec::new(),
    };
    let tree = command_tree(COMMANDS, FAMILIES, more);
    let page = |name: String, command: clap::Command| -> Result<Page, CliError> {
        let mut text = Vec::new();
        clap_mangen::Man::new(command.name(name.clone()))
            .render(&mut text)
            .map_err(|error| CliError::new(format!("The page {name} can't be made: {error}")))?;
        Ok((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()))
    };
    let mut pages = vec![page("docker-machine".to_owned(), tree.clone())?];
    for command in tree.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("docker-machine-{}", command.get_name());
        for member in command.get_subcommands() {
            pages.push(page(format!("{name}-{}", member.get_name()), member.clone())?);
        }
        pages.push(page(name, command.clone())?);
    }
    Ok(pages)
}

fn all_driver_flags() -> Vec<Flag> {
    let drivers = invocation::drivers();
    let flags = drivers.names().into_iter().filter_map(|name| drivers.driver(&name).ok());
    flags.flat_map(|driver| create::of_driver(driver.spec())).collect()
}

/// The pages of `docs/reference`.
pub fn reference_pages() -> Vec<Page> {
    let drivers = invocation::drivers();
    let mut pages = vec![("README.md".to_owned(), index(&*drivers))];
    for command in visible() {
        pages.push((page_of(command), command_page(command)));
    }
    for name in drivers.names() {
        if let Ok(driver) = drivers.driver(&name) {
            pages.push((format!("driver-{name}.md"), driver_page(driver.spec())));
        }
    }
    pages.push(("environment.md".to_owned(), environment(&*drivers)));
    for (_, text) in &mut pages {
        text.insert_str(
            0,
            "<!-- Made by `docker-machine generate-docs` from the declarations; do not edit. -->\n",
        );
    }
    pages
}

fn driver_page(spec: &DriverSpec) -> String {
    let mut text = format!("# Driver `{}`\n\n{}\n", spec.name, spec.summary);
    if let Some(guide) = guide_of(&spec.name) {
        let _ = writeln!(
            text,
            "\nWhat to install, how it is used, its limits, and how it was proved: [{guide}]({guide})."
        );
    }
    text.push_str(&flag_table("Flags of `create`", &create::of_driver(spec)));
    text.push_str(&capabilities(&spec.capabilities));
    text
}

/// The page of `docs` about a driver, from where the reference is.
fn guide_of(driver: &str) -> Option<String> {
    match driver {
        "none" => None,
        "generic" => Some("../existing-servers.md".to_owned()),
        driver => Some(format!("../drivers/{driver}.md")),
    }
}

/// What may be asked of a driver's machines beside `create` and `rm`.
fn capabilities(can: &Capabilities) -> String {
    let power = |support: &PowerSupport| match support {
        PowerSupport::Driver => "yes".to_owned(),
        PowerSupport::OverSsh => "yes, by SSH".to_owned(),
        PowerSupport::No(text) => format!("no: `{text}`"),
    };
    let plain = |can: bool| if can { "yes" } else { "no" }.to_owned();
    let rows = [
        ("`start`", power(&can.start)),
        ("`stop`", power(&can.stop)),
        ("`restart`", power(&can.restart)),
        ("`kill`", power(&can.kill)),
        ("`pause`, `resume`", plain(can.pause)),
        ("`snapshot …`", plain(can.snapshot)),
        ("`clone`", plain(can.clone)),
        ("`resize`", plain(can.resize)),
        ("`ssh`, `scp`, `mount`, `provision`, `upgrade`", plain(can.ssh)),
        ("machines that set themselves up while they boot (cloud-init)", plain(can.user_data)),
        ("one question for all machines in `ls`", plain(can.batch)),
    ];
    let mut text = String::from("\n## What it can do\n\n| | |\n|---|---|\n");
    for (what, answer) in rows {
        let _ = writeln!(text, "| {what} | {answer} |");
    }
    text
}

fn visible() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().copied().filter(|command| command.group != Group::Hidden)
}

/// The file of a command's page, e.g. `snapshot-ls.md`.
fn page_of(command: &Command) -> String {
    format!("{}.md", command.name.replace(' ', "-"))
}

fn index(drivers: &dyn DriverSource) -> String {
    let mut text =
        String::from("# Reference\n\n`docker-machine [OPTIONS] COMMAND [arg...]`\n\n## Commands\n\n");
    for command in visible() {
        let _ = writeln!(text, "- [`{}`]({}): {}", command.name, page_of(command), command.about);
    }
    text.push_str("\n## Drivers\n\n");
    for name in drivers.names() {
        if let Ok(driver) = drivers.driver(&name) {
            let _ = writeln!(text, "- [`{name}`](driver-{name}.md): {}", driver.spec().summary);
        }
    }
    text.push_str(&flag_table("Global flags", GLOBAL_FLAGS));
    text.push_str("\nEvery variable that is read: [environment.md](environment.md).\n");
    text
}

fn command_page(command: &Command) -> String {
    let mut text = format!("# `{}`\n\n{}.\n\n", command.name, command.about.trim_end_matches('.'));
    let _ = writeln!(text, "```\n{}\n```", command.usage());
    if !command.description.is_empty() {
        let _ = writeln!(text, "\n{}", command.description.trim());
    }
    if !command.flags.is_empty() {
        text.push_str(&flag_table("Flags", command.flags));
    }
    if !command.examples.is_empty() {
        text.push_str("\n## Examples\n\n```sh\n");
        for (line, what) in command.examples {
            let _ = writeln!(text, "# {what}\n{line}");
        }
        text.push_str("```\n");
    }
    text
}

fn flag_table(title: &str, flags: &[Flag]) -> String {
    let mut text = format!("\n## {title}\n\n| flag | default | variable | what for |\n|---|---|---|---|\n");
    for flag in flags {
        let spec = &flag.spec;
        let short = flag.short.map_or_else(String::new, |letter| format!(", `-{letter}`"));
        let (kind, default) = match &spec.kind {
            FlagKind::Bool(_) => (String::new(), String::new()),
            FlagKind::Int(default) => (" N".to_owned(), format!("`{default}`")),
            FlagKind::Str(default) if default.is_empty() => (value_name(flag), String::new()),
            FlagKind::Str(default) => (value_name(flag), format!("`{default}`")),
            FlagKind::List(_) => (format!("{} …", value_name(flag)), String::new()),
        };
        let env = if spec.env.is_empty() { String::new() } else { format!("`{}`", spec.env) };
        let added = if flag.added { " *(not in docker/machine 0.16.2)*" } else { "" };
        let help = spec.help.replace('|', "\\|");
        let _ = writeln!(text, "| `--{}{kind}`{short} | {default} | {env} | {help}{added} |", spec.name);
    }
    text
}

fn value_name(flag: &Flag) -> String {
    let name = if flag.value_name.is_empty() { "VALUE" } else { flag.value_name };
    format!(" {}", name.replace('|', "\\|"))
}

fn environment(drivers: &dyn DriverSource) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut add = |flags: &[Flag], of: &str| {
        for flag in flags.iter().filter(|flag| !flag.spec.env.is_empty()) {
            rows.push((flag.spec.env.to_string(), format!("`--{}` of {of}", flag.spec.name)));
        }
    };
    add(GLOBAL_FLAGS, "the program");
    for command in visible() {
        add(command.flags, &format!("`{}`", command.name));
    }
    for name in drivers.names() {
        if let Ok(driver) = drivers.driver(&name) {
            add(&create::of_driver(driver.spec()), &format!("`create -d {name}`"));
        }
    }
    rows.extend(
        [
            ("DOCKER_HOST", "which machine is active"),
            ("VBOX_INSTALL_PATH", "where VirtualBox is; so does `VBOX_MSI_INSTALL_PATH`"),
            ("NO_PROXY", "what `env --no-proxy` adds the machine to; `no_proxy` where that is set"),
            ("SHELL", "for which shell `env` writes, where `--shell` does not say"),
            (
                "HTTPS_PROXY",
                "the proxy for downloads; so are `HTTP_PROXY` and `ALL_PROXY`, but for hosts in `NO_PROXY`",
            ),
            (
                "MACHINE_EXTRA_CA_CERTS",
                "a file with certificates (PEM) that are trusted for downloads besides the system's",
            ),
            ("NO_COLOR", "no colours and moving lines; so do `CI` and `TERM=dumb`"),
        ]
        .map(|(name, what)| (name.to_owned(), what.to_owned())),
    );
    rows.sort();
    let mut text = String::from(
        "# Environment variables\n\nA flag on the command line counts more than its variable; an empty variable counts as none.\n\n| variable | what for |\n|---|---|\n",
    );
    for (name, what) in rows {
        let _ = writeln!(text, "| `{name}` | {what} |");
    }
    text
}
