//! The flags, and what they make of a machine. Source: `GetCreateFlags` of docker/machine v0.16.2 and of Rancher's fork.

use std::collections::BTreeMap;
use std::net::IpAddr;

use machine_core::{
    ConfigureContext, DriverError, DriverState, ErrorKind, FlagSpec, FlagValues, MachineName, Secret,
};

use super::credentials::Auth;
use super::environment;
use super::firewall;
use super::image::Image;
use super::state::AzureState;

/// `--azure-ca-cert`.
pub(super) const CA_CERT: &str = "azure-ca-cert";
/// `--azure-custom-data`.
pub(super) const CUSTOM_DATA: &str = "azure-custom-data";

/// Two processors and 8 GiB: the smallest of the present general-purpose series, which are in every region and in the
/// quota that new subscriptions have. It costs about what docker/machine's Standard_A2 did, which is no longer to be had.
const SIZE: &str = "Standard_D2s_v5";
/// The set that machines stand in where none is named; so has docker/machine.
pub(super) const AVAILABILITY_SET: &str = "docker-machine";
/// docker/machine's is a disk that turns, on which an engine takes minutes to unpack an image.
const STORAGE_TYPE: &str = "StandardSSD_LRS";

/// The flags.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str(
        "azure-environment",
        "AZURE_ENVIRONMENT",
        "AzurePublicCloud",
        "Azure environment (e.g. AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud)",
    ),
    FlagSpec::str("azure-subscription-id", "AZURE_SUBSCRIPTION_ID", "", "Azure Subscription ID"),
    FlagSpec::str(
        "azure-tenant-id",
        "AZURE_TENANT_ID",
        "",
        "Azure tenant in which the credentials are (found by the subscription if not specified)",
    ),
    FlagSpec::str(
        "azure-resource-group",
        "AZURE_RESOURCE_GROUP",
        "docker-machine",
        "Azure Resource Group name (will be created if missing)",
    ),
    FlagSpec::str("azure-ssh-user", "AZURE_SSH_USER", "docker-user", "Username for SSH login"),
    FlagSpec::int("azure-ssh-port", "AZURE_SSH_PORT", 22, "Port number for SSH"),
    FlagSpec::int("azure-docker-port", "AZURE_DOCKER_PORT", 2376, "Port number for Docker engine"),
    FlagSpec::str("azure-location", "AZURE_LOCATION", "westus", "Azure region to create the virtual machine"),
    FlagSpec::str("azure-size", "AZURE_SIZE", SIZE, "Size for Azure Virtual Machine"),
    FlagSpec::str(
        "azure-image",
        "AZURE_IMAGE",
        "",
        "Azure virtual machine OS image: publisher:offer:sku:version, or the id of an image (Ubuntu 24.04 LTS)",
    ),
    FlagSpec::str(
        "azure-vnet",
        "AZURE_VNET",
        "docker-machine-vnet",
        "Azure Virtual Network name to connect the virtual machine (in [resourcegroup:]name format)",
    ),
    FlagSpec::str(
        "azure-subnet",
        "AZURE_SUBNET",
        "docker-machine",
        "Azure Subnet Name to be used within the Virtual Network",
    ),
    FlagSpec::str(
        "azure-subnet-prefix",
        "AZURE_SUBNET_PREFIX",
        "192.168.0.0/16",
        "Private CIDR block to be used for the new subnet, should comply RFC 1918",
    ),
    FlagSpec::str(
        "azure-availability-set",
        "AZURE_AVAILABILITY_SET",
        AVAILABILITY_SET,
        "Azure Availability Set to place the virtual machine into",
    ),
    FlagSpec::str(
        "azure-availability-zone",
        "AZURE_AVAILABILITY_ZONE",
        "",
        "Availability zone of the virtual machine, e.g. 1; it is in no availability set then",
    ),
    FlagSpec::int(
        "azure-fault-domain-count",
        "AZURE_FAULT_DOMAIN_COUNT",
        2,
        "Fault domains of the availability set, if it is created (some regions have 3)",
    ),
    FlagSpec::int(
        "azure-update-domain-count",
        "AZURE_UPDATE_DOMAIN_COUNT",
        5,
        "Update domains of the availability set, if it is created",
    ),
    FlagSpec::str(
        "azure-nsg",
        "AZURE_NSG",
        "",
        "Network Security Group to use, a name or a resource ID (a new one for each machine)",
    ),
    FlagSpec::str(
        "azure-plan",
        "AZURE_PLAN",
        "",
        "Purchase plan of a Marketplace image, as publisher:product:plan",
    ),
    FlagSpec::bool(
        "azure-managed-disks",
        "AZURE_MANAGED_DISKS",
        "Use managed disks (always so: there are no others any more)",
    ),
    FlagSpec::int("azure-disk-size", "AZURE_DISK_SIZE", 0, "Size of the OS disk in GiB (0: the image's)"),
    FlagSpec::str("azure-custom-data", "AZURE_CUSTOM_DATA_FILE", "", "Path to file with custom-data"),
    FlagSpec::str("azure-private-ip-address", "", "", "Specify a static private IP address for the machine"),
    FlagSpec::str(
        "azure-storage-type",
        "AZURE_STORAGE_TYPE",
        STORAGE_TYPE,
        "Type of the OS disk: Standard_LRS, StandardSSD_LRS, StandardSSD_ZRS, Premium_LRS or Premium_ZRS",
    ),
    FlagSpec::bool("azure-use-private-ip", "", "Use private IP address of the machine to connect"),
    FlagSpec::bool("azure-no-public-ip", "", "Do not create a public IP address for the machine"),
    FlagSpec::bool(
        "azure-static-public-ip",
        "",
        "Assign a static public IP address to the machine (always so: standard addresses are static)",
    ),
    FlagSpec::bool(
        "azure-enable-public-ip-standard-sku",
        "AZURE_STANDARD_PUBLIC_IP_SKU",
        "Use a public IP address of the standard SKU (always so: there is no other any more)",
    ),
    FlagSpec::bool(
        "azure-accelerated-networking",
        "AZURE_ACCELERATED_NETWORKING",
        "Create the network interface with accelerated networking",
    ),
    FlagSpec::bool(
        "azure-encryption-at-host",
        "AZURE_ENCRYPTION_AT_HOST",
        "Encrypt caches and temporary disks at the host",
    ),
    FlagSpec::bool(
        "azure-spot",
        "AZURE_SPOT",
        "Run at spot prices: Azure may turn the machine off at any time",
    ),
    FlagSpec::str(
        "azure-spot-max-price",
        "AZURE_SPOT_MAX_PRICE",
        "",
        "Highest spot price in US dollars an hour (up to the price without spot)",
    ),
    FlagSpec::str("azure-dns", "AZURE_DNS_LABEL", "", "A unique DNS label for the public IP adddress"),
    FlagSpec::list("azure-open-port", "", "Make the specified port number accessible from the Internet"),
    FlagSpec::str(
        "azure-tags",
        "AZURE_TAGS",
        "",
        "Tags for everything that is made for the machine, as key1,value1,key2,value2",
    ),
    FlagSpec::str(
        "azure-client-id",
        "AZURE_CLIENT_ID",
        "",
        "Azure Service Principal Account ID (optional, browser auth is used if not specified)",
    ),
    FlagSpec::str(
        "azure-client-secret",
        "AZURE_CLIENT_SECRET",
        "",
        "Azure Service Principal Account password (optional, browser auth is used if not specified)",
    )
    .secret(),
    FlagSpec::str(
        "azure-auth",
        "AZURE_AUTH",
        "",
        "How to sign in: service-principal, device, cli or managed-identity (the first that is there)",
    ),
    FlagSpec::str("azure-endpoint", "AZURE_RESOURCE_MANAGER_ENDPOINT", "", "Address of the Resource Manager"),
    FlagSpec::str("azure-authority-host", "AZURE_AUTHORITY_HOST", "", "Address of Entra ID"),
    FlagSpec::str(
        "azure-metadata-endpoint",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "",
        "Address of the metadata service that gives a managed identity's token",
    ),
    FlagSpec::str(CA_CERT, "AZURE_CA_CERT", "", "File with further root certificates, PEM"),
];

