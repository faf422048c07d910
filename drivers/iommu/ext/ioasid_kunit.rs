// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the IOASID allocator: every error of its interface.
//!
//! They need the space for themselves, so they run before anything allocates PASIDs.

use crate::{
    ioasid::{
        ioasid_alloc,
        ioasid_find,
        ioasid_free,
        ioasid_get,
        ioasid_put,
        ioasid_register_allocator,
        ioasid_set_data,
        ioasid_unregister_allocator,
        preset_references, //
    },
    kunit::warnings, //
};
use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings::{
        self,
        ioasid_allocator_ops,
        ioasid_set,
        ioasid_t, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

const INVALID: ioasid_t = ioasid_t::MAX;
const MAX: ioasid_t = (1 << 20) - 1;

/// A set on the stack of a test.
struct Set(UnsafeCell<ioasid_set>);

impl Set {
    fn new(quota: u32) -> Self {
        Self(UnsafeCell::new(ioasid_set {
            name: c"kunit".as_char_ptr(),
            quota,
            count: 0,
            peak: 0,
        }))
    }

    fn alloc(&self, min: ioasid_t, max: ioasid_t, data: usize) -> ioasid_t {
        // SAFETY: The tests free what they allocate while the set is alive.
        unsafe { ioasid_alloc(self.0.get(), min, max, data as *mut c_void) }
    }

    fn find(&self, id: ioasid_t) -> Result<usize> {
        find(self.0.get(), id, None)
    }

    fn get(&self, id: ioasid_t) -> c_int {
        // SAFETY: Has no requirements.
        unsafe { ioasid_get(self.0.get(), id) }
    }

    /// IDs now, and most at a time.
    fn counts(&self) -> (u32, u32) {
        // SAFETY: Nobody else uses the set.
        unsafe { ((*self.0.get()).count, (*self.0.get()).peak) }
    }
}

type Getter = unsafe extern "C" fn(*mut c_void) -> bool;
type Alloc = unsafe extern "C" fn(ioasid_t, ioasid_t, *mut c_void) -> ioasid_t;
type Free = unsafe extern "C" fn(ioasid_t, *mut c_void);

fn find(set: *mut ioasid_set, id: ioasid_t, getter: Option<Getter>) -> Result<usize> {
    // SAFETY: The getters of these tests do not look at the data.
    let data = unsafe { ioasid_find(set, id, getter) };
    kernel::error::from_err_ptr(data).map(|data| data as usize)
}

fn free(id: ioasid_t) {
    // SAFETY: Has no requirements.
    unsafe { ioasid_free(id) };
}

fn put(id: ioasid_t) -> bool {
    // SAFETY: Has no requirements.
    unsafe { ioasid_put(id) }
}

fn set_data(id: ioasid_t, data: usize) -> c_int {
    // SAFETY: Has no requirements.
    unsafe { ioasid_set_data(id, data as *mut c_void) }
}

/// A custom allocator that returns what it is told and counts what it gets back.
struct Custom {
    next: Atomic<u32>,
    asked: [Atomic<u32>; 2],
    freed: Atomic<u32>,
    ops: Opaque<ioasid_allocator_ops>,
}

impl Custom {
    fn new() -> Self {
        Self {
            next: Atomic::new(INVALID),
            asked: [Atomic::new(0), Atomic::new(0)],
            freed: Atomic::new(0),
            ops: Opaque::zeroed(),
        }
    }

    fn register(&self, other_pair: bool) -> c_int {
        let free = if other_pair { other_free } else { custom_free };
        self.register_pair(Some(custom_alloc), Some(free))
    }

    fn register_pair(&self, alloc: Option<Alloc>, free: Option<Free>) -> c_int {
        let ops = self.ops.get();
        // SAFETY: The tests unregister it while it is alive.
        unsafe {
            (*ops).alloc = alloc;
            (*ops).free = free;
            (*ops).pdata = ptr::from_ref(self).cast_mut().cast();
            ioasid_register_allocator(ops)
        }
    }

    /// Whether it was asked for an ID in this range.
    fn was_asked(&self, min: ioasid_t, max: ioasid_t) -> bool {
        self.asked.each_ref().map(|cell| cell.load(Relaxed)) == [min, max]
    }

    fn unregister(&self) {
        // SAFETY: Has no requirements.
        unsafe { ioasid_unregister_allocator(self.ops.get()) };
    }
}

/// # Safety
///
/// `data` is a [`Custom`].
unsafe extern "C" fn custom_alloc(min: ioasid_t, max: ioasid_t, data: *mut c_void) -> ioasid_t {
    // SAFETY: By the requirement of this function.
    let custom = unsafe { &*data.cast::<Custom>() };
    custom.asked[0].store(min, Relaxed);
    custom.asked[1].store(max, Relaxed);
    custom.next.load(Relaxed)
}

/// # Safety
///
/// `data` is a [`Custom`].
unsafe extern "C" fn custom_free(_id: ioasid_t, data: *mut c_void) {
    // SAFETY: By the requirement of this function.
    unsafe { &*data.cast::<Custom>() }
        .freed
        .fetch_add(1, Relaxed);
}

/// Counts by hundreds, so that the compiler does not make the two functions one.
///
/// # Safety
///
/// `data` is a [`Custom`].
unsafe extern "C" fn other_free(_id: ioasid_t, data: *mut c_void) {
    // SAFETY: By the requirement of this function.
    unsafe { &*data.cast::<Custom>() }
        .freed
        .fetch_add(100, Relaxed);
}

/// # Safety
///
/// None.
unsafe extern "C" fn accept(_data: *mut c_void) -> bool {
    true
}

/// # Safety
///
/// None.
unsafe extern "C" fn refuse(_data: *mut c_void) -> bool {
    false
}

#[kunit_tests(iommu_ext_ioasid)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive() {
        let set = Set::new(0);
        assert_eq!(set.alloc(1000, 1001, 0), 1000);
        assert_eq!(set.alloc(1000, 1001, 0), 1001);
        assert_eq!(set.alloc(1000, 1001, 0), INVALID);
        assert_eq!(set.alloc(999, 1001, 0), 999);
        assert_eq!(set.alloc(1000, 1002, 0), 1002);
        assert_eq!(set.alloc(5, 4, 0), INVALID);
        (999..=1002).for_each(free);
        assert_eq!(set.counts(), (0, 4));
    }

    #[test]
    fn reserved_ids_are_never_given() {
        let set = Set::new(0);
        assert_eq!(set.alloc(0, 1, 0), INVALID);
        assert_eq!(set.alloc(0, MAX, 0), 2);
        assert_eq!(set.alloc(INVALID, INVALID, 0), INVALID);
        assert_eq!(set.alloc(INVALID - 1, INVALID, 0), INVALID - 1);
        assert_eq!(set.alloc(INVALID - 1, INVALID, 0), INVALID);
        free(2);
        free(INVALID - 1);
        assert_eq!(find(ptr::null_mut(), 1, None), Err(ENOENT));
    }

    #[test]
    fn the_lowest_free_id_comes_first() {
        let set = Set::new(0);
        for id in 2..102 {
            assert_eq!(set.alloc(0, MAX, 0), id);
        }
        for id in [70, 16, 17, 99] {
            free(id);
        }
        for id in [16, 17, 70, 99, 102] {
            assert_eq!(set.alloc(0, MAX, 0), id);
        }
        (2..103).for_each(free);
        assert_eq!(set.counts(), (0, 101));
    }

    #[test]
    fn find_tells_sets_apart() {
        let (set, other) = (Set::new(0), Set::new(0));
        let id = set.alloc(2, MAX, 0x1234);
        assert_eq!(set.find(id), Ok(0x1234));
        assert_eq!(other.find(id), Err(EACCES));
        assert_eq!(find(ptr::null_mut(), id, None), Ok(0x1234));
        assert_eq!(set.find(id + 1), Err(ENOENT));
        assert_eq!(set.find(INVALID), Err(ENOENT));
        free(id);
        assert_eq!(set.find(id), Err(ENOENT));
        assert_eq!(find(ptr::null_mut(), id, None), Err(ENOENT));
    }

    #[test]
    fn an_id_may_be_of_no_set() {
        let set = Set::new(0);
        // SAFETY: Without a set there are no requirements.
        let id = unsafe { ioasid_alloc(ptr::null_mut(), 2, MAX, ptr::null_mut()) };
        assert_eq!(find(ptr::null_mut(), id, None), Ok(0));
        assert_eq!(set.find(id), Err(EACCES));
        assert_eq!(set.get(id), EACCES.to_errno());
        free(id);
        assert_eq!(set.counts(), (0, 0));
    }

    #[test]
    fn find_asks_the_getter() {
        let set = Set::new(0);
        let id = set.alloc(2, MAX, 0x1234);
        assert_eq!(find(set.0.get(), id, Some(accept)), Ok(0x1234));
        assert_eq!(find(set.0.get(), id, Some(refuse)), Ok(0));
        assert_eq!(set_data(id, 0), 0);
        assert_eq!(find(set.0.get(), id, Some(accept)), Ok(0));
        free(id);
    }

    #[test]
    fn data_can_be_replaced() {
        let set = Set::new(0);
        let id = set.alloc(2, MAX, 0x1234);
        assert_eq!(set_data(id, 0x5678), 0);
        assert_eq!(set.find(id), Ok(0x5678));
        free(id);
        assert_eq!(set_data(id, 0x9abc), ENOENT.to_errno());
        assert_eq!(set.alloc(id, id, 0), id);
        assert_eq!(set.find(id), Ok(0));
        free(id);
    }

    #[test]
    fn references_keep_an_id() {
        let (set, other) = (Set::new(0), Set::new(0));
        let id = set.alloc(2, MAX, 0x1234);
        assert_eq!(set.get(id), 0);
        assert_eq!(other.get(id), EACCES.to_errno());
        assert_eq!(set.get(id + 1), ENOENT.to_errno());
        assert!(!put(id));
        assert_eq!(set.find(id), Ok(0x1234));
        assert_eq!(set.alloc(id, id, 0), INVALID);
        assert!(put(id));
        assert_eq!(set.get(id), ENOENT.to_errno());
        assert_eq!(set.alloc(id, id, 0), id);
        free(id);
    }

    #[test]
    fn references_never_wrap() {
        let set = Set::new(0);
        let id = set.alloc(2, MAX, 0);
        preset_references(id, u32::MAX - 1);
        assert_eq!(set.get(id), 0);
        assert_eq!(set.get(id), EOVERFLOW.to_errno());
        assert!(!put(id));
        preset_references(id, 1);
        assert!(put(id));
    }

    #[test]
    fn an_unknown_id_is_warned_about() {
        let set = Set::new(0);
        let id = set.alloc(2, MAX, 0);
        free(id);
        assert_eq!(warnings(|| free(id)), 1);
        assert_eq!(warnings(|| free(1)), 1);
        assert_eq!(warnings(|| free(0)), 1);
        assert_eq!(warnings(|| free(INVALID)), 1);
        assert_eq!(warnings(|| assert!(!put(MAX))), 1);
        assert_eq!(set.counts(), (0, 1));
    }

    #[test]
    fn a_quota_limits_its_set_only() {
        let (set, other) = (Set::new(2), Set::new(0));
        let ids = [(); 2].map(|()| set.alloc(2, MAX, 0));
        assert_eq!(set.alloc(2, MAX, 0), INVALID);
        let third = other.alloc(2, MAX, 0);
        assert!(third != INVALID);
        free(ids[0]);
        assert_eq!(set.alloc(2, MAX, 0), ids[0]);
        assert_eq!(set.counts(), (2, 2));
        assert_eq!(other.counts(), (1, 1));
        [ids[0], ids[1], third].into_iter().for_each(free);
    }

    #[test]
    fn a_custom_allocator_takes_precedence() {
        let (set, custom) = (Set::new(0), Custom::new());
        assert_eq!(custom.register(false), 0);
        assert_eq!(custom.register(false), EEXIST.to_errno());
        assert_eq!(set.alloc(2, MAX, 0), INVALID);
        custom.next.store(500, Relaxed);
        assert_eq!(set.alloc(7, MAX, 0x1234), 500);
        assert!(custom.was_asked(7, MAX));
        assert_eq!(set.find(500), Ok(0x1234));
        assert_eq!(set.get(500), 0);
        assert!(!put(500));
        assert_eq!(custom.freed.load(Relaxed), 0);
        assert!(put(500));
        assert_eq!(custom.freed.load(Relaxed), 1);
        custom.unregister();
        assert_eq!(set.alloc(2, MAX, 0), 2);
        free(2);
        assert_eq!(custom.freed.load(Relaxed), 1);
    }

    #[test]
    fn a_custom_allocator_has_both_functions() {
        let custom = Custom::new();
        for (alloc, free) in [
            (None, None),
            (Some(custom_alloc as Alloc), None),
            (None, Some(custom_free as Free)),
        ] {
            assert_eq!(custom.register_pair(alloc, free), EINVAL.to_errno());
        }
    }

    #[test]
    fn a_quota_comes_before_a_custom_allocator() {
        let (set, custom) = (Set::new(1), Custom::new());
        assert_eq!(custom.register(false), 0);
        custom.next.store(500, Relaxed);
        assert_eq!(set.alloc(2, MAX, 0), 500);
        custom.next.store(501, Relaxed);
        assert_eq!(set.alloc(3, MAX, 0), INVALID);
        // It was not asked, so it has nothing to take back.
        assert!(custom.was_asked(2, MAX));
        assert_eq!(custom.freed.load(Relaxed), 0);
        free(500);
        custom.unregister();
    }

    #[test]
    fn allocators_switch_only_without_ids() {
        let set = Set::new(0);
        let (custom, sibling, other) = (Custom::new(), Custom::new(), Custom::new());
        let id = set.alloc(2, MAX, 0);
        assert_eq!(custom.register(false), EBUSY.to_errno());
        free(id);

        assert_eq!(custom.register(false), 0);
        custom.next.store(500, Relaxed);
        assert_eq!(set.alloc(2, MAX, 0), 500);
        assert_eq!(sibling.register(false), 0);
        assert_eq!(other.register(true), EBUSY.to_errno());
        // The sibling keeps the space alive.
        assert_eq!(warnings(|| custom.unregister()), 0);
        free(500);
        assert_eq!(custom.freed.load(Relaxed) + sibling.freed.load(Relaxed), 1);

        assert_eq!(other.register(true), 0);
        other.next.store(600, Relaxed);
        assert_eq!(set.alloc(2, MAX, 0), 600);
        free(600);
        assert_eq!(other.freed.load(Relaxed), 100);
        other.unregister();
        sibling.next.store(700, Relaxed);
        assert_eq!(set.alloc(2, MAX, 0), 700);
        free(700);
        sibling.unregister();
    }

    #[test]
    fn a_custom_allocator_is_not_trusted() {
        let (set, custom) = (Set::new(0), Custom::new());
        assert_eq!(custom.register(false), 0);
        custom.next.store(50, Relaxed);
        assert_eq!(set.alloc(2, 99, 0), 50);
        for (bad, freed) in [(0, 1), (1, 2), (50, 3), (100, 4)] {
            custom.next.store(bad, Relaxed);
            assert_eq!(warnings(|| assert_eq!(set.alloc(0, 99, 0), INVALID)), 1);
            assert_eq!(custom.freed.load(Relaxed), freed);
        }
        assert_eq!(set.counts(), (1, 1));
        free(50);
        custom.unregister();
        assert_eq!(warnings(|| custom.unregister()), 1);
    }

    #[test]
    fn ids_survive_their_allocator() {
        let (set, custom) = (Set::new(0), Custom::new());
        assert_eq!(custom.register(false), 0);
        for id in [3, 300, 3000] {
            custom.next.store(id, Relaxed);
            assert_eq!(set.alloc(2, MAX, id as usize), id);
        }
        assert_eq!(warnings(|| custom.unregister()), 1);
        assert_eq!(set.find(300), Ok(300));
        assert_eq!(set.alloc(2, MAX, 0), 2);
        assert_eq!(set.alloc(2, MAX, 0), 4);
        [2, 3, 4, 300, 3000].into_iter().for_each(free);
        assert_eq!(custom.freed.load(Relaxed), 0);
        assert_eq!(set.counts(), (0, 5));
    }

    #[test]
    fn a_predecessor_takes_nothing_back_that_it_did_not_give() {
        let (set, first, second) = (Set::new(0), Custom::new(), Custom::new());
        assert_eq!(first.register(false), 0);
        assert_eq!(second.register(true), 0);
        second.next.store(500, Relaxed);
        assert_eq!(set.alloc(2, MAX, 0), 500);
        assert_eq!(warnings(|| second.unregister()), 1);

        first.next.store(600, Relaxed);
        assert_eq!(set.alloc(2, MAX, 0), 600);
        free(500);
        assert_eq!(first.freed.load(Relaxed), 0);
        free(600);
        assert_eq!(first.freed.load(Relaxed), 1);
        assert_eq!(second.freed.load(Relaxed), 0);
        first.unregister();
    }
}

