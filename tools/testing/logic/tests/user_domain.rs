// SPDX-License-Identifier: GPL-2.0

//! Requests for domains: every combination of flags and abilities, and user data of every length
//! against a plain reading of it. Owners of a domain's private data: every call in every state.

#![cfg(not(loom))]

mod common;

use common::Cell;
use logic::logic::{
    user_domain::{
        check_tail, claim, give_up, Abilities, ClaimRefusal, DataOwner, Extent, Format, Parent,
        Refusal, Stage, DIRTY_TRACKING, MAX_LEN, NEST_PARENT, PASID,
    },
    Word,
};
use proptest::prelude::*;
use std::sync::atomic::AtomicU16;

/// What userspace can set, unknown bits among it.
fn all_flags() -> impl Iterator<Item = u32> {
    (0..32).chain([1 << 31, u32::MAX])
}

fn abilities() -> Vec<Option<u32>> {
    // Bits that no domain has must not become possible by a driver's mistake.
    std::iter::once(None)
        .chain((0..16).chain([u32::MAX]).map(Some))
        .collect()
}

const PARENT: Parent = Parent {
    same_driver: true,
    flags: NEST_PARENT,
};

#[test]
fn paging_domains() {
    let known = NEST_PARENT | DIRTY_TRACKING | PASID;

    assert_eq!([NEST_PARENT, DIRTY_TRACKING, PASID], [1, 2, 8]);
    for first in abilities() {
        for second in abilities() {
            let abilities = Abilities {
                first,
                second,
                nested: Some(u32::MAX),
            };
            for flags in all_flags() {
                let able = |ability: Option<u32>| {
                    (0..32).all(|bit| {
                        let bit = 1u32 << bit;
                        flags & bit == 0
                            || known & bit != 0 && ability.is_some_and(|able| able & bit != 0)
                    }) && ability.is_some()
                };
                let wanted = match (able(first), able(second)) {
                    (true, _) => Ok(Stage::First),
                    (false, true) => Ok(Stage::Second),
                    (false, false) => Err(Refusal::Unsupported),
                };
                assert_eq!(abilities.paging(flags), wanted);
            }
        }
    }
}

#[test]
fn nested_domains() {
    for nested in abilities() {
        let abilities = Abilities {
            first: Some(u32::MAX),
            second: Some(u32::MAX),
            nested,
        };
        for flags in all_flags() {
            for parent_flags in all_flags() {
                for same_driver in [false, true] {
                    let able = match flags {
                        0 => nested.is_some(),
                        8 => nested.is_some_and(|able| able & 8 != 0),
                        _ => false,
                    };
                    let parent = Parent {
                        same_driver,
                        flags: parent_flags,
                    };
                    let wanted = if !able {
                        Err(Refusal::Unsupported)
                    } else if same_driver && parent_flags & 1 != 0 {
                        Ok(())
                    } else {
                        Err(Refusal::NoParent)
                    };
                    assert_eq!(abilities.nested(flags, parent), wanted);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_done_comes_before_the_parent() {
    let abilities = Abilities {
        first: Some(0),
        second: Some(0),
        nested: None,
    };
    let parent = Parent {
        same_driver: false,
        flags: 0,
    };
    assert_eq!(abilities.nested(0, parent), Err(Refusal::Unsupported));
    assert_eq!(abilities.nested(0, PARENT), Err(Refusal::Unsupported));
}

const KNOWN: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0x80, 0];
const FORMAT: Format<'_> = Format {
    kind: 7,
    min_len: 4,
    known: &KNOWN,
};

/// What the kernel makes of user data: the bytes that the driver gets.
fn read(kind: u32, data: &[u8]) -> Result<[u8; 8], Refusal> {
    let Extent { head, tail } = FORMAT.extent(kind, data.len())?;
    let mut copy = [0; 8];

    assert_eq!(head + tail, data.len());
    copy[..head].copy_from_slice(&data[..head]);
    check_tail(&data[head..])?;
    FORMAT.check(&copy)?;
    Ok(copy)
}

#[test]
fn lengths() {
    for len in 0..=MAX_LEN + 1 {
        let wanted = if (4..=4096).contains(&len) {
            Ok([0; 8])
        } else {
            Err(Refusal::Malformed)
        };
        assert_eq!(read(7, &vec![0; len]), wanted);
    }
    assert_eq!(FORMAT.extent(7, usize::MAX), Err(Refusal::Malformed));
}

#[test]
fn a_wrong_type_comes_before_the_length() {
    for kind in [0, 6, 8, u32::MAX] {
        for len in [0, 3, 4, 8, 9] {
            assert_eq!(read(kind, &vec![0; len]), Err(Refusal::Unsupported));
        }
    }
}

#[test]
fn every_bit() {
    for len in 4..=24 {
        for bit in 0..len * 8 {
            let mut data = vec![0; len];
            let mask = 1u8 << (bit % 8);
            data[bit / 8] = mask;

            let wanted = match bit / 8 {
                byte @ 0..8 if KNOWN[byte] & mask == 0 => Err(Refusal::Unsupported),
                byte @ 0..8 => {
                    let mut copy = [0; 8];
                    copy[byte] = mask;
                    Ok(copy)
                }
                _ => Err(Refusal::Malformed),
            };
            assert_eq!(read(7, &data), wanted);
        }
    }
}

proptest! {
    #[test]
    fn data_like_a_plain_reading(data in prop::collection::vec(prop::sample::select(
        vec![0u8, 0, 0, 1, 0x0f, 0x80, 0xff]), 0..80)) {
        let mut padded = data.clone();
        padded.resize(80, 0);
        let wanted = if data.len() < 4 || padded[8..].iter().any(|&byte| byte != 0) {
            Err(Refusal::Malformed)
        } else if padded[4] > 0x0f || padded[5] != 0 || padded[6] & 0x7f != 0 || padded[7] != 0 {
            Err(Refusal::Unsupported)
        } else {
            Ok(<[u8; 8]>::try_from(&padded[..8]).unwrap())
        };
        prop_assert_eq!(read(7, &data), wanted);
    }
}

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
