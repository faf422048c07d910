// SPDX-License-Identifier: GPL-2.0
//! The guest's initramfs.

use crate::ctx::Ctx;
use anyhow::{bail, Result};
use std::path::{Path, PathBuf};

/// One file of the initramfs; the folders above it come by themselves, and so do busybox with its
/// links and the mount points.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Such as `tests/ioasid`.
    pub path: String,
    pub source: PathBuf,
    pub mode: u32,
}

/// Packs the entries (sorted, so that the same input gives the same bytes) into `out`.
pub fn pack(_ctx: &Ctx, _entries: &[Entry], _out: &Path) -> Result<()> {
    bail!("an initramfs cannot be packed yet");
}
