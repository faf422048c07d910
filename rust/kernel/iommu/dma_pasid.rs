// SPDX-License-Identifier: GPL-2.0

//! DMA with PASID inside the kernel.
//!
//! A driver gets a [`Pasid`] in one call, and the type says what the device's addresses are with
//! it: physical ones, what the DMA API returned, or kernel virtual ones. An [`Address`] has the
//! same type parameter, so that what belongs to one mode cannot be handed to a PASID of another.
//!
//! C header: [`include/linux/iommu-dma-pasid.h`](srctree/include/linux/iommu-dma-pasid.h)

use crate::{
    alloc::{
        Allocator,
        Vec, //
    },
    bindings,
    device::{
        Bound,
        Device, //
    },
    dma::DmaAddress,
    error::to_result,
    io::PhysAddr,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop, //
};

mod sealed {
    pub trait Sealed {}
}

/// What the addresses of a PASID are.
pub trait Mode: sealed::Sealed {
    /// As C calls it.
    #[doc(hidden)]
    const RAW: bindings::iommu_dma_pasid_mode;
}

/// Physical addresses; for trusted devices only.
pub enum Bypass {}

/// What the DMA API returned for the device.
pub enum Iova {}

/// Kernel virtual addresses of buffers that were [mapped](Pasid::map_read).
pub enum Kva {}

impl sealed::Sealed for Bypass {}
impl sealed::Sealed for Iova {}
impl sealed::Sealed for Kva {}

impl Mode for Bypass {
    const RAW: u32 = bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_BYPASS;
}

impl Mode for Iova {
    const RAW: u32 = bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_IOVA;
}

impl Mode for Kva {
    const RAW: u32 = bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_KVA;
}

/// An address that means something with a PASID of one mode only.
pub struct Address<M: Mode> {
    raw: u64,
    _mode: PhantomData<M>,
}

impl<M: Mode> Clone for Address<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Mode> Copy for Address<M> {}

impl<M: Mode> Address<M> {
    fn new(raw: u64) -> Self {
        Self {
            raw,
            _mode: PhantomData,
        }
    }
}

impl Address<Bypass> {
    /// A physical address.
    pub fn physical(addr: PhysAddr) -> Self {
        Self::new(addr)
    }

    /// Where the memory of a buffer is, which is contiguous; [`None`] for an empty one.
    pub fn of(buffer: &KVec<u8>) -> Option<Self> {
        if buffer.is_empty() {
            return None;
        }
        // SAFETY: What `KVec` allocates is an address of the direct map; it is only computed with.
        let addr = unsafe { bindings::virt_to_phys(buffer.as_ptr().cast_mut().cast()) };
        Some(Self::new(addr))
    }
}

impl Address<Iova> {
    /// An address from the DMA API.
    pub fn dma(addr: DmaAddress) -> Self {
        Self::new(addr)
    }
}

/// A PASID of a device, given up when it is dropped.
///
/// The driver has to drop it in its `unbind` at the latest, and to see to it that the device does
/// not use it any more. One that is left in the driver's data is given up by the core, with a
/// warning; dropping it after that does nothing, and nothing can be mapped with it any more. As
/// `unbind` gets a shared reference to that data, a driver that keeps one there has it in a
/// `Mutex<Option<Pasid>>`, and takes it out.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::{Bound, Device},
///     dma::DmaAddress,
///     iommu::dma_pasid::{Address, Iova, Pasid},
/// };
///
/// /// Tells the hardware which PASID to send, and what to fetch.
/// fn submit(pasid: u32, addr: u64) {
///     // ...
/// }
///
/// fn work(dev: &Device<Bound>, buffer: DmaAddress) -> Result {
///     let pasid = Pasid::<Iova>::enable(dev)?;
///
///     submit(pasid.id(), pasid.target(Address::dma(buffer)));
///     // ... wait until it is done.
///     Ok(())
/// }
/// ```
///
/// # Context
///
/// Enabling, mapping, unmapping and dropping may sleep, and take the group's mutex, and one that
/// all devices share: not where memory is reclaimed, nor with an mmap lock held.
///
/// # Errors
///
/// Those of `iommu_dma_pasid_take()` and, for buffers, of `iommu_dma_pasid_map_kva()`, which the C
/// header lists.
///
/// # Invariants
///
/// `hold` was got by `iommu_dma_pasid_take()` for `M`, with this PASID, and was not released.
#[must_use = "the PASID is given up when this is dropped"]
pub struct Pasid<'a, M: Mode> {
    hold: bindings::iommu_dma_pasid_hold,
    id: u32,
    _dev: PhantomData<&'a Device<Bound>>,
    _mode: PhantomData<M>,
}

