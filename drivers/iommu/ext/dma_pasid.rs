// SPDX-License-Identifier: GPL-2.0

//! DMA with PASID inside the kernel.
//!
//! [`logic::dma_pasid`](crate::logic::dma_pasid) decides; this file asks it, attaches
//! and detaches, and keeps the state, which lives in `struct iommu_group` and `struct
//! group_device`.
//!
//! # Locking
//!
//! The order is device_lock, iommu_sva_lock, the PASID-DMA mutex, a KVA domain's mutex,
//! group->mutex, the locks of IOMMU drivers, xa_lock.
//!
//! The PASID-DMA mutex is held from the first look at the state until a PASID is attached
//! or detached, which takes group->mutex in iommu.c. The state is written with both held,
//! so that a device that joins a group, which happens under group->mutex, sees whether
//! there are kernel PASIDs: a mode is entered before it is attached, and left after it was
//! detached. A KVA domain is freed under the PASID-DMA mutex.
//!
//! Who enables and disables is the driver that is bound to the device, or the core on its
//! behalf at unbind; see [`dma_owner`](crate::dma_owner).

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
        Mutex,
        MutexGuard, //
    },
};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::BadArgument => EINVAL,
            Refusal::NoIommu => ENODEV,
            Refusal::Unsupported => EOPNOTSUPP,
            Refusal::NotOwner | Refusal::Untrusted => EPERM,
            Refusal::InReset => EBUSY,
            Refusal::Overflow => EOVERFLOW,
        }
    }
}

/// The PASID-DMA mutex, held.
type Held = MutexGuard<'static, ()>;

fn lock() -> Held {
    // SAFETY: The mutex is a static object of C, which is initialized.
    unsafe { Mutex::from_raw(&raw mut bindings::iommu_dma_pasid_mutex) }.lock()
}

impl Member {
    fn users(&self, mode: Mode) -> u32 {
        // SAFETY: By the type invariant; whoever asks holds one of the locks.
        unsafe { (*self.0.get()).dma_pasid_users[mode as usize] }
    }

    fn set_users(&self, mode: Mode, users: u32, _held: &Held) {
        // SAFETY: By the type invariant; both locks are held.
        unsafe { (*self.0.get()).dma_pasid_users[mode as usize] = users };
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

/// What a device, and the IOMMU that serves its group, have to say about a mode.
///
/// # Safety
///
/// `dev` must be valid, and be in a group that an IOMMU serves.
unsafe fn supports(dev: *mut bindings::device, mode: Mode) -> bool {
    // SAFETY: By the safety requirements.
    unsafe {
        bindings::iommu_dma_pasid_on(dev)
            && match mode {
                Mode::Bypass => !bindings::iommu_dma_pasid_identity(dev).is_null(),
                Mode::Iova => true,
                Mode::Kva => kva::SUPPORTED,
            }
    }
}

impl Group<'_> {
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

    fn set_mode(
        &self,
        member: &Member,
        mode: Mode,
        step: Step,
        domain: *mut bindings::iommu_domain,
        held: &Held,
    ) {
        let Slot { pasid, count } = step.group.slot(mode);
        let new = bindings::iommu_dma_pasid {
            domain,
            pasid,
            count,
        };

        // SAFETY: By the type invariant; both locks are held.
        unsafe { *self.raw_mode(mode) = new };
        member.set_users(mode, step.users, held);
    }

    /// The group's member, unless no IOMMU serves it.
    ///
    /// # Safety
    ///
    /// `dev` must be valid.
    unsafe fn served(&self, dev: *const bindings::device) -> Result<&Member, Refusal> {
        // SAFETY: By the safety requirements.
        if !unsafe { self.serves(dev) } {
            return Err(Refusal::NoIommu);
        }
        self.member(dev).ok_or(Refusal::NoIommu)
    }

    /// Decides about a device; where the mode is there already, counts.
    fn enable(&self, member: &Member, mode: Mode, held: &Held) -> Result<Enable, Refusal> {
        let seen = Surroundings {
            // SAFETY: A member of a group that is served.
            supported: unsafe { supports(member.dev(), mode) },
            owner: self.ownership().owner == Owner::DmaApi && member.claims() != 0,
            trusted: self.is_trusted(),
            in_reset: self.any_in_reset(),
        };

        let enable = self.modes().enable(mode, member.users(mode), seen)?;
        if let Enable::Share(step) = enable {
            self.set_mode(member, mode, step, self.domain(mode), held);
        }
        Ok(enable)
    }

    /// All devices can use the same PASIDs, so each must be trusted.
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

    /// Whether all devices can walk the kernel's own page table.
    fn shares_kernel_table(&self) -> bool {
        let mut users = self
            .members()
            .filter(|member| member.max_pasids().is_some());

        // SAFETY: A device stays valid as long as it is in a group.
        users.all(|member| unsafe { hw::shares_kernel_table(member.dev()) })
    }

    /// The last PASID that every device that has PASIDs can use.
    fn last_pasid(&self) -> u32 {
        let max = self.members().filter_map(Member::max_pasids).min();

        max.map_or(0, |max| max - 1)
    }
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

/// Gives a mode that nobody in the group uses a PASID, and attaches it.
///
/// # Safety
///
/// As for [`Domain::new`].
unsafe fn attach(
    dev: *mut bindings::device,
    raw: *mut bindings::iommu_group,
    mode: Mode,
    which: Which,
    held: &Held,
) -> Result {
    // SAFETY: By the safety requirements.
    let (last, trust) = unsafe { Group::locked(raw, |group| (group.last_pasid(), group.trust())) };
    let pasid = Pasid::new(which, last)?;
    // SAFETY: By the safety requirements.
    let domain = unsafe { Domain::new(dev, raw, mode, trust) }?;

    let set = |group: Group<'_>, step: Step, domain| {
        if let Some(member) = group.member(dev) {
            group.set_mode(member, mode, step, domain, held);
        }
    };
    let enter = |group: Group<'_>| {
        let step = group.modes().enter(mode, pasid.0);
        set(group, step, domain.raw());
    };
    let leave = |group: Group<'_>| {
        if let Some(step) = group.modes().disable(mode, 1, 1) {
            set(group, step, ptr::null_mut());
        }
    };

    // SAFETY: By the safety requirements, here and below. The domain stays until it is
    // detached.
    unsafe {
        Group::locked(raw, enter);
        let ret = bindings::iommu_attach_device_pasid(domain.raw(), dev, pasid.0, ptr::null_mut());
        to_result(ret).inspect_err(|_| Group::locked(raw, leave))?;
    }

    // Whoever detaches gives them back.
    pasid.into_raw();
    if let Domain::Kva(domain) = domain {
        domain.into_raw();
    }
    Ok(())
}

