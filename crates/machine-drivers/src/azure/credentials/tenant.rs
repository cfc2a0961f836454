//! In which directory a subscription is: the Resource Manager tells it to whoever asks without a token.

use machine_core::{DriverError, ErrorKind};
use machine_http::Url;
use machine_http::api::{Answer, Call, Refusal};

use super::{Place, SignIn, cache, refused};
use crate::azure::arm::SUBSCRIPTIONS;
use crate::cloud;

/// The directory to sign in to: the flag's, the one found before, else the one that the challenge names.
pub(super) async fn find(sign_in: &SignIn<'_>) -> Result<Place, DriverError> {
    let subscription = &sign_in.key.subscription;
    let file = sign_in.folder.join(format!("{subscription}.tenantid"));
    let mut place = Place { authority: sign_in.authority.clone(), tenant: sign_in.key.tenant.clone() };
    if place.tenant.is_empty()
        && let Some(saved) = cache::read(&file).filter(|text| is_tenant(text.trim()))
    {
        saved.trim().clone_into(&mut place.tenant);
    }
    if !place.tenant.is_empty() && !place.authority.is_empty() {
        return Ok(place);
    }
    let challenged = challenge(sign_in).await?;
    if place.tenant.is_empty() {
        place.tenant = challenged.tenant;
        // It is found again where it can't be kept.
        let _ = cache::write(&file, place.tenant.as_bytes());
    }
    // Where the cloud is known, its directory is: only a cloud of the user's own says itself where that is.
    if place.authority.is_empty() {
        place.authority = challenged.authority;
    }
    Ok(place)
}

/// The header of the refusal, in place of its message.
fn header(answer: &Answer) -> Refusal {
    Refusal { message: answer.header("www-authenticate").to_owned(), ..Refusal::of(answer) }
}

async fn challenge(sign_in: &SignIn<'_>) -> Result<Place, DriverError> {
    let segments = ["subscriptions", sign_in.key.subscription.as_str()];
    let url = cloud::url(&sign_in.endpoint, &segments, &[("api-version", SUBSCRIPTIONS)])?;
    let lost = |said: &str| {
        DriverError::new(
            ErrorKind::Credentials,
            format!("the tenant of the subscription {} can't be found: {said}", sign_in.key.subscription),
        )
        .with_hint("check --azure-subscription-id, or give --azure-tenant-id (`az account show` has both)")
    };
    match sign_in.anonymous(header).send(&Call::get(url)).await {
        Ok(_) => Err(lost("the Resource Manager asks for no token")),
        Err(error) if error.status() == Some(401) => {
            let said = error.refusal().map_or("", |refusal| refusal.message.as_str());
            of_challenge(said).ok_or_else(|| lost(&format!("the challenge is {said:?}")))
        }
        Err(error) if error.status().is_some_and(|status| status < 500) => Err(lost(&error.to_string())),
        Err(error) => Err(refused(&error)),
    }
}

/// Reads `Bearer authorization_uri="https://login.windows.net/TENANT", error=…`.
fn of_challenge(header: &str) -> Option<Place> {
    let (_, rest) =
        header.split_once("authorization_uri=\"").or_else(|| header.split_once("authorization=\""))?;
    let url = Url::parse(rest.split('"').next()?).ok()?;
    let tenant = url.path_segments()?.find(|part| !part.is_empty())?.to_owned();
    let authority = url.origin().ascii_serialization();
    is_tenant(&tenant).then_some(Place { authority, tenant })
}

/// It becomes part of an address and of a file's name.
fn is_tenant(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_directory() {
        let place = of_challenge(
            r#"Bearer authorization_uri="https://login.windows.net/996fe9d1-6171-40aa-945b-4c64b63bf655", error="invalid_token""#,
        );
        let place = place.unwrap();
        assert_eq!(place.tenant, "996fe9d1-6171-40aa-945b-4c64b63bf655");
        assert_eq!(place.authority, "https://login.windows.net");
        for nothing in [
            "",
            "Basic realm=x",
            "Bearer authorization_uri=\"x\"",
            "Bearer authorization_uri=\"https://x/..\"",
        ] {
            assert!(of_challenge(nothing).is_none(), "{nothing:?}");
        }
    }
}
