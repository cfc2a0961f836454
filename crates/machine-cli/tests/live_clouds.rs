//! Machines of clouds from `create` to `rm`, as a user has them. Doubles stand in for the providers' APIs; what they "boot"
//! are lab hosts: real systems with a real cloud-init and a real engine.

mod support;

#[path = "clouds/hetzner.rs"]
mod hetzner;
#[path = "clouds/host.rs"]
mod host;
