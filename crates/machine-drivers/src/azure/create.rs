//! From a wish to a virtual machine: what it needs around it is made at the same time, each under a name that is on disk
//! before.

use futures_util::future::try_join_all;
use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event, Seed, Silent};
use serde_json::{Value, json};

use super::arm::{Arm, trouble_of};
use super::check::if_allowed;
use super::model::{
    AvailabilitySet, InstanceView, Interface, Network, Plain, PublicAddress, Resource, SecurityGroup, Vm,
};
use super::names::{self, Names, mark, same};
use super::state::AzureState;
use super::{firewall, flags, image, lock};
use crate::cloud::{self, Mark};

/// How much user data a machine can be given, bytes before they are encoded. Source: `customData` of
/// Microsoft.Compute/virtualMachines.
pub(super) const MAX_CUSTOM_DATA: usize = 65_535;
/// The kind of an availability set whose machines have managed disks.
const ALIGNED: &str = "Aligned";
/// The private networks of a network that is made, as docker/machine has them, but that what it took for 10.0.0.0/8
/// reached beyond.
const PRIVATE: [&str; 3] = ["192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12"];

/// A create under way.
struct Create<'a> {
    arm: &'a Arm<'a>,
    cx: &'a Cx<'a>,
    state: AzureState,
    names: Names,
    mark: Mark,
    seed: &'a Seed,
    /// From where the machine may be reached; empty for everywhere.
    networks: Vec<String>,
}

/// What is there before anything is made.
struct Around {
    group: bool,
    network: Option<Resource<Network>>,
    set: Option<Resource<AvailabilitySet>>,
}

/// Makes the machine, or goes on. It returns once Azure has taken the order: how the machine comes up is seen by looking.
/// `looked` is whether the resource group is there, where a look has found a moment ago that the names are free.
pub(super) async fn create(
    arm: &Arm<'_>,
    cx: &Cx<'_>,
    mut state: AzureState,
    looked: Option<bool>,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let seed = cx.seed.ok_or_else(|| {
        DriverError::new(
            ErrorKind::Other,
            "the machine has no key to be given: this is a mistake in the program",
        )
    })?;
    let size = seed.user_data.expose().len();
    if size > MAX_CUSTOM_DATA {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("the user data has {size} bytes, and Azure takes {MAX_CUSTOM_DATA}"),
        )
        .with_hint("make the file of --azure-custom-data smaller, or have it fetch the rest"));
    }
    let networks = firewall::networks(&state, cx.allow_from, &Silent)?;
    let resumed = !state.os_disk_name.is_empty();
    if !resumed {
        let random = cloud::token()?;
        state.store_id = Mark::of(cx).store;
        state.os_disk_name = names::disk(&state.base.machine_name, &state.store_id, &random);
    }
    save.save(&state.write()?)?;
    let _held = lock::making(cx.store_path, &state.subscription_id, cx.report).await?;
    let (names, mark) = (Names::of(&state, &arm.subscription), mark(&state));
    let mut create = Create { arm, cx, state, names, mark, seed, networks };
    if resumed && create.is_there().await? {
        let made = create.state.write()?;
        save.save(&made)?;
        return Ok(made);
    }
    let around = create.look(looked, save).await?;
    create.group(&around).await?;
    let subnet = create.surroundings(around).await?;
    save.save(&create.state.write()?)?;
    create.interface(&subnet).await?;
    save.save(&create.state.write()?)?;
    create.machine().await?;
    let made = create.state.write()?;
    save.save(&made)?;
    Ok(made)
}

