//! `cargo xtask docs`: the reference pages, from the program's own declarations.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{Outcome, workspace};

/// Where the pages are kept.
const FOLDER: &str = "docs/reference";

pub fn cli() -> Command {
    let check = Arg::new("check").long("check").action(ArgAction::SetTrue);
    Command::new("docs")
        .about("Write docs/reference again from the declarations")
        .arg(check.help("Change nothing; fail if the pages are not what would be written"))
}

pub fn run(given: &ArgMatches) -> Outcome {
    if given.get_flag("check") {
        return check();
    }
    let kept = workspace::root().join(FOLDER);
    let wanted = generate()?;
    for stale in pages(&kept)?.keys().filter(|page| !wanted.contains_key(*page)) {
        fs::remove_file(kept.join(stale))?;
    }
    for (page, text) in wanted {
        let file = kept.join(page);
        fs::create_dir_all(file.parent().unwrap_or(&kept))?;
        fs::write(file, text)?;
    }
    Ok(())
}

/// Are the kept pages what the program would write?
pub fn check() -> Outcome {
    let (wanted, kept) = (generate()?, pages(&workspace::root().join(FOLDER))?);
    let differ: Vec<String> = wanted
        .keys()
        .chain(kept.keys())
        .filter(|page| wanted.get(*page) != kept.get(*page))
        .map(|page| page.display().to_string())
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    Err(format!("{FOLDER} is stale ({}); `cargo xtask docs` writes it", differ.join(", ")).into())
}

/// What the program writes.
fn generate() -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut program = workspace::command(&workspace::build("dev")?.to_string_lossy());
    workspace::run(program.arg("generate-docs").arg(folder.path()))?;
    let found = pages(folder.path())?;
    if found.is_empty() { Err("`docker-machine generate-docs` wrote no page".into()) } else { Ok(found) }
}

/// The files of a folder, by their path in it.
fn pages(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(inside) = left.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&inside)) else { continue };
        for entry in entries {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                left.push(path);
            } else {
                found.insert(path, fs::read(entry.path())?);
            }
        }
    }
    Ok(found)
}