/// Takes away `n` of the uses that a device has of a mode, and says whether it was detached.
///
/// # Safety
///
/// `dev` must be a device of the group; its driver, or the core at its end, keeps it there.
unsafe fn disable(
    dev: *mut bindings::device,
    raw: *mut bindings::iommu_group,
    mode: Mode,
    n: u32,
    held: &Held,
) -> Result<bool> {
    let take = |group: Group<'_>| -> Result<Option<_>> {
        let member = group.member(dev).ok_or(EINVAL)?;
        let modes = group.modes();
        let (domain, Slot { pasid, .. }) = (group.domain(mode), modes.slot(mode));
        let step = modes.disable(mode, member.users(mode), n).ok_or(EINVAL)?;
        let count = step.group.slot(mode).count;

        // SAFETY: The device is valid.
        unsafe { trace::iommu_dma_pasid_disable(group.id(), dev, mode as u32, pasid, count) };
        if count != 0 {
            group.set_mode(member, mode, step, domain, held);
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
            group.set_mode(member, mode, step, ptr::null_mut(), held);
        }
    };
    // SAFETY: By the safety requirements. The domain is attached to the PASID, as the mode
    // had users; nobody knows either any more after that, so they are given back.
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

/// Disables what a device holds and ought to have disabled, if `forgotten` says so.
///
/// # Safety
///
/// `dev` must be valid, and stay in its group, if any, during the call.
unsafe fn clean_up(dev: *mut bindings::device, forgotten: impl Fn(&Member) -> bool) {
    // SAFETY: `dev` is valid.
    let raw = unsafe { (*dev).iommu_group };
    if raw.is_null() {
        return;
    }
    let held = lock();

    for mode in Mode::ALL {
        let users = |group: Group<'_>| match group.member(dev) {
            Some(member) if forgotten(member) => member.users(mode),
            _ => 0,
        };
        // SAFETY: By the safety requirements.
        let users = unsafe { Group::locked(raw, users) };
        if users == 0 {
            continue;
        }
        warn_once!("DMA with PASID was not disabled\n");
        // SAFETY: By the safety requirements.
        let _ = unsafe { disable(dev, raw, mode, users, &held) };
    }
}

