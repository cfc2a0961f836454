//! The guides are true: their commands are run, their links resolve, and the flags, commands, variables and error
//! texts that they name are the program's.
//!
//! Marks in the guides, each before a fenced block (people who read the rendered page do not see them):
//! - `<!-- run -->`: run in an empty store, no host. Every command in it must succeed.
//! - `<!-- run: docker -->`: the same with the docker client; left out where there is none.
//! - `<!-- run: exit N -->`: its only command ends with that status.
//! - `<!-- run: host -->`: run against a real host of the lab, which takes the place of 203.0.113.7 and of its user
//!   `debian`. The image `alpine` on it is a stand-in with busybox, because no registry can be reached from there.
//! - `<!-- expect -->`: these lines stand in the output of the block before, in this order. `…` stands for anything, and
//!   the number of blanks does not count.
//!
//! The blocks of one guide run one after the other in one shell, as a reader would type them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine_testkit::lab::{KeyKind, Lab, Spec, Variant};
use machine_testkit::skip;
use regex::Regex;

type Outcome = Result<(), Box<dyn Error>>;

/// The address that the guides use for a server (RFC 5737).
const EXAMPLE: &str = "203.0.113.7";

// ---- the guides

struct Guide {
    path: PathBuf,
    text: String,
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn guides() -> Result<Vec<Guide>, Box<dyn Error>> {
    let root = checkout();
    let mut paths = vec![root.join("README.md")];
    for folder in ["docs", "docs/drivers"] {
        for entry in fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| Ok(Guide { text: fs::read_to_string(&path)?, path })).collect()
}

impl Guide {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Code: the contents of fenced blocks, indented blocks, and spans between back-ticks.
    fn code(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut fenced = false;
        for line in self.text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced && line.starts_with('#') {
                // Headings are texts that the program prints; another test looks at them.
                continue;
            } else if fenced || line.starts_with("    ") {
                found.push(line.to_owned());
            } else {
                found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        // A command line may go on behind a backslash.
        let joined = found.join("\n").replace("\\\n", " ");
        joined.lines().map(str::to_owned).collect()
    }
}

/// A block that is run, and what is known of its outcome.
struct Block {
    on_host: bool,
    with_docker: bool,
    exit: Option<i32>,
    commands: String,
    expected: Vec<String>,
}

fn blocks(guide: &Guide) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut lines = guide.text.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let (word, detail) = mark.split_once(": ").unwrap_or((mark, ""));
        if word != "run" && word != "expect" {
            continue;
        }
        let content: Vec<&str> = lines
            .by_ref()
            .skip_while(|line| !line.starts_with("```"))
            .skip(1)
            .take_while(|line| *line != "```")
            .collect();
        assert!(!content.is_empty(), "{}: an empty block after {line:?}", guide.name());
        if word == "run" {
            let exit = detail.strip_prefix("exit ").map(|code| code.parse().expect("a number behind `exit`"));
            assert!(["", "host", "docker"].contains(&detail) || exit.is_some(), "{}: {line:?}", guide.name());
            let commands = content.join("\n");
            let (on_host, with_docker) = (detail == "host", detail == "docker");
            found.push(Block { on_host, with_docker, exit, commands, expected: Vec::new() });
        } else {
            let last = found.last_mut().expect("`expect` stands behind a block that is run");
            last.expected.extend(content.into_iter().map(str::to_owned));
        }
    }
    found
}

// ---- running them

/// A home folder, and a shell that runs the blocks there.
struct Reader {
    home: tempfile::TempDir,
}

