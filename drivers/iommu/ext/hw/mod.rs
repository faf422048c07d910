// SPDX-License-Identifier: GPL-2.0

//! What depends on the kind of IOMMU. Nothing outside names one.

#[cfg(CONFIG_IOMMU_KVA_FAST)]
mod vtd;
#[cfg(CONFIG_IOMMU_KVA_FAST)]
pub(crate) use vtd::{
    kernel_table_domain,
    shares_kernel_table, //
};

#[cfg(not(CONFIG_IOMMU_KVA_FAST))]
mod none {
    use core::ptr;
    use kernel::bindings;

    /// No IOMMU can walk the kernel's page table.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn shares_kernel_table(_dev: *mut bindings::device) -> bool {
        false
    }

    /// So there is no domain for it.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn kernel_table_domain(
        _dev: *mut bindings::device,
    ) -> *mut bindings::iommu_domain {
        ptr::null_mut()
    }
}
#[cfg(not(CONFIG_IOMMU_KVA_FAST))]
pub(crate) use none::{
    kernel_table_domain,
    shares_kernel_table, //
};
