// SPDX-License-Identifier: GPL-2.0
//! The test QEMU: Debian's source, our device laid over it, the edits applied, built in the root.

use crate::cache;
use crate::ctx::Ctx;
use crate::edits::{Files, Manifest};
use crate::root::{self, Root};
use crate::sandbox::Sandbox;
use crate::source::{self, Source};
use crate::tree::{self, Changes};
use anyhow::{bail, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use walkdir::WalkDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    X86_64,
    #[allow(dead_code)]
    Aarch64,
}

impl Target {
    fn arch(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64",
            Target::Aarch64 => "aarch64",
        }
    }
}

/// An emulator that was built.
#[derive(Clone, Debug)]
pub struct QemuBuild {
    root: Root,
    /// Its build folder; the emulator runs where its libraries and firmware are, in the root.
    build: PathBuf,
    binary: PathBuf,
    /// Compiled ACPI tables, one `.aml` a source file.
    pub acpi: PathBuf,
}

impl QemuBuild {
    /// The emulator, in the sandbox; `binds` and the ACPI tables are visible under their own names.
    pub fn command(&self, ctx: &Ctx, binds: &[&Path]) -> Result<Command> {
        let mut sandbox = Sandbox::new(ctx, &self.root).ro(&self.build, &self.build);
        for path in binds {
            sandbox = sandbox.rw(path, path);
        }
        if ctx.options.kvm {
            if !Path::new("/dev/kvm").exists() {
                bail!("KVM=1 was given, but this machine has no /dev/kvm; leave it out.");
            }
            sandbox = sandbox.option(["--dev-bind", "/dev/kvm", "/dev/kvm"]);
        }
        let mut command = sandbox.command(&self.binary);
        // In its build folder QEMU looks for Debian's firmware nowhere by itself.
        command.args(["-L", "/usr/share/qemu", "-L", "/usr/share/seabios"]);
        Ok(command)
    }
}

/// Lines of a list, without comments.
fn list(path: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// What differs from QEMU's source.
fn changes(repo: &Path, source: &Source, target: Target) -> Result<Changes> {
    let tools = repo.join("tools/qemu");
    let overlay = tools.join("overlay");
    let mut ours: Vec<(String, PathBuf)> = Vec::new();
    for entry in WalkDir::new(&overlay).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(&overlay)?;
            ours.push((path.to_string_lossy().into_owned(), entry.path().to_owned()));
        }
    }
    let arch = target.arch();
    let regs = "pasid_testdev_regs.h";
    ours.push((
        format!("hw/misc/{regs}"),
        repo.join("drivers/iommu/ext/test").join(regs),
    ));
    ours.push((
        format!("configs/devices/{arch}-softmmu/iommu-ext.mak"),
        tools.join(format!("devices-{arch}.mak")),
    ));

    let mut changes = Changes::new();
    for (path, from) in ours {
        if source.dir.join(&path).exists() {
            bail!(
                "{path} would replace a file of QEMU {}; give it another name",
                source.version
            );
        }
        changes.insert(
            path,
            fs::read(&from).with_context(|| from.display().to_string())?,
        );
    }
    let mut files = Files::new(&source.dir);
    let manifest = Manifest::read(&tools.join("edits.toml"))?;
    manifest.apply_moves(&mut files, &source.series)?;
    manifest.apply_inserts(&mut files, &source.series)?;
    for (path, text) in files.texts() {
        changes.insert(path.clone(), text.clone().into_bytes());
    }
    Ok(changes)
}

/// Builds the emulator, or does nothing if the cache has it.
pub fn build(ctx: &Ctx, target: Target) -> Result<QemuBuild> {
    let root = root::prepare(ctx)?;
    let source = source::qemu(ctx, &root)?;
    let arch = target.arch();
    let hint = "read the first error in the log; edits are in tools/qemu/edits.toml, our files in \
                tools/qemu/overlay.";

    let args = list(&ctx.repo.join("tools/qemu/configure.args"))?;
    let acpi = ctx.repo.join("tools/qemu/acpi");
    let changes = changes(&ctx.repo, &source, target)?;
    let tables = cache::hash_files(std::slice::from_ref(&acpi))?;
    let configured = cache::hash(args.iter().chain([&root.key, &source.generation]));
    let parts = changes
        .iter()
        .flat_map(|(path, content)| [path.as_bytes(), content]);
    let key = cache::hash(parts.chain([configured.as_bytes(), tables.as_bytes()]));

    // A variant that changes nothing here uses the plain build.
    let (trees, builds) = (ctx.cache.join("tree"), ctx.cache.join("build"));
    let stamp_of = |name: &str| builds.join(name).join(".xtask-built");
    let plain = format!("{}-{arch}", source.key);
    let own = format!("{plain}{}", ctx.suffix);
    let name = [&plain, &own]
        .into_iter()
        .find(|name| cache::is_stamped(&stamp_of(name), &key));
    let is_built = name.is_some();
    let name = name.unwrap_or(&own);
    let (tree, build, stamp) = (trees.join(name), builds.join(name), stamp_of(name));
    let qemu = QemuBuild {
        binary: build.join(format!("qemu-system-{arch}")),
        acpi: build.join("acpi"),
        build: build.clone(),
        root: root.clone(),
    };
    if is_built {
        return Ok(qemu);
    }

    ctx.step(&format!("qemu {arch}{}", ctx.suffix), hint, |step| {
        step.note("patching");
        tree::seed(&trees.join(&plain), &tree)?;
        cache::seed(ctx, step, &builds.join(&plain), &build, |_| Ok(()))?;
        cache::remove(&stamp)?;
        tree::settle(&source.dir, &changes, &tree)?;
        let sandbox = |dir: &Path| {
            Sandbox::new(ctx, &root)
                .ro(&tree, "/src")
                .rw(dir, "/build")
                // As scripts/kernel-cc; nothing here takes files in by .incbin.
                .env("CCACHE_DEPEND", "1")
                .cwd("/build")
        };
        let configured_stamp = build.join(".xtask-configured");
        if !cache::is_stamped(&configured_stamp, &configured) {
            step.note("configuring");
            cache::remove(&configured_stamp)?;
            cache::remove(&build)?;
            fs::create_dir_all(&build)?;
            let mut configure = sandbox(&build).command("/src/configure");
            configure.arg("--cc=ccache gcc").arg("--host-cc=gcc");
            configure.arg(format!("--target-list={arch}-softmmu"));
            configure
                .arg(format!("--with-devices-{arch}=iommu-ext"))
                .args(&args);
            step.run(&mut configure)?;
            cache::stamp(&configured_stamp, &configured)?;
        }
        let mut ninja = sandbox(&build).command("ninja");
        ninja
            .arg(format!("-j{}", ctx.jobs))
            .arg(format!("qemu-system-{arch}"));
        step.watch(&mut ninja, |line| {
            Some(line.strip_prefix('[')?.split_once(']')?.0.to_owned())
        })?;
        fs::create_dir_all(&qemu.acpi)?;
        for entry in fs::read_dir(&acpi)? {
            let path = entry?.path();
            let Some(table) = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
            else {
                continue;
            };
            let mut iasl = sandbox(&build).ro(&acpi, "/acpi").command("iasl");
            step.run(
                iasl.arg("-p")
                    .arg(format!("/build/acpi/{table}"))
                    .arg(format!("/acpi/{table}.asl")),
            )?;
        }
        cache::stamp(&stamp, &key)
    })?;
    Ok(qemu)
}
