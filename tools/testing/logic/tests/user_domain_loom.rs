// SPDX-License-Identifier: GPL-2.0

//! Owners of a domain's private data who claim it at once, in every interleaving.

#![cfg(loom)]

mod common;

use common::Cell;
use logic::logic::{
    user_domain::{claim, give_up, ClaimRefusal},
    Word,
};
use loom::{
    cell::UnsafeCell,
    sync::{atomic::AtomicU16, Arc},
    thread,
};

/// A domain: loom tells of two who use its data at once.
struct Domain {
    owner: Cell<AtomicU16>,
    data: UnsafeCell<u32>,
}

fn domain() -> Arc<Domain> {
    Arc::new(Domain {
        owner: Cell::new(0),
        data: UnsafeCell::new(0),
    })
}

fn try_to_own(domain: &Domain, owner: u32) -> bool {
    match claim(&domain.owner, owner, false) {
        Ok(()) => {
            domain.data.with_mut(|_| ());
            true
        }
        Err(refusal) => {
            assert_eq!(refusal, ClaimRefusal::Owned);
            false
        }
    }
}

#[test]
fn one_of_two_wins() {
    loom::model(|| {
        let domain = domain();
        let other = {
            let domain = domain.clone();
            thread::spawn(move || try_to_own(&domain, 2))
        };
        let mine = try_to_own(&domain, 1);
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        assert_eq!(domain.owner.load(), if mine { 1 } else { 2 });
    });
}

#[test]
fn data_passes_to_the_next_owner() {
    loom::model(|| {
        let domain = domain();
        let other = {
            let domain = domain.clone();
            thread::spawn(move || {
                if try_to_own(&domain, 2) {
                    assert!(give_up(&domain.owner, 2));
                }
            })
        };
        if try_to_own(&domain, 1) {
            assert!(!give_up(&domain.owner, 2));
            assert!(give_up(&domain.owner, 1));
        }
        other.join().unwrap();
        assert_eq!(domain.owner.load(), 0);
    });
}
