// SPDX-License-Identifier: GPL-2.0

//! DMA with PASID inside the kernel.
//!
//! [`logic::dma_pasid`](crate::logic::dma_pasid) decides; this file asks it, attaches
//! and detaches, and keeps the state, which lives in `struct iommu_group` and `struct
//! group_device`.
//!
//! # Locking
//!
//! The order is device_lock, iommu_sva_lock, the PASID-DMA mutex, the IOASID allocator's mutex,
//! a KVA domain's mutex, init_mm's mmap lock for reading, group->mutex, the locks of IOMMU
//! drivers, xa_lock.
//!
//! The PASID-DMA mutex is held from the first look at the state until a PASID is attached
//! or detached, which takes group->mutex in iommu.c. The state is written with both held,
//! so that group->mutex alone is enough to see whether there are kernel PASIDs. A mode is
//! counted before it is attached, in the section of group->mutex that decides about it, and
//! until it was detached. As long as it is, no device joins the group that has PASIDs or is
//! trusted less, so that trust and limits hold, nor does the claim go that the decision rests
//! on: see `release()` in [`dma_owner`](crate::dma_owner).
//!
//! As long as the PASID-DMA mutex is held, a device that has a part in a mode stays in its
//! group, and the mode's domain is there: parts are taken away before either goes.
//!
//! Who enables is the driver that is bound to the device. When a `struct iommu_dma_pasid_hold`
//! is used, neither driver nor device need be there any more, so it has a reference to the
//! group, and knows by its ID which part it was a share of.

use crate::{
    dma_owner::{
        errno,
        Group,
        Member, //
    },
    hw,
    kva,
    logic::dma_owner::Owner,
    logic::dma_pasid::{
        Enable,
        Group as Modes,
        Mode,
        Part,
        Refusal,
        Slot,
        Step,
        Surroundings,
        Which,
        KERNEL, //
    },
    trace,
    warn_once, //
};
use core::ptr;
use kernel::{
    bindings,
    device::Device,
    error::to_result,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex,
        MutexGuard, //
    },
};

const _: () = {
    assert!(Mode::Bypass as u32 == bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_BYPASS);
    assert!(Mode::Iova as u32 == bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_IOVA);
    assert!(Mode::Kva as u32 == bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_KVA);
    assert!(KERNEL == bindings::IOASID_DMA_KERNEL);
};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::BadArgument => EINVAL,
            Refusal::NoIommu => ENODEV,
            Refusal::Unsupported => Error::from_errno(-(bindings::EOPNOTSUPP as c_int)),
            Refusal::NotOwner | Refusal::Untrusted => EPERM,
            Refusal::Unsettled => EBUSY,
            Refusal::Overflow => EOVERFLOW,
        }
    }
}

/// The PASID-DMA mutex, held.
pub(crate) type Held = MutexGuard<'static, ()>;

pub(crate) fn lock() -> Held {
    // SAFETY: The mutex is a static object of C, which is initialized.
    unsafe { Mutex::from_raw(&raw mut bindings::iommu_dma_pasid_mutex) }.lock()
}

/// The ID that a part got last.
static LAST_ID: Atomic<u64> = Atomic::new(0);

/// An ID that no part has ever had.
fn new_id() -> u64 {
    LAST_ID.fetch_add(1, Relaxed) + 1
}

impl Member {
    fn part(&self, mode: Mode) -> Part {
        // SAFETY: By the type invariant; group->mutex is held.
        let part = unsafe { &(*self.0.get()).dma_pasid.parts[mode as usize] };

        Part {
            count: part.count,
            id: part.id,
        }
    }

    fn set_part(&self, mode: Mode, part: Part, _held: &Held) {
        let Part { count, id } = part;
        let new = bindings::iommu_dma_pasid_part { id, count };

        // SAFETY: By the type invariant; both locks are held.
        unsafe { (*self.0.get()).dma_pasid.parts[mode as usize] = new };
    }

    /// Whether the device has enabled anything.
    pub(crate) fn has_pasids(&self) -> bool {
        Mode::ALL.iter().any(|&mode| self.part(mode).count != 0)
    }

