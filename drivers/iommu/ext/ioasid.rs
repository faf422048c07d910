// SPDX-License-Identifier: GPL-2.0

//! The IOASID allocator in the kernel: C entry points, locks, memory.
//!
//! C header: [`include/linux/ioasid.h`](srctree/include/linux/ioasid.h)
//!
//! Lock order: the allocator mutex (`ioasid_allocator_mutex`, [`Allocators`]), then the XArray's
//! lock ([`Locked`], with interrupts off). Lookups hold the RCU lock only. Callbacks: a getter runs
//! under RCU, a custom allocator's `alloc` under the allocator mutex, its `free` under RCU, or for
//! an ID that `alloc` should not have given under that mutex.

use crate::{
    logic::{
        ioasid::{
            Accounts,
            Chunk,
            Platform,
            Refusal,
            Space,
            Step,
            Store,
            LAST, //
        },
        Exchange,
        Word, //
    },
    trace,
    warn_once, //
};
use core::{
    mem::size_of,
    ptr, //
};
use kernel::{
    bindings::{
        self,
        ioasid_allocator_ops,
        ioasid_set,
        ioasid_t, //
    },
    container_of,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::{
        CStr,
        CStrExt, //
    },
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
    },
    task::might_sleep,
    types::Opaque, //
};

/// No ID: what failed allocations return.
const INVALID_IOASID: ioasid_t = LAST + 1;

/// The kernel's memory cells.
pub(crate) enum Kernel {}

impl Platform for Kernel {
    type Pointer = *mut c_void;
    type PointerCell = Atomic<*mut c_void>;
    type NumberCell = Atomic<u32>;
    type StateCell = Atomic<u64>;
}

macro_rules! impl_word {
    ($($value:ty),*) => {$(
        impl Word<$value> for Atomic<$value> {
            #[inline]
            fn new(value: $value) -> Self {
                Atomic::new(value)
            }

            #[inline]
            fn load(&self) -> $value {
                Atomic::load(self, Relaxed)
            }

            #[inline]
            fn load_acquire(&self) -> $value {
                Atomic::load(self, Acquire)
            }

            #[inline]
            fn store(&self, value: $value) {
                Atomic::store(self, value, Relaxed);
            }

            #[inline]
            fn store_release(&self, value: $value) {
                Atomic::store(self, value, Release);
            }
        }
    )*};
}

impl_word!(u32, u64, *mut c_void);

impl Exchange<u64> for Atomic<u64> {
    #[inline]
    fn replace(&self, old: u64, new: u64) -> bool {
        self.cmpxchg(old, new, Full).is_ok()
    }
}

/// The space of IDs.
static SPACE: Space<Kernel> = Space {
    first: Atomic::new(0),
    spare: Atomic::new(Space::<Kernel>::NO_SPARE),
    count: Atomic::new(0),
};

/// The chunk in which the next ID is probably found; null or one of a node in the XArray. Accessed
/// under the XArray's lock.
static HINT: Atomic<*mut Chunk<Kernel>> = Atomic::new(ptr::null_mut());

/// Whether IDs come from custom allocators. Written under both locks, read under the XArray's.
static CUSTOM: Atomic<bool> = Atomic::new(false);

/// Who takes custom IDs back; null for nobody. Written under both locks, read under the XArray's.
static ACTIVE: Atomic<*mut ioasid_allocator_ops> = Atomic::new(ptr::null_mut());

/// What an entry of the XArray points to.
#[repr(C)]
struct Node {
    /// Used when the node is freed. The first field, as `kvfree_call_rcu()` wants it.
    rcu: Opaque<bindings::callback_head>,
    chunk: Chunk<Kernel>,
}

/// The accounts of a C `struct ioasid_set`.
#[repr(transparent)]
pub(crate) struct Set(Opaque<ioasid_set>);

impl Set {
    fn name(&self) -> &CStr {
        // SAFETY: The field is not changed while the set is in use.
        let name = unsafe { (*self.0.get()).name };
        if name.is_null() {
            return c"-";
        }
        // SAFETY: It is a string that lives as long as the set.
        unsafe { CStr::from_char_ptr(name) }
    }
}

impl Accounts for Set {
    type Cell = Atomic<u32>;

    fn quota(&self) -> u32 {
        // SAFETY: The field is valid as long as `self` is; all accesses to it are atomic.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).quota) }.load(Relaxed)
    }

