// SPDX-License-Identifier: GPL-2.0

//! DMA ownership of IOMMU groups.
//!
//! [`logic::dma_owner`](crate::logic::dma_owner) decides; this file asks it with
//! the group's mutex held, carries the decision out and keeps the state, which
//! lives in `struct iommu_group` and `struct group_device`.
//!
//! # Locking
//!
//! The order is device_lock, the PASID-DMA mutex (see [`dma_pasid`]), group->mutex, the
//! locks of IOMMU drivers, xa_lock. The entry points below take group->mutex, except those
//! that iommu.c calls with it held. A claim or a release may attach the group to another
//! domain, hence call the IOMMU driver, but only through iommu.c: what has to be known about
//! a device that is being reset is known there.
//!
//! `dev->iommu_group` does not change while a driver is bound. So whoever claims
//! and releases is that driver, or the bus that binds it, which may do so while the
//! core adds the device to its group: `dev->iommu_group` is set before the device is
//! in the group's list. Both that list and what takes a device out of it are under
//! group->mutex, and so is `dev->iommu` as long as `dev->iommu_group` is this group:
//! all of it is looked at again under the mutex.

use crate::{
    dma_pasid,
    logic::dma_owner::{
        Claim,
        Effect,
        Group as Ownership,
        Owner,
        Refusal,
        Say,
        Step,
        Surroundings, //
    },
    trace,
    warn_once, //
};
use core::{
    marker::PhantomData,
    num::NonZeroUsize,
    ptr, //
};
use kernel::{
    bindings,
    device::Device,
    error::to_result,
    interop::list::clist_create,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Mutex,
    types::Opaque, //
};

/// The errors that callers know, except for what depends on who they are.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::BadArgument => EINVAL,
            Refusal::NoIommu => ENODEV,
            Refusal::Overflow => EOVERFLOW,
            Refusal::NoDefaultDomain | Refusal::InReset | Refusal::Owned | Refusal::Attached => {
                EBUSY
            }
        }
    }
}

/// A device in a group whose mutex is held.
///
/// # Invariants
///
/// Refers to an initialized `struct group_device` in the list of such a group.
#[repr(transparent)]
pub(crate) struct Member(pub(crate) Opaque<bindings::group_device>);

impl Member {
    pub(crate) fn dev(&self) -> *mut bindings::device {
        // SAFETY: By the type invariant; `dev` is never changed.
        unsafe { (*self.0.get()).dev }
    }

    pub(crate) fn claims(&self) -> u32 {
        // SAFETY: By the type invariant; the group's mutex protects the field.
        unsafe { (*self.0.get()).dma_claims }
    }

    fn set_claims(&self, claims: u32) {
        // SAFETY: As in `claims`.
        unsafe { (*self.0.get()).dma_claims = claims };
    }

    fn in_reset(&self) -> bool {
        // SAFETY: As in `claims`.
        unsafe { (*self.0.get()).blocked }
    }
}

/// A group whose mutex is held.
///
/// # Invariants
///
/// `raw` points to a valid `struct iommu_group` whose mutex is held for `'a`.
pub(crate) struct Group<'a> {
    pub(crate) raw: *mut bindings::iommu_group,
    _held: PhantomData<&'a ()>,
}

