// SPDX-License-Identifier: GPL-2.0

//! DMA ownership: every state that two devices can bring a group into, and every
//! call in each of them, compared with a model that keeps a plain list of claims.

#![cfg(not(loom))]

use logic::logic::dma_owner::{Claim, Effect, Group, Owner, Refusal, Say, Step, Surroundings};
use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;

/// Claims beyond these are left to the overflow tests.
const MAX_CLAIMS: usize = 4;

const COOKIES: [usize; 3] = [0, 0xa0, 0xb0];
const OWNERS: [u32; 6] = [0, 1, 2, 3, 4, u32::MAX];

/// A group of two devices, as the kernel would keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Real {
    group: Group,
    claims: [u32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Claimant {
    Device(usize),
    Whole,
}

/// The same group as a list of who claimed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Model {
    owner: u32,
    cookie: usize,
    claimants: Vec<Claimant>,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Claim(usize, u32, usize, Surroundings),
    ClaimWhole(usize, Surroundings),
    Release(usize, u32),
    ReleaseWhole,
    Remove(usize),
}

/// What a call came to: done, refused, or a misuse that is warned about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done(Effect),
    Refused(Refusal),
    Nothing,
}

fn calls() -> Vec<Call> {
    let mut calls = vec![Call::ReleaseWhole];
    let seen: Vec<_> = (0..8)
        .map(|bits| Surroundings {
            default_domain: bits & 1 == 0,
            at_default: bits & 2 == 0,
            in_reset: bits & 4 != 0,
        })
        .collect();

    for device in 0..2 {
        calls.push(Call::Remove(device));
        for owner in OWNERS {
            calls.push(Call::Release(device, owner));
            for cookie in COOKIES {
                for &seen in &seen {
                    calls.push(Call::Claim(device, owner, cookie, seen));
                }
            }
        }
    }
    for cookie in COOKIES {
        for &seen in &seen {
            calls.push(Call::ClaimWhole(cookie, seen));
        }
    }
    calls
}

impl Real {
    const FREE: Self = Self {
        group: Group::FREE,
        claims: [0; 2],
    };

