// SPDX-License-Identifier: GPL-2.0

//! What an ID gets for data lives as long as what its set gives out.
//!
//! error: E0597

use kernel::{
    iommu::ioasid::Set,
    prelude::*,
    sync::rcu, //
};

static ANSWER: u32 = 42;
static SET: Set<KBox<&'static u32>> = Set::new(c"misuse", 0);

/// A number that outlives the ID.
pub fn number() -> Result<&'static u32> {
    let other = &ANSWER;
    #[cfg(misuse)]
    let local = *other;
    #[cfg(misuse)]
    let other = &local;

    let mut id = SET.alloc(2..=99, KBox::new(&ANSWER, GFP_KERNEL)?)?;
    id.replace(KBox::new(other, GFP_KERNEL)?);

    let guard = rcu::read_lock();
    let found = SET.find(id.id(), &guard)?.map(|number| *number);
    drop(guard);
    found.ok_or(ENOENT)
}
