//! Amazon's refusals: their two shapes, and what the codes mean for users.

use machine_core::{DriverError, ErrorKind};
use machine_http::api::{Answer, ApiError, Refusal};
use roxmltree::{Document, Node};

use crate::cloud::{self, Reading, hint};

/// What the credentials are, for the hint of refused ones.
pub(super) const CREDENTIALS: &str = "give --amazonec2-access-key and --amazonec2-secret-key (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), \
     a profile with --amazonec2-profile, or an instance role; `aws sts get-caller-identity` shows who you are";
const EXPIRED: &str = "the credentials have expired: log in again, e.g. `aws sso login`, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
     AWS_SESSION_TOKEN to fresh ones, which take the place of the machine's";
const DENIED: &str = "the credentials are good but lack a permission: the message names it; the documentation of the driver has a policy \
     with all that are needed";
const CLOCK: &str = "the clocks differ: set this computer's, e.g. with `timedatectl set-ntp true`";
const CAPACITY: &str = "Amazon has no room for this type in this zone now: try another --amazonec2-zone or --amazonec2-instance-type, or later";
const TYPE: &str = "not every region and zone has every type: `aws ec2 describe-instance-type-offerings --location-type availability-zone` lists them";
const SPOT: &str = "leave out --amazonec2-spot-price for the on-demand price as the limit, raise it, or try another type or zone";
const STOP_SPOT: &str =
    "a spot instance can't be stopped: `docker-machine rm` ends it, `docker-machine restart` restarts it";
const PROTECTED: &str = "the instance is protected from that: take the protection off in the console, or with \
     `aws ec2 modify-instance-attribute --instance-id ID --no-disable-api-termination` (or `--no-disable-api-stop`)";
const PROFILE: &str = "check --amazonec2-iam-instance-profile: `aws iam list-instance-profiles` lists those of the account; one that was just made takes a moment";
const NO_VPC: &str = "the region has no default VPC: name one with --amazonec2-vpc-id or --amazonec2-subnet-id, or let `aws ec2 create-default-vpc` make it";
const KEY_FORMAT: &str = "EC2 takes RSA and ED25519 keys in OpenSSH's form: give another to --amazonec2-ssh-keypath, or leave it out";
const OPT_IN: &str = "the region is not enabled for the account, or the account is not ready: see the account's page in the console";

/// How Amazon's refusals are read.
pub(super) const READING: Reading = Reading { credentials: CREDENTIALS, refine };

/// Codes by which Amazon says that we ask too often (as its SDKs have them).
const THROTTLES: [&str; 8] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "EC2ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
];

/// Codes that come with a status that looks as if it would pass.
const LASTING: [&str; 4] = [
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientAddressCapacity",
    "Unsupported",
];

/// The error for a call that failed while something was done.
pub(super) fn trouble(doing: &str, error: &ApiError) -> DriverError {
    cloud::trouble(&READING, doing, error)
}

/// Reads a refusal: XML of the Query API, or JSON with `__type`.
pub(super) fn dialect(answer: &Answer) -> Refusal {
    let mut refusal = Refusal::of(answer);
    let text = answer.text();
    if let Ok(document) = Document::parse(&text) {
        let word = |name: &str| {
            let found = document.descendants().find(|node| node.has_tag_name(name) || tag(node) == name);
            found.and_then(|node| node.text()).unwrap_or_default().trim().to_owned()
        };
        (refusal.code, refusal.message) = (word("Code"), shortened(&word("Message")));
        let id = [word("RequestID"), word("RequestId")].into_iter().find(|id| !id.is_empty());
        refusal.request_id = id.unwrap_or(refusal.request_id);
    } else if let Ok(body) = answer.json::<serde_json::Value>()
        && let Some(kind) = body.get("__type").and_then(|kind| kind.as_str())
    {
        refusal.code = kind.rsplit('#').next().unwrap_or(kind).to_owned();
        let message = body.get("message").or_else(|| body.get("Message")).and_then(|text| text.as_str());
        refusal.message = shortened(message.unwrap_or_default());
    }
    let code = bare(&refusal.code);
    refusal.throttled |= THROTTLES.contains(&code);
    refusal.lasting = LASTING.contains(&code);
    refusal
}

fn tag<'a>(node: &Node<'a, '_>) -> &'a str {
    if node.is_element() { node.tag_name().name() } else { "" }
}

/// The message without the encoded part that only the account's administrator can read.
fn shortened(message: &str) -> String {
    let shown = message.split("Encoded authorization failure message:").next().unwrap_or(message);
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A code without the side that it blames, which some services put first.
fn bare(code: &str) -> &str {
    code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code)
}