    fn is_leaving(&self) -> bool {
        // SAFETY: By the type invariant; group->mutex is held.
        unsafe { (*self.0.get()).dma_pasid.leaving }
    }

    fn set_leaving(&self) {
        // SAFETY: As above.
        unsafe { (*self.0.get()).dma_pasid.leaving = true };
    }

    fn is_ready(&self) -> bool {
        // SAFETY: As above.
        unsafe { (*self.0.get()).dma_pasid.ready }
    }

    fn set_ready(&self) {
        // SAFETY: As above.
        unsafe { (*self.0.get()).dma_pasid.ready = true };
    }

    fn is_trusted(&self) -> bool {
        // SAFETY: A device stays valid as long as it is in a group.
        unsafe { bindings::iommu_dma_pasid_trusts(self.dev()) }
    }

    /// How many PASIDs, counted from 0, the device can use; none if it cannot use any.
    fn max_pasids(&self) -> Option<u32> {
        // SAFETY: As above; a group that is served has devices with `iommu`.
        match unsafe { (*(*self.dev()).iommu).max_pasids } {
            0 => None,
            max => Some(max),
        }
    }
}

impl Group<'_> {
    /// What a device, and the IOMMU that serves the group, have to say about a mode.
    ///
    /// # Safety
    ///
    /// The group must be served.
    unsafe fn supports(&self, member: &Member, mode: Mode) -> bool {
        let dev = member.dev();

        // SAFETY: A device stays valid as long as it is in a group; and by the safety
        // requirements.
        unsafe {
            bindings::iommu_dma_pasid_on(dev)
                && match mode {
                    Mode::Bypass => !bindings::iommu_dma_pasid_identity(dev).is_null(),
                    Mode::Iova => {
                        let default = (*self.raw).default_domain.as_ref();
                        default.is_some_and(|it| (*it.ops).set_dev_pasid.is_some())
                    }
                    Mode::Kva => kva::SUPPORTED,
                }
        }
    }

    fn raw_mode(&self, mode: Mode) -> *mut bindings::iommu_dma_pasid {
        // SAFETY: By the type invariant; the place is one of the array's.
        unsafe { &raw mut (*self.raw).dma_pasids[mode as usize] }
    }

    fn modes(&self) -> Modes {
        Modes {
            slots: Mode::ALL.map(|mode| {
                // SAFETY: By the type invariant; group->mutex is held.
                let raw = unsafe { &*self.raw_mode(mode) };

                Slot {
                    pasid: raw.pasid,
                    count: raw.count,
                }
            }),
        }
    }

    fn domain(&self, mode: Mode) -> *mut bindings::iommu_domain {
        // SAFETY: By the type invariant; group->mutex is held.
        unsafe { (*self.raw_mode(mode)).domain }
    }

    fn set_slot(&self, mode: Mode, slot: Slot, domain: *mut bindings::iommu_domain, _held: &Held) {
        let Slot { pasid, count } = slot;
        let new = bindings::iommu_dma_pasid {
            domain,
            pasid,
            count,
        };

        // SAFETY: By the type invariant; both locks are held.
        unsafe { *self.raw_mode(mode) = new };
    }

    /// Takes a step of a device in a mode, which has that domain then.
    fn step(
        &self,
        member: &Member,
        mode: Mode,
        step: Step,
        domain: *mut bindings::iommu_domain,
        held: &Held,
    ) {
        self.set_slot(mode, step.group.slot(mode), domain, held);
        member.set_part(mode, step.part, held);
    }

    /// The group's member, unless no IOMMU serves it or it is about to go.
    ///
    /// # Safety
    ///
    /// `dev` must be valid.
    unsafe fn served(&self, dev: *const bindings::device) -> Result<&Member, Refusal> {
        // SAFETY: By the safety requirements.
        if !unsafe { self.serves(dev) } {
            return Err(Refusal::NoIommu);
        }
        self.member(dev)
            .filter(|member| !member.is_leaving())
            .ok_or(Refusal::NoIommu)
    }

    /// Decides about a device and counts; says how to attach the mode if nobody had it.
    fn enable(&self, member: &Member, mode: Mode, held: &Held) -> Result<Option<Plan>, Refusal> {
        let seen = Surroundings {
            // SAFETY: The member is of a group that is served.
            supported: unsafe { self.supports(member, mode) },
            owner: self.ownership().owner == Owner::DmaApi && member.claims() != 0,
            trusted: self.is_trusted(),
            unsettled: self.any_in_reset() || !self.is_complete(),
        };

        let enable = self
            .modes()
            .enable(mode, member.part(mode), seen, new_id())?;
        let (step, plan) = match enable {
            Enable::Share(step) => (step, None),
            Enable::Attach(step, which) => (
                step,
                Some(Plan {
                    which,
                    last: self.last_pasid(),
                    trust: self.trust(),
                }),
            ),
        };
        self.step(member, mode, step, self.domain(mode), held);
        Ok(plan)
    }

    /// The IOMMU cannot tell the devices of a group apart, so each must be trusted.
    fn is_trusted(&self) -> bool {
        self.members().all(Member::is_trusted)
    }

    /// What the devices are trusted with where kernel virtual addresses are concerned.
    fn trust(&self) -> kva::Trust {
        match self.is_trusted() {
            false => kva::Trust::WholePages,
            true if self.shares_kernel_table() => kva::Trust::KernelTable,
            true => kva::Trust::Buffers,
        }
    }

    /// The devices that have PASIDs.
    fn users(&self) -> impl Iterator<Item = &Member> {
        self.members()
            .filter(|member| member.max_pasids().is_some())
    }

    /// Whether the IOMMU driver is done with all of them. It attaches a PASID as it finds the
    /// device: without ATS, if that is switched on after.
    fn is_complete(&self) -> bool {
        self.users().all(Member::is_ready)
    }

    /// Whether all of them can walk the kernel's own page table.
    fn shares_kernel_table(&self) -> bool {
        // SAFETY: A device stays valid as long as it is in a group.
        self.users()
            .all(|member| unsafe { hw::shares_kernel_table(member.dev()) })
    }

    /// The last PASID that every device that has PASIDs can use.
    fn last_pasid(&self) -> u32 {
        let max = self.members().filter_map(Member::max_pasids).min();

        max.map_or(0, |max| max - 1)
    }
}

