//! `azure vm image list`.

use machine_drivers::azure::{self, PUBLISHERS};
use serde_json::json;

use super::{configured, driver_flags, said};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::{output, runtime};

/// Lists images, a line each, so that `grep` finds them.
pub fn run(invocation: &Invocation) -> Result<(), CliError> {
    let state = configured(invocation, "images", &driver_flags(invocation)?)?;
    let mut publishers = invocation.args.list("publisher").to_vec();
    if publishers.is_empty() {
        publishers = PUBLISHERS.map(str::to_owned).to_vec();
    }
    let report = progress::reporter("azure", To::Stderr, View::Lines);
    let images = runtime::look(async {
        let listed = azure::images(&state, &publishers, &invocation.globals.store_path, &*report).await;
        listed.map_err(|error| said(&error))
    })?;
    if invocation.json() {
        let all: Vec<_> = images
            .iter()
            .map(|image| json!({ "Publisher": image.publisher, "Offer": image.offer, "Sku": image.sku, "Urn": image.urn() }))
            .collect();
        return output::print_json(&json!(all));
    }
    let width = images.iter().map(|image| image.urn().len()).max().unwrap_or(0).max(4);
    let line =
        |name: &str, category: &str, os: &str| format!("data:    {name:<width$}  {category:<8}  {os}\n");
    let mut text = String::from("info:    Executing command vm image list\n");
    text.push_str(&line("Name", "Category", "OS"));
    text.push_str(&line(&"-".repeat(width), "--------", "-----"));
    for image in &images {
        text.push_str(&line(&image.urn(), "Public", "Linux"));
    }
    text.push_str("info:    vm image list command OK\n");
    output::print(&text)
}