impl Create<'_> {
    fn say(&self, what: &str) {
        self.cx.report.report(Event::DriverLine(what.to_owned()));
    }

    /// Tags for what is the machine's own: the user's and the mark.
    fn tags(&self) -> Value {
        let mut tags = self.state.tags.clone();
        tags.extend(self.mark.pairs());
        json!(tags)
    }

    /// Tags for what machines of the store share.
    fn shared_tags(&self) -> Value {
        json!(Mark { machine: String::new(), ..self.mark.clone() }.pairs())
    }

    /// Looks at what is there before anything is made: names that somebody else has, shared things in which the machine can't
    /// stand. What follows from that for the record is on disk then.
    async fn look(&mut self, looked: Option<bool>, save: &mut dyn Checkpoint) -> Result<Around, DriverError> {
        let doing = "what is there already can't be looked at";
        let (arm, names, before) = (self.arm, &self.names, self.state.clone());
        let set =
            async { if self.state.in_set() { arm.get(doing, &names.set, &[]).await } else { Ok(None) } };
        let (group, network, set) =
            tokio::join!(self.group_is_there(looked), arm.get(doing, &names.network, &[]), set);
        let around = Around { group: group?, network: network?, set: set? };
        if let Some(network) = &around.network {
            is_near(&self.state, "virtual network", network, "azure-vnet")?;
            // Nothing marks a subnet that is made in somebody else's network but the record.
            let ours = network.is_of_store(&self.mark) || has_subnet(Some(network), &self.state.subnet_name);
            self.state.subnet_made |= !ours;
        }
        if let Some(set) = &around.set {
            is_near(&self.state, "availability set", set, "azure-availability-set")?;
            self.takes_managed_disks(set)?;
        }
        if self.state != before {
            save.save(&self.state.write()?)?;
        }
        Ok(around)
    }

    /// Whether the resource group is there. Somebody else's things must not have our names in it: a PUT would change them.
    async fn group_is_there(&self, looked: Option<bool>) -> Result<bool, DriverError> {
        if let Some(there) = looked {
            return Ok(there);
        }
        let doing = format!("the resource group {:?} can't be looked at", self.state.resource_group);
        let own = self.names.own(&self.state);
        let looks = own.iter().map(|id| self.arm.get::<Resource<Plain>>(&doing, id, &[]));
        let group = self.arm.get::<Resource<Plain>>(&doing, &self.names.group, &[]);
        let (own, group) = tokio::join!(try_join_all(looks), group);
        match own?.into_iter().flatten().find(|thing| !thing.is_of(&self.mark)) {
            Some(other) => Err(taken(&self.state, &self.names, &other.id)),
            None => Ok(group?.is_some()),
        }
    }

    /// docker/machine's sets are of the kind for disks in storage accounts, and a machine of today can't stand in one. The
    /// set of the usual name is left out then; one that was asked for by name is an error.
    fn takes_managed_disks(&mut self, set: &Resource<AvailabilitySet>) -> Result<(), DriverError> {
        if set.sku.name.is_empty() || set.sku.name.eq_ignore_ascii_case(ALIGNED) {
            return Ok(());
        }
        let what = format!(
            "the availability set {:?} is of the kind for disks in storage accounts ({}), which are closed",
            self.state.availability_set, set.sku.name
        );
        if !same(&self.state.availability_set, flags::AVAILABILITY_SET) {
            return Err(DriverError::new(ErrorKind::Precreate, what).with_hint(
                "name one that does not exist yet, or one made for managed disks: --azure-availability-set",
            ));
        }
        self.cx.report.report(Event::Warning(format!(
            "{what}: the machine stands in none (--azure-availability-set NAME makes another)"
        )));
        self.state.availability_set.clear();
        Ok(())
    }

    async fn group(&self, around: &Around) -> Result<(), DriverError> {
        if around.group {
            return Ok(());
        }
        self.say(&format!("Creating resource group {:?}...", self.state.resource_group));
        let body = json!({ "location": self.state.location, "tags": self.shared_tags() });
        let doing = format!("the resource group {:?} can't be made", self.state.resource_group);
        self.arm.make::<Value>(&doing, &self.names.group, &body).await.map(drop)
    }

    /// What the machine needs around it, all at the same time. None of these is given up half-way because another fails:
    /// what is under way must be seen to its end. Gives the id of the subnet.
    async fn surroundings(&mut self, around: Around) -> Result<String, DriverError> {
        self.say("Creating network, firewall and address...");
        let (network, set, nsg, address) = tokio::join!(
            self.network(around.network),
            self.availability_set(around.set.is_some()),
            self.security_group(),
            self.address()
        );
        if let Some(address) = address?
            && !self.state.is_private()
        {
            self.state.base.ip_address = address;
        }
        network?;
        set?;
        nsg?;
        Ok(self.names.subnet.clone())
    }

    /// The virtual network and the subnet are there.
    async fn network(&self, there: Option<Resource<Network>>) -> Result<(), DriverError> {
        let (state, names) = (&self.state, &self.names);
        if has_subnet(there.as_ref(), &state.subnet_name) {
            return Ok(());
        }
        let doing = format!("the virtual network {:?} can't be made", state.virtual_network);
        let _held = lock::network(self.cx.store_path, &state.subscription_id, self.cx.report).await?;
        let there: Option<Resource<Network>> = self.arm.get(&doing, &names.network, &[]).await?;
        if has_subnet(there.as_ref(), &state.subnet_name) {
            return Ok(());
        }
        let subnet = json!({ "addressPrefix": state.subnet_prefix });
        if there.is_none() {
            let body = json!({
                "location": state.location,
                "tags": self.shared_tags(),
                "properties": {
                    "addressSpace": { "addressPrefixes": address_space(&state.subnet_prefix) },
                    "subnets": [{ "name": state.subnet_name, "properties": subnet }],
                },
            });
            return self.arm.make::<Value>(&doing, &names.network, &body).await.map(drop);
        }
        let doing = format!("the subnet {:?} can't be made", state.subnet_name);
        self.arm.make::<Value>(&doing, &names.subnet, &json!({ "properties": subnet })).await.map(drop)
    }

    async fn availability_set(&self, is_there: bool) -> Result<(), DriverError> {
        let (state, id) = (&self.state, &self.names.set);
        if is_there || !state.in_set() {
            return Ok(());
        }
        let doing = format!("the availability set {:?} can't be made", state.availability_set);
        let body = json!({
            "location": state.location,
            "tags": self.shared_tags(),
            "sku": { "name": ALIGNED },
            "properties": {
                "platformFaultDomainCount": state.fault_count,
                "platformUpdateDomainCount": state.update_count,
            },
        });
        self.arm.make::<Value>(&doing, id, &body).await.map(drop)
    }

    /// The machine's own group of rules is made; the user's is left as it is where it exists.
    async fn security_group(&self) -> Result<(), DriverError> {
        let (state, id) = (&self.state, &self.names.nsg);
        let doing = "the network security group can't be made";
        if !state.nsg.is_empty() {
            let there = self.arm.get::<Resource<SecurityGroup>>(doing, id, &[]).await;
            // Who may use it in another group need not be allowed to look at it.
            let there = if state.nsg.starts_with('/') { if_allowed(self.cx, there)? } else { Some(there?) };
            let Some(None) = there else { return Ok(()) };
            if state.nsg.starts_with('/') {
                return Err(no_such_group(&state.nsg));
            }
        }
        let rules = firewall::rules(state, &self.networks)?;
        let tags = if state.nsg.is_empty() { self.tags() } else { self.shared_tags() };
        let body = json!({
            "location": state.location,
            "tags": tags,
            "properties": { "securityRules": rules.iter().map(firewall::Rule::body).collect::<Vec<_>>() },
        });
        self.arm.make::<Value>(doing, id, &body).await.map(drop)
    }

    /// The public address or its name; `None` where there is to be none.
    async fn address(&self) -> Result<Option<String>, DriverError> {
        let state = &self.state;
        if state.no_public_ip {
            return Ok(None);
        }
        // The basic kind was closed on 30 September 2025. The standard kind is always static.
        let mut body = json!({
            "location": state.location,
            "tags": self.tags(),
            "sku": { "name": "Standard" },
            "properties": { "publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4" },
        });
        if !state.dns_label.is_empty() {
            body["properties"]["dnsSettings"] = json!({ "domainNameLabel": state.dns_label });
        }
        let doing = "the public address can't be made";
        let made: Resource<PublicAddress> = self.arm.make(doing, &self.names.ip, &body).await?;
        Ok(public(&made))
    }

    async fn interface(&mut self, subnet: &str) -> Result<(), DriverError> {
        let (state, names) = (&self.state, &self.names);
        let mut ip = json!({ "subnet": { "id": subnet }, "primary": true });
        match state.private_ip_address.as_str() {
            "" => ip["privateIPAllocationMethod"] = "Dynamic".into(),
            address => {
                ip["privateIPAllocationMethod"] = "Static".into();
                ip["privateIPAddress"] = address.into();
            }
        }
        if !state.no_public_ip {
            ip["publicIPAddress"] = json!({ "id": names.ip, "properties": { "deleteOption": "Delete" } });
        }
        let body = json!({
            "location": state.location,
            "tags": self.tags(),
            "properties": {
                "networkSecurityGroup": { "id": names.nsg },
                "enableAcceleratedNetworking": state.accelerated_networking,
                "ipConfigurations": [{ "name": "ip", "properties": ip }],
            },
        });
        let doing = "the network interface can't be made";
        let made: Resource<Interface> = self.arm.make(doing, &names.nic, &body).await?;
        if self.state.is_private() {
            self.state.base.ip_address = private(&made).unwrap_or_default();
        }
        Ok(())
    }

    async fn machine(&self) -> Result<(), DriverError> {
        let (state, names) = (&self.state, &self.names);
        let doing = format!("the virtual machine {:?} can't be made", state.base.machine_name);
        self.say(&format!("Creating virtual machine ({} in {})...", state.size, state.location));
        let body = virtual_machine(state, names, self.seed, self.tags())?;
        let Some(put) = self.arm.put_new(&doing, &names.vm, &body).await? else {
            // Ours, where the answer to the order got lost, and it was sent again.
            let there: Option<Resource<Vm>> = self.arm.get(&doing, &names.vm, &[]).await?;
            return match there {
                Some(vm) if self.is_ours(&vm) => Ok(()),
                _ => Err(taken(state, names, &names.vm)),
            };
        };
        match put.body().pointer("/properties/provisioningState").and_then(Value::as_str) {
            Some("Failed") => {
                let seen: Option<Resource<Vm>> =
                    self.arm.get(&doing, &names.vm, &[("$expand", "instanceView")]).await?;
                let view = seen.and_then(|vm| vm.properties.instance_view).unwrap_or_default();
                Err(failure(&doing, &view))
            }
            _ => Ok(()),
        }
    }

    fn is_ours(&self, vm: &Resource<Vm>) -> bool {
        vm.is_of(&self.mark) || vm.properties.is_on_disk(&self.state.os_disk_name)
    }

    /// Whether an earlier call made the machine: then nothing is made, because nothing of it may be put again with other
    /// user data. One that has failed is removed with all that goes with it.
    async fn is_there(&mut self) -> Result<bool, DriverError> {
        let doing = format!("the virtual machine {:?} can't be looked at", self.state.base.machine_name);
        let there: Option<Resource<Vm>> = self.arm.get(&doing, &self.names.vm, &[]).await?;
        let Some(vm) = there.filter(|vm| self.is_ours(vm)) else { return Ok(false) };
        if vm.properties.provisioning_state == "Failed" {
            self.say("Removing the virtual machine that an earlier try left...");
            let doing = "what an earlier try left can't be removed";
            self.arm.delete(doing, &self.names.vm, &[("forceDeletion", "true")]).await?;
            return Ok(false);
        }
        if self.state.base.ip_address.is_empty() {
            self.state.base.ip_address =
                address(self.arm, &self.state, &self.names).await?.unwrap_or_default();
        }
        Ok(true)
    }
}

