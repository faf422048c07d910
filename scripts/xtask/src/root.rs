// SPDX-License-Identifier: GPL-2.0
//! The toolchain root: a Debian trixie with the compilers, in a folder of the cache.

use crate::ctx::Ctx;
use anyhow::{bail, Result};
use std::path::PathBuf;

pub const PATH: &str = "/usr/lib/llvm-22/bin:/usr/sbin:/usr/bin";
pub const LIBCLANG: &str = "/usr/lib/llvm-21/lib";

#[derive(Clone)]
pub struct Root {
    pub dir: PathBuf,
    pub key: String,
}

pub fn prepare(_ctx: &Ctx) -> Result<Root> {
    bail!("the toolchain root cannot be made yet");
}