    fn count(&self) -> &Atomic<u32> {
        // SAFETY: The field is valid as long as `self` is; all accesses to it are atomic.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).count) }
    }

    fn peak(&self) -> &Atomic<u32> {
        // SAFETY: The field is valid as long as `self` is; all accesses to it are atomic.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).peak) }
    }
}

/// Looks up the chunk of an ID.
fn lookup(id: ioasid_t, _rcu: &rcu::Guard) -> Result<&Chunk<Kernel>, Refusal> {
    let index = Chunk::<Kernel>::index_of(id);
    // SAFETY: The RCU lock is held.
    let node = unsafe { bindings::ioasid_xa_load(index as c_ulong) };
    // SAFETY: Entries of the XArray are null or valid nodes, which are freed a grace period after
    // they were taken out.
    let node = unsafe { node.cast::<Node>().as_ref() };
    Ok(&node.ok_or(Refusal::Unknown)?.chunk)
}

/// The XArray's lock, held, with interrupts off.
///
/// # Invariants
///
/// The lock is held while this exists. `removed` is null or a node that was taken out of the
/// XArray under it.
pub(crate) struct Locked {
    flags: c_ulong,
    removed: *mut Node,
}

impl Locked {
    #[inline]
    pub(crate) fn new() -> Self {
        // INVARIANT: The lock was just taken.
        Self {
            // SAFETY: The lock is a static object. It is never held when this is called.
            flags: unsafe { bindings::ioasid_xa_lock() },
            removed: ptr::null_mut(),
        }
    }

    /// Puts an empty chunk into a slot that had none. Returns with the lock held again; meanwhile
    /// others may have filled that slot, or anything else may have happened. `None`: no memory.
    fn grow(self, index: u32) -> Option<Self> {
        drop(self);

        // SAFETY: Has no requirements.
        let node = unsafe { bindings::ioasid_xa_alloc_chunk(size_of::<Node>()) }.cast::<Node>();
        if node.is_null() {
            return None;
        }
        // SAFETY: The memory is ours and large enough; objects of the slab are at least aligned
        // to a machine word.
        unsafe {
            node.write(Node {
                rcu: Opaque::uninit(),
                chunk: Chunk::new(index, ptr::null_mut()),
            });
        }

        let locked = Self::new();
        // SAFETY: The lock is held.
        let ret = unsafe { bindings::ioasid_xa_insert(index as c_ulong, node.cast()) };
        if ret == 0 {
            return Some(locked);
        }
        let locked = (ret == -(bindings::EBUSY as c_int)).then_some(locked);
        // SAFETY: The node is not in the XArray, so nobody else knows it.
        unsafe { bindings::kfree(node.cast()) };
        locked
    }

    /// Calls `f` for each chunk from index `from` on, until it returns false.
    pub(crate) fn for_each(&self, from: u32, mut f: impl FnMut(&Chunk<Kernel>) -> bool) {
        let mut index = from as c_ulong;
        loop {
            // SAFETY: The XArray is a static object; entries are valid nodes while the lock is
            // held.
            let node = unsafe {
                bindings::xa_find(
                    &raw mut bindings::ioasid_xa,
                    &mut index,
                    c_ulong::MAX,
                    bindings::XA_PRESENT,
                )
                .cast::<Node>()
                .as_ref()
            };
            match node {
                Some(node) if f(&node.chunk) => index += 1,
                _ => return,
            }
        }
    }
}

impl Drop for Locked {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::ioasid_xa_unlock(self.flags) };
        if !self.removed.is_null() {
            // SAFETY: By the type invariant only lookups know the node, and they are in RCU
            // sections. It came from the slab, and its callback head is its first field.
            unsafe { bindings::kvfree_call_rcu(self.removed.cast(), self.removed.cast()) };
        }
    }
}

impl Store for Locked {
    type Platform = Kernel;
    type Set = Set;

    #[inline]
    fn set(&self, set: *mut c_void) -> Option<&Set> {
        // SAFETY: Addresses of sets come from callers, who keep a set valid while it has IDs.
        unsafe { set.cast::<Set>().as_ref() }
    }

