//! What Azure's refusals mean, and what to do. Source: "Troubleshoot common Azure deployment errors", and "Microsoft Entra
//! authentication and authorization error codes".

use machine_core::ErrorKind;
use machine_http::api::{Answer, Refusal};
use serde_json::Value;

use crate::cloud::{Reading, hint};

/// How refusals are read.
pub(super) const READING: Reading = Reading {
    credentials: "sign in again: give --azure-client-id and --azure-client-secret of a service principal, or use `az login`, or --azure-auth device",
    refine,
};

/// Whether a refusal says that nothing is there: the thing, what it is a part of, or its resource group. That nobody may see
/// the subscription is a 404, too, and so is the answer of a proxy, which has no code of Azure's: of machines these say
/// nothing.
pub(super) fn is_gone(refusal: &Refusal) -> bool {
    let nowhere = ["SubscriptionNotFound", "TenantNotFound", "ResourceTypeNotFound"];
    let code = refusal.code.as_str();
    matches!(refusal.status, 404 | 410) && code.ends_with("NotFound") && !nowhere.contains(&code)
}

/// Reads a refusal of the Resource Manager or of Entra ID.
pub(super) fn dialect(answer: &Answer) -> Refusal {
    let mut refusal = Refusal::of(answer);
    let Ok(body) = answer.json::<Value>() else { return refusal };
    // Entra ID: its own codes stand in front of the description, AADSTS7000215: ….
    if let Some(code) = refusal.message.split(':').next().filter(|code| code.starts_with("AADSTS")) {
        refusal.code = code.to_owned();
    }
    // The outer code of a failed deployment says nothing; the first detail does.
    let detail = body.pointer("/error/details/0");
    if let Some(code) = detail.and_then(|detail| detail.get("code")).and_then(Value::as_str)
        && VAGUE.contains(&refusal.code.as_str())
    {
        code.clone_into(&mut refusal.code);
    }
    // 429 is also what a resource says that somebody else is changing.
    refusal.throttled |= RETRYABLE.contains(&refusal.code.as_str());
    refusal
}

const VAGUE: [&str; 4] = ["Conflict", "BadRequest", "DeploymentFailed", "ResourceDeploymentFailure"];
/// Codes with which nothing was done, and the same call succeeds in a moment.
const RETRYABLE: [&str; 4] = [
    "RetryableError",
    "RetryableErrorDueToAnotherOperation",
    "AnotherOperationInProgress",
    "TooManyRequests",
];

/// Kind and hint of the codes that users meet.
fn refine(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    let code = refusal.code.as_str();
    let known = entra(code).or_else(|| permission(code)).or_else(|| capacity(refusal));
    known.or_else(|| wishes(code)).or_else(|| elsewhere(refusal))
}

/// A 404 that is not about what was asked for: nobody may take it for the word that a machine is gone.
fn elsewhere(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    let lost = matches!(refusal.status, 404 | 410) && !is_gone(refusal);
    lost.then_some((
        ErrorKind::Unavailable,
        "this is no answer of Azure's about it: check --azure-endpoint and --azure-environment, and the proxy between",
    ))
}

fn entra(code: &str) -> Option<(ErrorKind, &'static str)> {
    let hint = match code {
        "AADSTS7000215" => {
            "the secret is wrong: give the secret's value, not its id (`az ad app credential reset --id CLIENT_ID` makes a new one)"
        }
        "AADSTS7000222" => {
            "the secret has expired: `az ad app credential reset --id CLIENT_ID` makes a new one"
        }
        "AADSTS700016" => {
            "there is no such application in the tenant: check --azure-client-id and --azure-tenant-id"
        }
        "AADSTS90002" | "AADSTS900023" => "there is no such tenant: check --azure-tenant-id",
        "AADSTS53003" | "AADSTS50076" | "AADSTS50079" => {
            "your organisation asks for more than a password: sign in with `az login` and use --azure-auth cli"
        }
        "AADSTS70008" | "AADSTS700082" | "AADSTS50173" | "AADSTS70043" | "invalid_grant" => {
            "the sign-in has expired: the next command that may ask you to sign in does so"
        }
        "InvalidAuthenticationToken" | "ExpiredAuthenticationToken" => {
            "the token was refused: sign in again (`az login`), and check the clock of this computer"
        }
        "InvalidAuthenticationTokenTenant" => {
            "the token is for another tenant than the subscription's: check --azure-tenant-id, or `az login --tenant TENANT`"
        }
        _ => return None,
    };
    Some((ErrorKind::Credentials, hint))
}

fn permission(code: &str) -> Option<(ErrorKind, &'static str)> {
    let hint = match code {
        "AuthorizationFailed" | "LinkedAuthorizationFailed" => {
            "it needs the role Contributor (or Virtual Machine Contributor and Network Contributor) on the resource group: `az role assignment create --assignee CLIENT_ID --role Contributor --scope /subscriptions/SUBSCRIPTION`; a new role takes a few minutes"
        }
        "SubscriptionNotFound" | "InvalidSubscriptionId" => {
            "check --azure-subscription-id (`az account list` shows yours), and that the credentials may see it"
        }
        "ReadOnlyDisabledSubscription" | "SubscriptionNotEnabled" | "DisallowedOperation" => {
            "the subscription is locked, by a spending limit or an unpaid bill: see Subscriptions in Azure's portal"
        }
        "RequestDisallowedByPolicy" | "RequestDisallowedByAzure" => {
            "a policy of your organisation or of the subscription forbids it: the message names it; another region or size may be allowed"
        }
        "ScopeLocked" => "a lock on the resource or its group forbids it: `az lock list` shows it",
        "MissingSubscriptionRegistration" | "SubscriptionNotRegistered" => {
            "register it once: `az provider register --namespace Microsoft.Compute` and the same for Microsoft.Network"
        }
        _ => return None,
    };
    Some((ErrorKind::Credentials, hint))
}