/// How to attach a mode. It holds as long as the mode is counted.
struct Plan {
    which: Which,
    /// The last PASID that there is for the group.
    last: u32,
    trust: kva::Trust,
}

/// A PASID for a mode, given back when it is dropped.
///
/// # Invariants
///
/// It is [`KERNEL`], or allocated and this object's.
struct Pasid(u32);

impl Pasid {
    fn new(which: Which, last: u32) -> Result<Self> {
        match which {
            // INVARIANT: By the arm.
            Which::Kernel if KERNEL <= last => Ok(Self(KERNEL)),
            Which::Kernel => Err(ENOSPC),
            Which::Allocated => {
                // SAFETY: The set is a static object of C.
                let pasid = unsafe {
                    bindings::ioasid_alloc(
                        &raw mut bindings::iommu_dma_pasids,
                        KERNEL + 1,
                        last,
                        ptr::null_mut(),
                    )
                };

                if pasid == bindings::ioasid_t::MAX {
                    return Err(ENOSPC);
                }
                // INVARIANT: It was allocated.
                Ok(Self(pasid))
            }
        }
    }

    /// # Safety
    ///
    /// The PASID must be as in the type's invariants.
    unsafe fn from_raw(pasid: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self(pasid)
    }

    fn into_raw(self) -> u32 {
        let Self(pasid) = self;
        core::mem::forget(self);
        pasid
    }
}

impl Drop for Pasid {
    fn drop(&mut self) {
        if self.0 != KERNEL {
            // SAFETY: By the type invariant.
            unsafe { bindings::ioasid_free(self.0) };
        }
    }
}

/// What a mode is attached to.
enum Domain {
    /// Of the IOMMU driver or the group.
    Shared(*mut bindings::iommu_domain),
    /// The mode's own.
    Kva(kva::Domain),
}

