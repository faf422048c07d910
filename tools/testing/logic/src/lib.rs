// SPDX-License-Identifier: GPL-2.0

//! The files that the kernel compiles, as a library for the host's tests.

#![no_std]

#[path = "../../../../drivers/iommu/ext/logic/mod.rs"]
pub mod logic;