/// Names that Azure gives no user. Source: `adminUsername` of Microsoft.Compute/virtualMachines.
const FORBIDDEN_USERS: [&str; 41] = [
    "1",
    "123",
    "a",
    "actuser",
    "adm",
    "admin",
    "admin1",
    "admin2",
    "administrator",
    "aspnet",
    "backup",
    "console",
    "david",
    "guest",
    "john",
    "owner",
    "root",
    "server",
    "sql",
    "support",
    "support_388945a0",
    "sys",
    "test",
    "test1",
    "test2",
    "test3",
    "user",
    "user1",
    "user2",
    "user3",
    "user4",
    "user5",
    "bin",
    "daemon",
    "games",
    "mail",
    "man",
    "news",
    "nobody",
    "sshd",
    "www-data",
];
/// Kinds of OS disks. Source: `StorageAccountTypes` of Microsoft.Compute, those that a system can be on.
const DISKS: [&str; 5] = ["Standard_LRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS"];

pub(super) fn invalid(flag: &str, value: &str, expected: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Config,
        format!("invalid value {value:?} for flag --{flag}: expected {expected}"),
    )
}

/// The wish for a machine.
///
/// # Errors
/// [`ErrorKind::Config`], in the Go driver's words where it has them.
pub(super) fn configure(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
    let text = |flag: &str| flags.str(flag).trim().to_owned();
    let mut state = AzureState::new(cx);
    state.base.set_swarm(flags);
    state.base.ssh_user = required(flags, "azure-ssh-user")?;
    state.base.ssh_port = port(flags, "azure-ssh-port")?;
    let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_rsa");
    state.base.ssh_key_path = key.to_string_lossy().into_owned();
    state.docker_port = port(flags, "azure-docker-port")?;

    state.subscription_id = segment(flags, "azure-subscription-id")?;
    state.resource_group = segment(flags, "azure-resource-group")?;
    // "West US" is what people read in the portal.
    state.location = required(flags, "azure-location")?.to_ascii_lowercase().replace(' ', "");
    state.size = segment(flags, "azure-size")?;
    state.virtual_network = required(flags, "azure-vnet")?;
    state.subnet_name = segment(flags, "azure-subnet")?;
    state.subnet_prefix = required(flags, "azure-subnet-prefix")?;
    state.availability_set = segment(flags, "azure-availability-set")?;
    state.storage_type = required(flags, "azure-storage-type")?;

    state.environment = text("azure-environment");
    state.tenant_id = text("azure-tenant-id");
    state.client_id = text("azure-client-id");
    state.client_secret = Secret::new(flags.str("azure-client-secret").trim());
    state.auth = text("azure-auth");
    state.endpoint = address(flags, "azure-endpoint")?;
    state.authority_host = address(flags, "azure-authority-host")?;
    state.metadata_endpoint = address(flags, "azure-metadata-endpoint")?;
    state.ca_cert = text(CA_CERT);

    state.image = text("azure-image");
    if state.image.is_empty() {
        Image::usual(&state.size).clone_into(&mut state.image);
    }
    state.plan = text("azure-plan");
    state.disk_size = flags.int("azure-disk-size");
    state.open_ports = flags.list("azure-open-port").to_vec();
    state.private_ip_address = text("azure-private-ip-address");
    state.use_private_ip = flags.bool("azure-use-private-ip");
    state.no_public_ip = flags.bool("azure-no-public-ip");
    state.static_public_ip = flags.bool("azure-static-public-ip");
    state.enable_public_ip_standard_sku = true;
    state.dns_label = text("azure-dns");
    state.custom_data_file = flags.str(CUSTOM_DATA).to_owned();
    state.nsg = text("azure-nsg");
    state.tags = tags(flags.str("azure-tags"))?;
    state.availability_zone = text("azure-availability-zone");
    state.fault_count = flags.int("azure-fault-domain-count");
    state.update_count = flags.int("azure-update-domain-count");
    state.accelerated_networking = flags.bool("azure-accelerated-networking");
    state.encryption_at_host = flags.bool("azure-encryption-at-host");
    state.spot_max_price = text("azure-spot-max-price");
    state.spot = flags.bool("azure-spot") || !state.spot_max_price.is_empty();
    check(cx.name, &state)?;
    state.write()
}