// SAFETY: A hold may be used and released by any thread.
unsafe impl<M: Mode> Send for Pasid<'_, M> {}
// SAFETY: As above; the C functions lock by themselves, and do not change it.
unsafe impl<M: Mode> Sync for Pasid<'_, M> {}

impl<'a, M: Mode> Pasid<'a, M> {
    /// Enables the mode for a device whose driver uses the DMA API.
    pub fn enable(dev: &'a Device<Bound>) -> Result<Self> {
        let mut hold = bindings::iommu_dma_pasid_hold::default();
        // SAFETY: `dev` is valid and a driver is bound to it; there is room for the hold.
        let ret = unsafe { bindings::iommu_dma_pasid_take(dev.as_raw(), &raw mut hold, M::RAW) };

        to_result(ret)?;
        // INVARIANT: It was got just now.
        Ok(Self {
            hold,
            id: ret as u32,
            _dev: PhantomData,
            _mode: PhantomData,
        })
    }

    /// The PASID that the device has to send.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What to tell a device that sends this PASID, for an address of its mode.
    pub fn target(&self, addr: Address<M>) -> u64 {
        addr.raw
    }
}

impl<M: Mode> Drop for Pasid<'_, M> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; this is the hold's end.
        unsafe { bindings::iommu_dma_pasid_release(&raw mut self.hold) };
    }
}

impl<'a> Pasid<'a, Kva> {
    /// Lets the device read a buffer.
    pub fn map_read<A: Allocator>(&self, buffer: Vec<u8, A>) -> Result<Mapping<'_, 'a, A>> {
        self.map(buffer, bindings::IOMMU_READ)
    }

    /// Lets the device read and write a buffer.
    pub fn map_write<A: Allocator>(&self, buffer: Vec<u8, A>) -> Result<Mapping<'_, 'a, A>> {
        self.map(buffer, bindings::IOMMU_READ | bindings::IOMMU_WRITE)
    }

    fn map<A: Allocator>(&self, buffer: Vec<u8, A>, prot: u32) -> Result<Mapping<'_, 'a, A>> {
        // SAFETY: By the type invariant. The memory is the mapping's, or stays if that is
        // forgotten.
        to_result(unsafe {
            bindings::iommu_dma_pasid_map_kva(
                &raw const self.hold,
                buffer.as_ptr().cast_mut().cast(),
                buffer.len(),
                prot as c_int,
            )
        })?;

        // INVARIANT: It was mapped just now.
        Ok(Mapping {
            pasid: self,
            buffer: ManuallyDrop::new(buffer),
        })
    }
}

/// A buffer that a device may use at its kernel virtual address, unmapped when this is dropped.
///
/// Until then nobody but the device touches it. After that the device still could, through the
/// rest of a page that the buffer shares, or where it has the kernel's own page table: the driver
/// waits for what it told the device to do.
///
/// # Invariants
///
/// `buffer` is mapped with `pasid`, unless the core has disabled that.
#[must_use = "the buffer is unmapped when this is dropped"]
pub struct Mapping<'p, 'a, A: Allocator> {
    pasid: &'p Pasid<'a, Kva>,
    buffer: ManuallyDrop<Vec<u8, A>>,
}

impl<A: Allocator> Mapping<'_, '_, A> {
    /// Where the buffer begins.
    pub fn address(&self) -> Address<Kva> {
        Address::new(self.buffer.as_ptr().addr() as u64)
    }

    /// Takes the buffer back; [`None`] if the core has disabled the mode before, see [`Drop`].
    pub fn into_buffer(self) -> Option<Vec<u8, A>> {
        let mut this = ManuallyDrop::new(self);

        // SAFETY: `this` is not used any more, nor dropped.
        this.unmap()
            .then(|| unsafe { ManuallyDrop::take(&mut this.buffer) })
    }

    fn unmap(&mut self) -> bool {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::iommu_dma_pasid_unmap_kva(
                &raw const self.pasid.hold,
                self.buffer.as_ptr().cast_mut().cast(),
                self.buffer.len(),
            ) == 0
        }
    }
}

/// Unmaps the buffer and frees it. If the core had to disable the mode before, the buffer is lost:
/// for another device of the group it may still be mapped.
impl<A: Allocator> Drop for Mapping<'_, '_, A> {
    fn drop(&mut self) {
        if self.unmap() {
            // SAFETY: It is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.buffer) };
        }
    }
}
