//! The versions of the contract that are spoken, one [`ContractAdapter`](crate::guest::adapter::ContractAdapter) each.
//!
//! The names of a component's exports say which version it speaks; all that it imports of the contract has to be of that version too.
//! Limits, grants, replays and the judging of answers know no versions.
//!
//! A released version is never dropped from [`SPOKEN`]: components of it are in the tests, and must answer for ever.

mod v0_1_0;

#[cfg(test)]
pub(crate) mod v0_0_9;

use crate::guest::adapter::Spoken;

/// What every host speaks. The first is the version whose records are the host's own.
pub(crate) const SPOKEN: Spoken = &[&v0_1_0::V0_1_0];

/// The newest version, and one that never existed, for tests.
#[cfg(test)]
pub(crate) const BOTH: Spoken = &[&v0_1_0::V0_1_0, &v0_0_9::V0_0_9];