impl<'a> Group<'a> {
    /// # Safety
    ///
    /// `raw` must point to a valid `struct iommu_group` whose mutex is held for `'a`.
    pub(crate) unsafe fn held(raw: *mut bindings::iommu_group) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            raw,
            _held: PhantomData,
        }
    }

    /// Takes the mutex for `f`.
    ///
    /// # Safety
    ///
    /// `raw` must point to a `struct iommu_group` that is valid during the call.
    pub(crate) unsafe fn locked<R>(
        raw: *mut bindings::iommu_group,
        f: impl FnOnce(Group<'_>) -> R,
    ) -> R {
        // SAFETY: A valid group's mutex is initialized.
        let mutex = unsafe { Mutex::from_raw(&raw mut (*raw).mutex) };
        let _guard = mutex.lock();

        // SAFETY: By the safety requirements, and the guard lives until `f` is done.
        f(unsafe { Group::held(raw) })
    }

    pub(crate) fn id(&self) -> i32 {
        // SAFETY: By the type invariant; `id` is never changed.
        unsafe { (*self.raw).id }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        // SAFETY: By the type invariant the list is initialized, it links instances of
        // `struct group_device`, which `Member` wraps, and the mutex protects it.
        let list = unsafe {
            clist_create!(
                &raw mut (*self.raw).devices,
                Member,
                bindings::group_device,
                list
            )
        };
        list.iter()
    }

    pub(crate) fn member(&self, dev: *const bindings::device) -> Option<&Member> {
        self.members().find(|member| ptr::eq(member.dev(), dev))
    }

    /// Whether a device belongs to the group and an IOMMU serves it: VFIO makes groups
    /// without one.
    ///
    /// It may be no member yet: the core sets `dev->iommu_group` first.
    ///
    /// # Safety
    ///
    /// `dev` must be valid.
    pub(crate) unsafe fn serves(&self, dev: *const bindings::device) -> bool {
        // SAFETY: `dev` is valid. While it belongs to the group, what its `iommu` points to
        // is freed only with the mutex held.
        unsafe {
            ptr::eq((*dev).iommu_group, self.raw)
                && !(*dev).iommu.is_null()
                && !(*(*dev).iommu).iommu_dev.is_null()
        }
    }

    pub(crate) fn ownership(&self) -> Ownership {
        // SAFETY: By the type invariant; the mutex protects the state.
        let state = unsafe { &(*self.raw).dma_owner };

        Ownership {
            owner: Owner::from_raw(state.owner).unwrap_or(Owner::None),
            cookie: NonZeroUsize::new(state.cookie.addr()),
            count: state.count,
            whole: state.whole,
        }
    }

    fn set_ownership(&self, ownership: Ownership) {
        let state = bindings::iommu_dma_ownership {
            owner: ownership.owner as u32,
            cookie: ptr::without_provenance_mut(ownership.cookie.map_or(0, NonZeroUsize::get)),
            count: ownership.count,
            whole: ownership.whole,
        };

        // SAFETY: As in `ownership`.
        unsafe { (*self.raw).dma_owner = state };
    }

    /// Whether [`Self::uses_pasids`], or the group's own domain was attached with a handle, which
    /// is kept with those of PASIDs.
    fn has_pasids(&self) -> bool {
        // SAFETY: By the type invariant; PASIDs are attached and detached under the
        // mutex. An XArray without a head is empty.
        unsafe { !(*self.raw).pasid_array.xa_head.is_null() }
    }

    /// Whether anything is attached to a PASID: for a mode, a process, or by userspace.
    pub(crate) fn uses_pasids(&self) -> bool {
        let mut pasid = bindings::IOMMU_NO_PASID as c_ulong + 1;

        // SAFETY: By the type invariant; group->mutex is held.
        !unsafe {
            bindings::xa_find(
                &raw mut (*self.raw).pasid_array,
                &mut pasid,
                c_ulong::MAX,
                bindings::XA_PRESENT,
            )
        }
        .is_null()
    }

    fn seen(&self, in_reset: bool) -> Surroundings {
        // SAFETY: By the type invariant; the mutex protects the domains.
        let (default, now) = unsafe { ((*self.raw).default_domain, (*self.raw).domain) };

        Surroundings {
            default_domain: !default.is_null(),
            at_default: now == default && !self.has_pasids(),
            in_reset,
        }
    }

    pub(crate) fn any_in_reset(&self) -> bool {
        // SAFETY: By the type invariant; the mutex protects the count.
        unsafe { (*self.raw).recovery_cnt != 0 }
    }

    /// Does what a step asks for, then takes it.
    fn take(&self, member: Option<&Member>, step: Step) -> Result {
        match step.effect {
            Effect::Keep => {}
            // SAFETY: By the type invariant.
            Effect::Block => to_result(unsafe { bindings::iommu_group_block_dma(self.raw) })?,
            // SAFETY: By the type invariant.
            Effect::Restore => unsafe { bindings::iommu_group_restore_dma(self.raw) },
        }

        if let Some(member) = member {
            member.set_claims(step.claims);
        }
        self.set_ownership(step.group);
        Ok(())
    }

    fn claim(&self, member: Option<&Member>, step: Step) -> Result {
        self.take(member, step)?;

        let Ownership { owner, count, .. } = step.group;
        // SAFETY: The device of a member is valid.
        unsafe { trace::iommu_dma_owner_claim(self.id(), dev_of(member), owner as u32, count) };
        Ok(())
    }

    fn claim_whole(&self, cookie: usize) -> Result {
        let claim = Claim::new(Owner::PrivateDomainUser as u32, cookie)?;
        // SAFETY: The device of a member is valid.
        let serves = |member: &Member| unsafe { self.serves(member.dev()) };
        if !self.members().next().is_some_and(serves) {
            return Ok(claim.without_iommu()?);
        }

        let seen = self.seen(self.any_in_reset());
        match self.ownership().claim_whole(claim, seen) {
            Ok(step) => self.claim(None, step),
            // What VFIO has always been told.
            Err(Refusal::Owned) => Err(EPERM),
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn release(&self, member: Option<&Member>, step: Step) {
        if step.group.count == 0 && self.has_pasids() {
            warn_once!("DMA ownership released with PASIDs attached\n");
        }
        self.give_up(member, step);
    }

    /// Takes a step that takes claims away, which does not fail.
    fn give_up(&self, member: Option<&Member>, step: Step) {
        let owner = self.ownership().owner;
        let _ = self.take(member, step);

        let count = step.group.count;
        // SAFETY: The device of a member is valid.
        unsafe { trace::iommu_dma_owner_release(self.id(), dev_of(member), owner as u32, count) };
    }
}

/// The device of a member, NULL if the group as a whole is meant.
fn dev_of(member: Option<&Member>) -> *mut bindings::device {
    member.map_or(ptr::null_mut(), Member::dev)
}

/// Claims the group of `dev`; without a default domain the answer is `not_ready`.
///
/// # Safety
///
/// `dev` must be valid, and a driver be bound to it or about to be.
unsafe fn claim(
    dev: *mut bindings::device,
    owner: bindings::iommu_dma_owner,
    cookie: *mut c_void,
    not_ready: Error,
) -> Result {
    // SAFETY: `dev` is valid.
    let group = unsafe { (*dev).iommu_group };
    let id = if group.is_null() {
        -1
    } else {
        // SAFETY: A device's group is valid, and the device's driver keeps it there.
        unsafe { (*group).id }
    };

    let claim = || {
        let claim = Claim::new(owner, cookie.addr())?;
        if group.is_null() {
            return Ok(claim.without_iommu()?);
        }

        let claim = |group: Group<'_>| {
            // SAFETY: `dev` is valid.
            if !unsafe { group.serves(dev) } {
                return Ok(claim.without_iommu()?);
            }
            // On its way into the group: for this device there is no default domain yet.
            let Some(member) = group.member(dev) else {
                return Err(not_ready);
            };
            let seen = group.seen(member.in_reset());

            match group.ownership().claim(member.claims(), claim, seen) {
                Ok(step) => group.claim(Some(member), step),
                Err(Refusal::NoDefaultDomain) => Err(not_ready),
                Err(refusal) => Err(refusal.into()),
            }
        };
        // SAFETY: As above.
        unsafe { Group::locked(group, claim) }
    };

    claim().inspect_err(|error| {
        // SAFETY: `dev` is valid.
        unsafe { trace::iommu_dma_owner_refuse(id, dev, owner, error.to_errno()) }
    })
}

/// Releases a claim of `dev`; `unbinding` says that it is the bus's, whose driver is gone.
///
/// # Safety
///
/// `dev` must be valid, and a driver be bound to it or have been until now.
unsafe fn release(dev: *mut bindings::device, owner: bindings::iommu_dma_owner, unbinding: bool) {
    if matches!(Owner::from_raw(owner), None | Some(Owner::None)) {
        warn_once!("DMA ownership released for owner {owner}\n");
        return;
    }

    // SAFETY: `dev` is valid.
    let group = unsafe { (*dev).iommu_group };
    if group.is_null() {
        return;
    }

    // With the driver, or the last claim, DMA with PASIDs ends: in one section either there is
    // none any more, and the claim goes, or it stays. Who enables needs the claim, and the mutex
    // that is held below, so none can begin after.
    let release = |group: Group<'_>| {
        // SAFETY: `dev` is valid.
        if !unsafe { group.serves(dev) } {
            return true;
        }

        let member = group.member(dev);
        let claims = member.map_or(0, Member::claims);
        let is_last = unbinding || claims <= 1;
        if owner == Owner::DmaApi as u32 && is_last && member.is_some_and(Member::has_pasids) {
            return false;
        }
        match group.ownership().release(claims, owner) {
            Some(step) => group.release(member, step),
            None => warn_once!("DMA ownership released that is not held\n"),
        }
        true
    };
    // SAFETY: A device's group is valid, and the device's driver keeps it there; here and below.
    if unsafe { Group::locked(group, release) } {
        return;
    }
    let held = dma_pasid::lock();
    // SAFETY: As above.
    unsafe {
        dma_pasid::disable_forgotten(dev, group, &held);
        Group::locked(group, release);
    }
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_device_set_dma_owner(
    dev: *mut bindings::device,
    owner: bindings::iommu_dma_owner,
    cookie: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    errno(unsafe { claim(dev, owner, cookie, EBUSY) })
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_device_release_dma_owner(
    dev: *mut bindings::device,
    owner: bindings::iommu_dma_owner,
) {
    // SAFETY: By the safety requirements.
    unsafe { release(dev, owner, false) };
}

/// A bus is about to bind a driver.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_device_use_default_domain(dev: *mut bindings::device) -> c_int {
    // SAFETY: By the safety requirements.
    errno(unsafe {
        claim(
            dev,
            bindings::iommu_dma_owner_DMA_OWNER_DMA_API,
            ptr::null_mut(),
            EPROBE_DEFER,
        )
    })
}

/// A bus has unbound a driver.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_device_unuse_default_domain(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { release(dev, bindings::iommu_dma_owner_DMA_OWNER_DMA_API, true) };
}

