// SPDX-License-Identifier: GPL-2.0

//! The allocator of I/O address-space IDs against a simple model.

#![cfg(not(loom))]

mod common;

use common::Atomics;
use logic::logic::{
    ioasid::{Accounts, Chunk, Refusal, Space, Step, Store, CHUNK_IDS, FIRST, LAST, MOST_HIDDEN},
    Word,
};
use proptest::prelude::*;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::atomic::AtomicU32,
};

struct Set {
    quota: Cell<u32>,
    count: common::Cell<AtomicU32>,
    peak: common::Cell<AtomicU32>,
}

impl Accounts for Set {
    type Cell = common::Cell<AtomicU32>;

    fn quota(&self) -> u32 {
        self.quota.get()
    }
    fn count(&self) -> &Self::Cell {
        &self.count
    }
    fn peak(&self) -> &Self::Cell {
        &self.peak
    }
}

const SETS: usize = 3;

struct Shelf {
    chunks: BTreeMap<u32, Box<Chunk<Atomics>>>,
    hidden: RefCell<BTreeSet<u32>>,
    hint: Cell<Option<u32>>,
    sets: [Set; SETS],
}

impl Store for Shelf {
    type Platform = Atomics;
    type Set = Set;

    /// Address 0 is no set, address n is set n - 1.
    fn set(&self, set: usize) -> Option<&Set> {
        self.sets.get(set.checked_sub(1)?)
    }
    fn load(&self, index: u32) -> Option<&Chunk<Atomics>> {
        self.chunks.get(&index).map(|chunk| &**chunk)
    }
    fn first_free(&self, from: u32, to: u32) -> Option<(u32, Option<&Chunk<Atomics>>)> {
        let hidden = self.hidden.borrow();
        (from..=to)
            .find(|index| !hidden.contains(index))
            .map(|index| (index, self.load(index)))
    }
    fn hide(&self, chunk: &Chunk<Atomics>, hidden: bool) {
        let changed = if hidden {
            self.hidden.borrow_mut().insert(chunk.index())
        } else {
            self.hidden.borrow_mut().remove(&chunk.index())
        };
        assert!(changed);
    }
    fn hint(&self) -> Option<&Chunk<Atomics>> {
        self.load(self.hint.get()?)
    }
    fn remember(&self, chunk: &Chunk<Atomics>) {
        self.hint.set(Some(chunk.index()));
    }
    fn remove(&mut self, index: u32) {
        assert!(self.chunks.remove(&index).is_some());
        if self.hint.get() == Some(index) {
            self.hint.set(None);
        }
    }
}

/// The allocator as the kernel drives it.
struct Allocator {
    space: Space<Atomics>,
    shelf: Shelf,
    /// Memory runs out after so many chunks.
    memory: usize,
}

impl Allocator {
    fn new() -> Self {
        Self {
            space: Space {
                first: common::Cell::new(0),
                spare: common::Cell::new(Space::<Atomics>::NO_SPARE),
                count: common::Cell::new(0),
            },
            shelf: Shelf {
                chunks: BTreeMap::new(),
                hidden: RefCell::default(),
                hint: Cell::new(None),
                sets: [(); SETS].map(|()| Set {
                    quota: Cell::new(0),
                    count: common::Cell::new(0),
                    peak: common::Cell::new(0),
                }),
            },
            memory: usize::MAX,
        }
    }

    fn with_memory(&mut self, step: impl Fn(&Space<Atomics>, &Shelf) -> Step) -> Option<u32> {
        let mut grown = None;
        loop {
            let result = step(&self.space, &self.shelf);
            if let Some(index) = grown {
                self.space.trim(&mut self.shelf, index);
            }
            match result {
                Step::Done(id) => return Some(id),
                Step::Full => return None,
                Step::Pause => {}
                Step::Grow(index) => {
                    if self.shelf.chunks.len() >= self.memory {
                        return None;
                    }
                    let chunk = Box::new(Chunk::new(index, 0));
                    assert!(self.shelf.chunks.insert(index, chunk).is_none());
                    grown = Some(index);
                }
            }
        }
    }

