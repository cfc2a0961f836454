//! The request for an instance.

use machine_core::{DriverError, ErrorKind, Secret};

use super::api::{Image, Params};
use super::state::Ec2State;
use crate::cloud::Mark;

/// What user data may have at most, bytes before base64 (EC2's user guide, "Instance user data").
pub(super) const MAX_USER_DATA: usize = 16 * 1024;

/// What is tagged.
const TAGGED: [&str; 3] = ["instance", "volume", "network-interface"];

/// The tags of everything that is made for a machine: its name, the user's, the mark.
pub(super) fn tags(state: &Ec2State, mark: &Mark) -> Vec<(String, String)> {
    let mut tags = vec![("Name".to_owned(), state.base.machine_name.clone())];
    for (key, value) in state.user_tags().into_iter().chain(mark.pairs()) {
        tags.retain(|(other, _)| *other != key);
        tags.push((key, value));
    }
    tags
}

/// User data as EC2 takes it.
///
/// # Errors
/// [`ErrorKind::Precreate`] where it is too long.
pub(super) fn encoded(user_data: &Secret) -> Result<String, DriverError> {
    let length = user_data.expose().len();
    if length > MAX_USER_DATA {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("the user data has {length} bytes; EC2 takes {MAX_USER_DATA}"),
        )
        .with_hint(
            "shorten the file of --amazonec2-userdata, e.g. to an #include of an address where the rest is",
        ));
    }
    Ok(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, user_data.expose()))
}

/// The parameters of `RunInstances`.
pub(super) fn run_instances(state: &Ec2State, image: &Image, mark: &Mark, user_data: &str) -> Params {
    let bool = |on: bool| if on { "true" } else { "false" };
    let mut params = Params::default()
        .with("ImageId", &state.ami)
        .with("MinCount", "1")
        .with("MaxCount", "1")
        .with("InstanceType", &state.instance_type)
        .with_some("KeyName", &state.key_name)
        .with_some("ClientToken", &state.client_token)
        .with_some("UserData", user_data)
        .with("Monitoring.Enabled", bool(state.monitoring))
        .with("EbsOptimized", bool(state.use_ebs_optimized_instance));
    let profile = if state.iam_instance_profile.starts_with("arn:") { "Arn" } else { "Name" };
    params = params.with_some(format!("IamInstanceProfile.{profile}"), &state.iam_instance_profile);
    params = interface(params, state);
    params = volumes(params, state, image);
    params = metadata(params, state);
    let mut tagged = TAGGED.to_vec();
    if state.request_spot_instance {
        params = params
            .with("InstanceMarketOptions.MarketType", "spot")
            .with("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time")
            .with_some("InstanceMarketOptions.SpotOptions.MaxPrice", &state.spot_price);
        tagged.push("spot-instances-request");
    }
    let tags = tags(state, mark);
    tagged.into_iter().enumerate().fold(params, |params, (at, kind)| params.tags(at + 1, kind, &tags))
}

fn interface(params: Params, state: &Ec2State) -> Params {
    let public = !state.private_ip_only && !state.ipv6_address_only;
    let mut params = params
        .with("NetworkInterface.1.DeviceIndex", "0")
        .with("NetworkInterface.1.SubnetId", &state.subnet_id)
        .with("NetworkInterface.1.DeleteOnTermination", "true")
        .with("NetworkInterface.1.AssociatePublicIpAddress", if public { "true" } else { "false" });
    for (at, group) in state.groups().into_iter().enumerate() {
        params = params.with(format!("NetworkInterface.1.SecurityGroupId.{}", at + 1), group);
    }
    if state.ipv6_address_count > 0 {
        params = params.with("NetworkInterface.1.Ipv6AddressCount", state.ipv6_address_count.to_string());
    }
    if state.enable_primary_ipv6 {
        params = params.with("NetworkInterface.1.PrimaryIpv6", "true");
    }
    params
}

/// The root volume, and what of the image's other volumes must be other than in the image.
fn volumes(params: Params, state: &Ec2State, image: &Image) -> Params {
    let mut params = params
        .with("BlockDeviceMapping.1.DeviceName", &state.device_name)
        .with("BlockDeviceMapping.1.Ebs.VolumeSize", state.root_size.to_string())
        .with("BlockDeviceMapping.1.Ebs.VolumeType", &state.volume_type);
    let further =
        image.volumes.iter().map(|(device, _)| device).filter(|device| **device != state.device_name);
    let mut at = 1;
    for device in further {
        at += 1;
        params = params.with(format!("BlockDeviceMapping.{at}.DeviceName"), device);
    }
    for at in 1..=at {
        let ebs = format!("BlockDeviceMapping.{at}.Ebs");
        params = params.with(format!("{ebs}.DeleteOnTermination"), "true");
        if state.volume_encrypted {
            params = params
                .with(format!("{ebs}.Encrypted"), "true")
                .with_some(format!("{ebs}.KmsKeyId"), &state.volume_kms_key_id);
        }
    }
    params
}

fn metadata(params: Params, state: &Ec2State) -> Params {
    let mut params = params
        .with("MetadataOptions.HttpTokens", &state.metadata_token_setting)
        .with("MetadataOptions.HttpPutResponseHopLimit", state.metadata_token_response_hop_limit.to_string())
        .with_some("MetadataOptions.HttpEndpoint", &state.http_endpoint);
    // Old imitators of EC2 do not know it, and "disabled" is what EC2 does anyway.
    if state.http_protocol_ipv6 == "enabled" {
        params = params.with("MetadataOptions.HttpProtocolIpv6", "enabled");
    }
    params
}
