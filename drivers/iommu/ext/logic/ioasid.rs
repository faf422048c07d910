// SPDX-License-Identifier: GPL-2.0

//! Which ID next, who holds it, and what a lookup may see.
//!
//! IDs are kept in chunks of [`CHUNK_IDS`]. A chunk is found by the upper bits of an ID and holds
//! one entry for each of its IDs, so that neither handing out an ID nor taking it back allocates
//! or frees memory, except for one in [`CHUNK_IDS`] and only while the space grows or shrinks.
//!
//! Two kinds of callers:
//!
//! - Lookups ([`Chunk::find`], [`Chunk::get`]) hold no lock. They may run on a chunk that was
//!   removed meanwhile, so its memory is kept until they are gone. A lookup reads an entry's state,
//!   then the rest, then the state again; the state has a generation, which changes when an ID is
//!   taken back, so that a lookup never mixes two holders of an ID. [`Chunk::find`] writes nothing.
//! - All others ([`Space`]) are serialised by a lock, held whenever they reach the [`Store`]. They
//!   alone make an unused entry used and the other way round.

use super::{Exchange, Word};

/// IDs in one chunk. At 16, ten IDs cost half of what a structure for each would, and a million
/// IDs need one level less of the tree above the chunks.
pub const CHUNK_IDS: u32 = 16;

/// The first ID that may be handed out: 0 is DMA without PASID, 1 the kernel's own DMA.
pub const FIRST: u32 = 2;

/// The last ID that may be handed out: the one above means "none".
pub const LAST: u32 = u32::MAX - 1;

/// Bits of [`Chunk::bits`] that stand for used IDs. One of the upper half stands for an ID that a
/// custom allocator gave.
const USED: u32 = (1 << CHUNK_IDS) - 1;

/// Bit of [`Chunk::key`]: the store was told that the chunk has no free ID.
const HIDDEN: u32 = 1 << 31;

/// Chunks that one search hides at most before it lets go of the lock, under which interrupts are
/// off. IDs asked for by number leave full chunks that no search has met.
pub const MOST_HIDDEN: u32 = 32;

/// No chunk index.
const NO_CHUNK: u32 = u32::MAX;

/// What the surroundings provide.
pub trait Platform {
    /// Address of a set or of private data.
    type Pointer: Copy + PartialEq;
    /// Cell for an address.
    type PointerCell: Word<Self::Pointer>;
    /// Cell for a small number.
    type NumberCell: Word<u32>;
    /// Cell for an entry's state.
    type StateCell: Exchange<u64>;
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody holds the ID.
    Unknown,
    /// The ID is of another set.
    OtherSet,
    /// No further reference can be counted.
    TooMany,
}

/// Generation and reference count of an entry, in one word.
///
/// # Invariants
///
/// The count is 0 exactly while nobody holds the ID.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    fn count(self) -> u32 {
        self.0 as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// One reference more or less, with the generation that belongs to it: when the last
    /// reference goes, a new one begins.
    fn with_count(self, count: u32) -> Self {
        let generation = self.generation().wrapping_add(u32::from(count == 0));
        State(u64::from(generation) << 32 | u64::from(count))
    }
}

/// One ID.
#[repr(C)]
struct Entry<P: Platform> {
    state: P::StateCell,
    set: P::PointerCell,
    data: P::PointerCell,
}

impl<P: Platform> Entry<P> {
    /// Reads set and data as they were at one moment, and the state of that moment.
    fn read(&self) -> Result<(State, P::Pointer, P::Pointer), Refusal> {
        loop {
            let state = State(self.state.load_acquire());
            if state.count() == 0 {
                return Err(Refusal::Unknown);
            }
            // Whoever sees a later holder's set or data also sees a later generation below.
            let set = self.set.load_acquire();
            let data = self.data.load_acquire();
            if State(self.state.load()).generation() == state.generation() {
                return Ok((state, set, data));
            }
        }
    }

    /// As [`Self::read`], refusing an ID that is not of `set` (`None`: any).
    fn read_of(&self, set: Option<P::Pointer>) -> Result<(State, P::Pointer), Refusal> {
        let (state, owner, data) = self.read()?;
        if set.is_some_and(|set| set != owner) {
            return Err(Refusal::OtherSet);
        }
        Ok((state, data))
    }
}

/// The entries of [`CHUNK_IDS`] consecutive IDs.
#[repr(C)]
pub struct Chunk<P: Platform> {
    /// Index and [`HIDDEN`]. Written under the lock.
    key: P::NumberCell,
    /// Used IDs, see [`USED`]. Accessed under the lock.
    bits: P::NumberCell,
    entries: [Entry<P>; CHUNK_IDS as usize],
}

