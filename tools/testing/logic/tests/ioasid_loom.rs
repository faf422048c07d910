// SPDX-License-Identifier: GPL-2.0

//! Lookups of I/O address-space IDs in every interleaving with those who change them.

#![cfg(loom)]

mod common;

use common::Atomics;
use logic::logic::{
    ioasid::{Accounts, Chunk, Refusal, Space, Step, Store},
    Word,
};
use loom::{
    cell::UnsafeCell,
    sync::{atomic::AtomicU32, Arc, Mutex},
    thread,
};

/// No accounts: they are only touched under the lock.
enum Nothing {}

impl Accounts for Nothing {
    type Cell = common::Cell<AtomicU32>;

    fn quota(&self) -> u32 {
        match *self {}
    }
    fn count(&self) -> &Self::Cell {
        match *self {}
    }
    fn peak(&self) -> &Self::Cell {
        match *self {}
    }
}

/// A store of one chunk, which is never removed.
struct One<'a>(&'a Chunk<Atomics>);

impl Store for One<'_> {
    type Platform = Atomics;
    type Set = Nothing;

    fn set(&self, _set: usize) -> Option<&Nothing> {
        None
    }
    fn load(&self, index: u32) -> Option<&Chunk<Atomics>> {
        (index == 0).then_some(self.0)
    }
    fn first_free(&self, from: u32, _to: u32) -> Option<(u32, Option<&Chunk<Atomics>>)> {
        (from == 0).then_some((0, Some(self.0)))
    }
    fn hide(&self, _chunk: &Chunk<Atomics>, _hidden: bool) {}
    fn hint(&self) -> Option<&Chunk<Atomics>> {
        None
    }
    fn remember(&self, _chunk: &Chunk<Atomics>) {}
    fn remove(&mut self, _index: u32) {}
}

const A: usize = 101;
const B: usize = 102;
const ID: u32 = 2;

struct World {
    chunk: Chunk<Atomics>,
    space: Mutex<Space<Atomics>>,
    /// What data points to. Plain memory: loom objects to an access that is not ordered.
    objects: [UnsafeCell<usize>; 3],
}

impl World {
    /// One ID, in set A, with object 1 for data.
    fn new() -> Arc<Self> {
        let world = Arc::new(World {
            chunk: Chunk::new(0, 0),
            space: Mutex::new(Space {
                first: common::Cell::new(0),
                spare: common::Cell::new(0),
                count: common::Cell::new(0),
            }),
            objects: [0, 0, 0].map(UnsafeCell::new),
        });
        world.alloc(A, 1);
        world
    }

    /// Writes an object, then publishes it.
    fn write(&self, data: usize) {
        self.objects[data].with_mut(|object| set(object, data));
    }

    fn alloc(&self, set: usize, data: usize) {
        self.write(data);
        let step = self
            .space
            .lock()
            .unwrap()
            .alloc(&One(&self.chunk), (ID, ID), set, data);
        assert_eq!(step, Step::Done(ID));
    }

    fn put(&self) -> bool {
        let space = self.space.lock().unwrap();
        space.put(&mut One(&self.chunk), ID).unwrap().is_some()
    }

    fn set_data(&self, data: usize) {
        self.write(data);
        let space = self.space.lock().unwrap();
        space.set_data(&One(&self.chunk), ID, data).unwrap();
    }

    fn find(&self, set: Option<usize>) -> Result<usize, Refusal> {
        let data = self.chunk.find(ID, set)?;
        assert_eq!(self.objects[data].with(get), data, "unpublished data seen");
        Ok(data)
    }
}

fn set(object: *mut usize, value: usize) {
    // Loom's cells hand out raw pointers; a reference is made by the host's own test helper.
    helper::write(object, value);
}

fn get(object: *const usize) -> usize {
    helper::read(object)
}

#[allow(unsafe_code)]
mod helper {
    pub fn write(object: *mut usize, value: usize) {
        // SAFETY: Loom checks that nobody else has the cell now.
        unsafe { *object = value };
    }

    pub fn read(object: *const usize) -> usize {
        // SAFETY: Loom checks that nobody writes the cell now.
        unsafe { *object }
    }
}

/// Tries every interleaving of `there`, in a thread of its own, with `here`; what they say is judged
/// by `after`.
fn race<T: 'static, U: 'static>(
    there: fn(&World) -> T,
    here: fn(&World) -> U,
    after: fn(&World, there: T, here: U),
) {
    loom::model(move || {
        let world = World::new();
        let other = {
            let world = world.clone();
            thread::spawn(move || there(&world))
        };
        let seen = here(&world);
        after(&world, other.join().unwrap(), seen);
    });
}

/// The ID is freed, and allocated again in set B with object 2.
fn pass_on(world: &World) {
    assert!(world.put());
    world.alloc(B, 2);
}

fn is_refused(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Unknown | Refusal::OtherSet)
}

#[test]
fn a_lookup_never_mixes_two_holders() {
    race(
        pass_on,
        |world| world.find(Some(A)),
        |world, (), found| {
            assert!(found.map_or_else(is_refused, |data| data == 1));
            assert_eq!(world.find(Some(B)), Ok(2));
            assert_eq!(world.find(Some(A)), Err(Refusal::OtherSet));
        },
    );
}

#[test]
fn a_new_holder_is_seen_whole() {
    race(
        pass_on,
        |world| world.find(Some(B)),
        |_, (), found| assert!(found.map_or_else(is_refused, |data| data == 2)),
    );
}

#[test]
fn replaced_data_is_published() {
    race(
        |world| world.set_data(2),
        |world| world.find(Some(A)).unwrap(),
        |world, (), data| {
            assert!(data == 1 || data == 2);
            assert_eq!(world.find(None), Ok(2));
        },
    );
}

#[test]
fn a_reference_keeps_the_id() {
    race(
        World::put,
        |world| match world.chunk.get(ID, Some(A)) {
            Ok(()) => {
                assert_eq!(world.find(Some(A)), Ok(1));
                world.put()
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Unknown);
                false
            }
        },
        |world, freed_there, freed_here| {
            // Whoever came last freed it, and only one did.
            assert!(freed_here != freed_there);
            assert_eq!(world.find(None), Err(Refusal::Unknown));
        },
    );
}

#[test]
fn two_references_add_up() {
    let get = |world: &World| world.chunk.get(ID, None).unwrap();
    race(get, get, |world, (), ()| {
        assert!(!world.put());
        assert!(!world.put());
        assert!(world.put());
    });
}

#[test]
fn a_reference_is_not_taken_on_a_later_holder() {
    race(
        |world| {
            let freed = world.put();
            if freed {
                world.alloc(B, 2);
            }
            freed
        },
        |world| world.chunk.get(ID, Some(A)).is_ok(),
        // Either the reference kept the ID from being freed, or there is none.
        |_, freed, got| assert_eq!(got, !freed),
    );
}
