//! What every driver must do, whatever it makes hosts of.
//!
//! A driver's tests bring a [`Subject`]: the driver's counterpart (a double of the provider, a real hypervisor, a
//! port on this computer) with flags that work and flags that don't, a count of what the counterpart holds, and the
//! faults that it can be made to have. [`run`] then asks for everything that the driver declares it can do; each case
//! can be called alone too. A case panics where the driver does not keep a promise, saying which.
//!
//! The cases are chosen by [`machine_core::Capabilities`], as OpenDAL's behaviour tests are, and take trait objects,
//! as object_store's integration tests do.

mod bench;
mod declaration;
mod faults;
mod life;
mod power;
#[cfg(test)]
mod tests;

use machine_core::{Driver, FlagValues};

pub use bench::{AUTHORIZED_KEY, Bench, Collected, Cut, Journal, STORE_ID, full_text};
pub use declaration::{bad_flags_are_refused, configuring_is_pure, spec_is_sane, state_round_trips};
pub use faults::{faults_are_survived, secrets_stay_secret};
pub use life::{
    create_observe_remove, interrupted_creates_can_be_removed, interrupted_creates_go_on,
    unmet_conditions_are_seen_before_create,
};
pub use power::power_as_declared;

/// Something that can go wrong at the counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The next request that makes something is carried out, but its answer gets lost.
    LostReply,
    /// The next request fails as if the counterpart were down for a moment.
    Unavailable,
    /// The next request is refused with the wish to come back later.
    Throttled,
    /// Credentials are refused until healed.
    WrongCredentials,
    /// There is no room for more until healed.
    Quota,
    /// All hosts disappear, behind the driver's back.
    HostGone,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 6] = [
        Self::LostReply,
        Self::Unavailable,
        Self::Throttled,
        Self::WrongCredentials,
        Self::Quota,
        Self::HostGone,
    ];
}

/// A driver's counterpart, and what the suite must know to drive the driver against it.
pub trait Subject: Send + Sync {
    /// Flags with which `create` works now.
    fn good_flags(&self) -> FlagValues;

    /// Sets of flags that can't be a machine, each with what is wrong with it.
    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)>;

    /// Sets of flags that make sense, but with which `create` can't succeed now, each with what is missing.
    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        Vec::new()
    }

    /// Names of flags that do not begin with the driver's name and a dash, for the reference program's sake.
    fn flag_name_exceptions(&self) -> &[&str] {
        &[]
    }

    /// How many things that somebody may pay for (hosts, disks, addresses, keys, rules) the counterpart holds.
    fn resources(&self) -> usize;

    /// Makes the counterpart have a fault. False where it can't have it.
    fn inject(&self, _fault: Fault) -> bool {
        false
    }

    /// Ends all faults.
    fn heal(&self) {}

    /// The longest time in which a host settles after a power operation, in seconds.
    fn settle_seconds(&self) -> u64 {
        10
    }
}

/// Runs every case.
///
/// # Panics
/// Where the driver breaks a promise.
pub async fn run(driver: &dyn Driver, subject: &dyn Subject) {
    spec_is_sane(driver, subject);
    configuring_is_pure(driver, subject);
    bad_flags_are_refused(driver, subject);
    state_round_trips(driver, subject);
    unmet_conditions_are_seen_before_create(driver, subject).await;
    create_observe_remove(driver, subject).await;
    interrupted_creates_go_on(driver, subject).await;
    interrupted_creates_can_be_removed(driver, subject).await;
    power_as_declared(driver, subject).await;
    faults_are_survived(driver, subject).await;
    secrets_stay_secret(driver, subject).await;
}