/// VFIO claims a whole group.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_group_claim_dma_owner(
    group: *mut bindings::iommu_group,
    owner: *mut c_void,
) -> c_int {
    let claim = |group: Group<'_>| {
        let result = group.claim_whole(owner.addr());

        result.inspect_err(|error| {
            let user = Owner::PrivateDomainUser as u32;

            // SAFETY: There is no device.
            unsafe {
                trace::iommu_dma_owner_refuse(group.id(), dev_of(None), user, error.to_errno())
            }
        })
    };
    // SAFETY: By the safety requirements the group is valid.
    errno(unsafe { Group::locked(group, claim) })
}

/// VFIO releases a whole group.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_group_release_dma_owner(group: *mut bindings::iommu_group) {
    let release = |group: Group<'_>| match group.ownership().release_whole() {
        Some(step) => group.release(None, step),
        None => warn_once!("DMA ownership of a group released that is not held\n"),
    };
    // SAFETY: By the safety requirements the group is valid.
    unsafe { Group::locked(group, release) };
}

/// Whether anybody owns a group; it may have changed when this returns.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_group_dma_owner_claimed(group: *mut bindings::iommu_group) -> bool {
    // SAFETY: By the safety requirements the group is valid.
    unsafe { Group::locked(group, |group| group.ownership().owner != Owner::None) }
}

