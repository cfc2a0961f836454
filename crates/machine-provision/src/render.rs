//! A plan as one shell script.
//!
//! The script is POSIX sh (dash, bash and busybox run it), is read from standard input as a whole before anything of it runs, takes no
//! input of its own, and says what it does in lines that begin with a token which [`crate::Progress`] knows.

pub(crate) mod shorten;

use std::fmt;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};

use crate::plan::{Action, Content, File, Install, Piece, Plan, When};
use crate::shell::{printf_b, quote};
use crate::{HostFacts, PackageManager, Privilege};

/// What the script ends with when a step failed.
pub const FAILED_EXIT: i32 = 99;

/// A rendered plan. It has the engine's private key in it, so it is never shown: its `Debug` shows the names of the steps.
#[derive(Clone)]
pub struct Script {
    token: String,
    steps: Vec<(String, u32)>,
    text: String,
}

impl Script {
    /// The command that the script is given to, on standard input. Nothing secret is in it.
    #[must_use]
    pub fn command(&self, facts: &HostFacts) -> &'static str {
        match facts.privilege {
            Privilege::Sudo => "sudo -n sh -s",
            Privilege::Doas => "doas -n sh -s",
            Privilege::Root | Privilege::SudoRefuses(_) | Privilege::None => "sh -s",
        }
    }

    /// The script itself, for the host's standard input. It has secrets in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What begins each line that the script itself says.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Names and limits (seconds) of the steps.
    #[must_use]
    pub fn steps(&self) -> &[(String, u32)] {
        &self.steps
    }

    /// The longest that the script can take, in seconds: the sum of its steps' limits, with some for their ends.
    #[must_use]
    pub fn limit_s(&self) -> u64 {
        self.steps.iter().map(|(_, limit)| u64::from(*limit) + 20).sum()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("steps", &self.steps).finish_non_exhaustive()
    }
}

/// The script of a plan.
#[must_use]
pub fn script(plan: &Plan) -> Script {
    Renderer::default().script(plan)
}

/// How a script is made, for tests that need the same one each time, or want it to write somewhere else.
#[derive(Clone, Debug)]
pub struct Renderer {
    token: String,
    root: String,
    compact: bool,
}

impl Default for Renderer {
    fn default() -> Self {
        // Not a secret; it must only not stand by chance in what a command prints.
        let random = || RandomState::new().hash_one("token");
        Self {
            token: format!("%dm-{:016x}{:016x}%", random(), random()),
            root: String::new(),
            compact: false,
        }
    }
}

impl Renderer {
    /// With this token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// With this folder before every path that is read or written, and with its folder `shims` first in `PATH`.
    #[must_use]
    pub fn root(mut self, root: impl Into<String>) -> Self {
        self.root = root.into();
        self
    }

    /// As short as it can be: without comments, and without the functions that no step calls.
    #[must_use]
    pub fn compact(mut self) -> Self {
        self.compact = true;
        self
    }

    /// The script of a plan.
    #[must_use]
    pub fn script(&self, plan: &Plan) -> Script {
        let mut text = String::new();
        let mut calls = String::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let body = step_body(index, &step.action, &mut text);
            let _ = write!(text, "# {}\ndm_step_{index}() {{\n{body}\n}}\n", comment(&step.name));
            let _ =
                writeln!(calls, "dm_step {index} {} dm_step_{index} || return {FAILED_EXIT}", step.limit_s);
        }
        let _ = write!(text, "dm_say begin\n{calls}dm_say end\n}}\ndm_main </dev/null 2>&1\nexit $?\n}}\n");
        text.insert_str(0, &self.head(plan, &text));
        let steps = plan.steps.iter().map(|step| (step.name.clone(), step.limit_s)).collect();
        Script { token: self.token.clone(), steps, text }
    }

    /// Everything before the steps. The braces make the shell read all of it before it runs any of it: a script
    /// that arrived only in part is a syntax error, and no command can read the rest of it as its input.
    fn head(&self, plan: &Plan, steps: &str) -> String {
        let mut text = String::from("{\nLC_ALL=C; export LC_ALL\n");
        let shims = if self.root.is_empty() { String::new() } else { format!("{}/shims:", self.root) };
        let _ = writeln!(text, "PATH={}\"{PATH}\"; export PATH", quote(&shims));
        // Packages ask nothing, and restart no other services.
        text.push_str("DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 UCF_FORCE_CONFFOLD=1\n");
        text.push_str("export DEBIAN_FRONTEND NEEDRESTART_SUSPEND UCF_FORCE_CONFFOLD\n");
        for (name, value) in &plan.environment {
            let _ = writeln!(text, "{name}={}; export {name}", quote(value.expose()));
        }
        let _ = writeln!(text, "dm_token={} dm_root={}", quote(&self.token), quote(&self.root));
        text.push_str("dm_main() {\n");
        text.push_str(PREPARE);
        if self.compact {
            text.push_str(&shorten::only_what_is_called(
                &PARTS.concat(),
                &format!("{ASK_SUPERVISOR}{steps}"),
            ));
        } else {
            text.push_str(&PARTS.concat());
        }
        text.push_str(ASK_SUPERVISOR);
        text
    }
}

