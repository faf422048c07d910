// SPDX-License-Identifier: GPL-2.0
//! Kernels: configured from fragments, built out of tree.

use crate::ctx::Ctx;
use anyhow::{bail, Result};
use std::path::PathBuf;

/// The kernels that runs and tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Patched, fast.
    Lean,
    /// Patched, with every checker.
    Debug,
    /// Patched, CONFIG_IOMMU_EXT=n.
    Off,
    /// The kernel as released.
    Pristine,
}

/// A kernel that was built.
#[derive(Clone, Debug)]
pub struct KernelBuild {
    pub bzimage: PathBuf,
    /// Holds `lib/modules/<release>`.
    pub modules: PathBuf,
    /// The build folder (`O=`).
    pub build: PathBuf,
    /// The source it was built from.
    pub tree: PathBuf,
    /// As `uname -r` prints it.
    pub release: String,
    /// Such as "7.3".
    pub series: String,
}

pub fn build(_ctx: &Ctx, _flavour: Flavour) -> Result<KernelBuild> {
    bail!("kernels cannot be built yet");
}
