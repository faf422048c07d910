// SPDX-License-Identifier: GPL-2.0

//! What the decision logic stands on in tests: the standard library's atomics, or loom's.

#![allow(dead_code)] // Not every test needs all of it.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

use logic::logic::{ioasid::Platform, Exchange, Word};

pub struct Atomics;

impl Platform for Atomics {
    type Pointer = usize;
    type PointerCell = Cell<AtomicUsize>;
    type NumberCell = Cell<AtomicU32>;
    type StateCell = Cell<AtomicU64>;
}

pub struct Cell<A>(A);

macro_rules! impl_word {
    ($($value:ty, $atomic:ty;)*) => {$(
        impl Word<$value> for Cell<$atomic> {
            fn new(value: $value) -> Self {
                Self(<$atomic>::new(value))
            }
            fn load(&self) -> $value {
                self.0.load(Relaxed)
            }
            fn load_acquire(&self) -> $value {
                self.0.load(Acquire)
            }
            fn store(&self, value: $value) {
                self.0.store(value, Relaxed)
            }
            fn store_release(&self, value: $value) {
                self.0.store(value, Release)
            }
        }
    )*};
}

impl_word!(u16, AtomicU16; u32, AtomicU32; u64, AtomicU64; usize, AtomicUsize;);

macro_rules! impl_exchange {
    ($($value:ty, $atomic:ty;)*) => {$(
        impl Exchange<$value> for Cell<$atomic> {
            fn replace(&self, old: $value, new: $value) -> bool {
                self.0.compare_exchange(old, new, AcqRel, Relaxed).is_ok()
            }
        }
    )*};
}

impl_exchange!(u16, AtomicU16; u64, AtomicU64;);
