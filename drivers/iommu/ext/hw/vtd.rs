// SPDX-License-Identifier: GPL-2.0

//! VT-d: first-stage translation has the format of the CPU's page tables, so a PASID can have
//! the kernel's own.
//!
//! Such a PASID's entry has SRE set, as the kernel's leaves are the supervisor's, and WPE, so
//! that what the kernel may not write, no device writes.

use kernel::bindings;

/// Whether a device can walk the kernel's page table, and may as far as the administrator is
/// concerned.
///
/// # Safety
///
/// `dev` must be valid, and an IOMMU serve it.
pub(crate) unsafe fn shares_kernel_table(dev: *mut bindings::device) -> bool {
    let mut answer = bindings::iommu_vtd_kva::default();

    // SAFETY: By the safety requirements; there is room for the answer.
    unsafe { bindings::iommu_vtd_kva_ask(dev, &raw mut answer) };
    answer.allowed && answer.requests && answer.privileged && answer.same_paging
}

/// A domain that is the kernel's page table, or an error pointer.
///
/// # Safety
///
/// [`shares_kernel_table`] must hold for `dev`.
pub(crate) unsafe fn kernel_table_domain(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: By the safety requirements.
    unsafe { bindings::iommu_vtd_kva_domain_alloc(dev) }
}
