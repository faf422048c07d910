// SPDX-License-Identifier: GPL-2.0

//! Who may claim the DMA of an IOMMU group, and what follows from it.
//!
//! Every function here looks at a state and answers with the next one. The
//! caller carries out what the answer asks for, and writes the next state only
//! when that has succeeded: whatever is refused or fails changes nothing.
//!
//! Checks come in a fixed order, and the first that fails decides: arguments,
//! group, default domain, reset, owner and cookie, overflow, domain and PASIDs.
//! Setting the blocking domain comes last, and is the caller's.

use core::num::NonZeroUsize;

/// Who does DMA in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Owner {
    /// Nobody; compatible with everything.
    None = 0,
    /// Kernel drivers that use the DMA API.
    DmaApi = 1,
    /// A kernel driver with a domain of its own.
    PrivateDomain = 2,
    /// Userspace.
    PrivateDomainUser = 3,
}

impl Owner {
    /// Reads the value that C uses.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::None),
            1 => Some(Self::DmaApi),
            2 => Some(Self::PrivateDomain),
            3 => Some(Self::PrivateDomainUser),
            _ => None,
        }
    }

    /// Whether this owner uses other domains than the default one.
    const fn is_private(self) -> bool {
        matches!(self, Self::PrivateDomain | Self::PrivateDomainUser)
    }
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No owner to claim for, or a private one that does not say who it is.
    BadArgument,
    /// The device is in no group, or no IOMMU serves the group.
    NoIommu,
    /// The group is not set up yet.
    NoDefaultDomain,
    /// The device is being reset.
    InReset,
    /// The group has another owner.
    Owned,
    /// There are too many claims.
    Overflow,
    /// The group is attached to other domains than its default one.
    Attached,
}

/// A claim whose arguments are in order.
///
/// # Invariants
///
/// `owner` is not [`Owner::None`]; there is a cookie if and only if it is private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    owner: Owner,
    cookie: Option<NonZeroUsize>,
}

impl Claim {
    /// Checks the arguments of a claim.
    pub fn new(owner: u32, cookie: usize) -> Result<Self, Refusal> {
        let cookie = NonZeroUsize::new(cookie);

        // INVARIANT: What the arms let pass is what the invariants ask for.
        match Owner::from_raw(owner) {
            Some(owner @ Owner::DmaApi) => Ok(Self {
                owner,
                cookie: None,
            }),
            Some(owner) if owner.is_private() && cookie.is_some() => Ok(Self { owner, cookie }),
            _ => Err(Refusal::BadArgument),
        }
    }

    /// Decides about a device that no IOMMU serves: its DMA needs no permission.
    pub fn without_iommu(self) -> Result<(), Refusal> {
        match self.owner {
            Owner::DmaApi => Ok(()),
            _ => Err(Refusal::NoIommu),
        }
    }
}

/// What a claim has to know about a group besides its ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The group has a default domain.
    pub default_domain: bool,
    /// The group is attached to it, and none of its PASIDs to anything.
    pub at_default: bool,
    /// The claiming device is being reset.
    pub in_reset: bool,
}

impl Surroundings {
    /// Whether anybody may claim now.
    fn ready(self) -> Result<(), Refusal> {
        match self {
            Self {
                default_domain: false,
                ..
            } => Err(Refusal::NoDefaultDomain),
            Self { in_reset: true, .. } => Err(Refusal::InReset),
            _ => Ok(()),
        }
    }
}

/// What the caller has to do before it writes the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Keep,
    /// Attach the group to its blocking domain. This may fail, and then so does
    /// the claim.
    Block,
    /// Attach the group to its default domain, which does not fail.
    Restore,
}

/// A decision: the next state, and what leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The group's next state.
    pub group: Group,
    /// How many claims the device holds then.
    pub claims: u32,
    /// To be done first.
    pub effect: Effect,
}

/// A device's say in what its group is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It holds the group for domains of its own.
    Holder,
    /// Another device does.
    Outsider,
    /// Nobody does.
    Free,
}

/// The ownership of a group.
///
/// # Invariants
///
/// - `count` is 0 if and only if `owner` is [`Owner::None`].
/// - There is a cookie if and only if `owner` is private.
/// - `count` is the sum of what the group's devices hold, and of one more if the
///   group is held `whole`, which is then the only claim, for userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who owns the group.
    pub owner: Owner,
    /// Tells apart owners of the same kind.
    pub cookie: Option<NonZeroUsize>,
    /// How many claims there are.
    pub count: u32,
    /// The claim is not a device's but the group's.
    pub whole: bool,
}

