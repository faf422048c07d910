// SPDX-License-Identifier: GPL-2.0

//! What is called differently in Linux 7.2 and 7.3.

#![allow(dead_code, unused_imports, unused_macros)] // no driver needs everything

use kernel::dma::{
    Coherent,
    DmaAddress, //
};

/// What a driver's `probe` is told about the ID that matched.
#[cfg(linux_7_2)]
pub(crate) type IdInfo<'a, T> = &'a T;

/// What a driver's `probe` is told about the ID that matched.
#[cfg(not(linux_7_2))]
pub(crate) type IdInfo<'a, T> = Option<&'a T>;

/// Defines the table of a PCI driver's IDs.
#[cfg(linux_7_2)]
macro_rules! pci_device_table {
    ($name:ident, $info:ty, $ids:tt) => {
        kernel::pci_device_table!($name, MODULE_TABLE, $info, $ids);
    };
}

/// Defines the table of a PCI driver's IDs.
#[cfg(not(linux_7_2))]
macro_rules! pci_device_table {
    ($name:ident, $info:ty, $ids:tt) => {
        kernel::pci_device_table!($name, $info, $ids);
    };
}

pub(crate) use pci_device_table;

/// The address of coherent memory, for the device.
#[cfg(linux_7_2)]
pub(crate) fn dma_address(memory: &Coherent<[u64]>) -> DmaAddress {
    memory.dma_handle()
}

/// The address of coherent memory, for the device.
#[cfg(not(linux_7_2))]
pub(crate) fn dma_address(memory: &Coherent<[u64]>) -> DmaAddress {
    memory.dma_address()
}
