//! What Google's refusals mean.

use machine_core::{DriverError, ErrorKind};
use machine_http::api::{Answer, ApiError, Refusal};
use serde_json::Value;

use super::api::OperationFault;
use crate::cloud::{Reading, hint, trouble};

/// What to do about credentials that are no good.
pub(super) const CREDENTIALS: &str = "give a key of a service account (GOOGLE_APPLICATION_CREDENTIALS=FILE), or run \
     `gcloud auth application-default login`; on a machine of Google's, attach a service account with the scope cloud-platform";
const PERMISSION: &str = "give the account the roles Compute Instance Admin (v1) and Compute Security Admin in the project \
     and, for machines with a service account, Service Account User; see docs/drivers/google.md for the least";
const STALE: &str = "the credentials are expired or revoked, or this computer's clock is wrong: run `gcloud auth \
     application-default login` again, or make a new key of the service account; check the clock";
const BILLING: &str = "enable billing for the project: https://console.cloud.google.com/billing/projects";
const QUOTA: &str = "remove what is not needed (`docker-machine gc` finds what was forgotten), take another region, or \
     ask for more: https://console.cloud.google.com/iam-admin/quotas";
const ROOM: &str = "Google has no room for this machine type there now: take another zone or machine type, let Google \
     choose with --google-bulk-insert and --google-flex-machine-type, or try again later";
const TAKEN: &str = "take another name, or remove what has it; an instance that is there is taken over by \
     --google-use-existing";
const POLICY: &str = "a rule of the organisation forbids it: ask its administrator, or change what it names (for external \
     addresses: --google-use-internal-ip-only; for images: --google-machine-image)";
const NOT_READY: &str = "something else is being done with it: try again in a minute";

/// What Google's words have in them where the fingerprint of a request is not that of the thing any more.
const FINGERPRINT: &str = "fingerprint";

/// How refusals are read.
pub(super) const READING: Reading = Reading { credentials: CREDENTIALS, refine };

/// Reads `{"error": {"code", "message", "status", "errors": [{"reason"}], "details": [{"reason"}]}}` of the API, and
/// `{"error", "error_description"}` of token endpoints (RFC 6749, 5.2).
pub(super) fn dialect(answer: &Answer) -> Refusal {
    let mut refusal = Refusal::of(answer);
    let Ok(body) = answer.json::<Value>() else { return refusal };
    let error = &body["error"];
    if error.is_object() {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let words = [
            word(&error["errors"][0]["reason"]),
            word(&error["details"][0]["reason"]),
            word(&error["status"]),
        ];
        if let Some(code) = words.into_iter().find(|word| !word.is_empty()) {
            refusal.code = code;
        }
    }
    refusal.throttled |= is_rate(&refusal.code);
    refusal
}

/// Whether a code says that we ask too often.
fn is_rate(code: &str) -> bool {
    ["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "concurrentLimitExceeded"]
        .contains(&code)
}

/// The codes that users meet, of requests and of operations.
fn refine(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    Some(match refusal.code.as_str() {
        "invalid_grant" | "invalid_client" | "unauthorized_client" | "invalid_token" | "authError" => {
            (ErrorKind::Credentials, STALE)
        }
        _ if refusal.status == 401 => (ErrorKind::Credentials, STALE),
        "forbidden" | "PERMISSION_DENIED" | "IAM_PERMISSION_DENIED" | "PERMISSIONS_ERROR" => {
            (ErrorKind::Credentials, PERMISSION)
        }
        "accountDisabled"
        | "billingDisabled"
        | "billingNotEnabled"
        | "BILLING_DISABLED"
        | "UREQ_PROJECT_BILLING_NOT_FOUND" => (ErrorKind::Other, BILLING),
        "quotaExceeded" | "QUOTA_EXCEEDED" | "limitExceeded" | "IN_USE_ADDRESSES" => {
            (ErrorKind::Quota, QUOTA)
        }
        code if is_out_of_room(code) => (ErrorKind::Quota, ROOM),
        "alreadyExists" | "duplicate" | "RESOURCE_ALREADY_EXISTS" => (ErrorKind::Other, TAKEN),
        "conditionNotMet" | "CONDITION_NOT_MET" if refusal.message.contains(FINGERPRINT) => {
            (ErrorKind::Unavailable, NOT_READY)
        }
        "conditionNotMet" | "CONDITION_NOT_MET" => (ErrorKind::Config, POLICY),
        "resourceNotReady" | "RESOURCE_NOT_READY" => (ErrorKind::Unavailable, NOT_READY),
        "invalid" | "badRequest" | "INVALID_ARGUMENT" | "required" | "INVALID_FIELD_VALUE" => {
            (ErrorKind::Config, "")
        }
        "IP_IN_USE_BY_ANOTHER_RESOURCE"
        | "resourceInUseByAnotherResource"
        | "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE" => (
            ErrorKind::Config,
            "something else uses it: `gcloud compute addresses list` shows what; give another one",
        ),
        "RESOURCE_NOT_FOUND" => (ErrorKind::NotFound, ""),
        _ => return None,
    })
}

/// Whether something else changed a thing between our look at it and our request.
pub(super) fn is_stale(error: &DriverError) -> bool {
    error.kind() == ErrorKind::Unavailable && error.to_string().contains(FINGERPRINT)
}

/// Whether the provider has no such machine left.
fn is_out_of_room(code: &str) -> bool {
    code.starts_with("ZONE_RESOURCE_POOL_EXHAUSTED")
        || code.starts_with("REGION_RESOURCE_POOL_EXHAUSTED")
        || ["STOCKOUT", "RESOURCE_POOL_EXHAUSTED", "VM_MIN_COUNT_NOT_REACHED"].contains(&code)
}

/// Whether the API is not switched on in the project.
fn is_switched_off(code: &str) -> bool {
    ["accessNotConfigured", "SERVICE_DISABLED"].contains(&code)
}

/// The error for a call that failed.
pub(super) fn fault(project: &str, doing: &str, error: &ApiError) -> DriverError {
    let wrong = trouble(&READING, doing, error);
    if is_switched_off(error.code()) {
        return DriverError::new(ErrorKind::Credentials, wrong.to_string()).with_hint(format!(
            "enable the API and wait a minute: https://console.cloud.google.com/apis/library/compute.googleapis.com?project={project}"
        ));
    }
    wrong
}

/// The error for an operation that ended badly.
pub(super) fn operation(doing: &str, fault: &OperationFault, status: u16) -> DriverError {
    let refusal =
        Refusal { status, code: fault.code.clone(), message: fault.message.clone(), ..Refusal::default() };
    let (kind, hint) = refine(&refusal).unwrap_or(match status {
        500..=599 => (ErrorKind::Unavailable, hint::DOWN),
        _ => (ErrorKind::Other, ""),
    });
    let wrong = DriverError::new(kind, format!("{doing}: {}: {}", fault.code, fault.message));
    if hint.is_empty() { wrong } else { wrong.with_hint(hint) }
}
