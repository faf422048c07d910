// SPDX-License-Identifier: GPL-2.0

//! Who may use DMA with PASID inside the kernel, and with which PASID.
//!
//! As in [`dma_owner`](super::dma_owner) every function looks at a state and answers
//! with the next one, which the caller writes when it has done what goes with it.
//!
//! Checks come in a fixed order, and the first that fails decides: arguments, group,
//! PASIDs, owner, trust, reset or joining, overflow. Getting an ID and attaching come after them,
//! and are the caller's.

/// What the addresses of a PASID are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Physical addresses.
    Bypass = 0,
    /// What the DMA API returned.
    Iova = 1,
    /// Kernel virtual addresses.
    Kva = 2,
}

impl Mode {
    /// All modes, each at the place that it has in arrays.
    pub const ALL: [Self; 3] = [Self::Bypass, Self::Iova, Self::Kva];

    /// Checks the arguments of a call.
    pub fn new(raw: u32, has_pointer: bool) -> Result<Self, Refusal> {
        match Self::from_raw(raw) {
            // There is no other way to get at the domain, and without it no use of it.
            Some(Self::Kva) if !has_pointer => Err(Refusal::BadArgument),
            Some(mode) => Ok(mode),
            None => Err(Refusal::BadArgument),
        }
    }

    /// Reads the value that C uses.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Bypass),
            1 => Some(Self::Iova),
            2 => Some(Self::Kva),
            _ => None,
        }
    }
}

/// Why a mode is not enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such mode, or a pointer is missing.
    BadArgument,
    /// The device is in no group that an IOMMU serves.
    NoIommu,
    /// Device or IOMMU cannot do PASIDs, or not with this mode.
    Unsupported,
    /// The device does not use the DMA API.
    NotOwner,
    /// The device is not trusted with this mode.
    Untrusted,
    /// A device of the group is being reset, or added.
    Unsettled,
    /// There are too many users.
    Overflow,
}

/// What enabling has to know besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// PASIDs are on in the device, and the IOMMU can do the mode.
    pub supported: bool,
    /// The device has claimed the group for the DMA API.
    pub owner: bool,
    /// All devices of the group are trusted.
    pub trusted: bool,
    /// A device of the group is being reset, or has PASIDs and is being added.
    pub unsettled: bool,
}

/// One mode of a group.
///
/// # Invariants
///
/// There is a `pasid`, which is not 0, if and only if `count` is not 0; but it is 0 as long as
/// one is about to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The PASID that is attached.
    pub pasid: u32,
    /// How often the mode is enabled.
    pub count: u32,
}

impl Slot {
    /// A mode that nobody uses.
    pub const FREE: Self = Self { pasid: 0, count: 0 };
}

/// The modes of a group, at the places of [`Mode::ALL`].
///
/// # Invariants
///
/// - No two modes have the same PASID, and at most one is about to be attached.
/// - The `count` of a mode is the sum of what the group's devices hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The modes.
    pub slots: [Slot; Mode::ALL.len()],
}

/// A device's part in a mode of its group.
///
/// # Invariants
///
/// As long as `count` is not 0, `id` stays the same, and no other part has it or ever had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How often the device has enabled the mode.
    pub count: u32,
    /// Tells it from what the device had before, and will have later.
    pub id: u64,
}

impl Part {
    /// A device that has not enabled the mode.
    pub const NONE: Self = Self { count: 0, id: 0 };

    /// Whether this is the part that somebody had a share in, and still is.
    pub fn is(&self, id: u64) -> bool {
        self.count != 0 && self.id == id
    }

    /// This part for whoever had a share in it, none for whoever had one in an earlier part.
    pub fn of(self, id: u64) -> Self {
        if self.is(id) {
            self
        } else {
            Self::NONE
        }
    }
}

/// The state after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The group.
    pub group: Group,
    /// The device's part in the mode.
    pub part: Part,
}