fn capacity(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    let code = refusal.code.as_str();
    let quota = |hint| Some((ErrorKind::Quota, hint));
    let says = |word: &str| refusal.message.to_ascii_lowercase().contains(word);
    match code {
        "SkuNotAvailable" | "SKUNotAvailable" => quota(
            "this size is not to be had there now: `az vm list-skus -l REGION --zone` shows which are; take another --azure-size, --azure-location or --azure-availability-zone",
        ),
        "AllocationFailed"
        | "ZonalAllocationFailed"
        | "OverconstrainedAllocationRequest"
        | "OverconstrainedZonalAllocationRequest"
        | "SpotVMRequestNotAvailable" => quota(
            "Azure has no room for it there now: try again later, or take another --azure-size, --azure-location or zone",
        ),
        "PublicIPCountLimitReached" | "PublicIpAddressCountLimitReached" => quota(
            "the subscription has as many public addresses as it may have: remove some (`docker-machine gc` finds what was forgotten), or use --azure-no-public-ip",
        ),
        "QuotaExceeded" | "ResourceQuotaExceeded" => quota(hint::QUOTA),
        // The same code stands for other things that are not allowed.
        "OperationNotAllowed" if says("quota") => quota(hint::QUOTA),
        "OperationNotAllowed" if says("availability set") && says("managed") => Some((
            ErrorKind::Config,
            "the availability set is of the kind for disks in storage accounts, which are closed: give another --azure-availability-set",
        )),
        _ if code.ends_with("CountLimitReached") || code.ends_with("QuotaExceeded") => quota(hint::QUOTA),
        _ => None,
    }
}

fn wishes(code: &str) -> Option<(ErrorKind, &'static str)> {
    let config = |hint| Some((ErrorKind::Config, hint));
    match code {
        "MarketplacePurchaseEligibilityFailed"
        | "ResourcePurchaseValidationFailed"
        | "ResourcePurchaseCanceled" => config(
            "the image has terms that somebody must accept: `az vm image terms accept --urn PUBLISHER:OFFER:SKU:VERSION`; a free or student subscription can't buy it",
        ),
        "VMMarketplaceInvalidInput" | "VMPlanInformationMismatch" => config(
            "the image needs its purchase plan: --azure-plan publisher:product:plan (`az vm image show --urn URN` shows it)",
        ),
        "ResourceGroupBeingDeleted" => Some((
            ErrorKind::Unavailable,
            "the resource group is being removed: try again in a few minutes, or take another --azure-resource-group",
        )),
        "PlatformImageNotFound" | "ImageNotFound" | "ArtifactNotFound" => config(
            "there is no such image in this region: `docker-machine azure vm image list --location REGION` shows them",
        ),
        "LocationNotAvailableForResourceType"
        | "InvalidLocation"
        | "NoRegisteredProviderFound"
        | "LocationNotFound" => {
            config("check --azure-location: `az account list-locations -o table` shows them")
        }
        "InvalidResourceLocation" | "InvalidResourceGroupLocation" => config(
            "it exists in another region: take another --azure-resource-group, --azure-vnet or --azure-availability-set",
        ),
        "InvalidResourceReference" => config(
            "what the machine is to stand in is not there, or is in another region than --azure-location: name others with --azure-vnet and --azure-nsg",
        ),
        "DnsRecordInUse" => config("somebody has this DNS label: take another --azure-dns"),
        "PrivateIPAddressInUse" | "PrivateIPAddressNotInSubnet" | "PrivateIPAddressInReservedRange" => {
            config("take another --azure-private-ip-address")
        }
        "NetcfgInvalidSubnet" | "NetcfgSubnetRangesOverlap" | "InvalidCIDRNotation" => {
            config("take another --azure-subnet-prefix, or name a subnet that is there with --azure-subnet")
        }
        "InvalidParameter" | "InvalidRequestContent" | "InvalidRequestFormat" => config(""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_every_404_says_that_something_is_gone() {
        let of = |code: &str| Refusal { status: 404, code: code.to_owned(), ..Refusal::default() };
        for gone in ["ResourceNotFound", "ResourceGroupNotFound", "ParentResourceNotFound", "NotFound"] {
            assert!(is_gone(&of(gone)), "{gone}");
        }
        for lost in ["SubscriptionNotFound", "InvalidSubscriptionId", "InvalidResourceType", ""] {
            assert!(!is_gone(&of(lost)), "{lost}");
            assert!(refine(&of(lost)).is_some_and(|(kind, _)| kind != ErrorKind::NotFound), "{lost}");
        }
    }
}
