// SPDX-License-Identifier: GPL-2.0

//! Kernel virtual addresses for devices.
//!
//! [`logic::kva`](crate::logic::kva) says what of a buffer has to be mapped and unmapped.
//! This file does so in a domain of the mode's own, and keeps the counts, with the domain's
//! mutex held; for its place among other locks see [`dma_pasid`](crate::dma_pasid).
//!
//! The counts of 512 pages go together, as the leaves of a page table do, and are there as
//! long as one of them is not 0.

use crate::{
    dma_owner::errno,
    hw,
    logic::kva::{
        self as logic,
        Cell,
        Chunk,
        Counts,
        Pages,
        Piece,
        Refusal,
        Space,
        CHUNK_PAGES,
        PAGE_SHIFT, //
    },
    trace, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    types::ForeignOwnable, //
};

const _: () = {
    assert!(logic::READ == bindings::IOMMU_READ);
    assert!(logic::WRITE == bindings::IOMMU_WRITE);
    assert!(!SUPPORTED || PAGE_SHIFT == bindings::PAGE_SHIFT);
};

/// Whether this kernel's addresses can be given to devices: shim/kva.c reads its page table.
pub(crate) const SUPPORTED: bool = cfg!(CONFIG_X86_64);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::BadBuffer => EINVAL,
            Refusal::LessPermission => EBUSY,
            Refusal::Overflow => EOVERFLOW,
            Refusal::NotMapped => ENOENT,
        }
    }
}

/// What devices are trusted with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Buffers that share no page with anything else.
    WholePages,
    /// Whatever buffers they are given.
    Buffers,
    /// The kernel's own page table: that is the fast mode.
    KernelTable,
}

/// The private data of a KVA domain.
#[pin_data]
struct Kva {
    trust: Trust,
    /// How many pages are mapped; changes under the lock.
    pages: Atomic<usize>,
    #[pin]
    chunks: Mutex<Chunks>,
}

/// The counts, by number of the chunk.
struct Chunks(RBTree<usize, Chunk<KVec<Cell>>>);

impl Chunks {
    /// The number of any chunk.
    fn first(&self) -> Option<usize> {
        self.0.keys().next().copied()
    }

