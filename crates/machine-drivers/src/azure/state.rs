//! What `azure` keeps of a machine: the JSON of the Go driver, and what it has no place for at the end.

use std::collections::BTreeMap;

use machine_core::{ConfigureContext, DriverError, DriverState, ErrorKind, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// `Driver` of config.json. The keys up to `CustomDataFile` are those of docker/machine v0.16.2 in its order; from there to
/// `EncryptionAtHost` Rancher's fork has them; the rest is this program's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AzureState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// The service principal's id; without a secret the application's that signs a person in; empty for none.
    #[serde(rename = "ClientID")]
    pub client_id: String,
    /// The service principal's secret.
    pub client_secret: Secret,
    /// The cloud, e.g. `AzurePublicCloud`.
    pub environment: String,
    /// The subscription.
    #[serde(rename = "SubscriptionID")]
    pub subscription_id: String,
    /// The resource group of all that is the machine's own.
    pub resource_group: String,
    /// The engine's port.
    pub docker_port: u16,
    /// The region, e.g. `westus`.
    pub location: String,
    /// The size, e.g. `Standard_D2s_v5`.
    pub size: String,
    /// The image: `publisher:offer:sku:version`, or the id of an image.
    pub image: String,
    /// The virtual network as `[resourcegroup:]name`.
    pub virtual_network: String,
    /// The subnet in it.
    pub subnet_name: String,
    /// The addresses of a subnet that is made, e.g. `192.168.0.0/16`.
    pub subnet_prefix: String,
    /// The availability set; not used with a zone or spot prices.
    pub availability_set: String,
    /// The kind of disk, e.g. `StandardSSD_LRS`.
    pub storage_type: String,
    /// Further ports, each `port[/protocol]`.
    #[serde(deserialize_with = "zero_if_null")]
    pub open_ports: Vec<String>,
    /// A private address that was asked for; empty for any.
    #[serde(rename = "PrivateIPAddr")]
    pub private_ip_address: String,
    /// Whether the private address is the one to connect to.
    #[serde(rename = "UsePrivateIP")]
    pub use_private_ip: bool,
    /// Whether there is no public address.
    #[serde(rename = "NoPublicIP")]
    pub no_public_ip: bool,
    /// The label of the public address' name in the DNS; empty for none.
    #[serde(rename = "DNSLabel")]
    pub dns_label: String,
    /// `--azure-static-public-ip`; addresses of today's kind are always static.
    #[serde(rename = "StaticPublicIP")]
    pub static_public_ip: bool,
    /// The user's own user data.
    pub custom_data_file: String,
    /// The directory in which the credentials are; empty to have it found.
    #[serde(rename = "TenantID")]
    pub tenant_id: String,
    /// The user's network security group, a name or an id; empty for one of the machine's own.
    #[serde(rename = "NSG")]
    pub nsg: String,
    /// The image's purchase plan as `publisher:product:plan`; empty for none.
    pub plan: String,
    /// Whether disks are managed: always, but in machines that docker/machine made.
    pub managed_disks: bool,
    /// Fault domains of an availability set that is made.
    pub fault_count: i64,
    /// Update domains of an availability set that is made.
    pub update_count: i64,
    /// Size of the disk, GiB; 0 for the image's.
    pub disk_size: i64,
    /// The user's own tags.
    #[serde(deserialize_with = "zero_if_null")]
    pub tags: BTreeMap<String, String>,
    /// Whether the network card bypasses the host's switch.
    pub accelerated_networking: bool,
    /// The availability zone; empty for none.
    pub availability_zone: String,
    /// `--azure-enable-public-ip-standard-sku`; addresses are always of this kind.
    #[serde(rename = "EnablePublicIPStandardSKU")]
    pub enable_public_ip_standard_sku: bool,
    /// Whether the host's caches and temporary disks are encrypted.
    pub encryption_at_host: bool,
    /// Whether it runs at spot prices and may be evicted.
    pub spot: bool,
    /// The highest price for that, US dollars an hour; empty for the price without spot.
    pub spot_max_price: String,
    /// How to sign in: `--azure-auth`.
    pub auth: String,
    /// `--azure-endpoint`; empty for the cloud's.
    pub endpoint: String,
    /// `--azure-authority-host`; empty for the cloud's.
    pub authority_host: String,
    /// `--azure-metadata-endpoint`; empty for Azure's.
    pub metadata_endpoint: String,
    /// `--azure-ca-cert`.
    #[serde(rename = "CACert")]
    pub ca_cert: String,
    /// The name of the disk; made up and saved before it is made, so that no other can have it. Empty in machines that
    /// docker/machine made.
    #[serde(rename = "OSDiskName")]
    pub os_disk_name: String,
    /// The store whose mark everything carries that was made for the machine; empty in machines that docker/machine made,
    /// which have no marks. A record that is moved to another store still knows it.
    #[serde(rename = "StoreID")]
    pub store_id: String,
    /// Whether the subnet was made for this machine in a network that is not ours.
    pub subnet_made: bool,
    /// Whether this program made the record. Before the first checkpoint of a create it has no store yet, as the records of
    /// docker/machine have none; but nothing was asked for then.
    pub made_here: bool,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AzureState {
    /// The state of a machine that has no host yet.
    pub(super) fn new(cx: &ConfigureContext<'_>) -> Self {
        Self { base: Base::new(cx), managed_disks: true, made_here: true, ..Self::default() }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], for machines of docker/machine before 0.7 in its words.
    pub(super) fn read(state: &DriverState) -> Result<Self, DriverError> {
        state.typed()
    }

    /// The record of a machine that can be worked on.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where docker/machine before 0.7 made it, with an API that is gone.
    pub(super) fn of_machine(state: &DriverState) -> Result<Self, DriverError> {
        let read = Self::read(state)?;
        if read.resource_group.is_empty() {
            return Err(DriverError::new(
                ErrorKind::Config,
                "new azure driver cannot manage old VMs, downgrade to v0.6.0",
            )
            .with_hint("the API that made it is gone; `docker-machine rm -f` forgets the machine"));
        }
        Ok(read)
    }

    /// As it is recorded.
    pub(super) fn write(&self) -> Result<DriverState, DriverError> {
        DriverState::from_typed(self)
    }

    /// Whether nothing was asked for yet: what has the machine's names is somebody else's.
    pub(super) fn is_untouched(&self) -> bool {
        self.made_here && self.store_id.is_empty()
    }

    /// Whether the private address is the one to connect to.
    pub(super) fn is_private(&self) -> bool {
        self.use_private_ip || self.no_public_ip
    }

    /// The resource group and the name of the virtual network.
    pub(super) fn network(&self) -> (&str, &str) {
        self.virtual_network.split_once(':').unwrap_or((&self.resource_group, &self.virtual_network))
    }

    /// Whether the machine stands in an availability set: neither zones nor spot prices go with one.
    pub(super) fn in_set(&self) -> bool {
        self.availability_zone.is_empty() && !self.spot && !self.availability_set.is_empty()
    }
}