impl<P: Platform> Chunk<P> {
    /// Index of the chunk that holds `id`.
    pub const fn index_of(id: u32) -> u32 {
        id / CHUNK_IDS
    }

    /// Makes the chunk with this index, without holders. `null` is what unused cells hold.
    pub fn new(index: u32, null: P::Pointer) -> Self {
        Chunk {
            key: P::NumberCell::new(index),
            bits: P::NumberCell::new(reserved(index)),
            entries: core::array::from_fn(|_| Entry {
                state: P::StateCell::new(0),
                set: P::PointerCell::new(null),
                data: P::PointerCell::new(null),
            }),
        }
    }

    /// The chunk's index.
    pub fn index(&self) -> u32 {
        self.key.load() & !HIDDEN
    }

    /// Looks up an ID of this chunk and returns its data. Needs no lock.
    pub fn find(&self, id: u32, set: Option<P::Pointer>) -> Result<P::Pointer, Refusal> {
        Ok(self.entry(id).read_of(set)?.1)
    }

    /// Adds a reference to an ID of this chunk. Needs no lock.
    pub fn get(&self, id: u32, set: Option<P::Pointer>) -> Result<(), Refusal> {
        let entry = self.entry(id);
        loop {
            let (old, _) = entry.read_of(set)?;
            let count = old.count().checked_add(1).ok_or(Refusal::TooMany)?;
            if entry.state.replace(old.0, old.with_count(count).0) {
                return Ok(());
            }
        }
    }

    /// Sets the reference count of an ID that has holders. For tests of its limit.
    #[allow(dead_code)]
    pub fn preset_count(&self, id: u32, count: u32) {
        let entry = self.entry(id);
        let old = State(entry.state.load());
        if old.count() != 0 && count != 0 {
            entry.state.store(old.with_count(count).0);
        }
    }

    /// The IDs in use, lowest first: ID, references, set. Call with the lock held.
    pub fn holders(&self) -> impl Iterator<Item = (u32, u32, P::Pointer)> + '_ {
        let base = self.base();
        let used = self.bits.load() & !reserved(self.index());
        self.entries
            .iter()
            .zip(0..CHUNK_IDS)
            .filter_map(move |(entry, slot)| {
                let count = State(entry.state.load()).count();
                (used & 1 << slot != 0).then(|| (base | slot, count, entry.set.load()))
            })
    }

    /// The first ID of the chunk.
    fn base(&self) -> u32 {
        self.index() << CHUNK_IDS.trailing_zeros()
    }

    fn entry(&self, id: u32) -> &Entry<P> {
        &self.entries[(id % CHUNK_IDS) as usize]
    }

    fn is_hidden(&self) -> bool {
        self.key.load() & HIDDEN != 0
    }

    fn is_full(&self) -> bool {
        self.bits.load() & USED == USED
    }

    fn is_empty(&self) -> bool {
        self.bits.load() & USED == reserved(self.index())
    }

    /// The lowest free ID in `lo..=hi`; `lo` is not above this chunk.
    fn lowest_free(&self, lo: u32, hi: u32) -> Option<u32> {
        let base = self.base();
        let mut free = !self.bits.load() & USED;
        if lo > base {
            free &= USED << (lo % CHUNK_IDS);
        }
        if free == 0 {
            return None;
        }
        let id = base | free.trailing_zeros();
        (id <= hi).then_some(id)
    }

    /// Gives a free ID to its first holder.
    fn occupy(&self, id: u32, set: P::Pointer, data: P::Pointer, custom: bool) {
        let bit = 1 << (id % CHUNK_IDS);
        let custom_bit = if custom { bit << CHUNK_IDS } else { 0 };
        self.bits.store(self.bits.load() | bit | custom_bit);

        let entry = self.entry(id);
        entry.set.store_release(set);
        entry.data.store_release(data);
        let state = State(entry.state.load());
        entry.state.store_release(state.with_count(1).0);
    }

    /// Drops a reference. `Ok(None)`: others are left. Otherwise the ID is free now; returns its
    /// set and whether a custom allocator gave it.
    fn put(&self, id: u32) -> Result<Option<(P::Pointer, bool)>, Refusal> {
        let entry = self.entry(id);
        loop {
            let old = State(entry.state.load());
            let count = old.count().checked_sub(1).ok_or(Refusal::Unknown)?;
            if !entry.state.replace(old.0, old.with_count(count).0) {
                continue;
            }
            if count != 0 {
                return Ok(None);
            }
            let bit = 1 << (id % CHUNK_IDS);
            let bits = self.bits.load();
            self.bits.store(bits & !(bit | bit << CHUNK_IDS));
            return Ok(Some((entry.set.load(), bits & bit << CHUNK_IDS != 0)));
        }
    }
}

