// SPDX-License-Identifier: GPL-2.0
//! Kernels: configured from fragments, built out of tree.

use crate::cache;
use crate::ctx::Ctx;
use crate::kconfig;
use crate::root::{self, Root};
use crate::sandbox::Sandbox;
use crate::tree::{self, Tree};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// Patched, user-mode Linux: the allocator without an IOMMU core.
    Um,
    /// The same with several CPUs; turning interrupts off takes it a system call.
    UmSmp,
}

impl Flavour {
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Lean => "lean",
            Flavour::Debug => "debug",
            Flavour::Off => "off",
            Flavour::Pristine => "pristine",
            Flavour::Um => "um",
            Flavour::UmSmp => "um-smp",
        }
    }

    /// Names in scripts/configs; a later one wins.
    fn fragments(self) -> &'static [&'static str] {
        match self {
            Flavour::Lean => &["base", "x86_64", "ext"],
            Flavour::Debug => &["base", "x86_64", "ext", "debug"],
            Flavour::Off => &["base", "x86_64", "off"],
            Flavour::Pristine => &["base", "x86_64", "pristine"],
            Flavour::Um => &["um"],
            Flavour::UmSmp => &["um", "um-smp"],
        }
    }

    /// The kernel that this one begins as a copy of: most objects, or at least the tools that
    /// kbuild makes first, are the same.
    pub fn base(self) -> Option<Flavour> {
        match self {
            Flavour::Off => Some(Flavour::Lean),
            Flavour::Pristine => Some(Flavour::Off),
            Flavour::UmSmp => Some(Flavour::Um),
            Flavour::Lean | Flavour::Debug | Flavour::Um => None,
        }
    }

    /// Arguments of make that choose the architecture.
    fn arch(self) -> &'static [&'static str] {
        match self {
            Flavour::Um | Flavour::UmSmp => &["ARCH=um"],
            _ => &[],
        }
    }

    /// What boots, in the build folder.
    fn image(self) -> &'static str {
        match self {
            Flavour::Um | Flavour::UmSmp => "linux",
            _ => "arch/x86/boot/bzImage",
        }
    }

    /// What make is to build.
    fn targets(self) -> &'static [&'static str] {
        match self {
            Flavour::Um | Flavour::UmSmp => &["linux"],
            _ => &["bzImage", "modules"],
        }
    }
}

/// A kernel that was built.
#[derive(Clone, Debug)]
pub struct KernelBuild {
    pub image: PathBuf,
    /// Holds `lib/modules/<release>`, if the kernel has modules.
    pub modules: PathBuf,
    /// The build folder (`O=`).
    pub build: PathBuf,
    /// The source it was built from.
    pub tree: PathBuf,
    /// As `uname -r` prints it.
    pub release: String,
    /// Such as "7.3".
    pub series: String,
    /// Changes when anything does that it was built from.
    pub key: String,
}

/// The environment of a kernel build: the tree at /src, the build folder at /build, always there,
/// so that the compiler cache serves every tree.
pub fn sandbox(ctx: &Ctx, root: &Root, tree: &Path, build: &Path) -> Sandbox {
    Sandbox::new(ctx, root)
        .ro(tree, "/src")
        .rw(build, "/build")
        .ro(&ctx.repo.join("scripts/kernel-cc"), "/kernel-cc")
        .cwd("/src")
        .env("KBUILD_BUILD_USER", "iommu-ext")
        .env("KBUILD_BUILD_HOST", "iommu-ext")
        .env("KBUILD_BUILD_TIMESTAMP", "2026-01-01")
        // Counted in each folder otherwise, and part of an object.
        .env("KBUILD_BUILD_VERSION", "1")
}

pub fn make(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.command("make");
    command.args(["O=/build", "LLVM=1", "CC=/kernel-cc"]);
    command
}

/// Counts the lines of a kernel build that stand for something made.
fn counter() -> impl FnMut(&str) -> Option<String> {
    let mut made = 0;
    move |line| {
        let (what, file) = line.strip_prefix("  ")?.split_once("  ")?;
        what.chars().all(|c| c.is_ascii_uppercase()).then(|| {
            made += 1;
            format!("{made} made, {}", file.trim())
        })
    }
}