/// The address to connect to, as Azure has it now; `None` where there is none yet.
pub(super) async fn address(
    arm: &Arm<'_>,
    state: &AzureState,
    names: &Names,
) -> Result<Option<String>, DriverError> {
    let doing = "the machine's address can't be looked at";
    if state.is_private() {
        let nic: Option<Resource<Interface>> = arm.get(doing, &names.nic, &[]).await?;
        return Ok(nic.as_ref().and_then(private));
    }
    let ip: Option<Resource<PublicAddress>> = arm.get(doing, &names.ip, &[]).await?;
    Ok(ip.as_ref().and_then(public))
}

/// The error for a machine that could not be made, of what Azure says of it.
pub(super) fn failure(doing: &str, view: &InstanceView) -> DriverError {
    let (code, message) = view.failure().unwrap_or(("", "Azure does not say why"));
    trouble_of(doing, code, message)
}

/// The name of the public address, else the address itself.
fn public(address: &Resource<PublicAddress>) -> Option<String> {
    let properties = &address.properties;
    let name = properties.dns_settings.as_ref().map_or("", |dns| dns.fqdn.as_str());
    [name, &properties.ip_address].into_iter().find(|text| !text.is_empty()).map(str::to_owned)
}

/// The private address.
fn private(nic: &Resource<Interface>) -> Option<String> {
    let first = nic.properties.ip_configurations.first()?;
    Some(first.properties.private_ip_address.clone()).filter(|address| !address.is_empty())
}