#[kunit_tests(iommu_ext_ioasid_rust)]
mod rust {
    use super::*;
    use kernel::{
        iommu::ioasid,
        sync::{
            rcu,
            Arc, //
        },
    };

    static OTHER: ioasid::Set<KBox<u32>> = ioasid::Set::new(c"kunit_other", 1);
    static SET: ioasid::Set<Arc<u32>> = ioasid::Set::new(c"kunit", 0);

    #[test]
    fn an_id_is_freed_on_drop() -> Result {
        let data = Arc::new(1, GFP_KERNEL)?;
        let first = SET.alloc(2..=MAX, data.clone())?;
        let id = first.id();
        assert_eq!(SET.count(), 1);
        assert_eq!(SET.alloc(id..=id, data.clone()).err(), Some(ENOSPC));
        drop(first);
        // Ours is the only one left.
        assert!(Arc::into_unique_or_drop(data).is_some());
        assert_eq!((SET.count(), SET.peak()), (0, 1));
        drop(SET.alloc(id..=id, Arc::new(2, GFP_KERNEL)?)?);
        Ok(())
    }

    #[test]
    fn data_is_lent_under_rcu() -> Result {
        let mut first = OTHER.alloc(2..=MAX, KBox::new(1, GFP_KERNEL)?)?;
        let second = SET.alloc(2..=MAX, Arc::new(2, GFP_KERNEL)?)?;
        {
            let guard = rcu::read_lock();
            assert_eq!(OTHER.find(first.id(), &guard), Ok(Some(&1)));
            assert_eq!(OTHER.find(second.id(), &guard), Err(EACCES));
            assert_eq!(OTHER.find(MAX, &guard), Err(ENOENT));
        }
        assert_eq!(*first.replace(KBox::new(3, GFP_KERNEL)?), 1);
        let guard = rcu::read_lock();
        assert_eq!(OTHER.find(first.id(), &guard), Ok(Some(&3)));
        drop(guard);
        assert_eq!(
            OTHER.alloc(2..=MAX, KBox::new(4, GFP_KERNEL)?).err(),
            Some(ENOSPC)
        );
        Ok(())
    }

