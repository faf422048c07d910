// SPDX-License-Identifier: GPL-2.0

//! The tests get all of the logic, as a kernel with the whole series does.

fn main() {
    println!("cargo::rustc-cfg=CONFIG_IOMMU_EXT");
}
