//! The drivers: one folder each, and the registry that finds them by name.
//!
//! In: flags, a machine's state, a folder to work in. Out: hosts, and where they are ([`machine_core::Driver`]).
//! Drivers know nothing of SSH sessions, engines, certificates, the terminal or the store.
//!
//! A new driver is a folder and one line in [`registry`].
#![forbid(unsafe_code)]

pub mod amazonec2;
pub mod azure;
pub mod base;
mod boot2docker;
mod cloud;
pub mod default;
pub mod digitalocean;
pub mod generic;
pub mod google;
pub mod hetzner;
pub mod hyperv;
mod hypervisor_lock;
pub mod libvirt;
pub mod none;
pub mod openstack;
mod power;
pub mod qemu;
pub mod registry;
mod source_key;
pub mod virtualbox;
pub mod vmwarefusion;

pub use registry::Builtin;
