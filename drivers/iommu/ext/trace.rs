// SPDX-License-Identifier: GPL-2.0

//! Tracepoints.
//!
//! C header: [`include/trace/events/iommu_ext.h`](srctree/include/trace/events/iommu_ext.h)

#[cfg(CONFIG_IOMMU_EXT)]
use kernel::{
    bindings::{
        device,
        iommu_user_domain_driver, //
    },
    prelude::*, //
};
use kernel::{
    bindings::{
        ioasid_set,
        ioasid_t, //
    },
    tracepoint::declare_trace, //
};

declare_trace! {
    /// An ID was allocated, or not.
    ///
    /// # Safety
    ///
    /// `set` is null or valid.
    pub(crate) unsafe fn ioasid_alloc(
        ioasid: ioasid_t,
        set: *const ioasid_set,
        min: ioasid_t,
        max: ioasid_t,
    );

    /// A reference was added.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn ioasid_get(ioasid: ioasid_t);

    /// A reference was dropped, and there are more.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn ioasid_put(ioasid: ioasid_t);

    /// The last reference was dropped.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn ioasid_free(ioasid: ioasid_t);
}

#[cfg(CONFIG_IOMMU_EXT)]
declare_trace! {
    /// A claim of DMA ownership was made, of a whole group if there is no device.
    ///
    /// # Safety
    ///
    /// `dev` is null or valid.
    pub(crate) unsafe fn iommu_dma_owner_claim(
        group: c_int,
        dev: *mut device,
        owner: c_uint,
        count: c_uint,
    );

    /// A claim was released.
    ///
    /// # Safety
    ///
    /// `dev` is null or valid.
    pub(crate) unsafe fn iommu_dma_owner_release(
        group: c_int,
        dev: *mut device,
        owner: c_uint,
        count: c_uint,
    );

    /// A claim was refused.
    ///
    /// # Safety
    ///
    /// `dev` is null or valid.
    pub(crate) unsafe fn iommu_dma_owner_refuse(
        group: c_int,
        dev: *mut device,
        owner: c_uint,
        error: c_int,
    );

    /// A driver's `domain_alloc_user` was called.
    ///
    /// # Safety
    ///
    /// Both pointers are valid.
    pub(crate) unsafe fn iommu_domain_alloc_user(
        dev: *mut device,
        driver: *const iommu_user_domain_driver,
        flags: u32,
        nested: bool,
        error: c_int,
    );

    /// A PASID was enabled.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(crate) unsafe fn iommu_dma_pasid_enable(
        group: c_int,
        dev: *mut device,
        mode: c_uint,
        pasid: ioasid_t,
        count: c_uint,
    );

    /// A PASID was disabled.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(crate) unsafe fn iommu_dma_pasid_disable(
        group: c_int,
        dev: *mut device,
        mode: c_uint,
        pasid: ioasid_t,
        count: c_uint,
    );

    /// A PASID was not enabled.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(crate) unsafe fn iommu_dma_pasid_refuse(
        group: c_int,
        dev: *mut device,
        mode: c_uint,
        error: c_int,
    );

    /// A buffer was mapped at its kernel virtual address, or not.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn iommu_kva_map(addr: usize, size: usize, prot: c_int, error: c_int);

    /// A buffer was unmapped, or not.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn iommu_kva_unmap(addr: usize, size: usize, error: c_int);
}