    /// Makes the chunks of a buffer.
    fn prepare(&mut self, pages: Pages) -> Result {
        for number in pages.chunks() {
            if self.0.get(&number).is_none() {
                let cells = KVec::from_elem(Cell::EMPTY, CHUNK_PAGES, GFP_KERNEL)?;
                self.0
                    .try_create_and_insert(number, Chunk::new(cells), GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Drops those of them that count nothing.
    fn forget(&mut self, pages: Pages) {
        for number in pages.chunks() {
            if self.0.get(&number).is_some_and(|chunk| chunk.mapped() == 0) {
                self.0.remove(&number);
            }
        }
    }
}

impl Counts for Chunks {
    type Cells = KVec<Cell>;

    fn chunk(&self, number: usize) -> Option<&Chunk<KVec<Cell>>> {
        self.0.get(&number)
    }

    fn chunk_mut(&mut self, number: usize) -> Option<&mut Chunk<KVec<Cell>>> {
        self.0.get_mut(&number)
    }
}

/// The kernel's addresses, and a domain's table.
///
/// # Invariants
///
/// `domain` is valid, and made by [`Domain::new`].
struct Addresses<'a> {
    domain: *mut bindings::iommu_domain,
    kva: &'a Kva,
}

impl Addresses<'_> {
    /// Whether the domain's table is the kernel's, which is not ours to change.
    fn is_fast(&self) -> bool {
        self.kva.trust == Trust::KernelTable
    }

    /// Whether the kernel may put something else at an address that the table gives away.
    fn changes(&self, addr: usize) -> bool {
        // SAFETY: The function has no requirements.
        self.is_fast() && unsafe { bindings::iommu_kva_is_vmalloc(addr) }
    }

    fn add(&self, pages: usize) {
        let now = self.kva.pages.load(Relaxed);
        self.kva.pages.store(now.wrapping_add(pages), Relaxed);
    }
}

impl Space for Addresses<'_> {
    type Error = Error;

    fn piece(&self, addr: usize, prot: u32) -> Option<Piece> {
        if self.changes(addr) {
            return None;
        }
        let mut phys = 0;
        // SAFETY: `phys` can be written.
        let size = unsafe { bindings::iommu_kva_piece(addr, prot & logic::WRITE != 0, &mut phys) };

        match size >> PAGE_SHIFT {
            0 => None,
            pages => Some(Piece { phys, pages }),
        }
    }

    fn is_memory(&self, run: Piece) -> bool {
        // SAFETY: The function has no requirements.
        unsafe { bindings::iommu_kva_is_memory(run.phys, run.pages << PAGE_SHIFT) }
    }

    fn map(&self, addr: usize, run: Piece, prot: u32) -> Result {
        let prot = (prot | bindings::IOMMU_CACHE) as c_int;
        let size = run.pages << PAGE_SHIFT;

        if self.is_fast() {
            self.add(run.pages);
            return Ok(());
        }
        // SAFETY: By the type invariant. What is mapped is the caller's buffer.
        to_result(unsafe {
            bindings::iommu_map(
                self.domain,
                addr,
                run.phys,
                size,
                prot,
                bindings::GFP_KERNEL,
            )
        })?;
        self.add(run.pages);
        Ok(())
    }

    fn unmap(&self, pages: Pages) {
        let size = pages.count() << PAGE_SHIFT;

        if !self.is_fast() {
            // SAFETY: By the type invariant.
            unsafe { bindings::iommu_unmap(self.domain, pages.addr(), size) };
        }
        self.add(pages.count().wrapping_neg());
    }
}

/// A KVA domain, freed when it is dropped.
///
/// # Invariants
///
/// The pointer is valid, is this object's, and was given a [`Kva`] to own by
/// `iommu_kva_domain_init()`.
pub(crate) struct Domain(NonNull<bindings::iommu_domain>);

impl Domain {
    /// Makes one for a device.
    ///
    /// # Safety
    ///
    /// `dev` must be valid, and be in a group that an IOMMU serves.
    pub(crate) unsafe fn new(dev: *mut bindings::device, trust: Trust) -> Result<Self> {
        let kva = KBox::pin_init(
            pin_init!(Kva {
                trust,
                pages: Atomic::new(0),
                chunks <- new_mutex!(Chunks(RBTree::new()), "iommu_kva"),
            }),
            GFP_KERNEL,
        )?;

        // SAFETY: By the safety requirements.
        let domain = from_err_ptr(unsafe {
            match trust {
                Trust::KernelTable => hw::kernel_table_domain(dev),
                _ => bindings::iommu_kva_domain_alloc(dev),
            }
        })?;
        let domain = NonNull::new(domain).ok_or(ENOMEM)?;

        let kva = kva.into_foreign();
        // SAFETY: The domain is valid.
        let owned = to_result(unsafe { bindings::iommu_kva_domain_init(domain.as_ptr(), kva) });
        owned.inspect_err(|_| {
            // SAFETY: Neither was given to anybody.
            unsafe {
                bindings::iommu_domain_free(domain.as_ptr());
                drop(Pin::<KBox<Kva>>::from_foreign(kva));
            }
        })?;

        // INVARIANT: It is new, nobody else's, and has its data.
        Ok(Self(domain))
    }

    pub(crate) fn raw(&self) -> *mut bindings::iommu_domain {
        self.0.as_ptr()
    }

    pub(crate) fn into_raw(self) -> *mut bindings::iommu_domain {
        let raw = self.raw();
        core::mem::forget(self);
        raw
    }

