//! Which host key is taken for genuine.

use std::borrow::Cow;

use russh::Preferred;
use russh::keys::{Algorithm, HashAlg};

use crate::keys::PublicKey;

/// What to do with the key that a host shows.
#[derive(Debug, Clone)]
pub enum HostKeyPolicy {
    /// One of these keys, or nothing: also with an empty list.
    Pinned(Vec<PublicKey>),
    /// One of these keys; when there is none yet, whatever the host shows on this first contact. The caller saves
    /// [`Session::host_key`](crate::Session::host_key) and shows its fingerprint.
    AcceptFirst(Vec<PublicKey>),
    /// Any key, because the user said that a change is expected. The pins only tell whether it did change.
    AcceptNew(Vec<PublicKey>),
}

/// How the key that a host showed relates to the pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyOutcome {
    /// It is one of the pinned keys.
    Matched,
    /// There was no pin; the key was taken on trust and should be pinned now.
    FirstContact,
    /// It differs from every pin and was taken because the policy said so; the pins should be replaced.
    Replaced,
}

impl HostKeyPolicy {
    /// The pinned keys.
    pub fn pins(&self) -> &[PublicKey] {
        match self {
            Self::Pinned(pins) | Self::AcceptFirst(pins) | Self::AcceptNew(pins) => pins,
        }
    }

    /// Is this key good? `None` means: refuse.
    pub(crate) fn judge(&self, shown: &PublicKey) -> Option<HostKeyOutcome> {
        if self.pins().contains(shown) {
            return Some(HostKeyOutcome::Matched);
        }
        match self {
            Self::Pinned(_) => None,
            Self::AcceptFirst(pins) if pins.is_empty() => Some(HostKeyOutcome::FirstContact),
            Self::AcceptFirst(_) => None,
            Self::AcceptNew(pins) if pins.is_empty() => Some(HostKeyOutcome::FirstContact),
            Self::AcceptNew(_) => Some(HostKeyOutcome::Replaced),
        }
    }

    /// Algorithms to offer, the pinned types first: a host with several keys then shows the one that we know, as
    /// OpenSSH does it. The other types stay in the list, so that a host which no longer has the pinned type is
    /// reported as changed rather than as incompatible.
    pub(crate) fn preferred(&self) -> Preferred {
        let offered = host_key_algorithms();
        let (pinned, others): (Vec<_>, Vec<_>) = offered
            .into_iter()
            .partition(|algorithm| self.pins().iter().any(|pin| pin.has_algorithm(algorithm)));
        let mut preferred = Preferred::DEFAULT;
        preferred.key = Cow::Owned(pinned.into_iter().chain(others).collect());
        preferred.compression = Cow::Borrowed(&[russh::compression::NONE]);
        preferred
    }
}

/// The library's defaults without RSA under SHA-1.
fn host_key_algorithms() -> Vec<Algorithm> {
    Preferred::DEFAULT.key.iter().filter(|a| !matches!(a, Algorithm::Rsa { hash: None })).cloned().collect()
}

/// Signature algorithms for RSA, best first.
pub(crate) const RSA_HASHES: [HashAlg; 2] = [HashAlg::Sha512, HashAlg::Sha256];