/// What can't be, whatever Azure says.
fn check(name: &MachineName, state: &AzureState) -> Result<(), DriverError> {
    environment::named(&state.environment)?;
    Auth::of(state)?;
    Image::parse(&state.image)?;
    plan(&state.plan)?;
    firewall::rules(state, &[])?;
    check_names(name, state)?;
    check_network(state)?;
    if !DISKS.contains(&state.storage_type.as_str()) {
        return Err(invalid(
            "azure-storage-type",
            &state.storage_type,
            &format!("one of {}", DISKS.join(", ")),
        ));
    }
    if !(0..=4095).contains(&state.disk_size) {
        return Err(invalid("azure-disk-size", &state.disk_size.to_string(), "GiB from 1 to 4095, or 0"));
    }
    for (flag, count, most) in [
        ("azure-fault-domain-count", state.fault_count, 3),
        ("azure-update-domain-count", state.update_count, 20),
    ] {
        if !(1..=most).contains(&count) {
            return Err(invalid(flag, &count.to_string(), &format!("a number from 1 to {most}")));
        }
    }
    let zone = &state.availability_zone;
    if !zone.is_empty() && zone.parse::<u8>().map_or(true, |zone| zone == 0) {
        return Err(invalid("azure-availability-zone", zone, "the number of one zone, e.g. 1"));
    }
    let price = &state.spot_max_price;
    if !price.is_empty() && !price.parse::<f64>().is_ok_and(|price| price > 0.0 && price.is_finite()) {
        return Err(invalid("azure-spot-max-price", price, "US dollars an hour, e.g. 0.05"));
    }
    Ok(())
}