    /// # Safety
    ///
    /// `raw` must be from [`Self::into_raw`], and not be used any more.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::iommu_domain) -> Self {
        // INVARIANT: By the safety requirements.
        // SAFETY: It was a valid pointer.
        Self(unsafe { NonNull::new_unchecked(raw) })
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let domain = self.raw();

        // SAFETY: By the type invariant.
        if let Some(kva) = unsafe { Kva::of(domain) } {
            let space = Addresses { domain, kva };
            let mut chunks = kva.chunks.lock();

            while let Some(number) = chunks.first() {
                logic::clear(&space, &mut *chunks, number);
                chunks.0.remove(&number);
            }
        }

        // SAFETY: By the type invariant, and it was detached from where it was attached.
        unsafe {
            let kva = bindings::iommu_kva_domain_free(domain);
            drop(Pin::<KBox<Kva>>::from_foreign(kva));
        }
    }
}

impl Kva {
    /// The private data of a domain, if it is a KVA domain.
    ///
    /// # Safety
    ///
    /// `domain` must be NULL, or valid for `'a`.
    unsafe fn of<'a>(domain: *mut bindings::iommu_domain) -> Option<&'a Self> {
        if domain.is_null() {
            return None;
        }
        // SAFETY: By the safety requirements; what a KVA domain has is a `Kva`.
        unsafe { bindings::iommu_kva_of(domain).cast::<Self>().as_ref() }
    }
}

/// Whether a KVA domain is the fast one, and how many pages are mapped.
///
/// # Safety
///
/// `domain` must be valid.
pub(crate) unsafe fn state(domain: *mut bindings::iommu_domain) -> (bool, usize) {
    // SAFETY: By the safety requirements.
    match unsafe { Kva::of(domain) } {
        Some(kva) => (kva.trust == Trust::KernelTable, kva.pages.load(Relaxed)),
        None => (false, 0),
    }
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_map_kva(
    domain: *mut bindings::iommu_domain,
    cpu_addr: *mut c_void,
    size: usize,
    prot: c_int,
) -> c_int {
    let addr = cpu_addr.addr();
    // It is asked for anyway.
    let prot = prot as u32 & !bindings::IOMMU_CACHE;
    let map = || {
        // SAFETY: By the safety requirements.
        let kva = unsafe { Kva::of(domain) }.ok_or(EINVAL)?;
        let space = Addresses { domain, kva };
        let pages = Pages::new(addr, size, kva.trust == Trust::WholePages)?;

        // SAFETY: The function has no requirements.
        if unsafe { bindings::iommu_kva_on_stack(addr, size) } {
            return Err(EINVAL);
        }
        let buffer = logic::validate(&space, pages, prot)?;

        let mut chunks = kva.chunks.lock();
        chunks
            .prepare(pages)
            .and_then(|()| logic::map(&space, &mut *chunks, buffer))
            .inspect_err(|_| chunks.forget(pages))
    };

    let error = errno(map());
    // SAFETY: Nothing is required.
    unsafe { trace::iommu_kva_map(addr, size, prot as c_int, error) };
    error
}

/// # Safety
///
/// As for the C function.
#[export]
pub unsafe extern "C" fn iommu_unmap_kva(
    domain: *mut bindings::iommu_domain,
    cpu_addr: *mut c_void,
    size: usize,
) -> c_int {
    let addr = cpu_addr.addr();
    let unmap = || {
        // SAFETY: By the safety requirements.
        let kva = unsafe { Kva::of(domain) }.ok_or(EINVAL)?;
        let space = Addresses { domain, kva };
        let pages = Pages::new(addr, size, kva.trust == Trust::WholePages)?;

        if space.changes(addr) {
            return Err(EINVAL);
        }
        let mut chunks = kva.chunks.lock();
        logic::unmap(&space, &mut *chunks, pages)?;
        chunks.forget(pages);
        Ok(())
    };

    let error = errno(unmap());
    // SAFETY: Nothing is required.
    unsafe { trace::iommu_kva_unmap(addr, size, error) };
    error
}