    #[inline]
    fn load(&self, index: u32) -> Option<&Chunk<Kernel>> {
        // SAFETY: The lock is held; entries are null, or nodes that are valid while they cannot be
        // removed, which needs `&mut self`.
        let node = unsafe {
            bindings::ioasid_xa_load(index as c_ulong)
                .cast::<Node>()
                .as_ref()
        };
        Some(&node?.chunk)
    }

    fn first_free(&self, from: u32, to: u32) -> Option<(u32, Option<&Chunk<Kernel>>)> {
        let mut node = ptr::null_mut();
        // SAFETY: The lock is held.
        let index =
            unsafe { bindings::ioasid_xa_first_free(from as c_ulong, to as c_ulong, &mut node) };
        let index = u32::try_from(index).ok().filter(|index| *index <= to)?;
        // SAFETY: As in `load()`.
        let node = unsafe { node.cast::<Node>().as_ref() };
        Some((index, node.map(|node| &node.chunk)))
    }

    fn hide(&self, chunk: &Chunk<Kernel>, hidden: bool) {
        // SAFETY: The lock is held.
        unsafe { bindings::ioasid_xa_hide(chunk.index() as c_ulong, hidden) };
    }

    #[inline]
    fn hint(&self) -> Option<&Chunk<Kernel>> {
        // SAFETY: The hint is null or of a node in the XArray, see `remove()`; then as in `load()`.
        unsafe { HINT.load(Relaxed).as_ref() }
    }

    #[inline]
    fn remember(&self, chunk: &Chunk<Kernel>) {
        HINT.store(ptr::from_ref(chunk).cast_mut(), Relaxed);
    }

    fn remove(&mut self, index: u32) {
        // SAFETY: The lock is held.
        let node = unsafe { bindings::__xa_erase(&raw mut bindings::ioasid_xa, index as c_ulong) };
        // INVARIANT: The node is out of the XArray. The logic removes at most one at a time.
        self.removed = node.cast();
        // SAFETY: The logic removes what is there, so this is a node; nobody frees it before us.
        if HINT.load(Relaxed) == unsafe { &raw mut (*self.removed).chunk } {
            HINT.store(ptr::null_mut(), Relaxed);
        }
    }
}

/// The mutex under which custom allocators are registered, unregistered and asked.
///
/// # Invariants
///
/// The mutex is held while this exists.
struct Allocators(());

impl Allocators {
    fn lock() -> Self {
        // SAFETY: The mutex is a static object.
        unsafe { bindings::mutex_lock(&raw mut bindings::ioasid_allocator_mutex) };
        // INVARIANT: The mutex was just taken.
        Self(())
    }

    /// The registered allocators, the latest first.
    fn iter(&self) -> impl Iterator<Item = *mut ioasid_allocator_ops> + '_ {
        let head = &raw mut bindings::ioasid_allocators;
        // SAFETY: The list is only changed under the mutex; its members are valid until they are
        // unregistered.
        let mut next = unsafe { (*head).next };
        core::iter::from_fn(move || {
            if next == head {
                return None;
            }
            // SAFETY: Members of the list are fields of `struct ioasid_allocator_ops`.
            let ops = unsafe { container_of!(next, ioasid_allocator_ops, list) };
            // SAFETY: As above.
            next = unsafe { (*next).next };
            Some(ops)
        })
    }

    /// The allocator that is asked for IDs.
    fn active(&self) -> Option<*mut ioasid_allocator_ops> {
        self.iter().next()
    }

    /// From now on `ops` gives IDs and takes them back.
    fn activate(&self, _locked: &Locked, ops: Option<*mut ioasid_allocator_ops>) {
        CUSTOM.store(ops.is_some(), Relaxed);
        ACTIVE.store(ops.unwrap_or(ptr::null_mut()), Relaxed);
    }
}

impl Drop for Allocators {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the mutex is held.
        unsafe { bindings::mutex_unlock(&raw mut bindings::ioasid_allocator_mutex) };
    }
}

/// Whether two allocators share one space.
///
/// # Safety
///
/// Both must be valid.
unsafe fn same_space(a: *mut ioasid_allocator_ops, b: *mut ioasid_allocator_ops) -> bool {
    // SAFETY: By the requirement of this function.
    let [a, b] = [a, b].map(|ops| unsafe {
        (
            (*ops).alloc.map(|f| f as usize),
            (*ops).free.map(|f| f as usize),
        )
    });
    a == b
}

