// SPDX-License-Identifier: GPL-2.0

//! Domains for userspace, and whose the private data of a domain is.
//!
//! [`logic::user_domain`](crate::logic::user_domain) decides; this file brings it what it has to
//! know and carries out what it says. A driver of an IOMMU comes as a table of functions, as it may
//! be a module. Nothing here takes a lock, but the drivers may sleep.

use crate::{
    logic::{
        user_domain::{
            check_tail,
            claim,
            give_up,
            Abilities,
            ClaimRefusal,
            DataOwner,
            Format,
            Parent,
            Refusal,
            Stage,
            DIRTY_TRACKING,
            NEST_PARENT,
            PASID, //
        },
        Exchange,
        Word, //
    },
    trace,
    warn_once, //
};
use core::{
    ptr,
    slice, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

const MAX_DATA: usize = bindings::IOMMU_USER_DOMAIN_MAX_DATA as usize;

const _: () = {
    assert!(NEST_PARENT == bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_NEST_PARENT);
    assert!(DIRTY_TRACKING == bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
    assert!(PASID == bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_PASID);
    assert!(DataOwner::LAST as u32 == bindings::IOMMU_DOMAIN_DATA_OWNER_KVA);
};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Unsupported => Error::from_errno(-(bindings::EOPNOTSUPP as c_int)),
            Refusal::NoParent | Refusal::Malformed => EINVAL,
        }
    }
}

impl From<ClaimRefusal> for Error {
    fn from(refusal: ClaimRefusal) -> Error {
        match refusal {
            ClaimRefusal::BadArgument => EINVAL,
            ClaimRefusal::Owned => EBUSY,
        }
    }
}

/// A driver's description of itself.
///
/// # Invariants
///
/// - `raw` points to a table that is valid for `'a`, with all functions but `alloc_nested`.
/// - Each of its formats is valid for `'a`: `known` points to `len` bytes, at most [`MAX_DATA`].
#[derive(Clone, Copy)]
struct Driver<'a> {
    raw: &'a bindings::iommu_user_domain_driver,
}

impl<'a> Driver<'a> {
    /// # Safety
    ///
    /// What the invariants say must hold.
    unsafe fn new(raw: *const bindings::iommu_user_domain_driver) -> Self {
        Self {
            // INVARIANT: By the safety requirements.
            // SAFETY: By the safety requirements.
            raw: unsafe { &*raw },
        }
    }

    /// # Safety
    ///
    /// `dev` must be a device that the driver serves.
    unsafe fn abilities(&self, dev: *mut bindings::device) -> Abilities {
        let mut raw = bindings::iommu_user_domain_abilities::default();
        let ability = |raw: &bindings::iommu_user_domain_ability| raw.possible.then_some(raw.flags);

        if let Some(abilities) = self.raw.abilities {
            // SAFETY: By the safety requirements; `raw` is the C structure.
            unsafe { abilities(dev, &raw mut raw) };
        }
        Abilities {
            first: ability(&raw.first),
            second: ability(&raw.second),
            nested: self.raw.alloc_nested.and_then(|_| ability(&raw.nested)),
        }
    }

    /// # Safety
    ///
    /// `format` must be one of the driver's.
    unsafe fn format(
        &self,
        format: *const bindings::iommu_user_domain_format,
    ) -> Option<Format<'a>> {
        // SAFETY: By the type invariant the format is valid, or NULL.
        let format = unsafe { format.as_ref() }.filter(|format| format.len <= MAX_DATA)?;
        // SAFETY: By the type invariant.
        let known = unsafe { slice::from_raw_parts(format.known.cast(), format.len) };

        Some(Format {
            kind: format.type_,
            min_len: format.min_len,
            known,
        })
    }

    fn paging_format(&self) -> Option<Format<'a>> {
        // SAFETY: It is one of the driver's.
        unsafe { self.format(self.raw.paging_data) }
    }

    fn nested_format(&self) -> Option<Format<'a>> {
        // SAFETY: It is one of the driver's.
        unsafe { self.format(self.raw.nested_data) }
    }
}

/// User data of a domain: copied once, checked, and what of it the kernel does not know is zero.
struct UserData {
    copy: [u8; MAX_DATA],
    kind: u32,
    len: usize,
}

