// SPDX-License-Identifier: GPL-2.0

//! What Rust drivers of this series have to call differently in the kernels that it is for.

use crate::dma::{
    Coherent,
    DmaAddress, //
};

/// What `probe()` is told of the entry of the table that matched.
#[cfg(not(CONFIG_IOMMU_EXT_LINUX_7_2))]
pub type PciInfo<'bound, T> = Option<&'bound T>;
/// What `probe()` is told of the entry of the table that matched.
#[cfg(CONFIG_IOMMU_EXT_LINUX_7_2)]
pub type PciInfo<'bound, T> = &'bound T;

/// The address of coherent memory, for the device.
#[cfg(not(CONFIG_IOMMU_EXT_LINUX_7_2))]
pub fn dma_address(memory: &Coherent<[u64]>) -> DmaAddress {
    memory.dma_address()
}

/// The address of coherent memory, for the device.
#[cfg(CONFIG_IOMMU_EXT_LINUX_7_2)]
pub fn dma_address(memory: &Coherent<[u64]>) -> DmaAddress {
    memory.dma_handle()
}

/// A table of PCI devices.
#[cfg(not(CONFIG_IOMMU_EXT_LINUX_7_2))]
#[macro_export]
#[doc(hidden)]
macro_rules! ext_pci_table {
    ($table:ident, $module_table:ident, $($rest:tt)*) => {
        $crate::pci_device_table!($table, $($rest)*);
    };
}

/// A table of PCI devices.
#[cfg(CONFIG_IOMMU_EXT_LINUX_7_2)]
#[macro_export]
#[doc(hidden)]
macro_rules! ext_pci_table {
    ($($all:tt)*) => {
        $crate::pci_device_table!($($all)*);
    };
}
