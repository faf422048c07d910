// SPDX-License-Identifier: GPL-2.0
//! The static programs that run in the guest.

use crate::ctx::Ctx;
use crate::kernel::KernelBuild;
use anyhow::{bail, Result};
use std::path::PathBuf;

/// Folders of programs.
#[derive(Clone, Debug)]
pub struct Selftests {
    /// One program a C file of `tools/testing/selftests/iommu`.
    pub ours: PathBuf,
    /// `iommufd` and `iommufd_fail_nth`, built from the kernel tree of that flavour.
    pub upstream: PathBuf,
}

pub fn build(_ctx: &Ctx, _kernel: &KernelBuild) -> Result<Selftests> {
    bail!("selftests cannot be built yet");
}