/// Whether a group is not for this owner of userspace because it has another one; it may have
/// changed when this returns.
///
/// # Safety
///
/// `group` must be valid.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_is_other(
    group: *mut bindings::iommu_group,
    cookie: *mut c_void,
) -> bool {
    let Ok(claim) = Claim::new(Owner::PrivateDomainUser as u32, cookie.addr()) else {
        return false;
    };

    // SAFETY: By the safety requirements.
    unsafe { Group::locked(group, |group| group.ownership().is_other(claim)) }
}

/// What a group is attached to when its own domain is detached.
///
/// # Safety
///
/// `group` must be valid, and its mutex be held.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_core_domain(
    group: *mut bindings::iommu_group,
) -> *mut bindings::iommu_domain {
    // SAFETY: By the safety requirements.
    let blocks = unsafe { Group::held(group) }.ownership().blocks();

    // SAFETY: By the safety requirements; the mutex protects the domains.
    unsafe {
        if blocks {
            (*group).blocking_domain
        } else {
            (*group).default_domain
        }
    }
}

/// Whether a device may attach its group, or detach it.
///
/// # Safety
///
/// `group` must be valid, and its mutex be held.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_may_attach(
    group: *mut bindings::iommu_group,
    dev: *mut bindings::device,
) -> c_int {
    // SAFETY: By the safety requirements.
    let group = unsafe { Group::held(group) };

    errno(match group.say(dev) {
        Say::Holder => Ok(()),
        Say::Outsider => Err(EPERM),
        // Without a holder only a device that is alone speaks for its group.
        Say::Free if group.members().count() == 1 => Ok(()),
        Say::Free => Err(EINVAL),
    })
}