fn refine(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    let code = bare(&refusal.code);
    Some(match code {
        _ if refusal.throttled => (ErrorKind::Unavailable, hint::THROTTLED),
        "AuthFailure" if refusal.message.contains("not able to validate") => {
            (ErrorKind::Credentials, CREDENTIALS)
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "IncompleteSignature" => (ErrorKind::Credentials, CREDENTIALS),
        "SignatureDoesNotMatch" | "InvalidSignatureException"
            if refusal.message.contains("expired") || refusal.message.contains("not yet") =>
        {
            (ErrorKind::Credentials, CLOCK)
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => (ErrorKind::Credentials, CREDENTIALS),
        "RequestExpired" if refusal.message.contains("token") => (ErrorKind::Credentials, EXPIRED),
        "RequestExpired" => (ErrorKind::Credentials, CLOCK),
        "ExpiredToken" | "ExpiredTokenException" => (ErrorKind::Credentials, EXPIRED),
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            (ErrorKind::Credentials, DENIED)
        }
        "OptInRequired" | "PendingVerification" | "Blocked" | "ValidationError.Blocked" => {
            (ErrorKind::Credentials, OPT_IN)
        }
        _ => return limits(code).or_else(|| wrong_wish(code, &refusal.message)),
    })
}

/// Codes of what there is not enough of.
fn limits(code: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "InsufficientInstanceCapacity" | "InsufficientHostCapacity" => (ErrorKind::Quota, CAPACITY),
        "InsufficientFreeAddressesInSubnet" => {
            (ErrorKind::Quota, "the subnet has no free address: name another with --amazonec2-subnet-id")
        }
        "SpotMaxPriceTooLow" | "InsufficientSpotInstanceCapacity" => (ErrorKind::Quota, SPOT),
        "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "SecurityGroupLimitExceeded"
        | "SecurityGroupsPerInstanceLimitExceeded"
        | "RulesPerSecurityGroupLimitExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded"
        | "AddressLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "ResourceCountExceeded"
        | "KeyPairLimitExceeded" => (ErrorKind::Quota, hint::QUOTA),
        _ => return None,
    })
}

/// Codes of wishes that can't be.
fn wrong_wish(code: &str, message: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "Unsupported" => (ErrorKind::Config, TYPE),
        "InvalidParameterValue" if message.contains("InstanceType") || message.contains("instance type") => {
            (ErrorKind::Config, TYPE)
        }
        "InvalidInstanceType" => (ErrorKind::Config, TYPE),
        "InvalidParameterValue" if message.contains("IAM Instance Profile") => (ErrorKind::Config, PROFILE),
        "InvalidIamInstanceProfileArn.Malformed" => (ErrorKind::Config, PROFILE),
        "MissingParameter" | "InvalidParameterCombination" => (
            ErrorKind::Config,
            "a flag needs another one, or two do not go together: the message names EC2's parameters for them",
        ),
        "InvalidKey.Format" => (ErrorKind::Config, KEY_FORMAT),
        "VPCIdNotSpecified" => (ErrorKind::Config, NO_VPC),
        "InvalidVpcID.NotFound" => (
            ErrorKind::Config,
            "VPCs are regional: `aws ec2 describe-vpcs --region REGION` lists those of the account",
        ),
        "OperationNotPermitted" => (ErrorKind::Unsupported, PROTECTED),
        "InvalidAMIID.NotFound" | "InvalidAMIID.Malformed" | "InvalidAMIID.Unavailable" => (
            ErrorKind::Config,
            "images are regional: --amazonec2-ami names one of the region, or leave it out for Ubuntu",
        ),
        "InvalidSubnetID.NotFound" | "InvalidSubnetID.Malformed" => (
            ErrorKind::Config,
            "subnets are regional: `aws ec2 describe-subnets --region REGION` lists those of the account",
        ),
        "InvalidGroup.NotFound" | "InvalidGroupId.Malformed" => {
            (ErrorKind::NotFound, "check --amazonec2-security-group and --amazonec2-vpc-id")
        }
        "IdempotentInstanceTerminated" | "IdempotentParameterMismatch" => (
            ErrorKind::Unavailable,
            "an instance of an earlier try ended meanwhile: try again with `docker-machine create --resume NAME`",
        ),
        "UnsupportedOperation" if message.contains("pot") => (ErrorKind::Unsupported, STOP_SPOT),
        "IncorrectInstanceState" | "IncorrectSpotRequestState" => (
            ErrorKind::Unavailable,
            "the instance is on its way to another state: try again in a few seconds",
        ),
        "InvalidInstanceID.NotFound"
        | "InvalidInstanceID.Malformed"
        | "InvalidKeyPair.NotFound"
        | "InvalidSpotInstanceRequestID.NotFound"
        | "InvalidPermission.NotFound" => (ErrorKind::NotFound, ""),
        "DependencyViolation" => (
            ErrorKind::Unavailable,
            "something still uses it: `aws ec2 describe-network-interfaces --filters Name=group-id,Values=ID` shows what",
        ),
        "InvalidKMSKey.NotFound" | "InvalidKMSKey.InvalidState" | "KMSKeyNotAccessibleFault" => {
            (ErrorKind::Config, "the key must be enabled, in this region, and usable by these credentials")
        }
        "InvalidKeyPair.Duplicate" | "InvalidGroup.Duplicate" => {
            (ErrorKind::Precreate, "choose another machine name, or remove what has this one")
        }
        _ => return None,
    })
}