impl Domain {
    /// # Safety
    ///
    /// `dev` must be a device of `group`, which supports the mode; its driver keeps it there.
    unsafe fn new(
        dev: *mut bindings::device,
        group: *mut bindings::iommu_group,
        mode: Mode,
        trust: kva::Trust,
    ) -> Result<Self> {
        Ok(match mode {
            // SAFETY: By the safety requirements.
            Mode::Bypass => Self::Shared(unsafe { bindings::iommu_dma_pasid_identity(dev) }),
            // SAFETY: By the safety requirements; it stays while a driver uses the DMA API.
            Mode::Iova => Self::Shared(unsafe { (*group).default_domain }),
            // SAFETY: By the safety requirements.
            Mode::Kva => Self::Kva(unsafe { kva::Domain::new(dev, trust) }?),
        })
    }

    fn raw(&self) -> *mut bindings::iommu_domain {
        match self {
            Self::Shared(domain) => *domain,
            Self::Kva(domain) => domain.raw(),
        }
    }
}

/// Gives a mode that is counted for `dev` alone a PASID, and attaches it; or else takes away
/// what was counted.
///
/// # Safety
///
/// As for [`Domain::new`].
unsafe fn attach(
    dev: *mut bindings::device,
    raw: *mut bindings::iommu_group,
    mode: Mode,
    plan: Plan,
    held: &Held,
) -> Result {
    let attach = || -> Result<(Pasid, Domain)> {
        let pasid = Pasid::new(plan.which, plan.last)?;
        // SAFETY: By the safety requirements.
        let domain = unsafe { Domain::new(dev, raw, mode, plan.trust) }?;
        // SAFETY: By the safety requirements. The domain stays until it is detached.
        to_result(unsafe {
            bindings::iommu_attach_device_pasid(domain.raw(), dev, pasid.0, ptr::null_mut())
        })?;
        Ok((pasid, domain))
    };
    let leave = |group: Group<'_>| {
        let Some(member) = group.member(dev) else {
            return;
        };
        if let Some(step) = group.modes().disable(mode, member.part(mode), 1) {
            group.step(member, mode, step, ptr::null_mut(), held);
        }
    };
    // SAFETY: By the safety requirements.
    let (pasid, domain) = attach().inspect_err(|_| unsafe { Group::locked(raw, leave) })?;
    let enter = |group: Group<'_>| {
        let slot = group.modes().enter(mode, pasid.0).slot(mode);
        group.set_slot(mode, slot, domain.raw(), held);
    };
    // SAFETY: As above.
    unsafe { Group::locked(raw, enter) };

    // Whoever detaches gives them back.
    pasid.into_raw();
    if let Domain::Kva(domain) = domain {
        domain.into_raw();
    }
    Ok(())
}

/// Takes away `n` uses of a device's part in a mode, if it is the part with that ID, and says
/// whether the mode was detached.
///
/// # Safety
///
/// `raw` must be valid. `dev` may be gone unless it is in that group.
unsafe fn disable(
    dev: *mut bindings::device,
    raw: *mut bindings::iommu_group,
    mode: Mode,
    n: u32,
    id: Option<u64>,
    held: &Held,
) -> Result<bool> {
    let take = |group: Group<'_>| -> Result<Option<_>> {
        let member = group.member(dev).ok_or(EINVAL)?;
        let modes = group.modes();
        let (domain, Slot { pasid, .. }) = (group.domain(mode), modes.slot(mode));
        let part = member.part(mode);
        let part = id.map_or(part, |id| part.of(id));
        let step = modes.disable(mode, part, n).ok_or(EINVAL)?;
        let count = step.group.slot(mode).count;

        // SAFETY: The device is in the group, hence valid.
        unsafe { trace::iommu_dma_pasid_disable(group.id(), dev, mode as u32, pasid, count) };
        if count != 0 {
            group.step(member, mode, step, domain, held);
            return Ok(None);
        }
        Ok(Some((domain, pasid, step)))
    };
    // SAFETY: By the safety requirements.
    let Some((domain, pasid, step)) = (unsafe { Group::locked(raw, take) })? else {
        return Ok(false);
    };

    let leave = |group: Group<'_>| {
        if let Some(member) = group.member(dev) {
            group.step(member, mode, step, ptr::null_mut(), held);
        }
    };
    // SAFETY: The group is valid, and the device has a part, so it stays in it as long as the
    // mutex is held. The domain is attached to the PASID, as the mode had users; nobody knows
    // either any more after that, so they are given back.
    unsafe {
        bindings::iommu_detach_device_pasid(domain, dev, pasid);
        Group::locked(raw, leave);
        drop(Pasid::from_raw(pasid));
        if mode == Mode::Kva {
            drop(kva::Domain::from_raw(domain));
        }
    }
    Ok(true)
}

