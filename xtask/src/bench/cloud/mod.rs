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

use std::error::Error;

use super::{Bench, Figures};

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    let mut figures = list::run(bench, only)?;
    figures.extend(create::run(bench, only)?);
    figures.extend(many::run(bench, only)?);
    Ok(figures)
}
