// SPDX-License-Identifier: GPL-2.0

//! A PCI driver that owns the DMA of its devices.
//!
//! As long as it is bound nobody else gets the device's IOMMU group, neither a driver that uses the
//! DMA API nor userspace, and it may attach domains of its own. It does nothing else with the
//! device, which is QEMU's `pasid-testdev`.

use kernel::{
    device::Core,
    iommu::{
        dma_owner::Ownership,
        managed_dma::ManagedDma, //
    },
    pci,
    prelude::*, //
};

mod compat;

/// Vendor and device. The vendor has no name in `<linux/pci_ids.h>`, and an ID needs one, so that
/// the table names the class, and `probe` looks again.
const PASID_TESTDEV: (u16, u16) = (0x1234, 0x5041);
const CLASS_OTHER: u32 = 0x00ff00;

/// Its address tells this owner from others: all devices of this driver have the same, so that it
/// may be bound to several in a group.
static OWNER: u32 = 0;

struct DmaOwner;

compat::pci_device_table!(
    PCI_TABLE,
    <DmaOwner as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(CLASS_OTHER, 0xffffff), ())]
);

impl pci::Driver for DmaOwner {
    type IdInfo = ();
    /// Dropped when the driver is unbound, which releases the claim.
    type Data<'bound> = Ownership<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    /// Or the bus would have claimed the group for the DMA API.
    // SAFETY: The driver maps nothing.
    const DRIVER_MANAGED_DMA: Option<ManagedDma<Self>> = Some(unsafe { ManagedDma::new() });

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: compat::IdInfo<'bound, Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        if (pdev.vendor_id().as_raw(), pdev.device_id()) != PASID_TESTDEV {
            return Err(ENODEV);
        }
        Ownership::private_domain(pdev.as_ref(), &OWNER)
    }
}

kernel::module_pci_driver! {
    type: DmaOwner,
    name: "rust_dma_owner",
    description: "Rust PCI driver that owns the DMA of its devices",
    license: "GPL v2",
}