impl UserData {
    /// Copies what `raw` refers to. [`None`] for a format means that there must be no data.
    fn read(format: Option<Format<'_>>, raw: &bindings::iommu_user_data) -> Result<Self> {
        let format = format.ok_or(Refusal::Unsupported)?;
        let extent = format.extent(raw.type_, raw.len)?;
        let mut reader = UserSlice::new(UserPtr::from_ptr(raw.uptr), raw.len).reader();
        let mut data = Self {
            copy: [0; MAX_DATA],
            kind: format.kind,
            len: format.known.len(),
        };

        reader.read_slice(data.copy.get_mut(..extent.head).ok_or(EINVAL)?)?;
        let mut left = extent.tail;
        while left != 0 {
            let mut piece = [0; MAX_DATA];
            let piece = piece.get_mut(..left.min(MAX_DATA)).ok_or(EINVAL)?;

            reader.read_slice(piece)?;
            check_tail(piece)?;
            left -= piece.len();
        }
        format.check(&data.copy)?;
        Ok(data)
    }

    /// What a driver gets to see; `iommu_copy_struct_from_user()` takes the copy.
    fn checked(&self) -> bindings::iommu_user_data {
        bindings::iommu_user_data {
            type_: self.kind,
            uptr: ptr::null_mut(),
            len: self.len,
            checked: self.copy.as_ptr().cast(),
        }
    }
}

/// A request for a domain.
struct Request<'a> {
    dev: *mut bindings::device,
    flags: u32,
    user_data: Option<&'a bindings::iommu_user_data>,
    driver: Driver<'a>,
}

impl Request<'_> {
    /// Reads the user data and lends it to `alloc`, NULL if there is none.
    fn with_data(
        &self,
        format: Option<Format<'_>>,
        alloc: impl FnOnce(*const bindings::iommu_user_data) -> *mut bindings::iommu_domain,
    ) -> Result<*mut bindings::iommu_domain> {
        let domain = match self.user_data {
            Some(raw) => {
                let data = UserData::read(format, raw)?;
                let checked = data.checked();

                alloc(&raw const checked)
            }
            None => alloc(ptr::null()),
        };
        match from_err_ptr(domain)? {
            domain if domain.is_null() => Err(ENOMEM),
            domain => Ok(domain),
        }
    }

    /// # Safety
    ///
    /// `dev` must be a device that the driver serves.
    unsafe fn paging(&self, gfp: bindings::gfp_t) -> Result<*mut bindings::iommu_domain> {
        // SAFETY: By the safety requirements.
        let stage = match unsafe { self.driver.abilities(self.dev) }.paging(self.flags)? {
            Stage::First => bindings::iommu_user_domain_stage_IOMMU_USER_DOMAIN_FIRST,
            Stage::Second => bindings::iommu_user_domain_stage_IOMMU_USER_DOMAIN_SECOND,
        };
        let alloc = self.driver.raw.alloc_paging.ok_or(Refusal::Unsupported)?;

        self.with_data(self.driver.paging_format(), |data| {
            // SAFETY: By the safety requirements; all that is asked for is possible.
            unsafe { alloc(self.dev, stage, self.flags, data, gfp) }
        })
    }

    /// # Safety
    ///
    /// `dev` must be a device that the driver serves, and `parent` a valid domain.
    unsafe fn nested(
        &self,
        parent: *mut bindings::iommu_domain,
    ) -> Result<*mut bindings::iommu_domain> {
        // SAFETY: By the safety requirements. An IOMMU that serves a device has operations, and
        // nobody changes those of a domain, or what it was made with.
        let (abilities, about) = unsafe {
            let ops = (*(*(*self.dev).iommu).iommu_dev).ops;

            (
                self.driver.abilities(self.dev),
                Parent {
                    same_driver: ptr::eq((*parent).owner, ops),
                    flags: (*parent).user_flags,
                },
            )
        };
        abilities.nested(self.flags, about)?;
        let alloc = self.driver.raw.alloc_nested.ok_or(Refusal::Unsupported)?;
        if self.user_data.is_none() {
            return Err(Refusal::Unsupported.into());
        }

        self.with_data(self.driver.nested_format(), |data| {
            // SAFETY: By the safety requirements; all that is asked for is possible.
            unsafe { alloc(self.dev, parent, self.flags, data) }
        })
    }
}