/// The source of a kernel.
pub fn tree(ctx: &Ctx, root: &Root, flavour: Flavour) -> Result<Tree> {
    match flavour {
        Flavour::Pristine => tree::pristine(ctx, root),
        _ => tree::patched(ctx, root),
    }
}

/// Builds a kernel, or does nothing if the cache has it.
pub fn build(ctx: &Ctx, flavour: Flavour) -> Result<KernelBuild> {
    let root = root::prepare(ctx)?;
    let tree = tree(ctx, &root, flavour)?;
    let configs = ctx.repo.join("scripts/configs");
    let fragments: Vec<PathBuf> = flavour
        .fragments()
        .iter()
        .map(|name| configs.join(name).with_extension("config"))
        .collect();
    let key = cache::hash([&tree.key, &root.key, &cache::hash_files(&fragments)?]);

    let plain = ctx
        .cache
        .join("build")
        .join(format!("{}-{}", tree.source.key, flavour.name()));
    let build = PathBuf::from(format!("{}{}", plain.display(), ctx.suffix));
    let base = match flavour.base() {
        Some(base) if !plain.is_dir() && !build.is_dir() => Some(self::build(ctx, base)?),
        _ => None,
    };
    let stamp = build.join(".xtask-built");
    if !cache::is_stamped(&stamp, &key) {
        let name = format!(
            "kernel {} {}{}",
            tree.source.series,
            flavour.name(),
            ctx.suffix
        );
        let hint = "read the first error in the log; a build that goes wrong in files of the series means that \
                    they do not fit this kernel. The next run goes on where this one ended.";
        ctx.step(&name, hint, |step| {
            cache::seed(ctx, step, &plain, &build, |_| Ok(()))?;
            if let Some(base) = &base {
                cache::seed(ctx, step, &base.build, &build, |copy| {
                    drop_made_from_others(copy, &base.tree, &tree.dir)
                })?;
            }
            fs::create_dir_all(&build)?;
            cache::remove(&stamp)?;
            compile(ctx, step, flavour, &root, &tree, &build, &fragments)?;
            cache::stamp(&stamp, &key)
        })?;
    }
    let release = fs::read_to_string(build.join("include/config/kernel.release"))
        .context("the kernel's build folder states no release")?;
    Ok(KernelBuild {
        image: build.join(flavour.image()),
        modules: build.join("xtask-modules"),
        tree: tree.dir,
        release: release.trim().to_owned(),
        series: tree.source.series,
        build,
        key,
    })
}

fn compile(
    ctx: &Ctx,
    step: &mut crate::step::Step,
    flavour: Flavour,
    root: &Root,
    tree: &Tree,
    build: &Path,
    fragments: &[PathBuf],
) -> Result<()> {
    let sandbox = sandbox(ctx, root, &tree.dir, build);
    let make = || {
        let mut command = make(&sandbox);
        command.args(flavour.arch());
        command
    };
    let key = cache::hash([&tree.kconfig, &root.key]);
    kconfig::configure(step, build, fragments, &key, make)?;
    restartable(build, || {
        step.watch(
            make()
                .arg(format!("-j{}", ctx.jobs))
                .args(flavour.targets()),
            counter(),
        )?;
        if flavour.targets().contains(&"modules") {
            cache::remove(&build.join("xtask-modules"))?;
            step.note("modules");
            step.run(make().args(["modules_install", "INSTALL_MOD_PATH=/build/xtask-modules"]))?;
        }
        Ok(())
    })
}

/// Compiles in a build folder; first drops what was made there by a time that did not come to its
/// end.
pub fn restartable<T>(build: &Path, compile: impl FnOnce() -> Result<T>) -> Result<T> {
    let marker = build.join(".xtask-building");
    if marker.exists() {
        drop_made_since(&marker, build)?;
    }
    fs::write(&marker, "").context("cannot write to the build folder")?;
    let result = compile()?;
    cache::remove(&marker)?;
    Ok(result)
}

