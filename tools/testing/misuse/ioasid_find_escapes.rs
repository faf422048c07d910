// SPDX-License-Identifier: GPL-2.0

//! The data of an ID is lent only as long as the RCU lock is held.
//!
//! error: E0505

use kernel::{
    iommu::ioasid::Set,
    prelude::*,
    sync::rcu, //
};

static SET: Set<KBox<u32>> = Set::new(c"misuse", 0);

/// The number that belongs to an ID.
pub fn number(id: u32) -> Result<u32> {
    let guard = rcu::read_lock();
    let data = SET.find(id, &guard)?;
    #[cfg(misuse)]
    drop(guard);
    data.copied().ok_or(ENOENT)
}