fn errno_ptr<T>(result: Result<*mut T>) -> *mut T {
    result.unwrap_or_else(|error| error.to_ptr())
}

/// Makes a domain for userspace.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_driver_domain_alloc_user(
    dev: *mut bindings::device,
    flags: u32,
    parent: *mut bindings::iommu_domain,
    user_data: *const bindings::iommu_user_data,
    driver: *const bindings::iommu_user_domain_driver,
) -> *mut bindings::iommu_domain {
    // SAFETY: By the safety requirements; the caller keeps both for the call.
    let (user_data, driver) = unsafe { (user_data.as_ref(), Driver::new(driver)) };
    let request = Request {
        dev,
        flags,
        user_data,
        driver,
    };
    let result = if parent.is_null() {
        // SAFETY: By the safety requirements.
        let result = unsafe { request.paging(bindings::GFP_KERNEL_ACCOUNT) };

        result.inspect(|&domain| {
            // SAFETY: The domain is valid, and nobody else knows it.
            unsafe { (*domain).user_flags = flags }
        })
    } else {
        // SAFETY: By the safety requirements.
        unsafe { request.nested(parent) }
    };

    let error = match result {
        Ok(_) => 0,
        Err(error) => error.to_errno(),
    };
    // SAFETY: Device and table are valid.
    unsafe { trace::iommu_domain_alloc_user(dev, driver.raw, flags, !parent.is_null(), error) };
    errno_ptr(result)
}

/// Makes a paging domain for the kernel.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_driver_domain_alloc_paging(
    dev: *mut bindings::device,
    flags: u32,
    user_data: *const bindings::iommu_user_data,
    driver: *const bindings::iommu_user_domain_driver,
) -> *mut bindings::iommu_domain {
    // SAFETY: By the safety requirements; the caller keeps both for the call.
    let (user_data, driver) = unsafe { (user_data.as_ref(), Driver::new(driver)) };
    let request = Request {
        dev,
        flags,
        user_data,
        driver,
    };

    // SAFETY: By the safety requirements.
    errno_ptr(unsafe { request.paging(bindings::GFP_KERNEL) })
}

/// The kernel has atomic halves of words only with a sign.
impl Word<u16> for Atomic<i16> {
    fn new(value: u16) -> Self {
        Atomic::new(value as i16)
    }

    fn load(&self) -> u16 {
        Atomic::load(self, Relaxed) as u16
    }

    fn load_acquire(&self) -> u16 {
        Atomic::load(self, Acquire) as u16
    }

    fn store(&self, value: u16) {
        Atomic::store(self, value as i16, Relaxed);
    }

    fn store_release(&self, value: u16) {
        Atomic::store(self, value as i16, Release);
    }
}

impl Exchange<u16> for Atomic<i16> {
    fn replace(&self, old: u16, new: u16) -> bool {
        self.cmpxchg(old as i16, new as i16, Full).is_ok()
    }
}

/// The owner of a domain's private data.
///
/// # Safety
///
/// `domain` must be valid for `'a`, and its owner be accessed atomically only.
unsafe fn owner_of<'a>(domain: *mut bindings::iommu_domain) -> &'a Atomic<i16> {
    // SAFETY: By the safety requirements; the two types differ in nothing but the sign.
    unsafe { Atomic::from_ptr((&raw mut (*domain).data_owner).cast()) }
}

/// Claims the private data of a domain.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_domain_set_data_owner(
    domain: *mut bindings::iommu_domain,
    owner: c_uint,
) -> c_int {
    // A domain that nobody can free is one that all share.
    // SAFETY: By the safety requirements the domain is valid; its operations are set when it
    // is made.
    let shared = unsafe { (*domain).ops.as_ref() }.is_some_and(|ops| ops.free.is_none());

    // SAFETY: By the safety requirements; C reads the owner atomically.
    match claim(unsafe { owner_of(domain) }, owner, shared) {
        Ok(()) => 0,
        Err(refusal) => Error::from(refusal).to_errno(),
    }
}

/// Gives up the private data of a domain.
///
/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_domain_clear_data_owner(
    domain: *mut bindings::iommu_domain,
    owner: c_uint,
) {
    // SAFETY: As in `iommu_domain_set_data_owner`.
    if !give_up(unsafe { owner_of(domain) }, owner) {
        warn_once!("private data of a domain given up by who does not own it: {owner}\n");
    }
}
