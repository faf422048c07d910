// SPDX-License-Identifier: GPL-2.0

//! A PCI driver that uses DMA with PASID inside the kernel, on QEMU's `pasid-testdev`.
//!
//! The driver uses each mode in turn: it tells the device to fill memory, by an address and
//! with a PASID of that mode, and has the device compare. Then it drops the PASID, and tries
//! again. To make it probe, QEMU must be run with `-device pasid-testdev`, and the kernel without
//! `iommu.kva_fast=1`, with which the device goes on reaching what is not mapped any more.

use kernel::{
    device::{
        Bound,
        Core,
        Device, //
    },
    dma::{
        Coherent,
        Device as _,
        DmaMask, //
    },
    io::{
        poll::read_poll_timeout,
        register,
        Io, //
    },
    iommu::{
        dma_pasid::{
            Address,
            Bypass,
            Iova,
            Kva,
            Mode,
            Pasid, //
        }, //
    },
    pci,
    prelude::*,
    time::Delta, //
};

mod compat;

mod regs {
    use super::*;

    register! {
        pub(super) ID(u32) @ 0x0 {
            31:0 id;
        }
    }

    // Queue 0, and the descriptor in its slot 0.
    register! {
        pub(super) DOORBELL(u32) @ 0x104 {
            31:0 slot;
        }

        pub(super) CTRL(u32) @ 0x8000 {
            8:8 pasid => bool;
            7:0 operation;
        }

        pub(super) PASID(u32) @ 0x8004 {
            19:0 pasid;
        }

        pub(super) SRC(u32) @ 0x8008 {
            31:0 low;
        }

        pub(super) SRC_HIGH(u32) @ 0x800c {
            31:0 high;
        }

        pub(super) DST(u32) @ 0x8010 {
            31:0 low;
        }

        pub(super) DST_HIGH(u32) @ 0x8014 {
            31:0 high;
        }

        pub(super) LEN(u32) @ 0x8018 {
            31:0 bytes;
        }

        pub(super) PATTERN(u32) @ 0x8020 {
            31:0 low;
        }

        pub(super) PATTERN_HIGH(u32) @ 0x8024 {
            31:0 high;
        }

        pub(super) STATUS(u32) @ 0x8030 {
            31:0 status;
        }
    }

    pub(super) const END: usize = 0x20000;
}

type Bar0<'bound> = pci::Bar<'bound, { regs::END }>;

/// What ID reads as in a test device. Its class is that of many other devices.
const TEST_DEVICE: u32 = 0x4449_5350;

const SIZE: usize = 4096;
const PATTERN: u64 = 0x5a5a_1234_5a5a_4321;

const FILL: u32 = 2;
const VERIFY: u32 = 5;

/// Values of STATUS: up to here it is not done.
const RUNNING: u32 = 2;
const OK: u32 = 3;
const WRITE_FAULT: u32 = 5;

struct SampleDriver;

compat::pci_device_table!(
    PCI_TABLE,
    <SampleDriver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x00_ff_00, 0xff_ff_00), ())]
);

/// What a device is told, whatever it means to it.
#[derive(Clone, Copy)]
struct Target {
    pasid: u32,
    addr: u64,
}

const fn low(value: u64) -> u32 {
    value as u32
}

const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

/// Carries out one operation and returns how it ended.
fn operate(bar: &Bar0<'_>, operation: u32, target: Target) -> Result<u32> {
    bar.write_reg(regs::PASID::from_raw(target.pasid));
    bar.write_reg(regs::SRC::from_raw(low(target.addr)));
    bar.write_reg(regs::SRC_HIGH::from_raw(high(target.addr)));
    bar.write_reg(regs::DST::from_raw(low(target.addr)));
    bar.write_reg(regs::DST_HIGH::from_raw(high(target.addr)));
    bar.write_reg(regs::PATTERN::from_raw(low(PATTERN)));
    bar.write_reg(regs::PATTERN_HIGH::from_raw(high(PATTERN)));
    bar.write_reg(regs::LEN::from_raw(SIZE as u32));
    bar.write_reg(regs::CTRL::from_raw(operation).with_pasid(true));
    bar.write_reg(regs::DOORBELL::from_raw(0));

    read_poll_timeout(
        || Ok(bar.read(regs::STATUS).into_raw()),
        |&status| status > RUNNING,
        Delta::from_millis(1),
        Delta::from_secs(10),
    )
}

