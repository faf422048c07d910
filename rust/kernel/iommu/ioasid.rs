// SPDX-License-Identifier: GPL-2.0

//! I/O address-space IDs (PASIDs).
//!
//! C header: [`include/linux/ioasid.h`](srctree/include/linux/ioasid.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::RangeInclusive,
    ptr, //
};

/// Data is put in as a `T` and got out as one, through shared references and by other handles, so
/// that no subtype nor supertype of `T` will do.
type Invariant<T> = PhantomData<fn(T) -> T>;

/// IDs that belong together, each with a `T` for data.
///
/// A module drops all IDs of its sets, and waits until they [count](Set::count) none, before it is
/// unloaded: others may hold references to them, and the core keeps a set's address as long as it
/// has IDs. What is kept in the module or with its drivers' devices is dropped in time; what is
/// leaked, or kept in a static, is not.
///
/// # Invariants
///
/// The data of each ID of the set is null or came from `T::into_foreign`; it is taken back only
/// after the ID has lost it and a grace period has passed.
///
/// # Examples
///
/// ```
/// use kernel::{
///     iommu::ioasid::Set,
///     sync::rcu, //
/// };
///
/// static SET: Set<KBox<u32>> = Set::new(c"example", 0);
///
/// let id = SET.alloc(2..=99, KBox::new(42, GFP_KERNEL)?)?;
/// assert_eq!(SET.count(), 1);
///
/// let guard = rcu::read_lock();
/// assert_eq!(SET.find(id.id(), &guard)?, Some(&42));
/// drop(guard);
///
/// drop(id);
/// assert_eq!(SET.count(), 0);
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct Set<T: ForeignOwnable> {
    inner: Opaque<bindings::ioasid_set>,
    _data: Invariant<T>,
}

// SAFETY: The allocator serialises changes of the set; the data of its IDs is sent to whoever frees
// them and shared with whoever finds them.
unsafe impl<T: ForeignOwnable + Send + Sync> Sync for Set<T> {}

impl<T: ForeignOwnable + Send + Sync + 'static> Set<T> {
    /// Makes an empty set that may have at most `quota` IDs at a time; 0 is no limit.
    pub const fn new(name: &'static CStr, quota: u32) -> Self {
        // INVARIANT: The set has no IDs.
        Self {
            inner: Opaque::new(bindings::ioasid_set {
                name: as_char_ptr_in_const_context(name),
                quota,
                count: 0,
                peak: 0,
            }),
            _data: PhantomData,
        }
    }

    /// Allocates the lowest free ID in `range`. May sleep.
    ///
    /// Fails with `ENOSPC` if there is none, the quota is used up, or memory is.
    pub fn alloc(&'static self, range: RangeInclusive<u32>, data: T) -> Result<Ioasid<T>> {
        let data = data.into_foreign();
        // SAFETY: The set is static.
        let id =
            unsafe { bindings::ioasid_alloc(self.inner.get(), *range.start(), *range.end(), data) };
        if id == u32::MAX {
            // SAFETY: It came from `into_foreign()` above, and nobody else has it.
            drop(unsafe { T::from_foreign(data) });
            return Err(ENOSPC);
        }
        // INVARIANT: The ID is of this set, with this data.
        Ok(Ioasid {
            id,
            data,
            _data: PhantomData,
        })
    }

    /// Looks up the data of an ID, which is lent as long as the RCU lock is held. Any context but
    /// NMI.
    ///
    /// `None`: the ID is being freed. Fails with `ENOENT` if nobody holds the ID, with `EACCES` if
    /// it is of another set.
    pub fn find<'rcu>(
        &'static self,
        id: u32,
        _guard: &'rcu rcu::Guard,
    ) -> Result<Option<T::Borrowed<'rcu>>> {
        // SAFETY: Without getter there are no requirements.
        let data = from_err_ptr(unsafe { bindings::ioasid_find(self.inner.get(), id, None) })?;
        // SAFETY: By the type invariant this came from `into_foreign()` and is not taken back
        // before the RCU lock is released.
        Ok((!data.is_null()).then(|| unsafe { T::borrow(data) }))
    }

    /// Adds a reference to an ID, which keeps it from being used again. Any context but NMI.
    ///
    /// Fails as [`Self::find`], and with `EOVERFLOW`.
    pub fn get(&'static self, id: u32) -> Result<Reference> {
        // SAFETY: Has no requirements.
        to_result(unsafe { bindings::ioasid_get(self.inner.get(), id) })?;
        // INVARIANT: The reference was just counted.
        Ok(Reference { id })
    }

    /// IDs of the set that are allocated now.
    pub fn count(&self) -> u32 {
        // SAFETY: The field is valid; all accesses are atomic.
        unsafe { Atomic::from_ptr(&raw mut (*self.inner.get()).count) }.load(Relaxed)
    }

    /// The highest count so far.
    pub fn peak(&self) -> u32 {
        // SAFETY: The field is valid; all accesses are atomic.
        unsafe { Atomic::from_ptr(&raw mut (*self.inner.get()).peak) }.load(Relaxed)
    }
}

