// SPDX-License-Identifier: GPL-2.0

//! IOMMU extensions: the map of the house.
//!
//! - [`logic`]: the decisions, without the kernel; also compiled and tested on the host.
//! - [`dma_owner`]: who owns the DMA of an IOMMU group.
//! - [`dma_pasid`]: DMA with PASID inside the kernel; [`kva`]: its kernel virtual addresses.
//! - [`hw`]: what depends on the kind of IOMMU.
//! - [`ioasid`]: the allocator of I/O address-space IDs, in the kernel.
//! - [`trace`]: the tracepoints.
//! - [`user_domain`]: domains for userspace, and whose a domain's private data is.
//!
//! The crate is built in and has neither `module!` nor initcall: the IOMMU core calls it earlier.
//! Locks and other objects that need an initialiser are defined in C, in `shim/`.

#[cfg(CONFIG_IOMMU_EXT)]
pub mod dma_owner;
#[cfg(all(CONFIG_IOMMU_EXT, CONFIG_IOMMU_DMA_OWNER_KUNIT_TEST))]
mod dma_owner_kunit;
#[cfg(CONFIG_IOMMU_EXT)]
pub mod dma_pasid;
#[cfg(CONFIG_IOMMU_DMA_PASID_KUNIT_TEST)]
mod dma_pasid_kunit;
#[cfg(CONFIG_IOMMU_EXT)]
mod hw;
pub mod ioasid;
#[cfg(CONFIG_IOASID_KUNIT_TEST)]
mod ioasid_kunit;
#[cfg(any(
    CONFIG_IOASID_KUNIT_TEST,
    CONFIG_IOMMU_DMA_PASID_KUNIT_TEST,
    CONFIG_IOMMU_USER_DOMAIN_KUNIT_TEST,
    all(CONFIG_IOMMU_EXT, CONFIG_IOMMU_DMA_OWNER_KUNIT_TEST)
))]
mod kunit;
#[cfg(all(
    CONFIG_IOMMU_EXT,
    any(CONFIG_IOMMU_DMA_OWNER_KUNIT_TEST, CONFIG_IOMMU_DMA_PASID_KUNIT_TEST)
))]
mod kunit_group;
#[cfg(CONFIG_IOMMU_EXT)]
pub mod kva;
pub mod logic;
mod trace;
#[cfg(CONFIG_IOMMU_EXT)]
pub mod user_domain;
#[cfg(all(CONFIG_IOMMU_EXT, CONFIG_IOMMU_USER_DOMAIN_KUNIT_TEST))]
mod user_domain_kunit;

/// What `pr_*!` puts before a message.
const __LOG_PREFIX: &[u8] = b"iommu_ext\0";

/// Reports a mistake of the caller, once for each place. As with C's, a warning that a KUnit test
/// suppresses does not count as that once; its text does.
macro_rules! warn_once {
    () => {{
        #[cfg(all(CONFIG_GENERIC_BUG, not(CONFIG_UML), not(CONFIG_LOONGARCH)))]
        kernel::warn_flags!(
            file!(),
            kernel::bug::bugflag_taint(kernel::bindings::TAINT_WARN)
                | kernel::bindings::BUGFLAG_ONCE
        );
        // Where Rust has no part in the table of warnings, there is no place for the flag.
        #[cfg(not(all(CONFIG_GENERIC_BUG, not(CONFIG_UML), not(CONFIG_LOONGARCH))))]
        kernel::do_once_lite! {
            kernel::warn_on!(true);
        }
    }};
    ($($text:tt)+) => {{
        kernel::do_once_lite! {
            kernel::pr_err!($($text)+);
        }
        $crate::warn_once!();
    }};
}
pub(crate) use warn_once;
