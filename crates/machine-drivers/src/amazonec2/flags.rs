//! The flags: the reference program's, and those that its forks added.

use std::borrow::Cow;

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagKind, FlagSpec, FlagValues, Secret};

use super::network;
use super::state::Ec2State;
use crate::base::Base;
use crate::source_key::SourceKey;

/// The region where nobody names one.
pub(super) const DEFAULT_REGION: &str = "us-east-1";
/// The security group that the machines of a VPC share.
pub(super) const SHARED_GROUP: &str = "docker-machine";
/// The login of Ubuntu's images.
const DEFAULT_USER: &str = "ubuntu";
const REQUIRED: &str = "required";
const OPTIONAL: &str = "optional";

const GROUP_HELP: &str = "AWS VPC security group";

/// All flags, in the reference program's order, then GitLab's, then Rancher's, then ours.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str("amazonec2-access-key", "AWS_ACCESS_KEY_ID", "", "AWS Access Key").secret(),
    FlagSpec::str("amazonec2-secret-key", "AWS_SECRET_ACCESS_KEY", "", "AWS Secret Key").secret(),
    FlagSpec::str("amazonec2-session-token", "AWS_SESSION_TOKEN", "", "AWS Session Token").secret(),
    FlagSpec::str("amazonec2-ami", "AWS_AMI", "", "AWS machine image (Ubuntu 24.04 LTS of Canonical)"),
    FlagSpec::str("amazonec2-region", "AWS_DEFAULT_REGION", DEFAULT_REGION, "AWS region"),
    FlagSpec::str("amazonec2-vpc-id", "AWS_VPC_ID", "", "AWS VPC id"),
    FlagSpec::str("amazonec2-zone", "AWS_ZONE", "a", "AWS zone for instance (i.e. a,b,c,d,e)"),
    FlagSpec::str("amazonec2-subnet-id", "AWS_SUBNET_ID", "", "AWS VPC subnet id"),
    FlagSpec::bool(
        "amazonec2-security-group-readonly",
        "AWS_SECURITY_GROUP_READONLY",
        "Skip adding default rules to security groups",
    ),
    FlagSpec {
        name: Cow::Borrowed("amazonec2-security-group"),
        env: Cow::Borrowed("AWS_SECURITY_GROUP"),
        help: Cow::Borrowed(GROUP_HELP),
        kind: FlagKind::List(Cow::Borrowed(&[Cow::Borrowed(SHARED_GROUP)])),
        secret: false,
    },
    FlagSpec::list("amazonec2-open-port", "", "Make the specified port number accessible from the Internet"),
    FlagSpec::str("amazonec2-tags", "AWS_TAGS", "", "AWS Tags (e.g. key1,value1,key2,value2)"),
    FlagSpec::str("amazonec2-instance-type", "AWS_INSTANCE_TYPE", "t3.micro", "AWS instance type"),
    FlagSpec::str(
        "amazonec2-device-name",
        "AWS_DEVICE_NAME",
        "/dev/sda1",
        "AWS root device name (the image's)",
    ),
    FlagSpec::int("amazonec2-root-size", "AWS_ROOT_SIZE", 16, "AWS root disk size (in GB)"),
    FlagSpec::str("amazonec2-volume-type", "AWS_VOLUME_TYPE", "gp3", "Amazon EBS volume type"),
    FlagSpec::str("amazonec2-iam-instance-profile", "AWS_INSTANCE_PROFILE", "", "AWS IAM Instance Profile"),
    FlagSpec::int("amazonec2-ssh-port", "AWS_SSH_PORT", 22, "SSH port"),
    FlagSpec::str("amazonec2-ssh-user", "AWS_SSH_USER", DEFAULT_USER, "SSH username"),
    FlagSpec::bool("amazonec2-request-spot-instance", "", "Set this flag to request spot instance"),
    FlagSpec::str(
        "amazonec2-spot-price",
        "",
        "0.50",
        "AWS spot instance bid price (in dollar); empty for the on-demand price",
    ),
    FlagSpec::int(
        "amazonec2-block-duration-minutes",
        "",
        0,
        "AWS spot instance duration in minutes; without effect, AWS has withdrawn it",
    ),
    FlagSpec::bool("amazonec2-private-address-only", "", "Only use a private IP address"),
    FlagSpec::bool("amazonec2-use-private-address", "", "Force the usage of private IP address"),
    FlagSpec::bool("amazonec2-monitoring", "", "Set this flag to enable CloudWatch monitoring"),
    FlagSpec::bool("amazonec2-use-ebs-optimized-instance", "", "Create an EBS optimized instance"),
    FlagSpec::str("amazonec2-ssh-keypath", "AWS_SSH_KEYPATH", "", "SSH Key for Instance"),
    FlagSpec::str(
        "amazonec2-keypair-name",
        "AWS_KEYPAIR_NAME",
        "",
        "AWS keypair to use; requires --amazonec2-ssh-keypath",
    ),
    FlagSpec::int("amazonec2-retries", "", 5, "Set retry count for recoverable failures (use -1 to disable)"),
    FlagSpec::str(
        "amazonec2-endpoint",
        "AWS_ENDPOINT",
        "",
        "Optional endpoint URL (hostname only or fully qualified URI)",
    ),
    FlagSpec::bool(
        "amazonec2-insecure-transport",
        "AWS_INSECURE_TRANSPORT",
        "Disable SSL when sending requests",
    ),
    FlagSpec::str("amazonec2-userdata", "AWS_USERDATA", "", "path to file with cloud-init user data"),
    FlagSpec::bool("amazonec2-volume-encrypted", "", "Set this flag to encrypt storage volume"),
    FlagSpec::str(
        "amazonec2-volume-kms-key",
        "AWS_VOLUME_KMS_KEY",
        "",
        "Amazon EBS KMS key id/arn used to encrypt volume",
    ),
    FlagSpec::str(
        "amazonec2-metadata-token",
        "",
        REQUIRED,
        "Whether the metadata token is required or optional",
    ),
    FlagSpec::int(
        "amazonec2-metadata-token-response-hop-limit",
        "",
        1,
        "The number of network hops that the metadata token can travel",
    ),
    FlagSpec::bool(
        "amazonec2-encrypt-ebs-volume",
        "AWS_ENCRYPT_EBS_VOLUME",
        "Encrypt the EBS volume using the AWS Managed CMK",
    ),
    FlagSpec::str("amazonec2-kms-key", "AWS_KMS_KEY", "", "Custom KMS key using the AWS Managed CMK"),
    FlagSpec::str(
        "amazonec2-http-endpoint",
        "AWS_HTTP_ENDPOINT",
        "",
        "Enables or disables the HTTP metadata endpoint on your instances",
    ),
    FlagSpec::str(
        "amazonec2-http-tokens",
        "AWS_HTTP_TOKENS",
        "",
        "The state of token usage for your instance metadata requests.",
    ),
    FlagSpec::int(
        "amazonec2-http-put-response-hop-limit",
        "AWS_HTTP_PUT_RESPONSE_HOP_LIMIT",
        0,
        "The desired HTTP PUT response hop limit for instance metadata requests (1-64).",
    ),
    FlagSpec::str(
        "amazonec2-http-protocol-ipv6",
        "AWS_HTTP_PROTOCOL_IPV6",
        "disabled",
        "Enables or disables the IPv6 endpoint for the instance metadata service.",
    ),
    FlagSpec::int(
        "amazonec2-ipv6-address-count",
        "AWS_IPV6_ADDRESS_COUNT",
        0,
        "The number of IPv6 addresses to assign to the network interface",
    ),
    FlagSpec::bool(
        "amazonec2-enable-primary-ipv6",
        "AWS_ENABLE_PRIMARY_IPV6",
        "Indicates whether the first IPv6 address assigned to the instance should be marked as the primary IPv6 address.",
    ),
    FlagSpec::bool(
        "amazonec2-ipv6-address-only",
        "AWS_IPV6_ADDRESS_ONLY",
        "Indicates whether the instance has only IPv6 address. Useful when the VPC or subnet is configured as IPv6-only.",
    ),
    FlagSpec::str(
        "amazonec2-profile",
        "AWS_PROFILE",
        "",
        "Profile of the AWS configuration files, where no access key is given",
    ),
    FlagSpec::str(
        "amazonec2-ca-cert",
        "AWS_CA_BUNDLE",
        "",
        "File with certificates (PEM) that are trusted besides the system's",
    ),
];