/// Fills memory with a PASID, compares, drops the PASID, and tries again.
fn show<M: Mode>(
    dev: &Device<Bound>,
    bar: &Bar0<'_>,
    mode: &str,
    pasid: Pasid<'_, M>,
    addr: Address<M>,
) -> Result {
    let target = Target {
        pasid: pasid.id(),
        addr: pasid.target(addr),
    };

    if operate(bar, FILL, target)? != OK || operate(bar, VERIFY, target)? != OK {
        return Err(EIO);
    }
    dev_info!(dev, "{}: PASID {} works\n", mode, target.pasid);

    drop(pasid);
    if operate(bar, FILL, target)? != WRITE_FAULT {
        return Err(EIO);
    }
    dev_info!(dev, "{}: PASID {} is blocked\n", mode, target.pasid);
    Ok(())
}

fn show_all(dev: &Device<Bound>, bar: &Bar0<'_>) -> Result {
    let coherent: Coherent<[u64]> = Coherent::zeroed_slice(dev, SIZE / 8, GFP_KERNEL)?;
    let iova = Address::dma(compat::dma_address(&coherent));
    show(dev, bar, "iova", Pasid::<Iova>::enable(dev)?, iova)?;

    let buffer = KVec::from_elem(0u8, SIZE, GFP_KERNEL)?;
    let phys = Address::of(&buffer).ok_or(EINVAL)?;
    show(dev, bar, "bypass", Pasid::<Bypass>::enable(dev)?, phys)?;

    // The buffer is the mapping's, which lives no longer than the PASID.
    let pasid = Pasid::<Kva>::enable(dev)?;
    let mapping = pasid.map_write(VVec::from_elem(0u8, SIZE, GFP_KERNEL)?)?;
    let target = Target {
        pasid: pasid.id(),
        addr: pasid.target(mapping.address()),
    };
    if operate(bar, FILL, target)? != OK {
        return Err(EIO);
    }
    let buffer = mapping.into_buffer().ok_or(ENODEV)?;
    if buffer.chunks(8).any(|word| word != PATTERN.to_le_bytes()) {
        return Err(EIO);
    }
    dev_info!(dev, "kva: PASID {} works\n", target.pasid);

    let mapping = pasid.map_read(buffer)?;
    let target = Target {
        addr: pasid.target(mapping.address()),
        ..target
    };
    if operate(bar, VERIFY, target)? != OK || operate(bar, FILL, target)? != WRITE_FAULT {
        return Err(EIO);
    }
    dev_info!(dev, "kva: PASID {} reads\n", target.pasid);

    drop(mapping);
    if operate(bar, FILL, target)? != WRITE_FAULT {
        return Err(EIO);
    }
    dev_info!(dev, "kva: PASID {} is blocked\n", target.pasid);
    Ok(())
}

impl pci::Driver for SampleDriver {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: compat::IdInfo<'bound, Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pdev.enable_device_mem()?;
        // SAFETY: There are no concurrent calls to DMA allocation and mapping primitives.
        unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
        let bar = pdev.iomap_region_sized::<{ regs::END }>(0, c"rust_dma_pasid")?;

        if bar.read(regs::ID).into_raw() != TEST_DEVICE {
            return Err(ENODEV);
        }

        pdev.set_master();
        show_all(pdev.as_ref(), &bar)?;
        Ok(Self)
    }
}

kernel::module_pci_driver! {
    type: SampleDriver,
    name: "rust_dma_pasid",
    authors: ["IOMMU extensions"],
    description: "Rust sample of DMA with PASID",
    license: "GPL v2",
}