/// An ID and its data.
///
/// Dropping it takes the data from the ID, waits for a grace period, so that no lookup uses the
/// data any more, and drops the reference to the ID, which frees it unless there is a
/// [`Reference`].
///
/// # Context
///
/// [`Self::replace`] and dropping may sleep, and wait for all who hold the RCU lock: neither may
/// happen in an interrupt, NMIs included, nor with interrupts or preemption off, under a spinlock,
/// or under an [`rcu::Guard`]: what was looked up with it may be freed then, and still be used, as
/// sleeping ends what the guard is for. Whoever has to let go of an ID there can send it to a
/// workqueue.
///
/// # Invariants
///
/// We hold a reference to `id`, whose data is `data`, which came from `T::into_foreign`.
pub struct Ioasid<T: ForeignOwnable> {
    id: u32,
    data: *mut c_void,
    _data: Invariant<T>,
}

// SAFETY: An ID belongs to no task; its data may be sent.
unsafe impl<T: ForeignOwnable + Send> Send for Ioasid<T> {}

// SAFETY: Through a shared reference only the number can be read.
unsafe impl<T: ForeignOwnable> Sync for Ioasid<T> {}

impl<T: ForeignOwnable> Ioasid<T> {
    /// The number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Replaces the data and returns the old, which no lookup uses any more. May sleep.
    pub fn replace(&mut self, data: T) -> T {
        let data = data.into_foreign();
        // SAFETY: Lookups in the set expect data of this type.
        unsafe { self.set_data(data) };
        let old = core::mem::replace(&mut self.data, data);
        // SAFETY: By the type invariant it came from `into_foreign()`; the ID has lost it, and a
        // grace period has passed.
        unsafe { T::from_foreign(old) }
    }

    /// # Safety
    ///
    /// `data` is null or came from `T::into_foreign`.
    unsafe fn set_data(&self, data: *mut c_void) {
        // SAFETY: Has no further requirements.
        let ret = unsafe { bindings::ioasid_set_data(self.id, data) };
        // We hold a reference, so the ID is known.
        debug_assert!(ret == 0);
    }
}

impl<T: ForeignOwnable> Drop for Ioasid<T> {
    fn drop(&mut self) {
        // SAFETY: Null is fine.
        unsafe { self.set_data(ptr::null_mut()) };
        // SAFETY: Has no requirements; the reference is ours.
        unsafe { bindings::ioasid_free(self.id) };
        // SAFETY: As in `replace()`.
        drop(unsafe { T::from_foreign(self.data) });
    }
}

/// A reference to an ID, which keeps it from being used again, though not its data.
///
/// # Context
///
/// It may be dropped in any context but NMI. That takes a spinlock, which sleeps on `PREEMPT_RT`;
/// the last reference also calls the custom allocator that the ID came from, if any.
///
/// # Invariants
///
/// A reference to `id` was counted for us.
pub struct Reference {
    id: u32,
}

impl Reference {
    /// The number.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: Has no requirements; the reference is ours.
        unsafe { bindings::ioasid_free(self.id) };
    }
}
