// SPDX-License-Identifier: GPL-2.0

//! DMA with PASID in the kernel: every state that two devices can bring a group into, and
//! every call in each of them, compared with a model that keeps a plain list of users.

#![cfg(not(loom))]

use logic::logic::dma_pasid::{
    Enable, Group, Mode, Part, Refusal, Slot, Step, Surroundings, Which,
};
use std::collections::{HashSet, VecDeque};

/// Users beyond these are left to the overflow test.
const MAX_USERS: usize = 4;

/// The ID of a part that a call makes.
const NEW: u64 = 100;

const GOOD: Surroundings = Surroundings {
    supported: true,
    owner: true,
    trusted: true,
    unsettled: false,
};

/// A group of two devices, as the kernel would keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Real {
    group: Group,
    parts: [[Part; 3]; 2],
}

impl Real {
    const FREE: Self = Self {
        group: Group::FREE,
        parts: [[Part::NONE; 3]; 2],
    };

    fn take(mut self, device: usize, mode: Mode, step: Step) -> Self {
        self.group = step.group;
        self.parts[device][mode as usize] = step.part;
        self
    }

    /// Enables, with the lowest free ID where one is to be allocated.
    fn enable(self, device: usize, mode: Mode, seen: Surroundings) -> Result<Self, Refusal> {
        let part = self.parts[device][mode as usize];
        let (step, pasid) = match self.group.enable(mode, part, seen, NEW)? {
            Enable::Share(step) => return Ok(self.take(device, mode, step)),
            Enable::Attach(step, Which::Kernel) => (step, 1),
            Enable::Attach(step, Which::Allocated) => {
                let taken = |id| self.group.slots.iter().any(|slot| slot.pasid == id);
                (step, (2..).find(|&id| !taken(id)).unwrap())
            }
        };

        // From now on nobody joins; and if it fails, all is as it was.
        let mut next = self.take(device, mode, step);
        assert!(next.group.is_live());
        assert_eq!(next.group.slot(mode), Slot { pasid: 0, count: 1 });
        let undone = next.disable(device, mode, 1).unwrap();
        assert_eq!((undone.group, undone.counts()), (self.group, self.counts()));

        next.group = next.group.enter(mode, pasid);
        Ok(next)
    }

    fn disable(self, device: usize, mode: Mode, n: u32) -> Option<Self> {
        let part = self.parts[device][mode as usize];
        let step = self.group.disable(mode, part, n)?;
        Some(self.take(device, mode, step))
    }

    fn counts(&self) -> [[u32; 3]; 2] {
        self.parts.map(|parts| parts.map(|part| part.count))
    }
}

/// The same group: who enabled what, in order, and which PASID a mode has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Model {
    uses: Vec<(usize, usize)>,
    pasids: [u32; 3],
}

impl Model {
    fn enable(mut self, device: usize, mode: usize) -> Self {
        if self.pasids[mode] == 0 {
            self.pasids[mode] = (1..).find(|id| !self.pasids.contains(id)).unwrap();
        }
        self.uses.push((device, mode));
        self.uses.sort_unstable();
        self
    }

    fn disable(mut self, device: usize, mode: usize, n: usize) -> Option<Self> {
        for _ in 0..n {
            let place = self.uses.iter().position(|&u| u == (device, mode))?;
            self.uses.remove(place);
        }
        if !self.uses.iter().any(|&(_, m)| m == mode) {
            self.pasids[mode] = 0;
        }
        Some(self)
    }

    fn group(&self) -> Group {
        Group {
            slots: [0, 1, 2].map(|mode| Slot {
                pasid: self.pasids[mode],
                count: self.count(|(_, m)| m == mode),
            }),
        }
    }

    fn counts(&self) -> [[u32; 3]; 2] {
        let device = |device| [0, 1, 2].map(|mode| self.count(|u| u == (device, mode)));
        [device(0), device(1)]
    }

    /// The state that it stands for; each part has an ID of its own.
    fn real(&self) -> Real {
        let mut parts = [[Part::NONE; 3]; 2];
        for (device, counts) in self.counts().into_iter().enumerate() {
            for (mode, count) in counts.into_iter().enumerate() {
                let id = (10 * device + mode) as u64;
                parts[device][mode] = Part { count, id };
            }
        }
        Real {
            group: self.group(),
            parts,
        }
    }

    /// Whether a state is this one, in which a device's part in a mode has this ID.
    fn is(&self, real: &Real, device: usize, mode: usize, id: u64) -> bool {
        let part = real.parts[device][mode];
        let same = real.group == self.group() && real.counts() == self.counts();
        same && (part.count == 0 || part.id == id)
    }

    fn count(&self, f: impl Fn((usize, usize)) -> bool) -> u32 {
        self.uses.iter().filter(|&&u| f(u)).count() as u32
    }
}

fn surroundings() -> impl Iterator<Item = Surroundings> {
    (0..16).map(|bits| Surroundings {
        supported: bits & 1 == 0,
        owner: bits & 2 == 0,
        trusted: bits & 4 == 0,
        unsettled: bits & 8 != 0,
    })
}