/// Whether a device may attach PASIDs of its group.
///
/// # Safety
///
/// `group` must be valid, and its mutex be held.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_may_attach_pasid(
    group: *mut bindings::iommu_group,
    dev: *mut bindings::device,
) -> c_int {
    // SAFETY: By the safety requirements.
    errno(match unsafe { Group::held(group) }.say(dev) {
        Say::Holder | Say::Free => Ok(()),
        Say::Outsider => Err(EPERM),
    })
}

/// Whether a group may be attached by whoever has a pointer to it.
///
/// # Safety
///
/// `group` must be valid, and its mutex be held.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_may_attach_group(
    group: *mut bindings::iommu_group,
) -> c_int {
    // SAFETY: By the safety requirements.
    errno(match unsafe { Group::held(group) }.ownership().say(0) {
        Say::Holder | Say::Free => Ok(()),
        Say::Outsider => Err(EPERM),
    })
}

/// Whether anything is attached to a PASID of a group.
///
/// # Safety
///
/// `group` must be valid, and its mutex be held.
#[export]
pub unsafe extern "C" fn iommu_group_uses_pasids(group: *mut bindings::iommu_group) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { Group::held(group) }.uses_pasids()
}

/// Drops the claims of a device that leaves its group, while it is still in it: whatever is
/// attached in their place is attached to it too.
///
/// # Safety
///
/// `group` must be valid, its mutex be held, and `gdev` be in it.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_remove_device(
    group: *mut bindings::iommu_group,
    gdev: *mut bindings::group_device,
) {
    // SAFETY: By the safety requirements.
    let group = unsafe { Group::held(group) };
    // SAFETY: By the safety requirements; `Member` is a transparent wrapper.
    let member = unsafe { &*gdev.cast::<Member>() };

    if let Some(step) = group.ownership().remove(member.claims()) {
        warn_once!("device removed while it holds DMA ownership\n");
        group.give_up(Some(member), step);
    }
}

/// Shows all groups in debugfs.
///
/// # Safety
///
/// As for the show function of a seq_file.
#[export]
pub unsafe extern "C" fn iommu_dma_owner_show(
    m: *mut bindings::seq_file,
    _unused: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let m = unsafe { SeqFile::from_raw(m) };
    let mut next = ptr::null_mut();

    loop {
        // SAFETY: `next` is NULL, or a group with the reference that came with it.
        next = unsafe { bindings::iommu_group_next(next) };
        if next.is_null() {
            return 0;
        }
        // SAFETY: The reference keeps the group valid.
        unsafe { Group::locked(next, |group| group.show(m)) };
    }
}

impl Group<'_> {
    fn say(&self, dev: *const bindings::device) -> Say {
        let claims = self.member(dev).map_or(0, Member::claims);

        self.ownership().say(claims)
    }

    fn show(&self, m: &SeqFile) {
        let ownership = self.ownership();
        let owner = match ownership.owner {
            Owner::None => "none",
            Owner::DmaApi => "dma-api",
            Owner::PrivateDomain => "private-domain",
            Owner::PrivateDomainUser => "private-domain-user",
        };
        let id = self.id();
        let count = ownership.count;
        let whole = if ownership.whole { " whole" } else { "" };

        seq_print!(m, "group {id} owner {owner} count {count}{whole}\n");
        for member in self.members() {
            // SAFETY: A device stays valid as long as it is in a group.
            let name = unsafe { <Device>::from_raw(member.dev()) }.name();
            let claims = member.claims();

            seq_print!(m, "  device {name} count {claims}");
            if claims != 0 {
                // SAFETY: As above. A driver's claims are released under the group's
                // mutex before it goes; one that forgot them is named as in any message.
                let driver =
                    unsafe { CStr::from_char_ptr(bindings::dev_driver_string(member.dev())) };
                seq_print!(m, " claimant {driver}");
            }
            seq_print!(m, "\n");
        }
    }
}

pub(crate) fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}
