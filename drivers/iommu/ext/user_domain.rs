// SPDX-License-Identifier: GPL-2.0

//! Domains for userspace, and whose the private data of a domain is.
//!
//! [`logic::user_domain`](crate::logic::user_domain) decides; this file brings it what it has to
//! know and carries out what it says. Nothing here takes a lock.

use crate::{
    logic::{
        user_domain::{
            claim,
            give_up,
            ClaimRefusal,
            DataOwner, //
        },
        Exchange,
        Word, //
    },
    warn_once, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    }, //
};

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

const _: () = assert!(DataOwner::LAST as u32 == bindings::IOMMU_DOMAIN_DATA_OWNER_KVA);

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
    // SAFETY: By the safety requirements the domain is valid; its operations are set when it
    // is made.
    let shared = unsafe { (*domain).ops.is_null() || (*(*domain).ops).free.is_none() };

    // SAFETY: By the safety requirements; C reads the owner atomically.
    match claim(unsafe { owner_of(domain) }, owner, shared) {
        Ok(()) => 0,
        Err(ClaimRefusal::BadArgument) => EINVAL.to_errno(),
        Err(ClaimRefusal::Owned) => EBUSY.to_errno(),
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