/// Removes what the compilers made, if it is not older than the marker of a build that was killed:
/// it may be half written or half processed, and make would take it for up to date.
fn drop_made_since(marker: &Path, build: &Path) -> Result<()> {
    let begun = fs::metadata(marker)?.modified()?;
    let is_made = |name: &str| {
        let ends = [".o", ".rmeta", ".so"];
        ends.iter().any(|end| name.ends_with(end)) || name.contains("_generated.")
    };
    for entry in walkdir::WalkDir::new(build) {
        let entry = entry?;
        let made = is_made(&entry.file_name().to_string_lossy());
        if made && entry.file_type().is_file() && entry.metadata()?.modified()? >= begun {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes from a build folder what kbuild made there in the tree `other` from a file that `tree`
/// has otherwise, or has not: make goes by the age of files, which says nothing across trees. What
/// depends on the configuration, kbuild knows itself.
fn drop_made_from_others(build: &Path, other: &Path, tree: &Path) -> Result<()> {
    let mut same: HashMap<String, bool> = HashMap::new();
    for entry in walkdir::WalkDir::new(build) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let Some(made) = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".cmd"))
        else {
            continue;
        };
        let recipe = fs::read_to_string(entry.path())
            .with_context(|| format!("cannot read {}", entry.path().display()))?;
        let mut sources = recipe
            .split_whitespace()
            .filter_map(|word| word.trim_end_matches([')', '"']).strip_prefix("/src/"));
        let is_same = |source: &str| {
            *same.entry(source.to_owned()).or_insert_with(|| {
                let read = |tree: &Path| fs::read(tree.join(source)).ok();
                read(other) == read(tree)
            })
        };
        if !sources.all(is_same) {
            cache::remove(&entry.path().with_file_name(made))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn an_interrupted_build_loses_what_it_made_last_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, age: u64| {
            let path = dir.path().join(name);
            let file = fs::File::create(&path).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            file.set_modified(time).unwrap();
            path
        };
        let (old, marker) = (file("old.o", 100), file("marker", 50));
        let (new, source) = (file("new.o", 10), file("new.c", 10));
        let bindings = file("bindings_generated.rs", 10);
        drop_made_since(&marker, dir.path()).unwrap();
        assert!(old.exists() && source.exists());
        assert!(!new.exists() && !bindings.exists());
    }

    #[test]
    fn a_copied_build_loses_what_other_sources_made() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (file, patched, released) in [("a.h", "1", "1"), ("b.h", "2", "1"), ("c.c", "1", "1")] {
            write(&format!("patched/{file}"), patched);
            write(&format!("released/{file}"), released);
        }
        write("patched/new.c", "");
        for (object, sources) in [
            (
                "kept",
                "source_kept.o := /src/c.c\n\ndeps_kept.o := \\\n  /src/a.h \\\n",
            ),
            (
                "header",
                "source_header.o := /src/c.c\n\ndeps_header.o := \\\n  /src/b.h \\\n",
            ),
            ("new", "source_new.o := /src/new.c\n"),
        ] {
            write(&format!("build/d/{object}.o"), "");
            write(&format!("build/d/.{object}.o.cmd"), sources);
        }
        let [build, patched, released] =
            ["build", "patched", "released"].map(|name| dir.path().join(name));
        drop_made_from_others(&build, &patched, &released).unwrap();
        let is_left = |object: &str| build.join("d").join(object).exists();
        assert!(is_left("kept.o"));
        assert!(!is_left("header.o") && !is_left("new.o"));
    }

    #[test]
    fn assembler_passes_the_compiler_cache_by() {
        let programs = tempfile::tempdir().unwrap();
        for name in ["ccache", "clang"] {
            std::os::unix::fs::symlink("/bin/echo", programs.path().join(name)).unwrap();
        }
        let said = |args: &[&str]| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernel-cc");
            let mut command = Command::new(script);
            let output = command.args(args).env("PATH", programs.path()).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert_eq!(said(&["-c", "a.c"]), "clang -c a.c\n");
        let assembler = ["-D__ASSEMBLY__", "-c", "a.S"];
        assert_eq!(said(&assembler), "-D__ASSEMBLY__ -c a.S\n");
    }
}