/// A claim for the DMA API is about to be released: with the last one DMA ends.
///
/// # Safety
///
/// As for [`clean_up`]; group->mutex must not be held.
pub(crate) unsafe fn released(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { clean_up(dev, |member| member.claims() <= 1) };
}

/// A device is about to leave its group.
///
/// # Safety
///
/// `dev` must be valid, be in a group, and no driver be bound to it.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_remove_device(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { clean_up(dev, |_| true) };
}

/// Whether a device may join a group: it must not find PASIDs attached that its driver did
/// not enable.
///
/// # Safety
///
/// Both must be valid, an IOMMU serve `dev`, and the group's mutex be held.
#[export]
pub unsafe extern "C" fn iommu_dma_pasid_may_join(
    group: *mut bindings::iommu_group,
    dev: *mut bindings::device,
) -> c_int {
    // SAFETY: By the safety requirements.
    let (group, max_pasids) = unsafe { (Group::held(group), (*(*dev).iommu).max_pasids) };

    errno(if max_pasids != 0 && group.modes().is_live() {
        Err(EBUSY)
    } else {
        Ok(())
    })
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
    let mut id = -1;
    let mut enable = || {
        let mode = Mode::new(mode, !domain.is_null())?;
        // SAFETY: `dev` is valid.
        let raw = unsafe { (*dev).iommu_group };
        if raw.is_null() {
            return Err(Refusal::NoIommu.into());
        }
        let held = lock();

        let ask = |group: Group<'_>| {
            id = group.id();
            // SAFETY: `dev` is valid.
            let member = unsafe { group.served(dev) }?;
            group.enable(member, mode, &held)
        };
        // SAFETY: A device's group is valid, and the device's driver keeps it there; here and
        // below.
        if let Enable::Attach(which) = unsafe { Group::locked(raw, ask) }? {
            // SAFETY: As above, and the mode is supported.
            unsafe { attach(dev, raw, mode, which, &held) }?;
        }

        let enabled = |group: Group<'_>| (group.modes().slot(mode), group.domain(mode));
        // SAFETY: As above.
        let (slot, attached) = unsafe { Group::locked(raw, enabled) };
        if !domain.is_null() {
            // SAFETY: By the safety requirements, unless it is NULL, there is room for it.
            unsafe { *domain = attached };
        }
        Ok::<_, Error>(slot)
    };

    match enable() {
        Ok(Slot { pasid, count }) => {
            // SAFETY: `dev` is valid.
            unsafe { trace::iommu_dma_pasid_enable(id, dev, mode, pasid, count) };
            pasid as c_int
        }
        Err(error) => {
            // SAFETY: `dev` is valid.
            unsafe { trace::iommu_dma_pasid_refuse(id, dev, mode, error.to_errno()) };
            error.to_errno()
        }
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

        // SAFETY: A device's group is valid, and the device's driver keeps it there.
        let detached = unsafe { disable(dev, raw, mode, 1, &lock()) }?;
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
pub unsafe extern "C" fn iommu_dma_pasid_domain(
    dev: *mut bindings::device,
    mode: bindings::iommu_dma_pasid_mode,
) -> *mut bindings::iommu_domain {
    // SAFETY: `dev` is valid.
    let raw = unsafe { (*dev).iommu_group };
    let (Some(mode), false) = (Mode::from_raw(mode), raw.is_null()) else {
        return ptr::null_mut();
    };

    let domain = |group: Group<'_>| match group.member(dev) {
        Some(member) if member.users(mode) != 0 => group.domain(mode),
        _ => ptr::null_mut(),
    };
    // SAFETY: A device's group is valid, and the device's driver keeps it there.
    unsafe { Group::locked(raw, domain) }
}

/// Shows all kernel PASIDs in debugfs.
///
/// # Safety
///
/// As for the show function of a seq_file.
#[cfg(CONFIG_IOMMU_DEBUGFS)]
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

#[cfg(CONFIG_IOMMU_DEBUGFS)]
impl Group<'_> {
    fn show_pasids(&self, m: &SeqFile) {
        for member in self.members() {
            for mode in Mode::ALL {
                self.show_pasid(m, member, mode);
            }
        }
    }

    fn show_pasid(&self, m: &SeqFile, member: &Member, mode: Mode) {
        let users = member.users(mode);
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
