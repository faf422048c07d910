// SPDX-License-Identifier: GPL-2.0
//! The static programs that run in the guest.

use crate::cache;
use crate::ctx::Ctx;
use crate::kernel::{self, KernelBuild};
use crate::root;
use crate::sandbox::Sandbox;
use crate::step::Step;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Where kernel trees keep them.
const FOLDER: &str = "tools/testing/selftests";

/// Where ours are, beside some of upstream's.
const OURS: &str = "iommu";

/// Programs of upstream's.
pub struct Upstream {
    /// Their folder, which may have one more with a library.
    folder: &'static str,
    /// Those of them that can run here.
    pub programs: &'static [&'static str],
    /// What the lists of what they pass are called.
    pub list: &'static str,
}

/// Not in here: vfio_pci_driver_test, which needs a device that upstream has a driver for in
/// userspace and a GiB to copy, and vfio_pci_sriov_uapi_test, which needs one with virtual functions.
pub const UPSTREAM: [Upstream; 2] = [
    Upstream {
        folder: OURS,
        programs: &["iommufd", "iommufd_fail_nth"],
        list: "iommufd",
    },
    Upstream {
        folder: "vfio",
        programs: &[
            "vfio_dma_mapping_mmio_test",
            "vfio_dma_mapping_test",
            "vfio_iommufd_setup_test",
            "vfio_pci_device_init_perf_test",
            "vfio_pci_device_test",
        ],
        list: "vfio",
    },
];

/// What the VFIO library of 7.2.12 calls, and does not define as 7.3's does.
const ALLOC: &str = "calloc_assert";

/// Folders of programs.
#[derive(Clone, Debug)]
pub struct Selftests {
    /// One program a C file of ours; empty for a tree without the series.
    pub ours: PathBuf,
    /// Those of [`UPSTREAM`], built from the same tree as the kernel.
    pub upstream: PathBuf,
}

/// Compiles and links in the sandbox of a kernel build.
struct Builder<'a> {
    sandbox: Sandbox,
    step: &'a mut Step,
}

impl Builder<'_> {
    /// Makes an object of a C file below [`FOLDER`]: the compiler cache keeps no programs.
    fn compile(&mut self, source: &str, flags: &[String]) -> Result<String> {
        let object = format!("/build/xtask-selftests/{}.o", source.replace('/', "-"));
        let mut compile = self.sandbox.command("ccache");
        compile
            .args(["clang", "-O2", "-Wall", "-Wno-unused-function"])
            .args(["-D_GNU_SOURCE=", "-isystem", "/build/usr/include"])
            .arg(format!("-I/src/{FOLDER}"))
            .args(flags)
            .args(["-c", "-o", &object])
            .arg(format!("/src/{FOLDER}/{source}"));
        self.step.run(&mut compile)?;
        Ok(object)
    }

    fn link(&mut self, program: &str, objects: &[String]) -> Result<()> {
        let mut link = self.sandbox.command("clang");
        link.arg("-static")
            .args(objects)
            .args(["-lcap", "-luuid", "-lpthread", "-o"])
            .arg(format!("/build/xtask-selftests/{program}"));
        self.step.run(&mut link)
    }

    fn ours(&mut self, tree: &Path) -> Result<()> {
        for source in sources(tree, OURS, 1)? {
            let name = stem(&source);
            if !UPSTREAM
                .iter()
                .any(|upstream| upstream.programs.contains(&name))
            {
                self.step.note(name);
                let object = self.compile(&source, &[])?;
                self.link(&format!("ours/{name}"), &[object])?;
            }
        }
        Ok(())
    }

    fn upstream(&mut self, tree: &Path, upstream: &Upstream) -> Result<()> {
        let folder = upstream.folder;
        let library = sources(tree, &format!("{folder}/lib"), usize::MAX)?;
        let mut flags = Vec::new();
        if !library.is_empty() {
            flags.push("-I/src/tools/include".to_owned());
            flags.push(format!("-I/src/{FOLDER}/{folder}/lib/include"));
            if !headers_name(tree, &format!("{folder}/lib"), ALLOC)? {
                flags.push(format!("-D{ALLOC}=calloc"));
            }
        }
        let mut objects = Vec::new();
        for source in &library {
            self.step.note(stem(source));
            objects.push(self.compile(source, &flags)?);
        }
        for program in upstream.programs {
            self.step.note(*program);
            let object = self.compile(&format!("{folder}/{program}.c"), &flags)?;
            self.link(
                &format!("upstream/{program}"),
                &[&[object][..], &objects].concat(),
            )?;
        }
        Ok(())
    }
}

/// The C files of a folder below [`FOLDER`] and of those in it, as deep as that; none without it.
fn sources(tree: &Path, folder: &str, depth: usize) -> Result<Vec<String>> {
    let top = tree.join(FOLDER);
    let mut sources = Vec::new();
    let folder = top.join(folder);
    if !folder.is_dir() {
        return Ok(sources);
    }
    for entry in WalkDir::new(folder).max_depth(depth).sort_by_file_name() {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ext| ext == "c") {
            let path = entry.path().strip_prefix(&top)?;
            sources.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(sources)
}

/// Whether a header in a folder below [`FOLDER`] has that word.
fn headers_name(tree: &Path, folder: &str, word: &str) -> Result<bool> {
    for entry in WalkDir::new(tree.join(FOLDER).join(folder)) {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ext| ext == "h")
            && fs::read_to_string(entry.path())?.contains(word)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name of a source without folders and extension.
fn stem(source: &str) -> &str {
    let name = source.rsplit('/').next().unwrap_or(source);
    name.strip_suffix(".c").unwrap_or(name)
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
    let hint = "read the first error in the log; the programs are in tools/testing/selftests.";
    ctx.step(&format!("selftests {flavour}"), hint, |step| {
        cache::remove(&stamp)?;
        cache::remove(&out)?;
        fs::create_dir_all(&selftests.ours)?;
        fs::create_dir_all(&selftests.upstream)?;
        let sandbox = kernel::sandbox(ctx, &root, tree, &kernel.build);
        step.run(kernel::make(&sandbox).args(["-s", "headers_install"]))?;
        let mut builder = Builder { sandbox, step };
        builder.ours(tree)?;
        for upstream in &UPSTREAM {
            builder.upstream(tree, upstream)?;
        }
        cache::stamp(&stamp, &kernel.key)
    })?;
    Ok(selftests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_folders() {
        let tree = tempfile::tempdir().unwrap();
        let top = tree.path().join(FOLDER);
        fs::create_dir_all(top.join("vfio/lib/drivers/b")).unwrap();
        for file in ["t.c", "t.h", "lib/z.c", "lib/a.h", "lib/drivers/b/a.c"] {
            fs::write(top.join("vfio").join(file), file).unwrap();
        }
        let sources = |folder, depth| sources(tree.path(), folder, depth).unwrap();
        assert_eq!(sources("vfio", 1), ["vfio/t.c"]);
        assert_eq!(
            sources("vfio/lib", usize::MAX),
            ["vfio/lib/drivers/b/a.c", "vfio/lib/z.c"]
        );
        assert!(sources("iommu/lib", 1).is_empty());
        assert_eq!(stem("vfio/lib/z.c"), "z");
        assert!(headers_name(tree.path(), "vfio/lib", "a.h").unwrap());
        assert!(!headers_name(tree.path(), "vfio/lib", "z.c").unwrap());
    }
}
