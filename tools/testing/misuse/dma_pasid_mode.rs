// SPDX-License-Identifier: GPL-2.0

//! An address that the DMA API returned is not for a PASID with physical addresses.
//!
//! error: E0308

#[cfg(misuse)]
use kernel::iommu::dma_pasid::Bypass as Mode;
#[cfg(not(misuse))]
use kernel::iommu::dma_pasid::Iova as Mode;
use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::DmaAddress,
    iommu::dma_pasid::{
        Address,
        Pasid, //
    },
    prelude::*, //
};

/// What to tell the device.
pub fn target(dev: &Device<Bound>, buffer: DmaAddress) -> Result<u64> {
    let pasid = Pasid::<Mode>::enable(dev)?;

    Ok(pasid.target(Address::dma(buffer)))
}