/// Disables all that a device holds and ought to have disabled.
///
/// # Safety
///
/// Both must be valid.
pub(crate) unsafe fn disable_forgotten(
    dev: *mut bindings::device,
    raw: *mut bindings::iommu_group,
    held: &Held,
) {
    for mode in Mode::ALL {
        let count = |group: Group<'_>| group.member(dev).map_or(0, |it| it.part(mode).count);
        // SAFETY: By the safety requirements.
        let count = unsafe { Group::locked(raw, count) };
        if count == 0 {
            continue;
        }
        // SAFETY: By the safety requirements.
        let name = unsafe { <Device>::from_raw(dev) }.name();
        warn_once!("{name}: DMA with PASID was not disabled: {mode:?}\n");
        // SAFETY: By the safety requirements.
        let _ = unsafe { disable(dev, raw, mode, count, None, held) };
    }
}

/// A device is about to leave its group.
///
/// # Safety
///
/// `dev` must be valid, be in a group, and stay there during the call.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_remove_device(dev: *mut bindings::device) {
    // SAFETY: `dev` is valid.
    let raw = unsafe { (*dev).iommu_group };
    let leave = |group: Group<'_>| {
        group.member(dev).is_some_and(|member| {
            member.set_leaving();
            member.has_pasids()
        })
    };

    // SAFETY: By the safety requirements.
    unsafe {
        if Group::locked(raw, leave) {
            disable_forgotten(dev, raw, &lock());
        }
    }
}

/// A device joins a group, unless PASIDs of the kernel are in use there, and it has PASIDs itself
/// or is trusted less. Nobody attaches it to PASIDs that are in use: beside those of others it has
/// none.
///
/// # Safety
///
/// Both must be valid, an IOMMU serve `dev`, the group's mutex be held, and no driver be bound that
/// knows of the group.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_join(
    group: *mut bindings::iommu_group,
    dev: *mut bindings::device,
) -> c_int {
    // SAFETY: By the safety requirements.
    let (group, max_pasids) = unsafe { (Group::held(group), &mut (*(*dev).iommu).max_pasids) };
    let lowers_trust = || {
        let mut others = group.members().filter(|member| !ptr::eq(member.dev(), dev));

        // SAFETY: By the safety requirements.
        !unsafe { bindings::iommu_dma_pasid_trusts(dev) } && others.all(Member::is_trusted)
    };

    if group.modes().is_live() && (*max_pasids != 0 || lowers_trust()) {
        return EBUSY.to_errno();
    }
    if group.uses_pasids() {
        *max_pasids = 0;
    }
    0
}

/// The IOMMU driver has switched on what a device needs that has joined its group.
///
/// # Safety
///
/// `dev` must be valid.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_device_ready(dev: *mut bindings::device) {
    let ready = |group: Group<'_>| {
        if let Some(member) = group.member(dev) {
            member.set_ready();
        }
    };

    // SAFETY: By the safety requirements; the group is kept valid by the reference.
    unsafe {
        let group = bindings::iommu_group_get(dev);

        if !group.is_null() {
            Group::locked(group, ready);
            bindings::iommu_group_put(group);
        }
    }
}

/// What was enabled.
struct Enabled {
    group: *mut bindings::iommu_group,
    slot: Slot,
    domain: *mut bindings::iommu_domain,
    /// Of the device's part.
    id: u64,
}