    fn alloc(&mut self, min: u32, max: u32, set: usize, data: usize) -> Option<u32> {
        self.with_memory(|space, shelf| space.alloc(shelf, (min, max), set, data))
    }

    fn insert(&mut self, min: u32, max: u32, id: u32, set: usize, data: usize) -> Option<u32> {
        self.with_memory(|space, shelf| space.insert(shelf, (min, max), id, set, data))
    }

    fn put(&mut self, id: u32) -> Result<Option<bool>, Refusal> {
        self.space.put(&mut self.shelf, id)
    }

    fn find(&self, id: u32, set: Option<usize>) -> Result<usize, Refusal> {
        let chunk = self.shelf.load(Chunk::<Atomics>::index_of(id));
        chunk.ok_or(Refusal::Unknown)?.find(id, set)
    }

    fn get(&self, id: u32, set: Option<usize>) -> Result<(), Refusal> {
        let chunk = self.shelf.load(Chunk::<Atomics>::index_of(id));
        chunk.ok_or(Refusal::Unknown)?.get(id, set)
    }

    fn counts(&self, set: usize) -> (u32, u32) {
        let set = &self.shelf.sets[set - 1];
        (set.count.load(), set.peak.load())
    }
}

#[derive(Clone, Debug)]
struct Holder {
    set: usize,
    data: usize,
    references: u32,
    custom: bool,
}

#[derive(Clone, Debug)]
enum Call {
    Alloc {
        min: u32,
        max: u32,
        set: usize,
        data: usize,
    },
    Insert {
        id: u32,
        set: usize,
        data: usize,
    },
    Put(u32),
    Get(u32, Option<usize>),
    Find(u32, Option<usize>),
    SetData(u32, usize),
    Quota(usize, u32),
    Disown,
}

/// IDs from a few chunks at either end of the space.
fn an_id() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0..5 * CHUNK_IDS,
        1 => LAST - CHUNK_IDS..=u32::MAX,
    ]
}

fn a_call() -> impl Strategy<Value = Call> {
    let set = 0..=SETS;
    let asked = prop::option::of(0..=SETS);
    prop_oneof![
        8 => (an_id(), an_id(), set.clone(), 0..9usize)
            .prop_map(|(min, max, set, data)| Call::Alloc { min, max, set, data }),
        8 => (set.clone(), 0..9usize)
            .prop_map(|(set, data)| Call::Alloc { min: 0, max: u32::MAX, set, data }),
        2 => (an_id(), set, 0..9usize).prop_map(|(id, set, data)| Call::Insert { id, set, data }),
        9 => an_id().prop_map(Call::Put),
        3 => (an_id(), asked.clone()).prop_map(|(id, set)| Call::Get(id, set)),
        3 => (an_id(), asked).prop_map(|(id, set)| Call::Find(id, set)),
        2 => (an_id(), 0..9usize).prop_map(|(id, data)| Call::SetData(id, data)),
        1 => (1..=SETS, 0..9u32).prop_map(|(set, quota)| Call::Quota(set, quota)),
        1 => Just(Call::Disown),
    ]
}

#[derive(Default)]
struct Model {
    holders: BTreeMap<u32, Holder>,
    quotas: [u32; SETS + 1],
    peaks: [u32; SETS + 1],
}

impl Model {
    fn count(&self, set: usize) -> u32 {
        self.holders.values().filter(|h| h.set == set).count() as u32
    }

    fn hold(&mut self, id: u32, set: usize, data: usize, custom: bool) {
        let holder = Holder {
            set,
            data,
            references: 1,
            custom,
        };
        assert!(self.holders.insert(id, holder).is_none());
        self.peaks[set] = self.peaks[set].max(self.count(set));
    }