/// Tries `step` until it has what memory it needs. `step` also returns `None` to give up.
fn with_memory(mut step: impl FnMut(&Locked) -> Option<Step>) -> Option<Step> {
    let mut locked = Locked::new();
    let mut grown = None;
    loop {
        let result = step(&locked);
        if let Some(index) = grown {
            // If it was not this chunk that was used in the end.
            SPACE.trim(&mut locked, index);
        }
        locked = match result {
            Some(Step::Grow(index)) => {
                grown = Some(index);
                match locked.grow(index) {
                    Some(locked) => locked,
                    None => return Some(Step::Full),
                }
            }
            Some(Step::Pause) => {
                drop(locked);
                Locked::new()
            }
            _ => return result,
        };
    }
}

/// Allocates an ID from wherever they come from now.
///
/// # Safety
///
/// As for [`ioasid_alloc`].
unsafe fn alloc(
    range: (ioasid_t, ioasid_t),
    set: *mut c_void,
    data: *mut c_void,
) -> Option<ioasid_t> {
    if range.0 > range.1 {
        return None;
    }
    loop {
        let step = with_memory(|locked| {
            let custom = CUSTOM.load(Relaxed);
            (!custom).then(|| SPACE.alloc(locked, range, set, data))
        });
        match step {
            Some(Step::Done(id)) => return Some(id),
            Some(_) => return None,
            None => {}
        }
        let allocators = Allocators::lock();
        if let Some(ops) = allocators.active() {
            // SAFETY: Registered allocators are valid, and unregistering needs the mutex; the rest
            // by the requirement of this function.
            return unsafe { alloc_custom(ops, range, set, data) };
        }
    }
}

/// Allocates an ID that a custom allocator chooses. The allocator mutex is held.
///
/// # Safety
///
/// As for [`ioasid_alloc`]; `ops` is registered.
unsafe fn alloc_custom(
    ops: *mut ioasid_allocator_ops,
    range: (ioasid_t, ioasid_t),
    set: *mut c_void,
    data: *mut c_void,
) -> Option<ioasid_t> {
    // SAFETY: By the requirement of this function. Its list is not ours to look at.
    let (alloc, free, pdata) = unsafe { ((*ops).alloc?, (*ops).free?, (*ops).pdata) };
    if !SPACE.may_grow(&Locked::new(), set) {
        return None;
    }
    // SAFETY: The allocator asked for calls with these arguments.
    let id = unsafe { alloc(range.0, range.1, pdata) };
    if id == INVALID_IOASID {
        return None;
    }

    let mut refused = false;
    let step = with_memory(|locked| {
        let step = SPACE.insert(locked, range, id, set, data);
        refused = step == Step::Full;
        Some(step)
    });
    if step == Some(Step::Done(id)) {
        return Some(id);
    }
    if refused {
        warn_once!();
    }
    // SAFETY: The allocator asked for calls with these arguments; the ID is its own.
    unsafe { free(id, pdata) };
    None
}

/// Allocates an ID.
///
/// # Safety
///
/// `set` is null or valid, and stays so as long as it has IDs.
#[export]
pub unsafe extern "C" fn ioasid_alloc(
    set: *mut ioasid_set,
    min: ioasid_t,
    max: ioasid_t,
    private: *mut c_void,
) -> ioasid_t {
    might_sleep();
    // SAFETY: By the requirement of this function.
    let id = unsafe { alloc((min, max), set.cast(), private) }.unwrap_or(INVALID_IOASID);
    // SAFETY: As above.
    unsafe { trace::ioasid_alloc(id, set, min, max) };
    id
}

/// Drops a reference to an ID; true when that freed it.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[export]
pub unsafe extern "C" fn ioasid_put(ioasid: ioasid_t) -> bool {
    let mut locked = Locked::new();
    let result = SPACE.put(&mut locked, ioasid);
    if let Ok(Some(true)) = result {
        // Begins under the lock, so that the allocator cannot be gone before it is called.
        let _rcu = rcu::read_lock();
        let ops = ACTIVE.load(Relaxed);
        drop(locked);
        if !ops.is_null() {
            // SAFETY: Unregistering the active allocator waits for a grace period after it ceased
            // to be active. Its list is not ours to look at: neighbours may come and go.
            let (free, pdata) = unsafe { ((*ops).free, (*ops).pdata) };
            if let Some(free) = free {
                // SAFETY: The allocator asked for calls with these arguments.
                unsafe { free(ioasid, pdata) };
            }
        }
    } else {
        drop(locked);
    }

    match result {
        Ok(Some(_)) => {
            // SAFETY: Has no requirements.
            unsafe { trace::ioasid_free(ioasid) };
            true
        }
        Ok(None) => {
            // SAFETY: Has no requirements.
            unsafe { trace::ioasid_put(ioasid) };
            false
        }
        Err(_) => {
            warn_once!();
            false
        }
    }
}

