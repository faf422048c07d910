// SPDX-License-Identifier: GPL-2.0

//! Owners of a domain's private data.

#![cfg(not(loom))]

mod common;

use common::Cell;
use logic::logic::{
    user_domain::{claim, give_up, ClaimRefusal, DataOwner},
    Word,
};
use std::sync::atomic::AtomicU16;

/// Every number that C can pass, as far as it can make a difference.
fn numbers() -> impl Iterator<Item = u32> {
    (0..=0x2_0010).chain([0x7fff_ffff, 0x8000_0001, u32::MAX])
}

fn cell(owner: u16) -> Cell<AtomicU16> {
    Cell::new(owner)
}

#[test]
fn owners_are_one_to_six() {
    for raw in numbers() {
        assert_eq!(DataOwner::from_raw(raw).is_some(), (1..=6).contains(&raw));
    }
}

#[test]
fn claim_in_every_state() {
    for state in 0..=6 {
        for owner in numbers() {
            for shared in [false, true] {
                let cell = cell(state);
                let known = (1..=6).contains(&owner);
                let wanted = match (known && !shared, state) {
                    (false, _) => Err(ClaimRefusal::BadArgument),
                    (true, 0) => Ok(()),
                    (true, _) => Err(ClaimRefusal::Owned),
                };

                assert_eq!(claim(&cell, owner, shared), wanted);
                let next = if wanted.is_ok() { owner } else { state.into() };
                assert_eq!(u32::from(cell.load()), next);
            }
        }
    }
}

#[test]
fn only_the_owner_gives_up() {
    for state in 0..=6 {
        for owner in numbers() {
            let cell = cell(state);
            let holds = state != 0 && u32::from(state) == owner;

            assert_eq!(give_up(&cell, owner), holds);
            assert_eq!(cell.load(), if holds { 0 } else { state });
        }
    }
}