/// The order of checks, written down once more.
fn refusal(mode: Mode, seen: Surroundings) -> Option<Refusal> {
    if !seen.supported {
        Some(Refusal::Unsupported)
    } else if !seen.owner {
        Some(Refusal::NotOwner)
    } else if mode == Mode::Bypass && !seen.trusted {
        Some(Refusal::Untrusted)
    } else if seen.unsettled {
        Some(Refusal::Unsettled)
    } else {
        None
    }
}

#[test]
fn every_state_and_call() {
    let mut seen_states = HashSet::new();
    let mut todo = VecDeque::from([Model::default()]);

    while let Some(model) = todo.pop_front() {
        if !seen_states.insert(model.clone()) {
            continue;
        }
        let real = model.real();
        assert_eq!(real.group.is_live(), !model.uses.is_empty());

        for device in 0..2 {
            for mode in Mode::ALL {
                let part = real.parts[device][mode as usize];
                let id = if part.count == 0 { NEW } else { part.id };
                for seen in surroundings() {
                    let got = real.enable(device, mode, seen);
                    match refusal(mode, seen) {
                        Some(refusal) => assert_eq!(got, Err(refusal)),
                        None if model.uses.len() < MAX_USERS => {
                            let next = model.clone().enable(device, mode as usize);
                            let got = got.unwrap();
                            assert!(next.is(&got, device, mode as usize, id), "{model:?}");
                            todo.push_back(next);
                        }
                        None => assert!(got.is_ok()),
                    }
                }
                for n in 1..=2 {
                    let got = real.disable(device, mode, n);
                    let next = model.clone().disable(device, mode as usize, n as usize);
                    assert_eq!(got.is_some(), next.is_some(), "{model:?}");
                    for (got, next) in got.iter().zip(&next) {
                        assert!(next.is(got, device, mode as usize, id), "{model:?}");
                    }
                    todo.extend(next);
                }
            }
        }
    }
    assert!(seen_states.len() > 100);
}

#[test]
fn arguments() {
    for raw in [3, 4, u32::MAX] {
        assert_eq!(Mode::new(raw, true), Err(Refusal::BadArgument));
        assert_eq!(Mode::from_raw(raw), None);
    }
    for pointer in [false, true] {
        assert_eq!(Mode::new(0, pointer), Ok(Mode::Bypass));
        assert_eq!(Mode::new(1, pointer), Ok(Mode::Iova));
    }
    assert_eq!(Mode::new(2, true), Ok(Mode::Kva));
    assert_eq!(Mode::new(2, false), Err(Refusal::BadArgument));
    for (place, mode) in Mode::ALL.into_iter().enumerate() {
        assert_eq!(mode as usize, place);
    }
}

#[test]
fn the_kernels_pasid_is_used_again_when_it_is_free() {
    let two = Real::FREE.enable(0, Mode::Iova, GOOD).unwrap();
    let two = two.enable(0, Mode::Kva, GOOD).unwrap();
    assert_eq!(two.group.slot(Mode::Iova).pasid, 1);
    assert_eq!(two.group.slot(Mode::Kva).pasid, 2);

    let one = two.disable(0, Mode::Iova, 1).unwrap();
    let two = one.enable(1, Mode::Bypass, GOOD).unwrap();
    assert_eq!(two.group.slot(Mode::Bypass).pasid, 1);
    assert_eq!(two.group.slot(Mode::Kva).pasid, 2);
}

/// Whoever had a share in a part that was taken away has none in the next one.
#[test]
fn a_part_that_is_over() {
    let old = Part { count: 2, id: 7 };
    let mut group = Group::FREE;
    group.slots[2] = Slot { pasid: 1, count: 3 };

    assert!(old.is(7) && !old.is(8));
    assert_eq!((old.of(7), old.of(8)), (old, Part::NONE));
    let over = group.disable(Mode::Kva, old, 2).unwrap();
    assert!(!over.part.is(7));

    // The sibling kept the mode, so nothing else tells the old part from the new.
    let again = over.group.enable(Mode::Kva, over.part, GOOD, 8).unwrap();
    let Enable::Share(again) = again else {
        panic!("{again:?}");
    };
    assert_eq!(again.part, Part { count: 1, id: 8 });
    assert_eq!(again.group.disable(Mode::Kva, again.part.of(7), 1), None);
    assert!(again
        .group
        .disable(Mode::Kva, again.part.of(8), 1)
        .is_some());
}

#[test]
fn counts_never_wrap() {
    let full = Slot {
        pasid: 1,
        count: u32::MAX,
    };
    let mut group = Group::FREE;
    group.slots[1] = full;
    for count in [0, u32::MAX] {
        assert_eq!(
            group.enable(Mode::Iova, Part { count, id: 1 }, GOOD, NEW),
            Err(Refusal::Overflow)
        );
    }
    // Other modes are not concerned, and the last check comes last.
    assert!(matches!(
        group.enable(Mode::Kva, Part::NONE, GOOD, NEW),
        Ok(Enable::Attach(_, Which::Allocated))
    ));
    let unsettled = Surroundings {
        unsettled: true,
        ..GOOD
    };
    assert_eq!(
        group.enable(Mode::Iova, Part::NONE, unsettled, NEW),
        Err(Refusal::Unsettled)
    );
}
