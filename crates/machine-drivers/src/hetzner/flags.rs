//! The flags: those of docker-machine-driver-hetzner, with its variables, and ours.

use machine_core::FlagSpec;

pub(super) const TOKEN: &str = "hetzner-api-token";
pub(super) const IMAGE: &str = "hetzner-image";
pub(super) const IMAGE_ID: &str = "hetzner-image-id";
pub(super) const IMAGE_ARCH: &str = "hetzner-image-arch";
pub(super) const TYPE: &str = "hetzner-server-type";
pub(super) const LOCATION: &str = "hetzner-server-location";
pub(super) const KEY_ID: &str = "hetzner-existing-key-id";
pub(super) const KEY_PATH: &str = "hetzner-existing-key-path";
pub(super) const USER_DATA: &str = "hetzner-user-data";
pub(super) const USER_DATA_FILE: &str = "hetzner-user-data-file";
pub(super) const USER_DATA_FROM_FILE: &str = "hetzner-user-data-from-file";
pub(super) const VOLUMES: &str = "hetzner-volumes";
pub(super) const NETWORKS: &str = "hetzner-networks";
pub(super) const PRIVATE: &str = "hetzner-use-private-network";
pub(super) const NO_PUBLIC_IPV4: &str = "hetzner-disable-public-ipv4";
pub(super) const NO_PUBLIC_4: &str = "hetzner-disable-public-4";
pub(super) const NO_PUBLIC_IPV6: &str = "hetzner-disable-public-ipv6";
pub(super) const NO_PUBLIC_6: &str = "hetzner-disable-public-6";
pub(super) const NO_PUBLIC: &str = "hetzner-disable-public";
pub(super) const PRIMARY_IPV4: &str = "hetzner-primary-ipv4";
pub(super) const PRIMARY_IPV6: &str = "hetzner-primary-ipv6";
pub(super) const FIREWALLS: &str = "hetzner-firewalls";
pub(super) const MORE_KEYS: &str = "hetzner-additional-key";
pub(super) const SERVER_LABEL: &str = "hetzner-server-label";
pub(super) const KEY_LABEL: &str = "hetzner-key-label";
pub(super) const GROUP: &str = "hetzner-placement-group";
pub(super) const AUTO_SPREAD: &str = "hetzner-auto-spread";
pub(super) const SSH_USER: &str = "hetzner-ssh-user";
pub(super) const SSH_PORT: &str = "hetzner-ssh-port";
pub(super) const WAIT_ON_ERROR: &str = "hetzner-wait-on-error";
pub(super) const WAIT_ON_POLLING: &str = "hetzner-wait-on-polling";
pub(super) const WAIT_FOR_RUNNING: &str = "hetzner-wait-for-running-timeout";
pub(super) const ENDPOINT: &str = "hetzner-endpoint";
pub(super) const CA_CERT: &str = "hetzner-ca-cert";

/// The image where none is named. The plugin's, Ubuntu 20.04, is no longer offered.
pub(super) const DEFAULT_IMAGE: &str = "ubuntu-24.04";
/// The smallest type on offer; the plugin's, `cx11`, is not any more.
const DEFAULT_TYPE: &str = "cx23";

