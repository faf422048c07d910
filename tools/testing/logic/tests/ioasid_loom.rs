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

#[test]
fn a_lookup_never_mixes_two_holders() {
    loom::model(|| {
        let world = World::new();
        let writer = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.put());
                world.alloc(B, 2);
            })
        };
        match world.find(Some(A)) {
            Ok(data) => assert_eq!(data, 1),
            Err(refusal) => assert!(matches!(refusal, Refusal::Unknown | Refusal::OtherSet)),
        }
        writer.join().unwrap();
        assert_eq!(world.find(Some(B)), Ok(2));
        assert_eq!(world.find(Some(A)), Err(Refusal::OtherSet));
    });
}

#[test]
fn a_new_holder_is_seen_whole() {
    loom::model(|| {
        let world = World::new();
        let writer = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.put());
                world.alloc(B, 2);
            })
        };
        match world.find(Some(B)) {
            Ok(data) => assert_eq!(data, 2),
            Err(refusal) => assert!(matches!(refusal, Refusal::Unknown | Refusal::OtherSet)),
        }
        writer.join().unwrap();
    });
}

#[test]
fn replaced_data_is_published() {
    loom::model(|| {
        let world = World::new();
        let writer = {
            let world = world.clone();
            thread::spawn(move || world.set_data(2))
        };
        let data = world.find(Some(A)).unwrap();
        assert!(data == 1 || data == 2);
        writer.join().unwrap();
        assert_eq!(world.find(None), Ok(2));
    });
}

#[test]
fn a_reference_keeps_the_id() {
    loom::model(|| {
        let world = World::new();
        let other = {
            let world = world.clone();
            thread::spawn(move || world.put())
        };
        let freed_here = match world.chunk.get(ID, Some(A)) {
            Ok(()) => {
                assert_eq!(world.find(Some(A)), Ok(1));
                world.put()
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Unknown);
                false
            }
        };
        // Whoever came last freed it, and only one did.
        assert!(freed_here != other.join().unwrap());
        assert_eq!(world.find(None), Err(Refusal::Unknown));
    });
}

#[test]
fn two_references_add_up() {
    loom::model(|| {
        let world = World::new();
        let other = {
            let world = world.clone();
            thread::spawn(move || world.chunk.get(ID, None).unwrap())
        };
        world.chunk.get(ID, None).unwrap();
        other.join().unwrap();
        assert!(!world.put());
        assert!(!world.put());
        assert!(world.put());
    });
}

#[test]
fn a_reference_is_not_taken_on_a_later_holder() {
    loom::model(|| {
        let world = World::new();
        let writer = {
            let world = world.clone();
            thread::spawn(move || {
                let freed = world.put();
                if freed {
                    world.alloc(B, 2);
                }
                freed
            })
        };
        let got = world.chunk.get(ID, Some(A)).is_ok();
        let freed = writer.join().unwrap();
        // Either the reference kept the ID from being freed, or there is none.
        assert_eq!(got, !freed);
    });
}
