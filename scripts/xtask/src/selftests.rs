// SPDX-License-Identifier: GPL-2.0
//! The static programs that run in the guest.

use crate::cache;
use crate::ctx::Ctx;
use crate::kernel::{self, KernelBuild};
use crate::root;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where kernel trees keep them.
const FOLDER: &str = "tools/testing/selftests/iommu";

/// Upstream's programs for the IOMMU.
const UPSTREAM: [&str; 2] = ["iommufd", "iommufd_fail_nth"];

/// Folders of programs.
#[derive(Clone, Debug)]
pub struct Selftests {
    /// One program a C file of ours; empty for a tree without the series.
    pub ours: PathBuf,
    /// `iommufd` and `iommufd_fail_nth`, built from the same tree as the kernel.
    pub upstream: PathBuf,
}

/// Names of the C files in the tree's folder.
fn programs(tree: &Path) -> Result<Vec<String>> {
    let folder = tree.join(FOLDER);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        if let Some(name) = entry?.file_name().to_string_lossy().strip_suffix(".c") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds the programs that go with a kernel, unless nothing changed.
pub fn build(ctx: &Ctx, kernel: &KernelBuild) -> Result<Selftests> {
    let root = root::prepare(ctx)?;
    let out = kernel.build.join("xtask-selftests");
    let selftests = Selftests {
        ours: out.join("ours"),
        upstream: out.join("upstream"),
    };
    let tree = &kernel.tree;
    let stamp = out.join(".built");
    if cache::is_stamped(&stamp, &kernel.key) {
        return Ok(selftests);
    }
    let flavour = kernel
        .build
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let hint =
        "read the first error in the log; the programs are in tools/testing/selftests/iommu.";
    ctx.step(&format!("selftests {flavour}"), hint, |step| {
        cache::remove(&out)?;
        fs::create_dir_all(&selftests.ours)?;
        fs::create_dir_all(&selftests.upstream)?;
        let sandbox = kernel::sandbox(ctx, &root, tree, &kernel.build);
        step.run(kernel::make(&sandbox).args(["-s", "headers_install"]))?;
        for name in programs(tree)? {
            step.note(&name);
            let kind = if UPSTREAM.contains(&name.as_str()) {
                "upstream"
            } else {
                "ours"
            };
            // In two steps: the compiler cache keeps objects, not programs.
            let object = format!("/build/xtask-selftests/{name}.o");
            let mut compile = sandbox.command("ccache");
            compile
                .args(["clang", "-O2", "-Wall", "-Wno-unused-function"])
                .args(["-D_GNU_SOURCE=", "-isystem", "/build/usr/include"])
                .args(["-I/src/tools/testing/selftests", "-c", "-o", &object])
                .arg(format!("/src/{FOLDER}/{name}.c"));
            step.run(&mut compile)?;
            let mut link = sandbox.command("clang");
            link.args(["-static", &object, "-lcap", "-lpthread", "-o"])
                .arg(format!("/build/xtask-selftests/{kind}/{name}"));
            step.run(&mut link)?;
        }
        cache::stamp(&stamp, &kernel.key)
    })?;
    Ok(selftests)
}