fn check_names(name: &MachineName, state: &AzureState) -> Result<(), DriverError> {
    let (text, user) = (name.as_str(), state.base.ssh_user.as_str());
    // Source: "Naming rules and restrictions for Azure resources", Microsoft.Compute/virtualMachines.
    if text.len() > 64 || text.ends_with(['-', '.']) || text.starts_with(['-', '.', '_']) {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!("{text:?} can't be the name of a virtual machine of Azure"),
        )
        .with_hint("take up to 64 letters, digits, dots and dashes, a letter or digit at both ends"));
    }
    let lower = user.to_ascii_lowercase();
    let plain = user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !plain || user.len() > 32 || user.starts_with('-') || FORBIDDEN_USERS.contains(&lower.as_str()) {
        return Err(invalid(
            "azure-ssh-user",
            user,
            "a name that Azure lets a user have (not root or admin)",
        ));
    }
    let label = &state.dns_label;
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let begins = label.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let is_label =
        (3..=63).contains(&label.len()) && begins && label.bytes().all(good) && !label.ends_with('-');
    if !label.is_empty() && !is_label {
        return Err(invalid(
            "azure-dns",
            label,
            "3 to 63 small letters, digits and dashes, a letter in front and no dash at the end",
        ));
    }
    Ok(())
}

