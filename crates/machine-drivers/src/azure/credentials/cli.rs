//! The token of whoever did `az login`.

use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Secret};
use machine_process::Program;
use serde_json::Value;

use super::{Held, now, number};

/// How long Azure's command line may take: it is slow to start.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a token is taken to last of which the end is not told, seconds.
const UNKNOWN: u64 = 300;

/// Asks `az account get-access-token`.
pub(super) async fn token(endpoint: &str, subscription: &str) -> Result<Held, DriverError> {
    let wrong = |text: String, hint: &str| DriverError::new(ErrorKind::Credentials, text).with_hint(hint);
    let program = Program::find(&["az", "az.cmd"], &[]).map_err(|error| {
        wrong(
            format!("Azure's command line gives no token: {error}"),
            "install it (https://aka.ms/azure-cli) and do `az login`, or sign in another way: --azure-auth",
        )
    })?;
    let resource = format!("{endpoint}/");
    let args = [
        "account",
        "get-access-token",
        "--output",
        "json",
        "--resource",
        &resource,
        "--subscription",
        subscription,
    ];
    let output = program.run(&args, LIMIT).await;
    let output = output.map_err(|error| {
        wrong(
            format!("Azure's command line gives no token: {error}"),
            "do `az login`, and check --azure-subscription-id",
        )
    })?;
    let said: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    match said.get("accessToken").and_then(Value::as_str) {
        Some(token) if !token.is_empty() => Ok(Held {
            token: Secret::new(token),
            ends: number(&said, "expires_on").unwrap_or_else(|| now() + UNKNOWN),
        }),
        _ => Err(wrong(
            "Azure's command line gives no token: there is none in what it printed".to_owned(),
            "update it: `az upgrade`",
        )),
    }
}
