//! A person signs in: opens a page, enters a code, and the token and what renews it are kept (RFC 8628).

use std::path::PathBuf;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Event, Secret};
use machine_http::api::{ApiError, Call, Poll, PollError, Refusal, Seen, poll};
use serde::Deserialize;
use serde_json::Value;

use super::cache::{self, Saved};
use super::{Held, Place, SignIn, number, refused};
use crate::azure::trouble::dialect;

/// The application as which a person signs in where none is named: Azure's own command line, which every directory
/// knows. docker/machine's own applications are not looked after any more.
const APPLICATION: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// What Entra ID wants the person to do.
#[derive(Deserialize)]
struct Wanted {
    device_code: Secret,
    #[serde(default)]
    message: String,
    #[serde(default)]
    user_code: String,
    #[serde(default)]
    verification_uri: String,
    /// Seconds.
    #[serde(default = "quarter")]
    expires_in: u64,
    /// Seconds between two questions.
    #[serde(default = "five")]
    interval: u64,
}

const fn quarter() -> u64 {
    900
}

const fn five() -> u64 {
    5
}

fn application<'a>(sign_in: &'a SignIn<'_>) -> &'a str {
    if sign_in.key.client_id.is_empty() { APPLICATION } else { &sign_in.key.client_id }
}

/// docker/machine's file; an application that the user names has one of its own.
fn file(sign_in: &SignIn<'_>, place: &Place) -> PathBuf {
    let id = application(sign_in);
    let plain: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let application = if id == APPLICATION { String::new() } else { format!(".{plain}") };
    sign_in.folder.join(format!("{}{application}.json", place.tenant))
}

/// The token of an earlier sign-in, renewed where it has ended or was refused; `None` where there is none or it can't be
/// renewed.
pub(super) async fn known(
    sign_in: &SignIn<'_>,
    place: &Place,
    refused_token: &Secret,
) -> Result<Option<Held>, DriverError> {
    let path = file(sign_in, place);
    let Some(saved) = cache::read(&path).and_then(|text| serde_json::from_str::<Saved>(&text).ok()) else {
        return Ok(None);
    };
    let held =
        Held { token: saved.access_token.clone(), ends: saved.expires_on.trim().parse().unwrap_or_default() };
    if held.is_fresh() && held.token != *refused_token {
        return Ok(Some(held));
    }
    if saved.client_id != application(sign_in) {
        // Another application's, e.g. one of docker/machine's: it stays for whoever can renew it.
        return Ok(None);
    }
    let call = Call::post(place.url("oauth2/v2.0/token")?).repeatable().form([
        ("grant_type", "refresh_token"),
        ("client_id", application(sign_in)),
        ("refresh_token", saved.refresh_token.expose()),
        ("scope", &scope(sign_in)),
    ]);
    match sign_in.anonymous(Refusal::of).send(&call).await {
        Ok(answer) => {
            let body: Value = answer.json().map_err(|error| refused(&error))?;
            keep(sign_in, place, &body, &saved.refresh_token).map(Some)
        }
        Err(ApiError::Refused { refusal, .. }) if refusal.status < 500 && !refusal.throttled => {
            sign_in.report.report(Event::Debug(format!("azure: the sign-in can't be renewed: {refusal}")));
            if refusal.code == "invalid_grant" {
                // It never will be. Gone already is as good.
                let _ = std::fs::remove_file(&path);
            }
            Ok(None)
        }
        Err(error) => Err(refused(&error)),
    }
}

/// Asks the person, and waits.
pub(super) async fn ask(sign_in: &SignIn<'_>, place: &Place) -> Result<Held, DriverError> {
    let form = [("client_id", application(sign_in)), ("scope", &scope(sign_in))];
    let call = Call::post(place.url("oauth2/v2.0/devicecode")?).repeatable().form(form);
    let answer = sign_in.anonymous(dialect).send(&call).await.map_err(|error| refused(&error))?;
    let wanted: Wanted = answer.json().map_err(|error| refused(&error))?;
    let message = match wanted.message.as_str() {
        "" => format!("To sign in, open {} and enter the code {}", wanted.verification_uri, wanted.user_code),
        message => message.to_owned(),
    };
    sign_in.report.report(Event::DriverLine(format!("Microsoft Azure: {message}")));
    let body = wait(sign_in, place, &wanted).await?;
    keep(sign_in, place, &body, &Secret::default())
}

async fn wait(sign_in: &SignIn<'_>, place: &Place, wanted: &Wanted) -> Result<Value, DriverError> {
    let call = Call::post(place.url("oauth2/v2.0/token")?).repeatable().form([
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", application(sign_in)),
        ("device_code", wanted.device_code.expose()),
    ]);
    let api = sign_in.anonymous(Refusal::of);
    let interval = Duration::from_secs(wanted.interval.max(1));
    let waiting = Poll {
        what: "you to sign in to Azure",
        limit: Duration::from_secs(wanted.expires_in),
        first: interval,
        longest: interval,
        ..Poll::new("", Duration::ZERO)
    };
    let tell = |elapsed: Duration, last: &str| {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        sign_in.report.report(Event::Waiting {
            what: waiting.what.to_owned(),
            for_ms: ms(elapsed),
            limit_ms: ms(waiting.limit),
            last: last.to_owned(),
        });
    };
    let look = || async {
        match api.send(&call).await {
            Ok(answer) => answer.json().map(Seen::Done),
            Err(error) if error.code() == "authorization_pending" => {
                Ok(Seen::NotYet("the code has not been entered".to_owned()))
            }
            Err(error) if error.code() == "slow_down" => {
                tokio::time::sleep(interval).await;
                Ok(Seen::NotYet("Azure wants to be asked more seldom".to_owned()))
            }
            Err(error) => Err(error),
        }
    };
    poll(&waiting, tell, look).await.map_err(|error| match error {
        PollError::Failed(error) => refused(&error),
        limit => DriverError::new(ErrorKind::Credentials, limit.to_string())
            .with_hint("run the command again and enter the new code"),
    })
}

fn scope(sign_in: &SignIn<'_>) -> String {
    // offline_access is what gives the token that renews.
    format!("{} offline_access", sign_in.scope())
}

/// Keeps a token for the next command. Where a renewal brings no new token to renew with, the old one stays good.
fn keep(sign_in: &SignIn<'_>, place: &Place, body: &Value, old: &Secret) -> Result<Held, DriverError> {
    let held = Held::of(body).ok_or_else(|| {
        DriverError::new(
            ErrorKind::Credentials,
            "signing in to Azure failed: there is no token in the answer",
        )
    })?;
    let refresh = body.get("refresh_token").and_then(Value::as_str).unwrap_or(old.expose());
    let saved = Saved {
        access_token: held.token.clone(),
        refresh_token: Secret::new(refresh),
        expires_in: number(body, "expires_in").unwrap_or_default().to_string(),
        expires_on: held.ends.to_string(),
        not_before: super::now().to_string(),
        resource: format!("{}/", sign_in.endpoint),
        kind: "Bearer".to_owned(),
        client_id: application(sign_in).to_owned(),
    };
    let text = serde_json::to_vec_pretty(&saved).unwrap_or_default();
    if let Err(error) = cache::write(&file(sign_in, place), &text) {
        let path = file(sign_in, place);
        sign_in.report.report(Event::Warning(format!(
            "{} can't be written, you will have to sign in again: {error}",
            path.display()
        )));
    }
    Ok(held)
}