impl Reader {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self { home: tempfile::tempdir()? })
    }

    fn command(&self, program: &str) -> Command {
        let home = self.home.path();
        let ours = Path::new(env!("CARGO_BIN_EXE_docker-machine")).parent().unwrap_or(home);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(home)
            .env("HOME", home)
            .env("USER", "reader")
            .env("SHELL", "/bin/bash");
        command.env("MACHINE_STORAGE_PATH", home.join(".docker/machine"));
        command.env("PATH", format!("{}:{path}", ours.display()));
        command
    }

    /// Runs the blocks in one shell and checks what came of each.
    fn run(&self, guide: &str, blocks: &[Block], address: &str) -> Outcome {
        let home = self.home.path();
        let mut script = String::from("trap 'echo \"$BASH_COMMAND\" >>\"$HOME/failed.$n\"' ERR\n");
        for (n, block) in blocks.iter().enumerate() {
            let commands = block.commands.replace(EXAMPLE, address);
            script.push_str(&format!("n={n}\n{{\n{commands}\n}} >\"$HOME/out.{n}\" 2>&1 </dev/null\necho $? >\"$HOME/status.{n}\"\n"));
        }
        let ran = self.command("bash").args(["-c", &script]).output()?;
        assert!(ran.stderr.is_empty(), "{guide}: {}", String::from_utf8_lossy(&ran.stderr));
        for (n, block) in blocks.iter().enumerate() {
            let output = fs::read_to_string(home.join(format!("out.{n}")))?;
            let status: i32 = fs::read_to_string(home.join(format!("status.{n}")))?.trim().parse()?;
            let about = format!("{guide}:\n{}\nended with {status} and said:\n{output}", block.commands);
            assert_eq!(status, block.exit.unwrap_or(0), "{about}");
            let failed = fs::read_to_string(home.join(format!("failed.{n}"))).unwrap_or_default();
            assert!(block.exit.is_some() || failed.is_empty(), "{about}\nthis failed: {failed}");
            let mut lines = output.lines();
            for expected in &block.expected {
                let wanted = expected.replace(EXAMPLE, address);
                assert!(
                    lines.any(|line| matches(&wanted, line)),
                    "{about}\nthis line is not there, or not in its place: {wanted}"
                );
            }
        }
        Ok(())
    }
}

/// Whether a line is as expected: `…` is anything, runs of blanks are one.
fn matches(wanted: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let pattern =
        plain(wanted).split('…').map(|part| regex::escape(part.trim())).collect::<Vec<_>>().join(".*");
    Regex::new(&format!("^{pattern}$")).is_ok_and(|pattern| pattern.is_match(&plain(line)))
}

#[test]
fn commands_without_a_host() -> Outcome {
    if !skip::require(&["bash", "openssl"]) {
        return Ok(());
    }
    let mut ran = 0;
    for guide in guides()? {
        let mut blocks = blocks(&guide);
        let without_docker = blocks.iter().any(|block| block.with_docker) && !skip::require(&["docker"]);
        blocks.retain(|block| !(block.on_host || block.with_docker && without_docker));
        ran += blocks.len();
        Reader::new()?.run(&guide.name(), &blocks, EXAMPLE)?;
    }
    assert!(ran > 5, "the marks were not found");
    Ok(())
}

#[test]
fn commands_on_a_host() -> Outcome {
    if !skip::require(&["bash", "docker"]) {
        return Ok(());
    }
    let Some(lab) = Lab::for_test()? else { return Ok(()) };
    let mut ran = 0;
    for guide in guides()? {
        let blocks: Vec<Block> = blocks(&guide).into_iter().filter(|block| block.on_host).collect();
        if blocks.is_empty() {
            continue;
        }
        let host = lab.host(Spec::new(Variant::Docker))?;
        host.import_image("alpine")?;
        let reader = Reader::new()?;
        let keys = reader.home.path().join(".ssh");
        fs::create_dir(&keys)?;
        fs::copy(lab.key(KeyKind::Ed25519), keys.join("id_ed25519"))?;
        fs::set_permissions(keys.join("id_ed25519"), fs::Permissions::from_mode(0o600))?;
        reader.run(&guide.name(), &blocks, &host.address().to_string())?;
        ran += blocks.len();
    }
    assert!(ran > 5, "the marks were not found");
    Ok(())
}