/// All of them.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str(TOKEN, "HETZNER_API_TOKEN", "", "Project-specific Hetzner API token").secret(),
    FlagSpec::str(
        IMAGE,
        "HETZNER_IMAGE",
        "",
        "Image to use for server creation, by name (default: ubuntu-24.04)",
    ),
    FlagSpec::str(IMAGE_ID, "HETZNER_IMAGE_ID", "", "Image or snapshot to use for server creation, by ID"),
    FlagSpec::str(IMAGE_ARCH, "HETZNER_IMAGE_ARCH", "", "Architecture that the image must have: x86 or arm"),
    FlagSpec::str(TYPE, "HETZNER_TYPE", DEFAULT_TYPE, "Server type to create"),
    FlagSpec::str(
        LOCATION,
        "HETZNER_LOCATION",
        "",
        "Location to create the machine at (default: Hetzner chooses)",
    ),
    FlagSpec::str(
        KEY_ID,
        "HETZNER_EXISTING_KEY_ID",
        "0",
        "SSH key of the project to use for the server; requires --hetzner-existing-key-path",
    ),
    FlagSpec::str(KEY_PATH, "HETZNER_EXISTING_KEY_PATH", "", "Private key file to use instead of a new one"),
    FlagSpec::str(USER_DATA, "HETZNER_USER_DATA", "", "User data for cloud-init"),
    FlagSpec::bool(
        USER_DATA_FROM_FILE,
        "HETZNER_USER_DATA_FROM_FILE",
        "Take --hetzner-user-data for the name of a file (deprecated)",
    ),
    FlagSpec::str(USER_DATA_FILE, "HETZNER_USER_DATA_FILE", "", "File with user data for cloud-init"),
    FlagSpec::list(VOLUMES, "HETZNER_VOLUMES", "Volumes to attach to the server, by ID or name"),
    FlagSpec::list(
        NETWORKS,
        "HETZNER_NETWORKS",
        "Networks to attach to the server's private interface, by ID or name",
    ),
    FlagSpec::bool(PRIVATE, "HETZNER_USE_PRIVATE_NETWORK", "Reach the machine by its private address"),
    FlagSpec::bool(NO_PUBLIC_IPV4, "HETZNER_DISABLE_PUBLIC_IPV4", "Give the server no public IPv4 address"),
    FlagSpec::bool(
        NO_PUBLIC_4,
        "HETZNER_DISABLE_PUBLIC_4",
        "Same as --hetzner-disable-public-ipv4 (deprecated)",
    ),
    FlagSpec::bool(NO_PUBLIC_IPV6, "HETZNER_DISABLE_PUBLIC_IPV6", "Give the server no public IPv6 address"),
    FlagSpec::bool(
        NO_PUBLIC_6,
        "HETZNER_DISABLE_PUBLIC_6",
        "Same as --hetzner-disable-public-ipv6 (deprecated)",
    ),
    FlagSpec::bool(
        NO_PUBLIC,
        "HETZNER_DISABLE_PUBLIC",
        "Give the server no public address and reach it by its private one",
    ),
    FlagSpec::str(
        PRIMARY_IPV4,
        "HETZNER_PRIMARY_IPV4",
        "",
        "Primary IPv4 address to use, by ID, name or address",
    ),
    FlagSpec::str(
        PRIMARY_IPV6,
        "HETZNER_PRIMARY_IPV6",
        "",
        "Primary IPv6 address to use, by ID, name or address",
    ),
    FlagSpec::list(FIREWALLS, "HETZNER_FIREWALLS", "Firewalls to apply to the server, by ID or name"),
    FlagSpec::list(MORE_KEYS, "HETZNER_ADDITIONAL_KEYS", "Further public keys that may log in"),
    FlagSpec::list(SERVER_LABEL, "HETZNER_SERVER_LABELS", "Label for the server, KEY=VALUE"),
    FlagSpec::list(KEY_LABEL, "HETZNER_KEY_LABELS", "Label for the SSH key, KEY=VALUE"),
    FlagSpec::str(
        GROUP,
        "HETZNER_PLACEMENT_GROUP",
        "",
        "Placement group for the server, by ID or name; it is made where there is none",
    ),
    FlagSpec::bool(
        AUTO_SPREAD,
        "HETZNER_AUTO_SPREAD",
        "Spread servers over hosts by a placement group that all machines share",
    ),
    FlagSpec::str(SSH_USER, "HETZNER_SSH_USER", "root", "SSH username"),
    FlagSpec::int(SSH_PORT, "HETZNER_SSH_PORT", 22, "SSH port"),
    FlagSpec::int(
        WAIT_ON_ERROR,
        "HETZNER_WAIT_ON_ERROR",
        0,
        "Seconds to wait before a failed creation of the server is reported",
    ),
    FlagSpec::int(
        WAIT_ON_POLLING,
        "HETZNER_WAIT_ON_POLLING",
        1,
        "Seconds between two looks at most while something is waited for",
    ),
    FlagSpec::int(
        WAIT_FOR_RUNNING,
        "HETZNER_WAIT_FOR_RUNNING_TIMEOUT",
        0,
        "Seconds that the server may take to be created (0: ten minutes)",
    ),
    FlagSpec::str(
        ENDPOINT,
        "HETZNER_ENDPOINT",
        "",
        "Address of the API (default: https://api.hetzner.cloud/v1)",
    ),
    FlagSpec::str(
        CA_CERT,
        "HETZNER_CA_CERT",
        "",
        "File with further certification authorities to trust at the API",
    ),
];
