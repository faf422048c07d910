// SPDX-License-Identifier: GPL-2.0
//! The test QEMU.

use crate::ctx::Ctx;
use anyhow::{bail, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    X86_64,
    Aarch64,
}

/// An emulator that was built.
#[derive(Clone, Debug)]
pub struct QemuBuild {
    pub binary: PathBuf,
    /// Firmware (`-L`).
    pub data: PathBuf,
    /// Compiled ACPI tables, one `.aml` a source file.
    pub acpi: PathBuf,
}

impl QemuBuild {
    /// The emulator, in the sandbox, with `-L` given; `binds` are visible (writable) under their own
    /// names, so are the folders of this struct.
    pub fn command(&self, _ctx: &Ctx, _binds: &[&Path]) -> Result<Command> {
        bail!("QEMU cannot be built yet");
    }
}

pub fn build(_ctx: &Ctx, _target: Target) -> Result<QemuBuild> {
    bail!("QEMU cannot be built yet");
}
