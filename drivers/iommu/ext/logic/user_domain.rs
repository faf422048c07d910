// SPDX-License-Identifier: GPL-2.0

//! Who owns the private data of a domain.

use super::Exchange;

/// What the cell of a domain holds whose data nobody owns.
const NOBODY: u16 = 0;

/// Somebody who keeps private data in a domain.
///
/// # Invariants
///
/// The value is in `1..=LAST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOwner(u16);

impl DataOwner {
    /// The highest number of an owner.
    pub const LAST: u16 = 6;

    /// Reads the value that C uses.
    pub fn from_raw(raw: u32) -> Option<Self> {
        match u16::try_from(raw) {
            // INVARIANT: The pattern is the invariant.
            Ok(owner @ 1..=Self::LAST) => Some(Self(owner)),
            _ => None,
        }
    }
}

/// Why private data cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// There is no such owner, or the domain is one that all share.
    BadArgument,
    /// The data has an owner.
    Owned,
}

/// Claims the data of the domain whose owner is in `cell`.
pub fn claim<C: Exchange<u16>>(cell: &C, owner: u32, shared: bool) -> Result<(), ClaimRefusal> {
    match DataOwner::from_raw(owner) {
        Some(DataOwner(owner)) if !shared => {
            if cell.replace(NOBODY, owner) {
                Ok(())
            } else {
                Err(ClaimRefusal::Owned)
            }
        }
        _ => Err(ClaimRefusal::BadArgument),
    }
}

/// Gives the data up. Returns false, and does nothing, if it is not `owner`'s.
pub fn give_up<C: Exchange<u16>>(cell: &C, owner: u32) -> bool {
    DataOwner::from_raw(owner).is_some_and(|DataOwner(owner)| cell.replace(owner, NOBODY))
}