const ASK_SUPERVISOR: &str = "dm_supervisor=$(dm_supervisor)\n";

/// What the steps call.
const PARTS: [&str; 5] = [
    include_str!("sh/host.sh"),
    include_str!("sh/run.sh"),
    include_str!("sh/files.sh"),
    include_str!("sh/packages.sh"),
    include_str!("sh/engine.sh"),
];

/// Login shells for commands often lack the folders of system programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH:/opt/bin";

/// A shell whose printf is a program of its own would show file contents in its argument list.
const PREPARE: &str = r#"umask 022
dm_changed=0 dm_uid=$(id -u) dm_stage='' dm_started=0
case $(command -v printf) in
/*) echo "the shell of this host has no printf of its own"; return 1 ;;
esac
"#;

/// Names of steps may have anything in them; a comment must stay on its line.
fn comment(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The commands of one step. Functions that it needs beside it are added to `text`.
fn step_body(index: usize, action: &Action, text: &mut String) -> String {
    match action {
        Action::WaitForCloudInit => "dm_wait_cloud_init".to_owned(),
        Action::WaitForPackageLock(_) => "dm_wait_locks".to_owned(),
        Action::HostsEntry { name } => format!("dm_hosts_entry {}", quote(name)),
        Action::Hostname { name, file } => format!("dm_hostname {} {}", quote(name), quote(file)),
        Action::Packages { manager, names } => format!("dm_packages {} {}", program(*manager), words(names)),
        Action::InstallEngine(Install::Script { url }) => format!("dm_install_by_script {}", quote(url)),
        Action::InstallEngine(Install::DockerComRepository { url }) => {
            format!("dm_install_by_repository {}", quote(url))
        }
        Action::InstallEngine(Install::Packages { manager, names, wanted }) => format!(
            "dm_install_by_packages {} {} {}",
            program(*manager),
            quote(&names.join(" ")),
            quote(&wanted.join(" "))
        ),
        Action::UpgradePackages { manager, names } => {
            format!("dm_upgrade {} {}", program(*manager), words(names))
        }
        Action::File(file) => file_body(index, file, text),
        Action::OpenPort { port } => format!("dm_open_port {port}"),
        Action::Enable { service } => format!("dm_enable {}", quote(service)),
        Action::RestartEngineIfChanged { service, port } => format!("dm_restart {} {port}", quote(service)),
        Action::WaitForPort { port } => format!("dm_wait_port {port}"),
        Action::Command { argv, when: When::Always } => {
            format!("dm_run {} || return\ndm_changed=1", words(argv))
        }
        Action::Command { argv, when: When::PreviousChanged } => format!("dm_if_changed {}", words(argv)),
    }
}

fn file_body(index: usize, file: &File, text: &mut String) -> String {
    let _ = write!(text, "dm_content_{index}() {{\n{}\n}}\n", content(&file.content));
    format!(
        "dm_file {} {:o} {} {} dm_content_{index}",
        quote(&file.path),
        file.mode,
        u8::from(file.restarts_engine),
        u8::from(file.keep_original)
    )
}

/// Commands that print a file's content.
fn content(content: &Content) -> String {
    let pieces = match content {
        Content::Secret(secret) => return format!("printf %b {}", printf_b(secret.expose().as_bytes())),
        Content::Pieces(pieces) => pieces,
    };
    let mut body = String::new();
    for piece in pieces {
        if !body.is_empty() {
            body.push_str(" &&\n");
        }
        match piece {
            Piece::Text(text) => {
                let _ = write!(body, "printf %b {}", printf_b(text.as_bytes()));
            }
            Piece::DockerdPath => body.push_str("dm_find_dockerd && printf %s \"$dm_dockerd\""),
        }
    }
    if body.is_empty() { ":".to_owned() } else { body }
}

fn words(list: &[String]) -> String {
    list.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn program(manager: PackageManager) -> &'static str {
    match manager {
        PackageManager::Apt => "apt",
        PackageManager::Dnf => "dnf",
        PackageManager::Yum => "yum",
        PackageManager::Zypper => "zypper",
        PackageManager::Apk => "apk",
        PackageManager::Pacman => "pacman",
        PackageManager::Tdnf => "tdnf",
    }
}