/// IDs of a chunk that are never handed out, as bits of [`USED`].
const fn reserved(index: u32) -> u32 {
    if index == FIRST / CHUNK_IDS {
        (1 << (FIRST % CHUNK_IDS)) - 1
    } else if index == LAST / CHUNK_IDS {
        USED & !((2 << (LAST % CHUNK_IDS)) - 1)
    } else {
        0
    }
}

/// A set's accounts, accessed under the lock.
pub trait Accounts {
    /// Cell for a number that others may read without the lock.
    type Cell: Word<u32>;

    /// At most this many IDs; 0 for no limit.
    fn quota(&self) -> u32;
    /// IDs that the set has.
    fn count(&self) -> &Self::Cell;
    /// The highest count so far.
    fn peak(&self) -> &Self::Cell;
}

fn charge(set: Option<&impl Accounts>) {
    if let Some(set) = set {
        let count = set.count().load().wrapping_add(1);
        set.count().store(count);
        if count > set.peak().load() {
            set.peak().store(count);
        }
    }
}

fn uncharge(set: Option<&impl Accounts>) {
    if let Some(set) = set {
        set.count().store(set.count().load().wrapping_sub(1));
    }
}

/// Where chunks are kept, with the lock held.
pub trait Store {
    /// What the chunks are made of.
    type Platform: Platform;
    /// A set's accounts.
    type Set: Accounts;

    /// The accounts of a set, none for the null address.
    fn set(&self, set: <Self::Platform as Platform>::Pointer) -> Option<&Self::Set>;

    /// The chunk at `index`.
    fn load(&self, index: u32) -> Option<&Chunk<Self::Platform>>;

    /// The first index in `from..=to` that has no chunk or one that is not hidden.
    #[allow(clippy::type_complexity)]
    fn first_free(&self, from: u32, to: u32) -> Option<(u32, Option<&Chunk<Self::Platform>>)>;

    /// Makes [`Self::first_free`] pass over `chunk`, or no longer.
    fn hide(&self, chunk: &Chunk<Self::Platform>, hidden: bool);

    /// The chunk that was last remembered, unless it was removed.
    fn hint(&self) -> Option<&Chunk<Self::Platform>>;

    /// Remembers a chunk.
    fn remember(&self, chunk: &Chunk<Self::Platform>);

    /// Takes a chunk out; its memory is freed when no lookup can use it any more.
    fn remove(&mut self, index: u32);
}

/// What came of an attempt to hand out an ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller has this ID.
    Done(u32),
    /// Put a chunk at this index and try again.
    Grow(u32),
    /// Let go of the lock for a moment and try again: the search goes on behind what it hid.
    Pause,
    /// There is no such ID, or none left for this set.
    Full,
}

/// The whole space of IDs; all of it accessed under the lock.
pub struct Space<P: Platform> {
    /// All chunks below this index exist and are full: the lowest free ID is not below.
    pub first: P::NumberCell,
    /// Index of a chunk that is empty and was left in place, so that an ID that comes and goes
    /// does not take a chunk with it each time. At most one is.
    pub spare: P::NumberCell,
    /// IDs that somebody holds.
    pub count: P::NumberCell,
}

impl<P: Platform> Space<P> {
    /// What [`Self::spare`] starts with.
    pub const NO_SPARE: u32 = NO_CHUNK;

    /// Hands out the lowest free ID in `min..=max`.
    pub fn alloc<S: Store<Platform = P>>(
        &self,
        store: &S,
        (min, max): (u32, u32),
        set: P::Pointer,
        data: P::Pointer,
    ) -> Step {
        let (lo, hi) = (min.max(FIRST), max.min(LAST));
        if lo > hi || !self.may_grow(store, set) {
            return Step::Full;
        }

        let first = self.first.load();
        let mut from = Chunk::<P>::index_of(lo).max(first);
        let to = Chunk::<P>::index_of(hi);
        // Whether all chunks from `first` up to `from` are full.
        let mut all_full = from == first;
        let mut may_hide = MOST_HIDDEN;

        if let Some(chunk) = store.hint() {
            if chunk.index() == from {
                if let Some(id) = chunk.lowest_free(lo, hi) {
                    self.occupy(store, chunk, id, set, data, false);
                    return Step::Done(id);
                }
            }
        }

        while let Some((index, chunk)) = store.first_free(from, to) {
            let Some(chunk) = chunk else {
                return Step::Grow(index);
            };
            if let Some(id) = chunk.lowest_free(lo, hi) {
                if all_full {
                    self.first.store(index);
                    store.remember(chunk);
                }
                self.occupy(store, chunk, id, set, data, false);
                return Step::Done(id);
            }
            if chunk.is_full() {
                let Some(left) = may_hide.checked_sub(1) else {
                    return Step::Pause;
                };
                may_hide = left;
                chunk.key.store(index | HIDDEN);
                store.hide(chunk, true);
            } else {
                all_full = false;
            }
            from = index.wrapping_add(1);
        }
        Step::Full
    }