impl Group {
    /// A group that nobody owns.
    pub const FREE: Self = Self {
        owner: Owner::None,
        cookie: None,
        count: 0,
        whole: false,
    };

    /// Decides about the claim of a device that holds `claims` already.
    pub fn claim(&self, claims: u32, claim: Claim, seen: Surroundings) -> Result<Step, Refusal> {
        seen.ready()?;

        let first = self.count == 0;
        if self.is_other(claim) {
            return Err(Refusal::Owned);
        }

        let count = self.count.checked_add(1).ok_or(Refusal::Overflow)?;
        let claims = claims.checked_add(1).ok_or(Refusal::Overflow)?;

        // What is attached after a private owner's first claim is its own. What is
        // attached before the DMA API's first claim is left to the driver that
        // binds: many attach domains by themselves.
        let disturbs = if claim.owner.is_private() {
            first
        } else {
            !first
        };
        if disturbs && !seen.at_default {
            return Err(Refusal::Attached);
        }

        Ok(Step {
            // INVARIANT: The cookie goes with the owner as in `Claim`, and one claim
            // more is counted here and for the device.
            group: Self {
                owner: claim.owner,
                cookie: claim.cookie,
                count,
                whole: false,
            },
            claims,
            effect: if first && claim.owner == Owner::PrivateDomainUser {
                Effect::Block
            } else {
                Effect::Keep
            },
        })
    }

    /// Decides about the claim of a whole group for userspace, which shares it with nobody.
    pub fn claim_whole(&self, claim: Claim, seen: Surroundings) -> Result<Step, Refusal> {
        seen.ready()?;
        if self.count != 0 {
            return Err(Refusal::Owned);
        }

        let step = self.claim(0, claim, seen)?;
        Ok(Step {
            // INVARIANT: The one claim is the group's, no device's.
            group: Self {
                whole: true,
                ..step.group
            },
            claims: 0,
            ..step
        })
    }

    /// Decides about the release of one of `claims` that a device holds. [`None`]
    /// if there is nothing that the device could release.
    pub fn release(&self, claims: u32, owner: u32) -> Option<Step> {
        match Owner::from_raw(owner) {
            Some(owner) if owner == self.owner => self.without(1, claims.checked_sub(1)?),
            _ => None,
        }
    }

    /// Decides about the release of a whole group. [`None`] if it is not held so.
    pub fn release_whole(&self) -> Option<Step> {
        if self.whole {
            self.without(1, 0)
        } else {
            None
        }
    }

    /// Drops all `claims` of a device that is going away. [`None`] if it has none.
    pub fn remove(&self, claims: u32) -> Option<Step> {
        match claims {
            0 => None,
            _ => self.without(claims, 0),
        }
    }

    /// Whether the group has an owner, and not the one that claims.
    pub fn is_other(&self, claim: Claim) -> bool {
        let same = self.owner == claim.owner && self.cookie == claim.cookie && !self.whole;

        self.count != 0 && !same
    }

    /// Whether DMA that nobody asked for is to be blocked rather than to reach the
    /// default domain.
    pub fn blocks(&self) -> bool {
        self.owner == Owner::PrivateDomainUser
    }

    /// What a device that holds `claims` has to say about the group's domains.
    pub fn say(&self, claims: u32) -> Say {
        match (self.owner, claims) {
            (Owner::PrivateDomain, 0) => Say::Outsider,
            (Owner::PrivateDomain, _) => Say::Holder,
            _ => Say::Free,
        }
    }

    /// Takes away `n` claims, and leaves the device `claims`. [`None`] if there are
    /// not so many.
    fn without(&self, n: u32, claims: u32) -> Option<Step> {
        let count = self.count.checked_sub(n)?;

        Some(Step {
            // INVARIANT: Without claims there is neither owner nor cookie. Otherwise
            // both stay, and the group is not held whole: that is a single claim.
            group: if count == 0 {
                Self::FREE
            } else {
                Self { count, ..*self }
            },
            claims,
            effect: if count == 0 && self.owner.is_private() {
                Effect::Restore
            } else {
                Effect::Keep
            },
        })
    }
}
