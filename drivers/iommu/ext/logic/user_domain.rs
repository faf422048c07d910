// SPDX-License-Identifier: GPL-2.0

//! Which domain userspace gets when it asks for one, and who owns the private data of a domain.
//!
//! Checks of a request come in a fixed order, and the first that fails decides: flags that no
//! domain has, what driver and hardware can do, the parent, the user data.

use super::Exchange;

/// The domain can be the parent of nested ones.
pub const NEST_PARENT: u32 = 1 << 0;
/// What the device writes can be tracked.
pub const DIRTY_TRACKING: u32 = 1 << 1;
/// The domain can be attached to PASIDs.
pub const PASID: u32 = 1 << 3;

const PAGING_FLAGS: u32 = NEST_PARENT | DIRTY_TRACKING | PASID;
const NESTED_FLAGS: u32 = PASID;

/// Why there is no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows what is asked for, or cannot do it.
    Unsupported,
    /// The parent cannot be one.
    NoParent,
    /// The user data has a length that it cannot have, or is not zero where nothing is known of
    /// it.
    Malformed,
}

/// The page tables of a paging domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// First stage.
    First,
    /// Second stage.
    Second,
}

/// What driver and hardware can do for a device: the flags that each kind of domain can have, in
/// any combination; [`None`] where that kind is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Paging domains with first-stage tables.
    pub first: Option<u32>,
    /// Paging domains with second-stage tables.
    pub second: Option<u32>,
    /// Nested domains.
    pub nested: Option<u32>,
}

impl Abilities {
    /// Decides about a paging domain, which has first-stage tables if they do.
    pub fn paging(&self, flags: u32) -> Result<Stage, Refusal> {
        if flags & !PAGING_FLAGS != 0 {
            Err(Refusal::Unsupported)
        } else if can(self.first, flags) {
            Ok(Stage::First)
        } else if can(self.second, flags) {
            Ok(Stage::Second)
        } else {
            Err(Refusal::Unsupported)
        }
    }

    /// Decides about a nested domain.
    pub fn nested(&self, flags: u32, parent: Parent) -> Result<(), Refusal> {
        if flags & !NESTED_FLAGS != 0 || !can(self.nested, flags) {
            return Err(Refusal::Unsupported);
        }
        if !parent.same_driver || parent.flags & NEST_PARENT == 0 {
            return Err(Refusal::NoParent);
        }
        Ok(())
    }
}

fn can(ability: Option<u32>, flags: u32) -> bool {
    ability.is_some_and(|possible| flags & !possible == 0)
}

/// A domain on which a nested one is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// It is of the driver that serves the device.
    pub same_driver: bool,
    /// What userspace asked for when it was made.
    pub flags: u32,
}

/// User data that a driver understands.
#[derive(Clone, Copy, Debug)]
pub struct Format<'a> {
    /// Its number.
    pub kind: u32,
    /// How long it was in its first version.
    pub min_len: usize,
    /// The bits that may be set; as long as the data.
    pub known: &'a [u8],
}

/// How much of some user data is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes to copy; of the rest of the format all are zero.
    pub head: usize,
    /// Bytes after that, which must be zero.
    pub tail: usize,
}

/// More is not looked through for zeroes.
pub const MAX_LEN: usize = 4096;

impl Format<'_> {
    /// Decides about the type and the length of user data.
    pub fn extent(&self, kind: u32, len: usize) -> Result<Extent, Refusal> {
        if kind != self.kind {
            return Err(Refusal::Unsupported);
        }
        if len < self.min_len || len > MAX_LEN {
            return Err(Refusal::Malformed);
        }
        let head = len.min(self.known.len());
        Ok(Extent {
            head,
            tail: len - head,
        })
    }

    /// Decides about what was copied, as long as the format.
    pub fn check(&self, data: &[u8]) -> Result<(), Refusal> {
        let known = |(data, known): (&u8, &u8)| data & !known == 0;

        if data.iter().zip(self.known).all(known) {
            Ok(())
        } else {
            Err(Refusal::Unsupported)
        }
    }
}

/// Decides about bytes after the format's.
pub fn check_tail(tail: &[u8]) -> Result<(), Refusal> {
    if tail.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(Refusal::Malformed)
    }
}

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