// ---- what they name

/// What the program has, as it says itself.
struct Names {
    /// Flags of each command; those of the program under the empty name.
    flags: BTreeMap<String, BTreeSet<String>>,
    variables: BTreeSet<String>,
    /// The generated reference pages.
    pages: BTreeSet<String>,
}

impl Names {
    fn ask() -> Result<Self, Box<dyn Error>> {
        let reader = Reader::new()?;
        let say = |args: &[&str]| -> Result<String, Box<dyn Error>> {
            let said = reader.command("docker-machine").args(args).output()?;
            assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
            Ok(String::from_utf8(said.stdout)?)
        };
        let flag = Regex::new(r"(?:^|[\s,\[`(])(--?[a-zA-Z][a-z0-9-]*)")?;
        let flags_in =
            |text: &str| flag.captures_iter(text).map(|found| found[1].to_owned()).collect::<BTreeSet<_>>();
        let overview = say(&["--help"])?;
        let mut texts = vec![overview.clone(), say(&["env", "-u", "--shell", "sh"])?];
        let mut flags = BTreeMap::from([(String::new(), flags_in(&overview))]);
        let folder = reader.home.path().join("reference");
        say(&["generate-docs", &folder.to_string_lossy()])?;
        texts.push(fs::read_to_string(folder.join("environment.md"))?);
        let pages: BTreeSet<String> = fs::read_dir(&folder)?
            .flatten()
            .map(|page| page.file_name().to_string_lossy().into_owned())
            .collect();
        let drivers = || {
            pages
                .iter()
                .filter_map(|page| page.strip_prefix("driver-").and_then(|page| page.strip_suffix(".md")))
        };
        let commands = Regex::new(r"(?m)^  ([a-z][a-z-]+(?: [a-z]+)?) {2,}\S")?;
        for name in commands.captures_iter(&overview).map(|found| found[1].to_owned()) {
            let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
            let mut text = say(&words)?;
            if name == "create" {
                for driver in drivers() {
                    text.push_str(&say(&["create", "-d", driver, "--help"])?);
                }
            }
            flags.insert(name, flags_in(&text));
            texts.push(text);
        }
        flags.insert("docker-cli-plugin-metadata".to_owned(), BTreeSet::new());
        let variables =
            variable()?.find_iter(&texts.join("\n")).map(|found| found.as_str().to_owned()).collect();
        Ok(Self { flags, variables, pages })
    }

    fn has(&self, command: &str, flag: &str) -> bool {
        let of = |command: &str| self.flags.get(command).is_some_and(|flags| flags.contains(flag));
        // With -d, gc takes the flags of a driver, as create does.
        of(command) || of("") || (command == "gc" && of("create"))
    }

    /// Whether commands of two words begin with this one.
    fn is_family(&self, word: &str) -> bool {
        self.flags.keys().any(|name| name.split_once(' ').is_some_and(|(family, _)| family == word))
    }

    /// What is wrong with a command line of ours, without its first word.
    fn check(&self, line: &str) -> Result<(), String> {
        let mut command = String::new();
        let mut before = "";
        for written in line.split_whitespace() {
            let word = written.trim_end_matches([')', ',', '`', ';', ':']);
            let flag = word.split('=').next().unwrap_or(word);
            let value_of_global = command.is_empty() && before.starts_with('-') && !before.contains('=');
            if is_placeholder(flag) {
                // Nothing to check.
            } else if flag.len() > 1 && flag.starts_with('-') {
                if !self.has(&command, flag) {
                    return Err(format!("{command:?} has no flag {flag}"));
                }
            } else if command.is_empty() && !value_of_global || self.is_family(&command) {
                if !word.starts_with(|c: char| c.is_ascii_lowercase()) {
                    return Ok(()); // a placeholder such as COMMAND
                }
                command = format!("{command} {word}").trim_start().to_owned();
                if !self.flags.contains_key(&command) && !self.is_family(&command) {
                    return Err(format!("there is no command {command:?}"));
                }
            } else if command == "ssh" {
                return Ok(()); // what follows the machine's name belongs to somebody else
            }
            if written.ends_with([')', ';']) || ["|", "&&", "#"].contains(&written) {
                break;
            }
            before = word;
        }
        Ok(())
    }
}