/// Drops a reference to an ID.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[export]
pub unsafe extern "C" fn ioasid_free(ioasid: ioasid_t) {
    // SAFETY: Has no requirements.
    unsafe { ioasid_put(ioasid) };
}

/// The address of a set as the logic takes it: `None` for any.
fn of_set(set: *mut ioasid_set) -> Option<*mut c_void> {
    (!set.is_null()).then_some(set.cast())
}

/// The error that C callers get.
fn errno(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Unknown => ENOENT,
        Refusal::OtherSet => EACCES,
        Refusal::TooMany => EOVERFLOW,
    }
}

/// Looks up the data of an ID.
///
/// # Safety
///
/// `getter`, if any, may be called with the data of any ID of the set, under RCU.
#[export]
pub unsafe extern "C" fn ioasid_find(
    set: *mut ioasid_set,
    ioasid: ioasid_t,
    getter: Option<unsafe extern "C" fn(*mut c_void) -> bool>,
) -> *mut c_void {
    let rcu = rcu::read_lock();
    match lookup(ioasid, &rcu).and_then(|chunk| chunk.find(ioasid, of_set(set))) {
        Ok(data) => {
            if let (false, Some(getter)) = (data.is_null(), getter) {
                // SAFETY: By the requirement of this function; the RCU lock is held.
                if !unsafe { getter(data) } {
                    return ptr::null_mut();
                }
            }
            data
        }
        Err(refusal) => errno(refusal).to_ptr(),
    }
}

/// Adds a reference to an ID.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[export]
pub unsafe extern "C" fn ioasid_get(set: *mut ioasid_set, ioasid: ioasid_t) -> c_int {
    let rcu = rcu::read_lock();
    match lookup(ioasid, &rcu).and_then(|chunk| chunk.get(ioasid, of_set(set))) {
        Ok(()) => {
            // SAFETY: Has no requirements.
            unsafe { trace::ioasid_get(ioasid) };
            0
        }
        Err(refusal) => errno(refusal).to_errno(),
    }
}

/// Replaces the data of an ID and waits for those who may still use the old.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[export]
pub unsafe extern "C" fn ioasid_set_data(ioasid: ioasid_t, data: *mut c_void) -> c_int {
    might_sleep();
    if let Err(refusal) = SPACE.set_data(&Locked::new(), ioasid, data) {
        return errno(refusal).to_errno();
    }
    // SAFETY: This may sleep.
    unsafe { bindings::synchronize_rcu() };
    0
}

/// Makes `ops` the one that is asked for IDs.
///
/// # Safety
///
/// `ops` is valid, not registered elsewhere, and stays so until it is unregistered; its functions
/// keep to what the header says.
#[export]
pub unsafe extern "C" fn ioasid_register_allocator(ops: *mut ioasid_allocator_ops) -> c_int {
    might_sleep();
    // SAFETY: By the requirement of this function.
    if unsafe { (*ops).alloc.is_none() || (*ops).free.is_none() } {
        return EINVAL.to_errno();
    }
    let allocators = Allocators::lock();
    if allocators.iter().any(|other| other == ops) {
        return EEXIST.to_errno();
    }
    // SAFETY: Registered allocators are valid, and so is `ops`.
    let switch = !allocators
        .active()
        .is_some_and(|old| unsafe { same_space(old, ops) });

    let locked = Locked::new();
    if switch && SPACE.count.load(Relaxed) != 0 {
        return EBUSY.to_errno();
    }
    // SAFETY: The mutex is held.
    unsafe { bindings::ioasid_allocators_add(ops) };
    allocators.activate(&locked, Some(ops));
    0
}