fn has_subnet(network: Option<&Resource<Network>>, name: &str) -> bool {
    network.is_some_and(|network| network.properties.subnets.iter().any(|subnet| same(&subnet.name, name)))
}

/// The addresses of a network that is made: the private ones, and those of its subnet where these are others.
fn address_space(subnet: &str) -> Vec<&str> {
    let is_private = ["192.168.", "10."].iter().any(|start| subnet.starts_with(start))
        || subnet
            .strip_prefix("172.")
            .and_then(|rest| rest.split('.').next()?.parse().ok())
            .is_some_and(|second: u8| (16..32).contains(&second));
    if is_private { PRIVATE.to_vec() } else { vec![subnet] }
}

/// The error for a name that something else has already.
pub(super) fn taken(state: &AzureState, names: &Names, id: &str) -> DriverError {
    let (name, group) = (&state.base.machine_name, &state.resource_group);
    if same(id, &names.vm) {
        return DriverError::new(
            ErrorKind::Precreate,
            format!("Virtual Machine with name {name} already exists in resource group {group:?}"),
        )
        .with_hint("take another name, or another --azure-resource-group");
    }
    let other = id.rsplit('/').next().unwrap_or_default();
    DriverError::new(ErrorKind::Precreate, format!("{other:?} already exists in resource group {group:?}"))
        .with_hint("take another name or another --azure-resource-group; `docker-machine gc` removes what was forgotten")
}