    /// Whether the set may have one ID more.
    pub fn may_grow<S: Store<Platform = P>>(&self, store: &S, set: P::Pointer) -> bool {
        store
            .set(set)
            .is_none_or(|set| set.quota() == 0 || set.count().load() < set.quota())
    }

    /// Hands out the ID that a custom allocator chose. [`Step::Full`]: it may not, because the ID
    /// is out of range, reserved or in use.
    pub fn insert<S: Store<Platform = P>>(
        &self,
        store: &S,
        (min, max): (u32, u32),
        id: u32,
        set: P::Pointer,
        data: P::Pointer,
    ) -> Step {
        if !(min.max(FIRST)..=max.min(LAST)).contains(&id) {
            return Step::Full;
        }
        let index = Chunk::<P>::index_of(id);
        let Some(chunk) = store.load(index) else {
            return Step::Grow(index);
        };
        if chunk.lowest_free(id, id).is_none() {
            return Step::Full;
        }
        self.occupy(store, chunk, id, set, data, true);
        Step::Done(id)
    }

    /// Drops a reference to an ID. `Ok(None)`: others are left. `Ok(Some(custom))`: the ID is
    /// free; `custom` tells whether a custom allocator must take it back.
    pub fn put<S: Store<Platform = P>>(
        &self,
        store: &mut S,
        id: u32,
    ) -> Result<Option<bool>, Refusal> {
        let index = Chunk::<P>::index_of(id);
        let hint = store.hint().filter(|chunk| chunk.index() == index);
        let chunk = hint.or_else(|| store.load(index)).ok_or(Refusal::Unknown)?;
        let Some((set, custom)) = chunk.put(id)? else {
            return Ok(None);
        };

        uncharge(store.set(set));
        self.count.store(self.count.load().wrapping_sub(1));
        if chunk.is_hidden() {
            chunk.key.store(index);
            store.hide(chunk, false);
        }
        if index < self.first.load() {
            self.first.store(index);
            store.remember(chunk);
        }
        if chunk.is_empty() {
            self.trim(store, index);
        }
        Ok(Some(custom))
    }

    /// Replaces the data of an ID.
    pub fn set_data<S: Store<Platform = P>>(
        &self,
        store: &S,
        id: u32,
        data: P::Pointer,
    ) -> Result<(), Refusal> {
        let chunk = store
            .load(Chunk::<P>::index_of(id))
            .ok_or(Refusal::Unknown)?;
        let entry = chunk.entry(id);
        if State(entry.state.load()).count() == 0 {
            return Err(Refusal::Unknown);
        }
        entry.data.store_release(data);
        Ok(())
    }

    /// Forgets of all IDs in a chunk that a custom allocator gave them.
    pub fn disown(&self, chunk: &Chunk<P>) {
        chunk.bits.store(chunk.bits.load() & USED);
    }

    /// To be called for a chunk that may have become empty: of two empty chunks the upper one is
    /// removed.
    pub fn trim<S: Store<Platform = P>>(&self, store: &mut S, index: u32) {
        let is_empty = |index| store.load(index).is_some_and(Chunk::is_empty);
        let spare = self.spare.load();
        if spare == index || !is_empty(index) {
            return;
        }
        if spare != NO_CHUNK && is_empty(spare) {
            store.remove(spare.max(index));
            self.spare.store(spare.min(index));
        } else {
            self.spare.store(index);
        }
    }

    fn occupy<S: Store<Platform = P>>(
        &self,
        store: &S,
        chunk: &Chunk<P>,
        id: u32,
        set: P::Pointer,
        data: P::Pointer,
        custom: bool,
    ) {
        chunk.occupy(id, set, data, custom);
        charge(store.set(set));
        self.count.store(self.count.load().wrapping_add(1));
    }
}