/// Ceases to ask `ops` for IDs; no callback runs any more when this returns.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[export]
pub unsafe extern "C" fn ioasid_unregister_allocator(ops: *mut ioasid_allocator_ops) {
    might_sleep();
    let allocators = Allocators::lock();
    if !allocators.iter().any(|other| other == ops) {
        warn_once!();
        return;
    }

    let old = allocators.active();
    // SAFETY: The allocator is in the list, and the mutex is held.
    unsafe { bindings::ioasid_allocators_del(ops) };
    let next = allocators.active();
    if next != old {
        // SAFETY: `ops` is valid until this function returns, and so are registered allocators.
        let shared = next.is_some_and(|next| unsafe { same_space(next, ops) });
        if !shared {
            disown_all(&allocators);
        }
        allocators.activate(&Locked::new(), next);
    }
    // SAFETY: This may sleep.
    unsafe { bindings::synchronize_rcu() };
}

/// Leaves all IDs with their holders, but without an allocator that takes them back.
fn disown_all(_allocators: &Allocators) {
    let locked = Locked::new();
    if SPACE.count.load(Relaxed) == 0 {
        return;
    }
    // From here on frees call nobody. Allocations wait for the mutex, since `CUSTOM` is still set.
    ACTIVE.store(ptr::null_mut(), Relaxed);
    drop(locked);
    warn_once!();

    // One chunk at a time, lest interrupts are off for long.
    let mut next = Some(0);
    while let Some(from) = next.take() {
        Locked::new().for_each(from, |chunk| {
            SPACE.disown(chunk);
            next = chunk.index().checked_add(1);
            false
        });
    }
}

/// Index of the first chunk from `from` on, -1 if there is none.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[export]
pub unsafe extern "C" fn ioasid_debugfs_next(from: u32) -> i64 {
    let mut next = -1;
    Locked::new().for_each(from, |chunk| {
        next = i64::from(chunk.index());
        false
    });
    next
}

/// Writes what stands above the list of IDs.
///
/// # Safety
///
/// `m` is being shown.
#[export]
pub unsafe extern "C" fn ioasid_debugfs_show_head(m: *mut bindings::seq_file) {
    // SAFETY: By the requirement of this function.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "# {} allocated\n", SPACE.count.load(Relaxed));
    seq_print!(m, "# id set references\n");
}

/// Writes a line for each ID of a chunk.
///
/// # Safety
///
/// `m` is being shown.
#[export]
pub unsafe extern "C" fn ioasid_debugfs_show_chunk(m: *mut bindings::seq_file, index: u32) {
    // SAFETY: By the requirement of this function.
    let m = unsafe { SeqFile::from_raw(m) };
    let locked = Locked::new();
    let Some(chunk) = locked.load(index) else {
        return;
    };
    for (id, references, set) in chunk.holders() {
        let name = locked.set(set).map_or(c"-", Set::name);
        seq_print!(m, "{id} {name} {references}\n");
    }
}

/// Sets the reference count of an ID, for the tests.
#[cfg(CONFIG_IOASID_KUNIT_TEST)]
pub(crate) fn preset_references(id: ioasid_t, count: u32) {
    let rcu = rcu::read_lock();
    if let Ok(chunk) = lookup(id, &rcu) {
        chunk.preset_count(id, count);
    }
}

/// Allocates a PASID that is unique in the system, within what `dev` can use.
///
/// # Safety
///
/// `dev` was probed by the IOMMU core.
#[cfg(CONFIG_IOMMU_EXT)]
#[export]
pub unsafe extern "C" fn iommu_alloc_global_pasid(dev: *mut bindings::device) -> ioasid_t {
    // SAFETY: By the requirement of this function `dev` has IOMMU data.
    let count = unsafe { (*(*dev).iommu).max_pasids };
    // A device without PASIDs has 0 of them.
    let Some(max) = count.checked_sub(1) else {
        return INVALID_IOASID;
    };
    // SAFETY: The set is a static object.
    unsafe {
        ioasid_alloc(
            &raw mut bindings::iommu_global_pasids,
            bindings::IOMMU_FIRST_GLOBAL_PASID,
            max,
            ptr::null_mut(),
        )
    }
}

/// Frees what [`iommu_alloc_global_pasid`] gave.
///
/// # Safety
///
/// None; `unsafe` is what `#[export]` asks for.
#[cfg(CONFIG_IOMMU_EXT)]
#[export]
pub unsafe extern "C" fn iommu_free_global_pasid(pasid: ioasid_t) {
    // SAFETY: Has no requirements.
    unsafe { ioasid_free(pasid) };
}
