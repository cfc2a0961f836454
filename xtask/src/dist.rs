//! `cargo xtask dist`: what a release consists of.

use std::fs;

use clap::{ArgMatches, Command};

use crate::{Outcome, workspace};

/// The largest program that we hand out.
const LIMIT_BYTES: u64 = 15 * 1024 * 1024;
/// A shell and the name of its completion file.
const COMPLETIONS: [(&str, &str); 4] = [
    ("bash", "docker-machine.bash"),
    ("zsh", "_docker-machine"),
    ("fish", "docker-machine.fish"),
    ("powershell", "docker-machine.ps1"),
];

pub fn cli() -> Command {
    Command::new("dist")
        .about("Build the release: the program, stripped, with completions and manual pages, in target/dist")
}

pub fn run(_: &ArgMatches) -> Outcome {
    let built = workspace::build("release")?;
    let folder = workspace::target().join("dist");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("completions"))?;
    let program = folder.join(built.file_name().ok_or("the program has no name")?);
    fs::copy(&built, &program)?;
    let bytes = fs::metadata(&program)?.len();
    println!("{}: {:.1} MiB", program.display(), bytes as f64 / f64::from(1024 * 1024));
    if bytes > LIMIT_BYTES {
        return Err(format!("the program has {bytes} bytes; at most {LIMIT_BYTES} are allowed").into());
    }
    let ours = || workspace::command(&program.to_string_lossy());
    for (shell, file) in COMPLETIONS {
        let script = workspace::read(ours().args(["completion", shell]))?;
        fs::write(folder.join("completions").join(file), script)?;
    }
    workspace::run(ours().arg("man").arg(folder.join("man1")))?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        let from = workspace::root().join(file);
        fs::copy(&from, folder.join(file)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    Ok(())
}
