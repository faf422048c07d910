// SPDX-License-Identifier: GPL-2.0

//! DMA ownership of IOMMU groups.
//!
//! An IOMMU group is the smallest unit of isolation, so its devices have one owner at a time: the
//! DMA API, a driver with a domain of its own, or userspace. Binding a driver claims the group for
//! the DMA API, unless the driver says `DRIVER_MANAGED_DMA`; such a driver claims by itself, and
//! holds what it claimed as long as it keeps the [`Ownership`].
//!
//! C header: [`include/linux/iommu-dma-owner.h`](srctree/include/linux/iommu-dma-owner.h)

use crate::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    prelude::*, //
};
use core::ptr;

/// A claim of the IOMMU group of a device, released when it is dropped.
///
/// It lives no longer than the device is bound, nor than the object whose address tells its owner
/// from others.
///
/// # Examples
///
/// Two devices in one group are claimed by a driver that knows that it holds both.
///
/// ```
/// use kernel::{
///     device::{Bound, Device},
///     iommu::dma_owner::Ownership,
/// };
///
/// struct Instance {
///     queues: usize,
/// }
///
/// fn claim<'a>(
///     functions: [&'a Device<Bound>; 2],
///     instance: &'a Instance,
/// ) -> Result<[Ownership<'a>; 2]> {
///     Ok([
///         Ownership::private_domain(functions[0], instance)?,
///         Ownership::private_domain(functions[1], instance)?,
///     ])
/// }
/// ```
///
/// # Context
///
/// Claiming and dropping may sleep, and take the group's mutex.
///
/// # Errors
///
/// Those of `iommu_device_set_dma_owner()`, which the C header lists.
///
/// # Invariants
///
/// `dev` holds a claim for `owner`, which is this object's.
#[must_use = "the claim is released when this is dropped"]
pub struct Ownership<'a> {
    dev: &'a Device<Bound>,
    owner: bindings::iommu_dma_owner,
}

impl<'a> Ownership<'a> {
    /// Claims the group for the DMA API.
    pub fn dma_api(dev: &'a Device<Bound>) -> Result<Self> {
        let owner = bindings::iommu_dma_owner_DMA_OWNER_DMA_API;

        Self::claim(dev, owner, ptr::null_mut())
    }

    /// Claims the group for domains of the driver's own. It stays attached to the default domain
    /// until the driver attaches another.
    ///
    /// Claims with the same `cookie`, of whatever device in the group, are compatible. Its address
    /// is what counts: it is to be an object of the driver's, as equal constants may share one.
    pub fn private_domain<T>(dev: &'a Device<Bound>, cookie: &'a T) -> Result<Self> {
        let owner = bindings::iommu_dma_owner_DMA_OWNER_PRIVATE_DOMAIN;

        Self::claim(dev, owner, Self::address(cookie))
    }

    /// Claims the group for userspace. No DMA of its devices reaches memory until a domain is
    /// attached.
    ///
    /// Claims with the same `cookie`, of whatever device in the group, are compatible. Its address
    /// is what counts: it is to be an object of the driver's, as equal constants may share one.
    pub fn private_domain_user<T>(dev: &'a Device<Bound>, cookie: &'a T) -> Result<Self> {
        let owner = bindings::iommu_dma_owner_DMA_OWNER_PRIVATE_DOMAIN_USER;

        Self::claim(dev, owner, Self::address(cookie))
    }

    /// What tells an owner from others: different objects of no size may have the same address.
    fn address<T>(cookie: &'a T) -> *mut c_void {
        const { assert!(size_of::<T>() != 0) };

        ptr::from_ref(cookie).cast_mut().cast()
    }

    fn claim(
        dev: &'a Device<Bound>,
        owner: bindings::iommu_dma_owner,
        cookie: *mut c_void,
    ) -> Result<Self> {
        // SAFETY: `dev` is valid and a driver is bound to it. The cookie is only compared.
        to_result(unsafe { bindings::iommu_device_set_dma_owner(dev.as_raw(), owner, cookie) })?;

        // INVARIANT: The claim was made.
        Ok(Self { dev, owner })
    }
}

impl Drop for Ownership<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; `dev` is still bound.
        unsafe { bindings::iommu_device_release_dma_owner(self.dev.as_raw(), self.owner) };
    }
}