/// Enables a mode for a device, and tells of it.
///
/// # Safety
///
/// `dev` must be valid, and a driver be bound to it.
unsafe fn enable(
    dev: *mut bindings::device,
    mode: bindings::iommu_dma_pasid_mode,
    has_pointer: bool,
    held: &Held,
) -> Result<Enabled> {
    let mut id = -1;
    let mut enable = || {
        let mode = Mode::new(mode, has_pointer)?;
        // SAFETY: `dev` is valid.
        let raw = unsafe { (*dev).iommu_group };
        if raw.is_null() {
            return Err(Refusal::NoIommu.into());
        }
        let ask = |group: Group<'_>| {
            id = group.id();
            // SAFETY: `dev` is valid.
            let member = unsafe { group.served(dev) }?;
            group.enable(member, mode, held)
        };
        // SAFETY: A device's group is valid, and the device's driver keeps it there; here and
        // below.
        if let Some(plan) = unsafe { Group::locked(raw, ask) }? {
            // SAFETY: As above, and the mode is supported.
            unsafe { attach(dev, raw, mode, plan, held) }?;
        }

        let enabled = |group: Group<'_>| Enabled {
            group: raw,
            slot: group.modes().slot(mode),
            domain: group.domain(mode),
            id: group.member(dev).map_or(0, |member| member.part(mode).id),
        };
        // SAFETY: As above.
        Ok::<_, Error>(unsafe { Group::locked(raw, enabled) })
    };

    let result = enable();
    // SAFETY: `dev` is valid.
    unsafe {
        match &result {
            Ok(Enabled { slot, .. }) => {
                trace::iommu_dma_pasid_enable(id, dev, mode, slot.pasid, slot.count)
            }
            Err(error) => trace::iommu_dma_pasid_refuse(id, dev, mode, error.to_errno()),
        }
    }
    result
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_enable(
    dev: *mut bindings::device,
    domain: *mut *mut bindings::iommu_domain,
    mode: bindings::iommu_dma_pasid_mode,
) -> c_int {
    // The caller's pointer, which others may use, too, says what the state does.
    let held = lock();

    // SAFETY: By the safety requirements.
    match unsafe { enable(dev, mode, !domain.is_null(), &held) } {
        Ok(enabled) => {
            if !domain.is_null() {
                // SAFETY: By the safety requirements there is room for it.
                unsafe { *domain = enabled.domain };
            }
            enabled.slot.pasid as c_int
        }
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_disable(
    dev: *mut bindings::device,
    domain: *mut *mut bindings::iommu_domain,
    mode: bindings::iommu_dma_pasid_mode,
) -> c_int {
    let disable = || {
        let mode = Mode::from_raw(mode).ok_or(EINVAL)?;
        // SAFETY: `dev` is valid.
        let raw = unsafe { (*dev).iommu_group };
        if raw.is_null() {
            return Err(EINVAL);
        }

        // As for enabling.
        let held = lock();

        // SAFETY: A device's group is valid, and the device's driver keeps it there.
        let detached = unsafe { disable(dev, raw, mode, 1, None, &held) }?;
        if detached && !domain.is_null() {
            // SAFETY: By the safety requirements, unless it is NULL, there is room for it.
            unsafe { *domain = ptr::null_mut() };
        }
        Ok(())
    };

    errno(disable())
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_take(
    dev: *mut bindings::device,
    hold: *mut bindings::iommu_dma_pasid_hold,
    mode: bindings::iommu_dma_pasid_mode,
) -> c_int {
    // SAFETY: By the safety requirements; there is room for what is got.
    unsafe {
        match enable(dev, mode, true, &lock()) {
            Ok(enabled) => {
                *hold = bindings::iommu_dma_pasid_hold {
                    group: bindings::iommu_group_ref_get(enabled.group),
                    dev,
                    id: enabled.id,
                    mode,
                };
                enabled.slot.pasid as c_int
            }
            Err(error) => error.to_errno(),
        }
    }
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_release(hold: *mut bindings::iommu_dma_pasid_hold) {
    // SAFETY: By the safety requirements the hold was got, so it has a reference to the group,
    // which goes with it.
    unsafe {
        let bindings::iommu_dma_pasid_hold {
            group,
            dev,
            id,
            mode,
        } = *hold;

        if let Some(mode) = Mode::from_raw(mode) {
            // What the core has disabled is over.
            let _ = disable(dev, group, mode, 1, Some(id), &lock());
        }
        bindings::iommu_group_put(group);
    }
}

/// The domain of a hold, NULL if its part is over. It stays as long as the mutex is held.
///
/// # Safety
///
/// `hold` must be valid, and not have been released.
unsafe fn domain_of(
    hold: *const bindings::iommu_dma_pasid_hold,
    _held: &Held,
) -> *mut bindings::iommu_domain {
    // SAFETY: By the safety requirements.
    let hold = unsafe { &*hold };
    let Some(mode) = Mode::from_raw(hold.mode) else {
        return ptr::null_mut();
    };

    let domain = |group: Group<'_>| match group.member(hold.dev) {
        Some(member) if member.part(mode).is(hold.id) => group.domain(mode),
        _ => ptr::null_mut(),
    };
    // SAFETY: The hold has a reference to the group.
    unsafe { Group::locked(hold.group, domain) }
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_map_kva(
    hold: *const bindings::iommu_dma_pasid_hold,
    cpu_addr: *mut c_void,
    size: usize,
    prot: c_int,
) -> c_int {
    let held = lock();
    // SAFETY: By the safety requirements.
    let domain = unsafe { domain_of(hold, &held) };
    if domain.is_null() {
        return ENODEV.to_errno();
    }
    // SAFETY: By the safety requirements; the domain stays.
    unsafe { kva::iommu_map_kva(domain, cpu_addr, size, prot) }
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_unmap_kva(
    hold: *const bindings::iommu_dma_pasid_hold,
    cpu_addr: *mut c_void,
    size: usize,
) -> c_int {
    let held = lock();
    // SAFETY: By the safety requirements.
    let domain = unsafe { domain_of(hold, &held) };
    if domain.is_null() {
        return ENODEV.to_errno();
    }
    // SAFETY: By the safety requirements; the domain stays.
    unsafe { kva::iommu_unmap_kva(domain, cpu_addr, size) }
}

/// Shows all kernel PASIDs in debugfs.
///
/// # Safety
///
/// As for the show function of a seq_file.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_show(
    m: *mut bindings::seq_file,
    _unused: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let m = unsafe { SeqFile::from_raw(m) };
    // No KVA domain is freed meanwhile.
    let _held = lock();
    let mut next = ptr::null_mut();

    loop {
        // SAFETY: `next` is NULL, or a group with the reference that came with it.
        next = unsafe { bindings::iommu_group_next(next) };
        if next.is_null() {
            return 0;
        }
        // SAFETY: The reference keeps the group valid.
        unsafe { Group::locked(next, |group| group.show_pasids(m)) };
    }
}

impl Group<'_> {
    fn show_pasids(&self, m: &SeqFile) {
        for member in self.members() {
            for mode in Mode::ALL {
                self.show_pasid(m, member, mode);
            }
        }
    }

    fn show_pasid(&self, m: &SeqFile, member: &Member, mode: Mode) {
        let users = member.part(mode).count;
        if users == 0 {
            return;
        }
        // SAFETY: A device stays valid as long as it is in a group.
        let name = unsafe { <Device>::from_raw(member.dev()) }.name();
        let pasid = self.modes().slot(mode).pasid;

        seq_print!(m, "device {name} pasid {pasid} mode ");
        match mode {
            Mode::Bypass => seq_print!(m, "bypass count {users}\n"),
            Mode::Iova => seq_print!(m, "iova count {users}\n"),
            Mode::Kva => {
                // SAFETY: The PASID-DMA mutex keeps the domain of a mode that has users.
                let (fast, pages) = unsafe { kva::state(self.domain(mode)) };
                let how = if fast { "fast" } else { "strict" };

                seq_print!(m, "kva {how} count {users} pages {pages}\n");
            }
        }
    }
}