    #[test]
    fn a_reference_outlives_the_data() -> Result {
        let first = SET.alloc(2..=MAX, Arc::new(1, GFP_KERNEL)?)?;
        let id = first.id();
        let reference = SET.get(id)?;
        drop(first);
        let guard = rcu::read_lock();
        assert!(matches!(SET.find(id, &guard), Ok(None)));
        drop(guard);
        assert_eq!(reference.id(), id);
        drop(reference);
        assert_eq!(SET.get(id).err(), Some(ENOENT));
        Ok(())
    }
}

#[cfg(CONFIG_IOMMU_EXT)]
#[kunit_tests(iommu_ext_global_pasid)]
mod global {
    use super::*;
    use crate::ioasid::{
        iommu_alloc_global_pasid,
        iommu_free_global_pasid, //
    };

    /// Allocates for a device that can use this many PASIDs.
    fn alloc(max_pasids: u32) -> ioasid_t {
        let iommu = Opaque::<bindings::dev_iommu>::zeroed();
        let dev = Opaque::<bindings::device>::zeroed();
        // SAFETY: Both are on our stack; nothing but these two fields is looked at.
        unsafe {
            (*iommu.get()).max_pasids = max_pasids;
            (*dev.get()).iommu = iommu.get();
            iommu_alloc_global_pasid(dev.get())
        }
    }

