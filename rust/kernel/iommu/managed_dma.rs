// SPDX-License-Identifier: GPL-2.0

//! Drivers that no bus claims DMA ownership for.
//!
//! C header: [`include/linux/iommu-dma-owner.h`](srctree/include/linux/iommu-dma-owner.h)

use core::marker::PhantomData;

/// The word of the driver `D` that it claims the DMA ownership of its devices by itself, or does no
/// DMA.
///
/// What the bus claims for other drivers also keeps what the DMA API has mapped: as long as an
/// IOMMU group has no claims, its default domain may be exchanged for one of another type, in which
/// the addresses that a device was given stand for other memory.
pub struct ManagedDma<D: ?Sized>(PhantomData<fn(*const D)>);

impl<D: ?Sized> ManagedDma<D> {
    /// Gives the word.
    ///
    /// # Safety
    ///
    /// `D` maps nothing for its devices with the DMA API, unless it holds a claim of theirs
    /// and keeps it until all is unmapped.
    pub const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}