fn wrong(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

/// What the flags wish for.
///
/// # Errors
/// [`ErrorKind::Config`], in the words of the program that had the flag first.
pub(super) fn configure(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<Ec2State, DriverError> {
    let text = |flag: &str| flags.str(flag).to_owned();
    let mut base = Base::new(cx);
    base.ssh_user = text("amazonec2-ssh-user");
    base.ssh_port = flags.port("amazonec2-ssh-port").map_err(|error| wrong(error.to_string()))?;
    // The seed lets in who has this key, so that a key of the user's is named from the beginning.
    let own = SourceKey::new("amazonec2-ssh-keypath", flags.str("amazonec2-ssh-keypath"));
    let made = cx.store_path.join("machines").join(cx.name.as_str()).join("id_rsa");
    base.ssh_key_path = own.as_ref().map_or(made.as_path(), |key| key.path()).to_string_lossy().into_owned();
    base.set_swarm(flags);
    let mut state = Ec2State {
        base,
        access_key: Secret::new(flags.str("amazonec2-access-key")),
        secret_key: Secret::new(flags.str("amazonec2-secret-key")),
        session_token: Secret::new(flags.str("amazonec2-session-token")),
        ami: text("amazonec2-ami"),
        existing_key: !flags.str("amazonec2-keypair-name").is_empty(),
        key_name: text("amazonec2-keypair-name"),
        instance_type: text("amazonec2-instance-type"),
        security_group_names: flags.list("amazonec2-security-group").to_vec(),
        security_group_read_only: flags.bool("amazonec2-security-group-readonly"),
        open_ports: flags.list("amazonec2-open-port").to_vec(),
        tags: text("amazonec2-tags"),
        root_size: flags.int("amazonec2-root-size"),
        volume_type: text("amazonec2-volume-type"),
        iam_instance_profile: text("amazonec2-iam-instance-profile"),
        vpc_id: text("amazonec2-vpc-id"),
        subnet_id: text("amazonec2-subnet-id"),
        zone: text("amazonec2-zone"),
        request_spot_instance: flags.bool("amazonec2-request-spot-instance"),
        spot_price: text("amazonec2-spot-price"),
        block_duration_minutes: flags.int("amazonec2-block-duration-minutes"),
        private_ip_only: flags.bool("amazonec2-private-address-only"),
        use_private_ip: flags.bool("amazonec2-use-private-address"),
        use_ebs_optimized_instance: flags.bool("amazonec2-use-ebs-optimized-instance"),
        monitoring: flags.bool("amazonec2-monitoring"),
        ssh_private_key_path: text("amazonec2-ssh-keypath"),
        retry_count: flags.int("amazonec2-retries"),
        endpoint: text("amazonec2-endpoint"),
        disable_ssl: flags.bool("amazonec2-insecure-transport"),
        user_data_file: text("amazonec2-userdata"),
        profile: text("amazonec2-profile"),
        ca_cert: text("amazonec2-ca-cert"),
        ..Ec2State::default()
    };
    // What nobody chose is left open: the profile knows the region, and the image its root device.
    if flags.is_set("amazonec2-region") {
        state.region = text("amazonec2-region");
    }
    if flags.is_set("amazonec2-device-name") {
        state.device_name = text("amazonec2-device-name");
    }
    metadata(flags, &mut state)?;
    encryption(flags, &mut state)?;
    ipv6(flags, &mut state)?;
    check(&state)?;
    Ok(state)
}

/// The metadata service's options: GitLab's names and Rancher's.
fn metadata(flags: &FlagValues, state: &mut Ec2State) -> Result<(), DriverError> {
    let gitlab = flags.str("amazonec2-metadata-token");
    let rancher = flags.str("amazonec2-http-tokens");
    if flags.is_set("amazonec2-metadata-token") && !rancher.is_empty() && gitlab != rancher {
        return Err(wrong(format!(
            "--amazonec2-metadata-token {gitlab} and --amazonec2-http-tokens {rancher} contradict each other"
        ))
        .with_hint("they are two names of the same setting: give one of them"));
    }
    let tokens = if rancher.is_empty() { gitlab } else { rancher };
    if ![REQUIRED, OPTIONAL].contains(&tokens) {
        return Err(wrong("httpToken must be either optional or required"));
    }
    state.metadata_token_setting = tokens.to_owned();
    state.http_tokens = tokens.to_owned();
    state.metadata_token_response_hop_limit = hops(flags)?;
    state.http_put_response_hop_limit = state.metadata_token_response_hop_limit;
    for (flag, word, target) in [
        ("amazonec2-http-endpoint", "httpEndpoint", &mut state.http_endpoint),
        ("amazonec2-http-protocol-ipv6", "httpProtocolIpv6", &mut state.http_protocol_ipv6),
    ] {
        let value = flags.str(flag);
        if !["", "enabled", "disabled"].contains(&value) {
            return Err(wrong(format!("{word} must be either enabled or disabled")));
        }
        value.clone_into(target);
    }
    Ok(())
}

/// How many hops the metadata service's answers may go: GitLab's name and Rancher's.
fn hops(flags: &FlagValues) -> Result<i64, DriverError> {
    let gitlab = flags.int("amazonec2-metadata-token-response-hop-limit");
    let rancher = flags.int("amazonec2-http-put-response-hop-limit");
    let hops = 1..=64;
    if !hops.contains(&gitlab) {
        return Err(wrong(format!(
            "invalid value \"{gitlab}\" for flag --amazonec2-metadata-token-response-hop-limit: expected a number from 1 to 64"
        )));
    }
    // Zero is what Rancher has where nobody says.
    if rancher == 0 {
        return Ok(gitlab);
    }
    if !hops.contains(&rancher) {
        return Err(wrong("httpPutResponseHopLimit must be between 1 and 64"));
    }
    if flags.is_set("amazonec2-metadata-token-response-hop-limit") && gitlab != rancher {
        return Err(wrong(format!(
            "--amazonec2-metadata-token-response-hop-limit {gitlab} and --amazonec2-http-put-response-hop-limit {rancher} contradict each other"
        ))
        .with_hint("they are two names of the same setting: give one of them"));
    }
    Ok(rancher)
}

/// Whether and with which key the volumes are encrypted: GitLab's names and Rancher's.
fn encryption(flags: &FlagValues, state: &mut Ec2State) -> Result<(), DriverError> {
    let (gitlab, rancher) = (flags.str("amazonec2-volume-kms-key"), flags.str("amazonec2-kms-key"));
    if !gitlab.is_empty() && !rancher.is_empty() && gitlab != rancher {
        return Err(wrong("--amazonec2-volume-kms-key and --amazonec2-kms-key name two keys")
            .with_hint("they are two names of the same setting: give one of them"));
    }
    let key = if gitlab.is_empty() { rancher } else { gitlab };
    let encrypted = flags.bool("amazonec2-volume-encrypted") || flags.bool("amazonec2-encrypt-ebs-volume");
    state.volume_encrypted = encrypted || !key.is_empty();
    state.encrypt_ebs_volume = state.volume_encrypted;
    key.clone_into(&mut state.volume_kms_key_id);
    Ok(())
}

fn ipv6(flags: &FlagValues, state: &mut Ec2State) -> Result<(), DriverError> {
    state.enable_primary_ipv6 = flags.bool("amazonec2-enable-primary-ipv6");
    state.ipv6_address_only = flags.bool("amazonec2-ipv6-address-only");
    state.ipv6_address_count = flags.int("amazonec2-ipv6-address-count");
    if state.ipv6_address_count < 0 || (state.ipv6_address_only && state.ipv6_address_count < 1) {
        return Err(wrong("ipv6AddressCount must be greater than zero when Ipv6AddressOnly is true"));
    }
    if state.ipv6_address_only && (state.use_private_ip || state.private_ip_only) {
        return Err(wrong("--amazonec2-ipv6-address-only leaves no private IPv4 address to use")
            .with_hint("leave out --amazonec2-use-private-address and --amazonec2-private-address-only"));
    }
    Ok(())
}

fn check(state: &Ec2State) -> Result<(), DriverError> {
    if state.disable_ssl && state.endpoint.is_empty() {
        return Err(wrong("using --amazonec2-insecure-transport also requires --amazonec2-endpoint"));
    }
    if !state.key_name.is_empty() && state.ssh_private_key_path.is_empty() {
        return Err(wrong("using --amazonec2-keypair-name also requires --amazonec2-ssh-keypath"));
    }
    if state.access_key.is_empty() != state.secret_key.is_empty() {
        let missing = if state.access_key.is_empty() { "access" } else { "secret" };
        return Err(wrong(format!(
            "--amazonec2-{missing}-key is missing: one key does not go without the other"
        ))
        .with_hint("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment count as flags"));
    }
    if state.endpoint.is_empty() && !state.region.is_empty() && !is_region(&state.region) {
        return Err(wrong("Invalid region specified")
            .with_hint("give one like us-east-1 or eu-central-1; `aws ec2 describe-regions` lists them"));
    }
    for port in &state.open_ports {
        network::Port::parse(port)?;
    }
    network::swarm_port(&state.base)?;
    if !(1..=65_536).contains(&state.root_size) {
        return Err(wrong(format!(
            "invalid value \"{}\" for flag --amazonec2-root-size: expected gigabytes from 1 to 65536",
            state.root_size
        )));
    }
    if ["io1", "io2"].contains(&state.volume_type.as_str()) {
        return Err(wrong(format!(
            "invalid value {:?} for flag --amazonec2-volume-type: EC2 wants to know how many operations a second it is to have, and no flag says so",
            state.volume_type
        ))
        .with_hint("give gp3"));
    }
    if state.base.ssh_user.is_empty() || state.base.ssh_user.starts_with('-') {
        return Err(wrong(format!(
            "invalid value {:?} for flag --amazonec2-ssh-user: expected a login name",
            state.base.ssh_user
        )));
    }
    if state.request_spot_instance && !is_price(&state.spot_price) {
        return Err(wrong(format!(
            "invalid value {:?} for flag --amazonec2-spot-price: expected dollars an hour, e.g. 0.05",
            state.spot_price
        )));
    }
    Ok(())
}

/// Whether a text looks like a region: new ones come every year, so no list is kept. It becomes a part of a host's name.
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return false };
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    (2..=4).contains(&first.len())
        && word(first)
        && !middle.is_empty()
        && middle.iter().all(word)
        && !last.is_empty()
        && last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_price(text: &str) -> bool {
    text.is_empty() || text.parse::<f64>().is_ok_and(|price| price > 0.0 && price.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        for region in ["us-east-1", "ap-southeast-12", "us-gov-west-1", "eusc-de-east-1", "cn-north-1"] {
            assert!(is_region(region), "{region}");
        }
        for other in
            ["", "mars", "us-east", "us-east-1a", "us-east-1.evil.example", "US-EAST-1", "-1", "a-b-1"]
        {
            assert!(!is_region(other), "{other}");
        }
    }
}
