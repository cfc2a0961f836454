//! Exchanges with a double, held against the provider's own description (OpenAPI 3.0 or 3.1, JSON).
//!
//! A double answers as somebody thought that the provider does. The description says what the provider takes and gives:
//! [`Description::problems`] finds path and method, and checks parameters, the request's body and the answer's body by
//! their schemas. Parameters and properties that the description does not know are problems in requests, where a
//! provider may ignore them silently; in answers they are not, as providers add some at any time.
//!
//! Descriptions are kept outside of this repository. Where one is missing the test that asks for it is skipped and says
//! so, and this is so too where nothing else may be skipped.

mod operation;
mod schema;
#[cfg(test)]
mod tests;

use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::double::Exchange;
use schema::{Direction, Schemas};

/// The variable that names the folder of the descriptions.
pub const FOLDER: &str = "MACHINE_SPECS";

/// Where they are if nobody says so, seen from the checkout.
const USUAL_FOLDER: &str = "../shared/specs";

/// What a provider says of its API.
pub struct Description {
    document: Value,
    /// The path of the server's address, e.g. `/v1`; the paths of the description follow it.
    base: String,
}

impl Description {
    /// The description in this file of the folder [`FOLDER`] (else `../shared/specs` beside the checkout), e.g.
    /// `digitalocean.openapi.json`. `None`, with a word on stderr, where it is missing: also where
    /// [`crate::skip::REQUIRE_ALL`] is set, as the descriptions don't belong to the checkout.
    ///
    /// # Panics
    /// Where the file is there and is no description in JSON.
    #[must_use]
    pub fn open(file: &str) -> Option<Self> {
        let path = Self::path(file)?;
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match serde_json::from_str(&text) {
            Ok(document) => Some(Self::new(document)),
            Err(error) => panic!("{} is no description: {error}", path.display()),
        }
    }

    /// Where the description in this file is; as [`Description::open`] where it is missing.
    #[must_use]
    pub fn path(file: &str) -> Option<PathBuf> {
        let path = folder().join(file);
        if !path.is_file() {
            let test = std::thread::current().name().unwrap_or("test").to_owned();
            eprintln!(
                "skipped: {test}: there is no {}: the providers' descriptions are kept outside of this repository, so that this is \
                 skipped without failing even where nothing else may be; {FOLDER} names the folder that has them",
                path.display()
            );
            return None;
        }
        Some(path)
    }

    /// A description that was read.
    ///
    /// # Panics
    /// Where it has no paths.
    #[must_use]
    pub fn new(document: Value) -> Self {
        assert!(document["paths"].is_object(), "the description has no paths");
        let server = document["servers"][0]["url"].as_str().unwrap_or_default();
        let after_host = server.split_once("://").map_or(server, |(_, rest)| rest);
        let base = after_host.find('/').map_or("", |at| &after_host[at..]);
        let base = base.trim_end_matches('/').to_owned();
        Self { document, base }
    }

    /// Everything in an exchange that is not as the description says; empty where all is well.
    #[must_use]
    pub fn problems(&self, exchange: &Exchange) -> Vec<String> {
        let request = &exchange.request;
        let call = format!("{} {}", request.method, request.path);
        let Some(operation) = self.operation(&request.method, &request.path) else {
            return vec![format!("{call}: the description has no such path and method")];
        };
        let mut problems = operation.parameters(request);
        problems.extend(operation.access(exchange));
        problems.extend(operation.request(request));
        problems.extend(operation.reply(&exchange.reply));
        problems.into_iter().map(|problem| format!("{call}: {problem}")).collect()
    }

    /// Requires that all exchanges are as the description says.
    ///
    /// # Panics
    /// Where one is not, with all that is wrong.
    pub fn require(&self, exchanges: &[Exchange]) {
        let problems: Vec<_> = exchanges.iter().flat_map(|exchange| self.problems(exchange)).collect();
        assert!(problems.is_empty(), "not as the provider's description says:\n{}", problems.join("\n"));
    }

    fn schemas(&self, direction: Direction) -> Schemas<'_> {
        Schemas::new(&self.document, direction)
    }
}

fn folder() -> PathBuf {
    match env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(USUAL_FOLDER),
    }
}