fn check_network(state: &AzureState) -> Result<(), DriverError> {
    if !is_network(&state.subnet_prefix) {
        return Err(invalid("azure-subnet-prefix", &state.subnet_prefix, "a network like 192.168.0.0/16"));
    }
    let address = &state.private_ip_address;
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(invalid("azure-private-ip-address", address, "an address like 192.168.0.5"));
    }
    let (group, network) = state.network();
    if !is_segment(group) || !is_segment(network) {
        return Err(invalid("azure-vnet", &state.virtual_network, "a network as [resourcegroup:]name"));
    }
    let nsg = &state.nsg;
    if !nsg.is_empty() && !is_segment(nsg) && !is_nsg_id(nsg) {
        return Err(invalid(
            "azure-nsg",
            nsg,
            "a name, or /subscriptions/…/resourceGroups/…/providers/Microsoft.Network/networkSecurityGroups/NAME",
        ));
    }
    if !state.dns_label.is_empty() && state.no_public_ip {
        return Err(invalid("azure-dns", &state.dns_label, "no label where --azure-no-public-ip is given"));
    }
    Ok(())
}

fn is_nsg_id(id: &str) -> bool {
    let parts: Vec<&str> = id.split('/').collect();
    parts.len() == 9
        && id.starts_with("/subscriptions/")
        && parts[3].eq_ignore_ascii_case("resourceGroups")
        && parts[7].eq_ignore_ascii_case("networkSecurityGroups")
}

/// Whether a text is a network such as `10.0.0.0/8`.
pub(super) fn is_network(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| match (address.parse(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    })
}

/// Whether a text can be one part of an id.
fn is_segment(text: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || "-_.()".contains(c);
    !text.is_empty() && text.chars().all(good) && !text.bytes().all(|b| b == b'.')
}

fn required(flags: &FlagValues, flag: &str) -> Result<String, DriverError> {
    let text = flags.str(flag).trim();
    if text.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!("azure driver requires the {flag:?} option."),
        ));
    }
    Ok(text.to_owned())
}

fn segment(flags: &FlagValues, flag: &str) -> Result<String, DriverError> {
    let text = required(flags, flag)?;
    if is_segment(&text) { Ok(text) } else { Err(invalid(flag, &text, "letters, digits and -_.()")) }
}

fn port(flags: &FlagValues, flag: &str) -> Result<u16, DriverError> {
    flags.port(flag).map_err(|error| DriverError::new(ErrorKind::Config, error.to_string()))
}

fn address(flags: &FlagValues, flag: &str) -> Result<String, DriverError> {
    match flags.str(flag).trim() {
        "" => Ok(String::new()),
        given => crate::cloud::endpoint(flag, given, ""),
    }
}

/// Tags of the form that Rancher's fork has. A key without a value has an empty one, as there.
fn tags(text: &str) -> Result<BTreeMap<String, String>, DriverError> {
    let mut words = text.split(',').map(str::trim);
    let mut tags = BTreeMap::new();
    while let Some(key) = words.next() {
        let value = words.next().unwrap_or_default();
        if key.is_empty() && value.is_empty() {
            continue;
        }
        // Source: "Use tags to organize your Azure resources", limitations.
        if key.is_empty() || key.len() > 512 || key.contains(['<', '>', '%', '&', '\\', '?', '/']) {
            return Err(invalid(
                "azure-tags",
                text,
                "key1,value1,key2,value2; no key may have any of <>%&\\?/ in it",
            ));
        }
        if value.len() > 256 {
            return Err(invalid("azure-tags", text, "values of up to 256 characters"));
        }
        tags.insert(key.to_owned(), value.to_owned());
    }
    Ok(tags)
}

/// Publisher, product and name of a purchase plan.
pub(super) fn plan(text: &str) -> Result<Option<[&str; 3]>, DriverError> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [""] => Ok(None),
        [publisher, product, name] if parts.iter().all(|part| !part.is_empty()) => {
            Ok(Some([publisher, product, name]))
        }
        _ => Err(invalid("azure-plan", text, "publisher:product:plan")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_the_fork_does() {
        let pairs = |text: &str| tags(text).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("a,1,b"), [("a".into(), "1".into()), ("b".into(), String::new())]);
        assert!(tags("a/b,1").is_err());
    }

    #[test]
    fn plans_have_three_parts() {
        assert_eq!(plan("").unwrap(), None);
        assert_eq!(plan("p:o:n").unwrap(), Some(["p", "o", "n"]));
        assert!(plan("p:o").is_err() && plan("p::n").is_err());
    }
}