/// A flag that stands for others: `--OPTION`, `--engine-…`.
fn is_placeholder(word: &str) -> bool {
    let name = word.strip_prefix("--").unwrap_or_default();
    name.contains('…') || name.starts_with(|c: char| c.is_ascii_uppercase())
}

fn variable() -> Result<Regex, regex::Error> {
    Regex::new(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
}

/// Variables and words in capitals that other programs own.
const NOT_OURS: [&str; 7] = [
    "SSH_AUTH_SOCK",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PUBKEY",
    "DOCKER_MACHINE",
    "DOCKER_CERT_PATH",
    "MACHINE_TEST_REQUIRE_ALL",
];
/// Flags of dockerd, which the guides speak of beside ours.
const FLAGS_OF_DOCKERD: [&str; 1] = ["--storage-driver"];

#[test]
fn flags_commands_and_variables_exist() -> Outcome {
    let (names, sources) = (Names::ask()?, sources()?);
    // What drivers read themselves, such as files of a provider's own tools, and words of providers.
    let in_sources = |name: &str| sources.contains(&format!("\"{name}"));
    let ours = Regex::new(r"(?:^|[\s(/])docker[- ]machine((?:\s+[^\s|;&]+)*)")?;
    let mut wrong = Vec::new();
    let mut checked = 0;
    for guide in guides()? {
        for code in guide.code() {
            let mut check = |line: &str| {
                checked += 1;
                if let Err(why) = names.check(line) {
                    wrong.push(format!("{}: `{}`: {why}", guide.name(), code.trim()));
                }
            };
            for found in ours.captures_iter(&code).filter(|_| !code.contains("/docker-machine")) {
                check(&found[1]);
            }
            let first = code.split_whitespace().next().unwrap_or_default();
            let flag = first.split(['=', ',', ':']).next().unwrap_or_default();
            if (names.flags.contains_key(first) || names.is_family(first)) && code.contains(" --") {
                check(&code);
            } else if !is_placeholder(flag)
                && flag.starts_with("--")
                && flag.len() > 2
                && !FLAGS_OF_DOCKERD.contains(&flag)
            {
                checked += 1;
                if !names.flags.values().any(|flags| flags.contains(flag)) {
                    wrong.push(format!("{}: no command has the flag {flag}", guide.name()));
                }
            }
            for name in variable()?.find_iter(&code).map(|found| found.as_str()) {
                if !names.variables.contains(name) && !NOT_OURS.contains(&name) && !in_sources(name) {
                    wrong.push(format!("{}: nothing reads or sets the variable {name}", guide.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "only {checked} command lines and flags were found");
    Ok(())
}

#[test]
fn links_resolve() -> Outcome {
    let pages = Names::ask()?.pages;
    let link = Regex::new(r"\]\(([^)\s]+)\)")?;
    let mut wrong = Vec::new();
    for guide in guides()? {
        for target in link.captures_iter(&guide.text).map(|found| found[1].to_owned()) {
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            if file.contains("://") {
                continue;
            }
            // These are generated; whether they are up to date is another test's matter.
            if let Some((_, page)) = file.rsplit_once("reference/") {
                if !page.is_empty() && !pages.contains(page) {
                    wrong.push(format!("{}: {target}", guide.name()));
                }
                continue;
            }
            let path = if file.is_empty() { guide.path.clone() } else { guide.path.with_file_name(file) };
            let found = fs::read_to_string(&path).is_ok_and(|text| {
                heading.is_empty()
                    || text
                        .lines()
                        .filter_map(|line| line.strip_prefix('#'))
                        .any(|line| anchor(line) == heading)
            });
            if !found {
                wrong.push(format!("{}: {target}", guide.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What GitHub makes of a heading: lower case, blanks as dashes, no punctuation.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_driver_has_its_page() -> Outcome {
    let reader = Reader::new()?;
    let folder = reader.home.path().join("reference");
    let made = reader.command("docker-machine").arg("generate-docs").arg(&folder).output()?;
    assert!(made.status.success());
    let link = Regex::new(r"\]\((\.\./[^)\s]+)\)")?;
    let mut found = 0;
    for page in fs::read_dir(&folder)?.flatten() {
        for target in link.captures_iter(&fs::read_to_string(page.path())?) {
            let file = checkout().join("docs/reference").join(&target[1]);
            assert!(file.exists(), "{}: there is no {}", page.path().display(), &target[1]);
            found += 1;
        }
    }
    assert!(found > 1, "the links were not found");
    Ok(())
}

// ---- error texts

/// The sources of all rooms of the program as one text, with strings as they are printed: lines joined, quotes plain.
fn sources() -> Result<String, Box<dyn Error>> {
    fn collect(dir: &Path, text: &mut String) -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, text)?;
            } else if path.extension().is_some_and(|end| end == "rs" || end == "sh") {
                text.push_str(&fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }
    let mut text = String::new();
    for room in fs::read_dir(checkout().join("crates"))? {
        let room = room?.path();
        // The test kit is no part of the program.
        if !room.ends_with("machine-testkit") {
            collect(&room.join("src"), &mut text)?;
        }
    }
    Ok(Regex::new(r"\\\n\s*")?.replace_all(&text, "").into_owned())
}

/// The fixed parts of a text with places for values.
fn fixed_parts<'a>(text: &'a str, places: &Regex) -> Vec<&'a str> {
    places.split(text).map(|part| part.trim_matches(['"', ' ', '.', ',', '(', ')', ':', ';'])).collect()
}

fn troubleshooting() -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string(checkout().join("docs/troubleshooting.md"))?)
}

#[test]
fn headings_of_troubleshooting_are_texts_of_the_program() -> Outcome {
    let sources = sources()?.replace("\\\"", "\"");
    let places = Regex::new("…")?;
    let mut wrong = Vec::new();
    for heading in troubleshooting()?.lines().filter_map(|line| line.strip_prefix("### ")) {
        for text in heading.split('`').skip(1).step_by(2) {
            for part in fixed_parts(text, &places).into_iter().filter(|part| part.len() > 3) {
                if !sources.contains(part) {
                    wrong.push(format!("{text}: no source has {part:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_error_has_its_place_in_troubleshooting() -> Outcome {
    let guide = troubleshooting()?.replace('\n', " ");
    let places = Regex::new(r"\{[^}]*\}")?;
    let declared = Regex::new(r#"#\[error\(\s*"((?:[^"\\]|\\.)*)""#)?;
    let sources = sources()?;
    // Nobody can cause it from outside.
    let internal = "unknown state {0:?}";
    let mut missing = Vec::new();
    let mut texts = 0;
    for text in
        declared.captures_iter(&sources).map(|found| found[1].replace("\\\"", "\"").replace("\\n", " … "))
    {
        let parts = fixed_parts(text.split(" … ").next().unwrap_or_default(), &places);
        let Some(longest) = parts.into_iter().max_by_key(|part| part.len()).filter(|part| part.len() > 3)
        else {
            continue;
        };
        texts += 1;
        if text != internal && !guide.contains(longest) {
            missing.push(text.clone());
        }
    }
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md says nothing of these errors:\n{}",
        missing.join("\n")
    );
    assert!(texts > 80, "only {texts} errors were found");
    Ok(())
}
