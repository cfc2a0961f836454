//! The flags, and what is made of them.

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues, Secret};

use super::state::OpenstackState;
use crate::base::Base;

pub(super) const CACERT: &str = "openstack-cacert";
pub(super) const PRIVATE_KEY_FILE: &str = "openstack-private-key-file";
pub(super) const USER_DATA_FILE: &str = "openstack-user-data-file";

pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str("openstack-auth-url", "OS_AUTH_URL", "", "OpenStack authentication URL"),
    FlagSpec::bool("openstack-insecure", "OS_INSECURE", "Disable TLS credential checking."),
    FlagSpec::str(CACERT, "OS_CACERT", "", "CA certificate bundle to verify against"),
    FlagSpec::str("openstack-domain-id", "OS_DOMAIN_ID", "", "OpenStack domain ID (identity v3 only)"),
    FlagSpec::str("openstack-domain-name", "OS_DOMAIN_NAME", "", "OpenStack domain name (identity v3 only)"),
    FlagSpec::str("openstack-username", "OS_USERNAME", "", "OpenStack username"),
    FlagSpec::str("openstack-password", "OS_PASSWORD", "", "OpenStack password").secret(),
    FlagSpec::str("openstack-tenant-name", "OS_TENANT_NAME", "", "OpenStack tenant name"),
    FlagSpec::str("openstack-tenant-id", "OS_TENANT_ID", "", "OpenStack tenant id"),
    FlagSpec::str("openstack-region", "OS_REGION_NAME", "", "OpenStack region name"),
    FlagSpec::str("openstack-availability-zone", "OS_AVAILABILITY_ZONE", "", "OpenStack availability zone"),
    FlagSpec::str(
        "openstack-endpoint-type",
        "OS_ENDPOINT_TYPE",
        "",
        "OpenStack endpoint type (adminURL, internalURL or publicURL)",
    ),
    FlagSpec::str("openstack-flavor-id", "OS_FLAVOR_ID", "", "OpenStack flavor id to use for the instance"),
    FlagSpec::str(
        "openstack-flavor-name",
        "OS_FLAVOR_NAME",
        "",
        "OpenStack flavor name to use for the instance",
    ),
    FlagSpec::str("openstack-image-id", "OS_IMAGE_ID", "", "OpenStack image id to use for the instance"),
    FlagSpec::str(
        "openstack-image-name",
        "OS_IMAGE_NAME",
        "",
        "OpenStack image name to use for the instance",
    ),
    FlagSpec::str(
        "openstack-keypair-name",
        "OS_KEYPAIR_NAME",
        "",
        "OpenStack keypair to use to SSH to the instance",
    ),
    FlagSpec::str(
        "openstack-net-id",
        "OS_NETWORK_ID",
        "",
        "OpenStack network id the machine will be connected on",
    ),
    FlagSpec::str(
        PRIVATE_KEY_FILE,
        "OS_PRIVATE_KEY_FILE",
        "",
        "Private keyfile to use for SSH (absolute path)",
    ),
    FlagSpec::str(USER_DATA_FILE, "OS_USER_DATA_FILE", "", "File containing an openstack userdata script"),
    FlagSpec::str(
        "openstack-net-name",
        "OS_NETWORK_NAME",
        "",
        "OpenStack network name the machine will be connected on",
    ),
    FlagSpec::str(
        "openstack-sec-groups",
        "OS_SECURITY_GROUPS",
        "",
        "OpenStack comma separated security groups for the machine",
    ),
    FlagSpec::bool(
        "openstack-nova-network",
        "OS_NOVA_NETWORK",
        "Use the nova networking services instead of neutron.",
    ),
    FlagSpec::str(
        "openstack-floatingip-pool",
        "OS_FLOATINGIP_POOL",
        "",
        "OpenStack floating IP pool to get an IP from to assign to the instance",
    ),
    FlagSpec::int(
        "openstack-ip-version",
        "OS_IP_VERSION",
        4,
        "OpenStack version of IP address assigned for the machine",
    ),
    FlagSpec::str("openstack-ssh-user", "OS_SSH_USER", "root", "OpenStack SSH user"),
    FlagSpec::int("openstack-ssh-port", "OS_SSH_PORT", 22, "OpenStack SSH port"),
    FlagSpec::int("openstack-active-timeout", "OS_ACTIVE_TIMEOUT", 200, "OpenStack active timeout"),
    FlagSpec::bool(
        "openstack-config-drive",
        "OS_CONFIG_DRIVE",
        "Enables the OpenStack config drive for the instance",
    ),
    FlagSpec::str(
        "openstack-metadata",
        "OS_METADATA",
        "",
        "OpenStack Instance Metadata (e.g. key1,value1,key2,value2)",
    ),
    // Rancher's fork.
    FlagSpec::str("openstack-user-id", "OS_USER_ID", "", "OpenStack user id"),
    FlagSpec::str(
        "openstack-user-domain-id",
        "OS_USER_DOMAIN_ID",
        "",
        "OpenStack domain of the user, by id (default: openstack-domain-id, else \"default\")",
    ),
    FlagSpec::str(
        "openstack-user-domain-name",
        "OS_USER_DOMAIN_NAME",
        "",
        "OpenStack domain of the user, by name",
    ),
    FlagSpec::str(
        "openstack-tenant-domain-id",
        "OS_TENANT_DOMAIN_ID",
        "",
        "OpenStack domain of the project, by id (default: openstack-domain-id, else \"default\")",
    ),
    FlagSpec::str(
        "openstack-tenant-domain-name",
        "OS_TENANT_DOMAIN_NAME",
        "",
        "OpenStack domain of the project, by name",
    ),
    FlagSpec::str(
        "openstack-application-credential-id",
        "OS_APPLICATION_CREDENTIAL_ID",
        "",
        "OpenStack application credential id",
    ),
    FlagSpec::str(
        "openstack-application-credential-name",
        "OS_APPLICATION_CREDENTIAL_NAME",
        "",
        "OpenStack application credential name, of the user that is given",
    ),
    FlagSpec::str(
        "openstack-application-credential-secret",
        "OS_APPLICATION_CREDENTIAL_SECRET",
        "",
        "OpenStack application credential secret",
    )
    .secret(),
    FlagSpec::str(
        "openstack-server-group-id",
        "OS_SERVER_GROUP_ID",
        "",
        "OpenStack server group of the instance, by id",
    ),
    FlagSpec::str(
        "openstack-server-group-name",
        "OS_SERVER_GROUP_NAME",
        "",
        "OpenStack server group of the instance, by name",
    ),
    FlagSpec::bool(
        "openstack-boot-from-volume",
        "",
        "Make the root disk a volume, which goes with the machine (with openstack-volume-id: that volume, which stays)",
    ),
    FlagSpec::str(
        "openstack-volume-name",
        "",
        "",
        "OpenStack name of the volume that is made (default: the machine's name)",
    ),
    FlagSpec::str("openstack-volume-id", "", "", "OpenStack volume to use instead of making one, by id"),
    FlagSpec::str(
        "openstack-volume-type",
        "",
        "",
        "OpenStack type of the volume that is made (e.g. ssd; default: the cloud's)",
    ),
    FlagSpec::int(
        "openstack-volume-size",
        "",
        0,
        "OpenStack size of the volume that is made, GiB (0: none, or for the root disk the flavor's)",
    ),
    FlagSpec::str(
        "openstack-volume-device-path",
        "",
        "",
        "OpenStack device as which the volume is attached (default: the next free)",
    ),
    // Ours.
    FlagSpec::str("openstack-cloud", "OS_CLOUD", "", "OpenStack cloud: an entry of clouds.yaml"),
    FlagSpec::str(
        "openstack-client-config-file",
        "OS_CLIENT_CONFIG_FILE",
        "",
        "Path of clouds.yaml (default: ./, ~/.config/openstack/ or /etc/openstack/)",
    ),
    FlagSpec::str("openstack-token", "OS_TOKEN", "", "OpenStack token, instead of user and password")
        .secret(),
    FlagSpec::str(
        "openstack-project-id",
        "OS_PROJECT_ID",
        "",
        "OpenStack project id (as openstack-tenant-id)",
    ),
    FlagSpec::str(
        "openstack-project-name",
        "OS_PROJECT_NAME",
        "",
        "OpenStack project name (as openstack-tenant-name)",
    ),
    FlagSpec::str(
        "openstack-project-domain-id",
        "OS_PROJECT_DOMAIN_ID",
        "",
        "OpenStack domain of the project, by id (as openstack-tenant-domain-id)",
    ),
    FlagSpec::str(
        "openstack-project-domain-name",
        "OS_PROJECT_DOMAIN_NAME",
        "",
        "OpenStack domain of the project, by name (as openstack-tenant-domain-name)",
    ),
    FlagSpec::str(
        "openstack-interface",
        "OS_INTERFACE",
        "",
        "OpenStack endpoint type: public, internal or admin (as openstack-endpoint-type)",
    ),
];

