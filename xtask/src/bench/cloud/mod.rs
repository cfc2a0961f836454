//! Machines of clouds. Doubles stand in for the providers' APIs.

mod create;
mod instance;
mod list;
mod many;

// What the drivers' own tests use of them besides.
#[allow(dead_code)]
#[path = "../../../../crates/machine-drivers/tests/conformance/digitalocean/double.rs"]
mod digitalocean;
#[allow(dead_code)]
#[path = "../../../../crates/machine-drivers/tests/conformance/amazonec2/moto.rs"]
mod moto;

use std::{error::Error, path::Path};

use super::{
    Bench, Figures,
    measure::{Cost, Invocation},
    store::{self, store_env},
};

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    let mut figures = list::run(bench, only)?;
    figures.extend(create::run(bench, only)?);
    figures.extend(many::run(bench, only)?);
    Ok(figures)
}

/// Runs a command once in a store with certificates and nothing else, and measures it.
fn in_new_store(program: &Path, words: &[String]) -> Result<Cost, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    store::certify(folder.path(), program)?;
    let env = store_env(folder.path());
    Invocation { program, words, env: &env, home: folder.path(), exits: 0 }.once()
}