    fn lowest_free(&self, min: u32, max: u32) -> Option<u32> {
        (min.max(2)..=max.min(u32::MAX - 1)).find(|id| !self.holders.contains_key(id))
    }

    fn lookup(&self, id: u32, set: Option<usize>) -> Result<&Holder, Refusal> {
        let holder = self.holders.get(&id).ok_or(Refusal::Unknown)?;
        if set.is_some_and(|set| set != holder.set) {
            return Err(Refusal::OtherSet);
        }
        Ok(holder)
    }
}

fn check(calls: Vec<Call>) {
    let (mut real, mut model) = (Allocator::new(), Model::default());
    for call in calls {
        match call {
            Call::Alloc {
                min,
                max,
                set,
                data,
            } => {
                let quota = model.quotas[set];
                let expected = (quota == 0 || model.count(set) < quota)
                    .then(|| model.lowest_free(min, max))
                    .flatten();
                assert_eq!(real.alloc(min, max, set, data), expected);
                if let Some(id) = expected {
                    model.hold(id, set, data, false);
                }
            }
            Call::Insert { id, set, data } => {
                let expected = model.lowest_free(id, id);
                assert_eq!(real.insert(0, u32::MAX, id, set, data), expected);
                if let Some(id) = expected {
                    model.hold(id, set, data, true);
                }
            }
            Call::Put(id) => {
                let result = real.put(id);
                let Some(holder) = model.holders.get_mut(&id) else {
                    assert_eq!(result, Err(Refusal::Unknown));
                    continue;
                };
                holder.references -= 1;
                let freed = holder.references == 0;
                assert_eq!(result, Ok(freed.then_some(holder.custom)));
                if freed {
                    model.holders.remove(&id);
                }
            }
            Call::Get(id, set) => {
                let expected = model.lookup(id, set).map(|_| ());
                assert_eq!(real.get(id, set), expected);
                if expected.is_ok() {
                    model.holders.get_mut(&id).unwrap().references += 1;
                }
            }
            Call::Find(id, set) => {
                assert_eq!(real.find(id, set), model.lookup(id, set).map(|h| h.data));
            }
            Call::SetData(id, data) => {
                let expected = model.lookup(id, None).map(|_| ());
                assert_eq!(real.space.set_data(&real.shelf, id, data), expected);
                if let Some(holder) = model.holders.get_mut(&id) {
                    holder.data = data;
                }
            }
            Call::Quota(set, quota) => {
                model.quotas[set] = quota;
                real.shelf.sets[set - 1].quota.set(quota);
            }
            Call::Disown => {
                for chunk in real.shelf.chunks.values() {
                    real.space.disown(chunk);
                }
                for holder in model.holders.values_mut() {
                    holder.custom = false;
                }
            }
        }

        assert_eq!(real.space.count.load() as usize, model.holders.len());
        for set in 1..=SETS {
            assert_eq!(real.counts(set), (model.count(set), model.peaks[set]));
        }
        let listed: Vec<_> = real
            .shelf
            .chunks
            .values()
            .flat_map(|c| c.holders())
            .collect();
        let expected: Vec<_> = model
            .holders
            .iter()
            .map(|(id, h)| (*id, h.references, h.set))
            .collect();
        assert_eq!(listed, expected);
        let used: BTreeSet<_> = model.holders.keys().map(|id| id / CHUNK_IDS).collect();
        assert!(
            real.shelf.chunks.len() <= used.len() + 1,
            "empty chunks pile up"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn behaves_as_the_model(calls in prop::collection::vec(a_call(), 1..200)) {
        check(calls);
    }
}

#[test]
fn ranges_are_inclusive() {
    let mut all = Allocator::new();
    assert_eq!(all.alloc(7, 8, 0, 0), Some(7));
    assert_eq!(all.alloc(7, 8, 0, 0), Some(8));
    assert_eq!(all.alloc(7, 8, 0, 0), None);
    assert_eq!(all.alloc(8, 7, 0, 0), None);
}

#[test]
fn reserved_ids_stay_reserved() {
    let mut all = Allocator::new();
    assert_eq!(all.alloc(0, 1, 0, 0), None);
    assert_eq!(all.alloc(0, u32::MAX, 0, 0), Some(FIRST));
    assert_eq!(all.alloc(LAST, u32::MAX, 0, 0), Some(LAST));
    assert_eq!(all.alloc(LAST, u32::MAX, 0, 0), None);
    for id in [0, 1, u32::MAX] {
        assert_eq!(all.insert(0, u32::MAX, id, 0, 0), None);
        assert_eq!(all.put(id), Err(Refusal::Unknown));
    }
}

#[test]
fn a_custom_id_must_be_in_range() {
    let mut all = Allocator::new();
    assert_eq!(all.insert(10, 20, 9, 0, 0), None);
    assert_eq!(all.insert(10, 20, 21, 0, 0), None);
    assert_eq!(all.insert(10, 20, 20, 0, 0), Some(20));
    assert_eq!(all.insert(10, 20, 20, 0, 0), None);
    assert_eq!(all.put(20), Ok(Some(true)));
}

#[test]
fn references_never_wrap() {
    let mut all = Allocator::new();
    let id = all.alloc(0, 99, 0, 0).unwrap();
    let chunk = all.shelf.load(0).unwrap();
    chunk.preset_count(id, u32::MAX - 1);
    assert_eq!(all.get(id, None), Ok(()));
    assert_eq!(all.get(id, None), Err(Refusal::TooMany));
    assert_eq!(all.put(id), Ok(None));
}

#[test]
fn without_memory_nothing_changes() {
    let mut all = Allocator::new();
    all.memory = 1;
    assert_eq!(all.alloc(5, 99, 1, 0), Some(5));
    assert_eq!(all.alloc(50, 99, 1, 0), None);
    assert_eq!(all.insert(50, 99, 50, 1, 0), None);
    assert_eq!(all.counts(1), (1, 1));
    assert_eq!(all.alloc(5, 99, 1, 0), Some(6));
}

#[test]
fn a_million_ids_fill_and_drain() {
    let mut all = Allocator::new();
    for id in 2..1 << 20 {
        assert_eq!(all.alloc(0, (1 << 20) - 1, 1, id as usize), Some(id));
    }
    assert_eq!(all.alloc(0, (1 << 20) - 1, 1, 0), None);
    assert_eq!(all.shelf.chunks.len(), (1 << 20) / CHUNK_IDS as usize);
    // The only free ID is found wherever it is.
    for id in [2, 12345, (1 << 20) - 1] {
        assert_eq!(all.put(id), Ok(Some(false)));
        assert_eq!(all.alloc(0, (1 << 20) - 1, 1, 0), Some(id));
    }
    for id in 2..1 << 20 {
        assert_eq!(all.put(id), Ok(Some(false)));
    }
    assert_eq!(all.shelf.chunks.len(), 1);
}

#[test]
fn a_search_pauses() {
    let mut all = Allocator::new();
    let end = 5 * MOST_HIDDEN * CHUNK_IDS;
    // IDs asked for by number leave full chunks that no search has met.
    for id in FIRST..end {
        assert_eq!(all.alloc(id, id, 0, 0), Some(id));
    }
    let hidden = |all: &Allocator| all.shelf.hidden.borrow().len();
    let mut pauses = 0;
    loop {
        let before = hidden(&all);
        let step = all.space.alloc(&all.shelf, (0, u32::MAX), 0, 0);
        assert!(hidden(&all) - before <= MOST_HIDDEN as usize);
        if step != Step::Pause {
            assert_eq!(step, Step::Grow(end / CHUNK_IDS));
            break;
        }
        assert!(hidden(&all) > before, "no progress");
        pauses += 1;
    }
    assert!(pauses >= 4);
    assert_eq!(all.alloc(0, u32::MAX, 0, 0), Some(end));
}
