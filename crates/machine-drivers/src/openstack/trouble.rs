//! OpenStack's refusals, and what to do about them.

use machine_core::{DriverError, ErrorKind};
use machine_http::api::{Answer, ApiError, Refusal};
use serde_json::Value;

use crate::cloud::{self, Reading};

const CREDENTIALS: &str = "check user, password or application credential, project and domains (OS_* variables or \
                           clouds.yaml): `openstack token issue` must work with the same ones; a token ends after some hours";
const REFUSED: &str = "the token was refused: compare user, password or application credential with `openstack token issue`; an application \
                       credential with access rules needs one for this call (docs/drivers/openstack.md lists them)";
const FORBIDDEN: &str = "the account may not do this: it needs the role \"member\" in the project (`openstack role assignment list --names`)";
const NO_HOST: &str = "the cloud has no host that could take it: try another flavor, availability zone or server group, or \
                       try again later";
const NETWORKS: &str =
    "the project has several networks: name one with --openstack-net-name or --openstack-net-id";
const UNREACHABLE: &str = "the machine's network has no router to the network of the floating IPs: connect them (`openstack router set \
     --external-gateway`), or take another network";
const NO_ADDRESSES: &str =
    "the network has no addresses left: take another one, or remove what is not needed";
const BUSY: &str = "the server is busy with something else: try again in a moment";

/// An error for a call that failed while something was done.
pub(super) fn trouble(doing: &str, error: &ApiError) -> DriverError {
    cloud::trouble(&Reading { credentials: REFUSED, refine }, doing, error)
}

/// An error for keystone's not giving a token.
pub(super) fn no_token(error: &ApiError) -> DriverError {
    cloud::trouble(&Reading { credentials: CREDENTIALS, refine }, "can't log in to OpenStack", error)
}

/// Whether a refusal says that there is no room for more.
pub(super) fn is_quota(refusal: &Refusal) -> bool {
    let text = refusal.message.to_lowercase();
    let says =
        text.contains("quota exceeded") || text.contains("exceeds allowed") || text.contains("over quota");
    refusal.code == "OverQuota"
        || (matches!(refusal.status, 403 | 409 | 413) && (says || text.contains("quota")))
        || (refusal.status == 413 && !refusal.throttled)
}

fn refine(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    let text = refusal.message.to_lowercase();
    let has = |words: &str| text.contains(words);
    Some(match refusal.status {
        _ if is_quota(refusal) => (ErrorKind::Quota, cloud::hint::QUOTA),
        403 => (ErrorKind::Credentials, FORBIDDEN),
        409 if has("multiple possible networks") => (ErrorKind::Config, NETWORKS),
        409 if refusal.code == "IpAddressGenerationFailure" || has("no more ip addresses") => {
            (ErrorKind::Quota, NO_ADDRESSES)
        }
        404 if refusal.code == "ExternalGatewayForFloatingIPNotFound" => (ErrorKind::Config, UNREACHABLE),
        409 if has("task_state") || has("vm_state") => (ErrorKind::Other, BUSY),
        400 if has("no valid host") => (ErrorKind::Quota, NO_HOST),
        _ => return None,
    })
}

/// The error of a server that could not be built, in nova's words.
pub(super) fn fault(what: &str, message: &str) -> DriverError {
    let text = message.to_lowercase();
    let (kind, hint) = if text.contains("no valid host") {
        (ErrorKind::Quota, NO_HOST)
    } else if text.contains("quota") {
        (ErrorKind::Quota, cloud::hint::QUOTA)
    } else if text.contains("no fixed ip addresses") || text.contains("no more ip addresses") {
        (ErrorKind::Quota, NO_ADDRESSES)
    } else {
        (
            ErrorKind::Other,
            "`openstack server show` may say more; remove the machine and try again, or ask the cloud's operator",
        )
    };
    let message = if message.is_empty() { "nova does not say why" } else { message };
    DriverError::new(kind, format!("{what}: {message}")).with_hint(hint)
}

/// Reads a refusal: nova and cinder have `{FAULT: {code, message}}`, neutron `{"NeutronError": {type, message, detail}}`,
/// keystone `{"error": {code, message, title}}`, glance a page of HTML or `{message, code, title}`.
pub(super) fn dialect(answer: &Answer) -> Refusal {
    let mut refusal = Refusal::of(answer);
    match answer.json::<Value>() {
        Ok(Value::Object(body)) => {
            let inner = body.iter().find(|(_, value)| value.is_object());
            if let Some((fault, value)) = inner {
                let kind = value.get("type").and_then(Value::as_str);
                let title = value.get("title").and_then(Value::as_str);
                refusal.code = kind.or(title).unwrap_or(fault).to_owned();
            } else if let Some(Value::String(message)) = body.get("NeutronError") {
                refusal.message.clone_from(message);
            }
        }
        _ => refusal.code.clear(),
    }
    // Old novas ask for patience with 413; so many requests are not made.
    refusal.throttled |= refusal.status == 413 && refusal.retry_after.is_some();
    refusal.message = plain(&refusal.message);
    refusal
}

/// A text without the tags of HTML that glance and some proxies put in.
fn plain(text: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                out.push(' ');
            }
            _ if inside => {}
            c => out.push(c),
        }
    }
    if inside { text.to_owned() } else { out.split_whitespace().collect::<Vec<_>>().join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_no_text() {
        assert_eq!(plain("No image<br /><br />\n\n"), "No image");
        assert_eq!(plain("a < b"), "a < b");
    }

    #[test]
    fn a_network_without_addresses() {
        let said = "Failed to allocate the network(s) with error No fixed IP addresses available for network: f3bb9fb6, \
                    not rescheduling.";
        let wrong = fault("the server can't be built", said);
        assert_eq!((wrong.kind(), wrong.hint()), (ErrorKind::Quota, Some(NO_ADDRESSES)));
    }

    #[test]
    fn quota_is_told_from_permission() {
        let of = |status, code: &str, message: &str| Refusal {
            status,
            code: code.into(),
            message: message.into(),
            ..Refusal::default()
        };
        assert!(is_quota(&of(
            403,
            "forbidden",
            "Quota exceeded for instances: Requested 1, but already used 10 of 10"
        )));
        assert!(is_quota(&of(409, "OverQuota", "Quota exceeded for resources: ['floatingip'].")));
        assert!(is_quota(&of(413, "overLimit", "VolumeSizeExceedsAvailableQuota")));
        assert!(!is_quota(&of(403, "forbidden", "Policy doesn't allow os_compute_api:servers:create")));
    }
}