    fn make(&mut self, call: Call) -> Outcome {
        let done = |real: &mut Self, device: Option<usize>, step: Step| {
            real.group = step.group;
            match device {
                Some(device) => real.claims[device] = step.claims,
                None => assert_eq!(step.claims, 0),
            }
            Outcome::Done(step.effect)
        };

        match call {
            Call::Claim(device, owner, cookie, seen) => {
                match Claim::new(owner, cookie)
                    .and_then(|claim| self.group.claim(self.claims[device], claim, seen))
                {
                    Ok(step) => done(self, Some(device), step),
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            Call::ClaimWhole(cookie, seen) => {
                match Claim::new(3, cookie).and_then(|claim| self.group.claim_whole(claim, seen)) {
                    Ok(step) => done(self, None, step),
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            Call::Release(device, owner) => match self.group.release(self.claims[device], owner) {
                Some(step) => done(self, Some(device), step),
                None => Outcome::Nothing,
            },
            Call::ReleaseWhole => match self.group.release_whole() {
                Some(step) => done(self, None, step),
                None => Outcome::Nothing,
            },
            Call::Remove(device) => match self.group.remove(self.claims[device]) {
                Some(step) => done(self, Some(device), step),
                None => Outcome::Nothing,
            },
        }
    }
}

impl Model {
    fn held_by(&self, claimant: Claimant) -> usize {
        self.claimants.iter().filter(|&&c| c == claimant).count()
    }

    fn claim(
        &mut self,
        claimant: Claimant,
        owner: u32,
        cookie: usize,
        seen: Surroundings,
    ) -> Outcome {
        let refused = Outcome::Refused;
        let private = owner == 2 || owner == 3;
        let cookie = if owner == 1 { 0 } else { cookie };

        if owner != 1 && !private || private && cookie == 0 {
            return refused(Refusal::BadArgument);
        }
        if !seen.default_domain {
            return refused(Refusal::NoDefaultDomain);
        }
        if seen.in_reset {
            return refused(Refusal::InReset);
        }

        let first = self.claimants.is_empty();
        if !first {
            let shared = claimant != Claimant::Whole && self.held_by(Claimant::Whole) == 0;
            if !shared || (self.owner, self.cookie) != (owner, cookie) {
                return refused(Refusal::Owned);
            }
        }
        if !seen.at_default && (private && first || !private && !first) {
            return refused(Refusal::Attached);
        }

        (self.owner, self.cookie) = (owner, cookie);
        self.claimants.push(claimant);
        self.claimants.sort();
        Outcome::Done(if first && owner == 3 {
            Effect::Block
        } else {
            Effect::Keep
        })
    }

    /// Takes away the claims that `gone` picks, which are some.
    fn forget(&mut self, gone: impl Fn(usize, Claimant) -> bool) -> Outcome {
        let private = self.owner >= 2;
        let mut index = 0..;

        self.claimants.retain(|&c| !gone(index.next().unwrap(), c));
        if !self.claimants.is_empty() {
            return Outcome::Done(Effect::Keep);
        }
        *self = Self::default();
        Outcome::Done(if private {
            Effect::Restore
        } else {
            Effect::Keep
        })
    }

    fn make(&mut self, call: Call) -> Outcome {
        match call {
            Call::Claim(device, owner, cookie, seen) => {
                self.claim(Claimant::Device(device), owner, cookie, seen)
            }
            Call::ClaimWhole(cookie, seen) => self.claim(Claimant::Whole, 3, cookie, seen),
            Call::Release(device, owner) => {
                let own = Claimant::Device(device);
                match self.claimants.iter().position(|&c| c == own) {
                    Some(at) if self.owner == owner => self.forget(|index, _| index == at),
                    _ => Outcome::Nothing,
                }
            }
            Call::ReleaseWhole => match self.held_by(Claimant::Whole) {
                0 => Outcome::Nothing,
                _ => self.forget(|_, claimant| claimant == Claimant::Whole),
            },
            Call::Remove(device) => match self.held_by(Claimant::Device(device)) {
                0 => Outcome::Nothing,
                _ => self.forget(|_, claimant| claimant == Claimant::Device(device)),
            },
        }
    }

    fn real(&self) -> Real {
        Real {
            group: Group {
                owner: Owner::from_raw(self.owner).unwrap(),
                cookie: NonZeroUsize::new(self.cookie),
                count: self.claimants.len() as u32,
                whole: self.held_by(Claimant::Whole) != 0,
            },
            claims: [0, 1].map(|device| self.held_by(Claimant::Device(device)) as u32),
        }
    }
}

#[test]
fn every_state_and_every_call() {
    let calls = calls();
    let mut known = HashSet::from([Model::default()]);
    let mut queue = VecDeque::from([Model::default()]);

    while let Some(model) = queue.pop_front() {
        for &call in &calls {
            let (mut next, mut real) = (model.clone(), model.real());
            let expected = next.make(call);

            assert_eq!(real.make(call), expected, "{call:?} in {model:?}");
            assert_eq!(real, next.real(), "{call:?} in {model:?}");
            if next.claimants.len() <= MAX_CLAIMS && known.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }

    // Five owners with cookie, each with 1 to 4 claims of two devices, two of them
    // also with the whole group, and the free state.
    let shares: usize = (1..=MAX_CLAIMS).map(|n| n + 1).sum();
    assert_eq!(known.len(), 5 * shares + 2 + 1);
}

#[test]
fn what_is_refused_changes_nothing() {
    let calls = calls();
    let ready = Surroundings {
        default_domain: true,
        at_default: true,
        in_reset: false,
    };

    for owner in [1, 2, 3] {
        let mut real = Real::FREE;
        real.make(Call::Claim(0, owner, 0xa0, ready));
        for &call in &calls {
            let mut after = real;
            match after.make(call) {
                Outcome::Done(_) => assert_ne!(after, real, "{call:?}"),
                _ => assert_eq!(after, real, "{call:?}"),
            }
        }
    }
}

fn ready() -> Surroundings {
    Surroundings {
        default_domain: true,
        at_default: true,
        in_reset: false,
    }
}

fn held(owner: Owner, count: u32) -> Group {
    Group {
        owner,
        cookie: match owner {
            Owner::PrivateDomain | Owner::PrivateDomainUser => NonZeroUsize::new(0xa0),
            _ => None,
        },
        count,
        whole: false,
    }
}

#[test]
fn counts_never_wrap() {
    for owner in [
        Owner::DmaApi,
        Owner::PrivateDomain,
        Owner::PrivateDomainUser,
    ] {
        let claim = Claim::new(owner as u32, 0xa0).unwrap();

        let full = held(owner, u32::MAX);
        assert_eq!(full.claim(7, claim, ready()), Err(Refusal::Overflow));
        assert_eq!(full.claim(u32::MAX, claim, ready()), Err(Refusal::Overflow));

        let last = held(owner, u32::MAX - 1);
        let step = last.claim(7, claim, ready()).unwrap();
        assert_eq!((step.group.count, step.claims), (u32::MAX, 8));
        assert_eq!(step.effect, Effect::Keep);

        let step = step.group.release(8, owner as u32).unwrap();
        assert_eq!((step.group, step.claims), (last, 7));
    }
}

#[test]
fn overflow_comes_after_the_owner_and_before_the_domain() {
    let full = held(Owner::DmaApi, u32::MAX);
    let astray = Surroundings {
        at_default: false,
        ..ready()
    };

    let own = Claim::new(1, 0).unwrap();
    assert_eq!(full.claim(0, own, astray), Err(Refusal::Overflow));

    let other = Claim::new(2, 0xa0).unwrap();
    assert_eq!(full.claim(0, other, astray), Err(Refusal::Owned));
}

#[test]
fn only_another_owner_is_another_owner() {
    let claim = Claim::new(3, 0xa0).unwrap();
    let user = held(Owner::PrivateDomainUser, u32::MAX);
    let whole = Group {
        whole: true,
        ..held(Owner::PrivateDomainUser, 1)
    };

    assert!(!Group::FREE.is_other(claim));
    assert!(!user.is_other(claim));
    assert!(user.is_other(Claim::new(3, 0xb0).unwrap()));
    assert!(user.is_other(Claim::new(2, 0xa0).unwrap()));
    assert!(whole.is_other(claim));
    assert!(held(Owner::DmaApi, 1).is_other(claim));
    assert!(held(Owner::PrivateDomain, 1).is_other(claim));
}

#[test]
fn a_removed_device_takes_all_its_claims_along() {
    for owner in [
        Owner::DmaApi,
        Owner::PrivateDomain,
        Owner::PrivateDomainUser,
    ] {
        let group = held(owner, 5);

        let step = group.remove(3).unwrap();
        assert_eq!((step.group, step.claims), (held(owner, 2), 0));
        assert_eq!(step.effect, Effect::Keep);

        let step = group.remove(5).unwrap();
        assert_eq!(step.group, Group::FREE);
        assert_eq!(step.effect == Effect::Restore, owner != Owner::DmaApi);
    }
}

#[test]
fn without_an_iommu_only_the_dma_api_may_claim() {
    assert_eq!(Claim::new(1, 0).unwrap().without_iommu(), Ok(()));
    assert_eq!(Claim::new(1, 0xa0).unwrap().without_iommu(), Ok(()));
    for owner in [2, 3] {
        let claim = Claim::new(owner, 0xa0).unwrap();
        assert_eq!(claim.without_iommu(), Err(Refusal::NoIommu));
    }
}

#[test]
fn who_may_attach() {
    for claims in [0, 1, u32::MAX] {
        for owner in [Owner::None, Owner::DmaApi, Owner::PrivateDomainUser] {
            assert_eq!(held(owner, claims).say(claims), Say::Free);
        }
    }
    assert_eq!(held(Owner::PrivateDomain, 1).say(0), Say::Outsider);
    assert_eq!(held(Owner::PrivateDomain, 1).say(1), Say::Holder);
}

#[test]
fn only_userspace_is_blocked() {
    assert!(held(Owner::PrivateDomainUser, 1).blocks());
    for owner in [Owner::None, Owner::DmaApi, Owner::PrivateDomain] {
        assert!(!held(owner, 1).blocks());
    }
}