    fn free(pasid: ioasid_t) {
        // SAFETY: Has no requirements.
        unsafe { iommu_free_global_pasid(pasid) };
    }

    /// Whether the ID is known, and is of the set of global PASIDs.
    fn is_global(pasid: ioasid_t) -> bool {
        find(&raw mut bindings::iommu_global_pasids, pasid, None) == Ok(0)
    }

    #[test]
    fn a_device_without_pasids_gets_none() {
        assert_eq!(alloc(0), INVALID);
    }

    #[test]
    fn two_pasids_are_both_reserved() {
        assert_eq!(alloc(2), INVALID);
    }

    #[test]
    fn of_three_pasids_one_is_left() {
        assert_eq!(alloc(3), 2);
        assert!(is_global(2));
        assert_eq!(alloc(3), INVALID);
        free(2);
        assert_eq!(alloc(3), 2);
        free(2);
    }

    #[test]
    fn all_devices_share_one_space() {
        assert_eq!(alloc(1 << 20), 2);
        assert_eq!(alloc(1 << 20), 3);
        assert_eq!(alloc(4), INVALID);
        assert_eq!(alloc(5), 4);
        assert!(is_global(4));
        [2, 3, 4].into_iter().for_each(free);
        assert!(!is_global(4));
    }

    #[test]
    fn freeing_none_is_warned_about() {
        assert_eq!(warnings(|| free(INVALID)), 1);
    }
}
