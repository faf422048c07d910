// SPDX-License-Identifier: GPL-2.0

//! The decisions of the series, one capability a file.
//!
//! Nothing here names the kernel: these files need only `core`, and are also compiled and tested
//! on the host. What they need of their surroundings (memory cells, storage) comes in through
//! traits, which the kernel implements with its own primitives and the tests with theirs. For the
//! same reason they hold no `unsafe` code and no path that panics.

#[cfg(CONFIG_IOMMU_EXT)]
pub mod dma_owner;
#[cfg(CONFIG_IOMMU_EXT)]
pub mod dma_pasid;
pub mod ioasid;
#[cfg(CONFIG_IOMMU_EXT)]
pub mod kva;
#[cfg(CONFIG_IOMMU_EXT)]
pub mod user_domain;

/// A memory cell that several threads use at once.
///
/// Loads and stores without an ordering in their name are relaxed.
pub trait Word<T: Copy> {
    /// Makes a cell that holds `value`.
    fn new(value: T) -> Self;

    /// Reads the value.
    fn load(&self) -> T;

    /// Reads the value, ordered before everything that follows.
    fn load_acquire(&self) -> T;

    /// Writes the value.
    fn store(&self, value: T);

    /// Writes the value, ordered after everything that precedes.
    fn store_release(&self, value: T);
}

/// A memory cell whose value can be replaced on condition.
pub trait Exchange<T: Copy>: Word<T> {
    /// Replaces `old` by `new` and returns true, or returns false if the value is not `old`.
    ///
    /// Success is fully ordered, failure not at all.
    fn replace(&self, old: T, new: T) -> bool;
}