fn config(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

fn mandatory(what: &str, variable: &str, option: &str) -> DriverError {
    config(format!(
        "{what} must be specified either using the environment variable {variable} or the CLI option {option}"
    ))
    .with_hint("or name an entry of clouds.yaml with --openstack-cloud")
}

fn exclusive(one: &str, other: &str) -> DriverError {
    config(format!("Either {one} or {other} must be specified, not both"))
}

/// The wish that the flags make.
pub(super) fn configure(
    cx: &ConfigureContext<'_>,
    flags: &FlagValues,
) -> Result<OpenstackState, DriverError> {
    let text = |name: &str| flags.str(name).to_owned();
    let either = |one: &str, other: &str| {
        let found = [one, other].map(|name| flags.str(name)).into_iter().find(|text| !text.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let groups: Vec<String> =
        flags.str("openstack-sec-groups").split(',').map(|g| g.trim().to_owned()).collect();
    let groups: Vec<String> = groups.into_iter().filter(|group| !group.is_empty()).collect();
    let state = OpenstackState {
        base: base(cx, flags)?,
        auth_url: text("openstack-auth-url"),
        active_timeout: number(flags, "openstack-active-timeout", 1, 86_400)?,
        insecure: flags.bool("openstack-insecure"),
        ca_cert: text(CACERT),
        domain_id: text("openstack-domain-id"),
        domain_name: text("openstack-domain-name"),
        username: text("openstack-username"),
        password: Secret::new(flags.str("openstack-password")),
        tenant_name: either("openstack-tenant-name", "openstack-project-name"),
        tenant_id: either("openstack-tenant-id", "openstack-project-id"),
        region: text("openstack-region"),
        availability_zone: text("openstack-availability-zone"),
        endpoint_type: endpoint_type(flags)?,
        flavor_name: text("openstack-flavor-name"),
        flavor_id: text("openstack-flavor-id"),
        image_name: text("openstack-image-name"),
        image_id: text("openstack-image-id"),
        key_pair_name: text("openstack-keypair-name"),
        network_name: text("openstack-net-name"),
        network_id: text("openstack-net-id"),
        private_key_file: text(PRIVATE_KEY_FILE),
        security_groups: (!groups.is_empty()).then_some(groups),
        floating_ip_pool: text("openstack-floatingip-pool"),
        compute_network: flags.bool("openstack-nova-network"),
        ip_version: ip_version(flags)?,
        config_drive: flags.bool("openstack-config-drive"),
        existing_key: !flags.str("openstack-keypair-name").is_empty(),
        user_id: text("openstack-user-id"),
        tenant_domain_name: either("openstack-tenant-domain-name", "openstack-project-domain-name"),
        tenant_domain_id: either("openstack-tenant-domain-id", "openstack-project-domain-id"),
        user_domain_name: text("openstack-user-domain-name"),
        user_domain_id: text("openstack-user-domain-id"),
        application_credential_id: text("openstack-application-credential-id"),
        application_credential_name: text("openstack-application-credential-name"),
        application_credential_secret: Secret::new(flags.str("openstack-application-credential-secret")),
        boot_from_volume: flags.bool("openstack-boot-from-volume"),
        volume_name: text("openstack-volume-name"),
        volume_device_path: text("openstack-volume-device-path"),
        volume_id: text("openstack-volume-id"),
        volume_type: text("openstack-volume-type"),
        volume_size: number(flags, "openstack-volume-size", 0, 1 << 20)?,
        server_group_id: text("openstack-server-group-id"),
        server_group_name: text("openstack-server-group-name"),
        cloud: text("openstack-cloud"),
        client_config_file: text("openstack-client-config-file"),
        token: Secret::new(flags.str("openstack-token")),
        metadata: text("openstack-metadata"),
        user_data_file: text(USER_DATA_FILE),
        ..OpenstackState::default()
    };
    check(&state)?;
    Ok(state)
}

fn base(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<Base, DriverError> {
    let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_rsa");
    let ssh_port = flags.port("openstack-ssh-port").map_err(|error| config(error.to_string()))?;
    let ssh_user = flags.str("openstack-ssh-user").to_owned();
    if ssh_user.is_empty()
        || ssh_user.starts_with('-')
        || ssh_user.chars().any(|c| c.is_whitespace() || c == '@')
    {
        return Err(invalid("openstack-ssh-user", &ssh_user, "a login name"));
    }
    let mut base =
        Base { ssh_user, ssh_port, ssh_key_path: key.to_string_lossy().into_owned(), ..Base::new(cx) };
    base.set_swarm(flags);
    Ok(base)
}

fn invalid(flag: &str, value: &str, expected: &str) -> DriverError {
    config(format!("invalid value {value:?} for flag --{flag}: expected {expected}"))
}

fn number(flags: &FlagValues, flag: &str, least: u64, most: u64) -> Result<u64, DriverError> {
    let value = flags.int(flag);
    u64::try_from(value)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| invalid(flag, &value.to_string(), &format!("a number from {least} to {most}")))
}

fn ip_version(flags: &FlagValues) -> Result<u8, DriverError> {
    match flags.int("openstack-ip-version") {
        4 => Ok(4),
        6 => Ok(6),
        other => Err(invalid("openstack-ip-version", &other.to_string(), "4 or 6")),
    }
}

/// In the words of the Go driver, whatever words the flag has.
fn endpoint_type(flags: &FlagValues) -> Result<String, DriverError> {
    let given = ["openstack-endpoint-type", "openstack-interface"].map(|name| flags.str(name));
    let given = given.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    match given {
        "" => Ok(String::new()),
        "publicURL" | "public" => Ok("publicURL".to_owned()),
        "internalURL" | "internal" => Ok("internalURL".to_owned()),
        "adminURL" | "admin" => Ok("adminURL".to_owned()),
        _ => Err(config("Endpoint type must be 'publicURL', 'adminURL' or 'internalURL'")),
    }
}

/// What the reference program checks, in its order and words.
fn check(state: &OpenstackState) -> Result<(), DriverError> {
    if state.cloud.is_empty() {
        check_credentials(state)?;
    }
    let option =
        |what: &str, option: &str| config(format!("{what} must be specified using the CLI option {option}"));
    match (state.flavor_name.is_empty(), state.flavor_id.is_empty()) {
        (true, true) => {
            return Err(option(
                "Flavor name or Flavor id",
                "--openstack-flavor-name or --openstack-flavor-id",
            ));
        }
        (false, false) => return Err(exclusive("Flavor name", "Flavor id")),
        _ => {}
    }
    let boots_volume = state.boot_from_volume && !state.volume_id.is_empty();
    match (state.image_name.is_empty(), state.image_id.is_empty()) {
        (true, true) if !boots_volume => {
            return Err(option("Image name or Image id", "--openstack-image-name or --openstack-image-id"));
        }
        (false, false) => return Err(exclusive("Image name", "Image id")),
        _ => {}
    }
    if !state.network_name.is_empty() && !state.network_id.is_empty() {
        return Err(exclusive("Network name", "Network id"));
    }
    if state.key_pair_name.is_empty() != state.private_key_file.is_empty() {
        return Err(config("Both KeyPairName and PrivateKeyFile must be specified"));
    }
    if !state.server_group_name.is_empty() && !state.server_group_id.is_empty() {
        return Err(exclusive("Server group name", "Server group id"));
    }
    if state.floating_ip_pool.is_empty() || state.ip_version == 4 {
        return Ok(());
    }
    Err(config(
        "--openstack-floatingip-pool gives an IPv4 address; it does not go with --openstack-ip-version 6",
    ))
}

fn check_credentials(state: &OpenstackState) -> Result<(), DriverError> {
    if state.auth_url.is_empty() {
        return Err(mandatory("Authentication URL", "OS_AUTH_URL", "--openstack-auth-url"));
    }
    if !state.token.is_empty() {
        return Ok(());
    }
    let named = !state.application_credential_name.is_empty();
    if named || !state.application_credential_id.is_empty() {
        if state.application_credential_secret.is_empty() {
            return Err(mandatory(
                "Application credential secret",
                "OS_APPLICATION_CREDENTIAL_SECRET",
                "--openstack-application-credential-secret",
            ));
        }
        let no_user = state.username.is_empty() && state.user_id.is_empty();
        if named && no_user && state.application_credential_id.is_empty() {
            return Err(mandatory("Username", "OS_USERNAME", "--openstack-username"));
        }
        return Ok(());
    }
    if state.username.is_empty() && state.user_id.is_empty() {
        return Err(mandatory("Username", "OS_USERNAME", "--openstack-username"));
    }
    if state.password.is_empty() {
        return Err(mandatory("Password", "OS_PASSWORD", "--openstack-password"));
    }
    if state.tenant_name.is_empty() && state.tenant_id.is_empty() {
        return Err(config(
            "Tenant id or name must be provided either using one of the environment variables OS_TENANT_ID and \
             OS_TENANT_NAME or one of the CLI options --openstack-tenant-id and --openstack-tenant-name",
        )
        .with_hint("openrc files of today set OS_PROJECT_NAME or OS_PROJECT_ID, which are read too"));
    }
    Ok(())
}