/// Which PASID a mode is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that is reserved for the kernel.
    Kernel,
    /// One from the allocator.
    Allocated,
}

/// What enabling comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enable {
    /// The mode is there: one use more.
    Share(Step),
    /// The mode is to be attached with such a PASID. The step comes first, so that the group
    /// stays as it was when this was decided; then the PASID is [entered](Group::enter), or
    /// the mode [disabled](Group::disable) if there is none.
    Attach(Step, Which),
}

impl Group {
    /// A group without modes.
    pub const FREE: Self = Self {
        slots: [Slot::FREE; Mode::ALL.len()],
    };

    /// The slot of a mode.
    pub fn slot(&self, mode: Mode) -> Slot {
        let [bypass, iova, kva] = self.slots;

        match mode {
            Mode::Bypass => bypass,
            Mode::Iova => iova,
            Mode::Kva => kva,
        }
    }

    fn with(mut self, mode: Mode, slot: Slot) -> Self {
        let [bypass, iova, kva] = &mut self.slots;

        *match mode {
            Mode::Bypass => bypass,
            Mode::Iova => iova,
            Mode::Kva => kva,
        } = slot;
        self
    }

    /// Whether any mode is enabled, or about to be.
    pub fn is_live(&self) -> bool {
        self.slots.iter().any(|slot| slot.count != 0)
    }

    /// Decides about a device that has this part in the mode. If it has none, it gets one with
    /// the ID `new`, which none has ever had.
    pub fn enable(
        &self,
        mode: Mode,
        part: Part,
        seen: Surroundings,
        new: u64,
    ) -> Result<Enable, Refusal> {
        if !seen.supported {
            return Err(Refusal::Unsupported);
        }
        if !seen.owner {
            return Err(Refusal::NotOwner);
        }
        if mode == Mode::Bypass && !seen.trusted {
            return Err(Refusal::Untrusted);
        }
        if seen.unsettled {
            return Err(Refusal::Unsettled);
        }

        let slot = self.slot(mode);
        let step = Step {
            // INVARIANT: One use more is counted here and for the device. If it is the first,
            // the mode is about to be attached; the caller lets nobody else ask meanwhile.
            group: self.with(
                mode,
                Slot {
                    count: slot.count.checked_add(1).ok_or(Refusal::Overflow)?,
                    ..slot
                },
            ),
            // INVARIANT: The ID is new if there was none.
            part: Part {
                count: part.count.checked_add(1).ok_or(Refusal::Overflow)?,
                id: if part.count == 0 { new } else { part.id },
            },
        };

        if slot.count != 0 {
            return Ok(Enable::Share(step));
        }
        let which = if self.slots.iter().any(|slot| slot.pasid == KERNEL) {
            Which::Allocated
        } else {
            Which::Kernel
        };
        Ok(Enable::Attach(step, which))
    }

    /// Enters the PASID of a mode that was about to be attached.
    pub fn enter(&self, mode: Mode, pasid: u32) -> Self {
        let slot = self.slot(mode);

        // INVARIANT: The PASID is not 0, and no other mode has it: it is allocated, or `enable`
        // saw that it is free.
        self.with(mode, Slot { pasid, ..slot })
    }

    /// Takes away `n` uses of the device that has this part in the mode. [`None`] if they are
    /// not so many; without uses left, the mode is to be detached.
    pub fn disable(&self, mode: Mode, part: Part, n: u32) -> Option<Step> {
        let slot = self.slot(mode);
        let left = part.count.checked_sub(n)?;
        let count = slot.count.checked_sub(n)?;

        // INVARIANT: What is taken from the device is taken here; without uses there is no
        // PASID.
        let slot = if count == 0 {
            Slot::FREE
        } else {
            Slot { count, ..slot }
        };
        Some(Step {
            group: self.with(mode, slot),
            part: Part {
                count: left,
                ..part
            },
        })
    }
}

/// The PASID that is reserved for the kernel.
pub const KERNEL: u32 = 1;
