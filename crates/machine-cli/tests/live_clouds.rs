//! Machines of clouds from `create` to `rm`, as a user has them. Doubles stand in for the providers' APIs; what they "boot"
//! are lab hosts: real systems, most with a real cloud-init and all with a real engine.

mod support;

#[path = "clouds/amazonec2.rs"]
mod amazonec2;
#[path = "clouds/azure.rs"]
mod azure;
#[path = "clouds/digitalocean.rs"]
mod digitalocean;
#[path = "clouds/google.rs"]
mod google;
#[path = "clouds/hetzner.rs"]
mod hetzner;
#[path = "clouds/host.rs"]
mod host;
#[path = "clouds/openstack.rs"]
mod openstack;