/// A machine stands in nothing of another region.
fn is_near<P>(state: &AzureState, what: &str, thing: &Resource<P>, flag: &str) -> Result<(), DriverError> {
    let there = thing.location.to_ascii_lowercase().replace(' ', "");
    if there.is_empty() || there == state.location {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Precreate,
        format!(
            "the {what} {:?} is in the region {there:?}, and the machine is to be in {:?}",
            thing.name, state.location
        ),
    )
    .with_hint(format!("name another one for this region, --{flag}, or another --azure-resource-group")))
}

pub(super) fn no_such_group(nsg: &str) -> DriverError {
    DriverError::new(ErrorKind::Precreate, format!("--azure-nsg: there is no {nsg}"))
        .with_hint("`az network nsg list -o table` shows those that are there")
}

/// The body of the request for the machine.
fn virtual_machine(
    state: &AzureState,
    names: &Names,
    seed: &Seed,
    tags: Value,
) -> Result<Value, DriverError> {
    let user = &state.base.ssh_user;
    let mut os_disk = json!({
        "name": state.os_disk_name,
        "caching": "ReadWrite",
        "createOption": "FromImage",
        // One DELETE of the machine takes them along.
        "deleteOption": "Delete",
        "managedDisk": { "storageAccountType": state.storage_type },
    });
    if state.disk_size > 0 {
        os_disk["diskSizeGB"] = state.disk_size.into();
    }
    let key = json!({
        "path": format!("/home/{user}/.ssh/authorized_keys"),
        "keyData": seed.authorized_key.trim(),
    });
    let mut os = json!({
        "computerName": state.base.machine_name,
        "adminUsername": user,
        "linuxConfiguration": {
            "disablePasswordAuthentication": true,
            "ssh": { "publicKeys": [key] },
        },
    });
    if !seed.user_data.is_empty() {
        os["customData"] = base64(seed.user_data.expose().as_bytes()).into();
    }
    let nic = json!({ "id": names.nic, "properties": { "primary": true, "deleteOption": "Delete" } });
    let mut properties = json!({
        "hardwareProfile": { "vmSize": state.size },
        "storageProfile": {
            "imageReference": image::Image::parse(&state.image)?.reference(),
            "osDisk": os_disk,
        },
        "osProfile": os,
        "networkProfile": { "networkInterfaces": [nic] },
    });
    if state.in_set() {
        properties["availabilitySet"] = json!({ "id": names.set });
    }
    if state.encryption_at_host {
        properties["securityProfile"] = json!({ "encryptionAtHost": true });
    }
    if state.spot {
        let most = state.spot_max_price.parse::<f64>().unwrap_or(-1.0);
        properties["priority"] = "Spot".into();
        // It stays, turned off, so that it can be started again.
        properties["evictionPolicy"] = "Deallocate".into();
        properties["billingProfile"] = json!({ "maxPrice": most });
    }
    let mut body = json!({ "location": state.location, "tags": tags, "properties": properties });
    if !state.availability_zone.is_empty() {
        body["zones"] = json!([state.availability_zone]);
    }
    if let Some([publisher, product, name]) = flags::plan(&state.plan)? {
        body["plan"] = json!({ "publisher": publisher, "product": product, "name": name });
    }
    Ok(body)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let of = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char;
            text.push(if at <= group.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_network_has_room_for_its_subnet() {
        assert_eq!(address_space("172.20.0.0/16"), PRIVATE);
        assert_eq!(address_space("100.64.0.0/24"), ["100.64.0.0/24"]);
        assert_eq!(address_space("172.1.0.0/16"), ["172.1.0.0/16"]);
    }
}
