// SPDX-License-Identifier: GPL-2.0
//! What guests are made of: the emulator, kernels, and for each kernel an initramfs with its
//! programs and modules. Everything is built at most once a run, when it is first needed.

use crate::console;
use crate::ctx::Ctx;
use crate::guest::{self, Boot, Port, Profile, Profiles, Record};
use crate::initramfs::{self, Entry};
use crate::kernel::{self, Flavour, KernelBuild};
use crate::qemu::{self, QemuBuild, Target};
use crate::selftests;
use crate::um;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

pub struct Lab<'a> {
    pub ctx: &'a Ctx,
    pub profiles: Profiles,
    qemu: Option<QemuBuild>,
    systems: HashMap<Flavour, System>,
}

/// A kernel and the initramfs that goes with it.
#[derive(Clone, Debug)]
pub struct System {
    pub kernel: KernelBuild,
    pub initramfs: PathBuf,
}

impl<'a> Lab<'a> {
    pub fn new(ctx: &'a Ctx) -> Result<Self> {
        Ok(Lab {
            ctx,
            profiles: Profiles::read(ctx)?,
            qemu: None,
            systems: HashMap::new(),
        })
    }

    fn qemu(&mut self) -> Result<QemuBuild> {
        match &self.qemu {
            Some(qemu) => Ok(qemu.clone()),
            None => Ok(self
                .qemu
                .insert(qemu::build(self.ctx, Target::X86_64)?)
                .clone()),
        }
    }

    pub fn system(&mut self, flavour: Flavour) -> Result<System> {
        if let Some(system) = self.systems.get(&flavour) {
            return Ok(system.clone());
        }
        // Before anything is announced that needs it.
        self.qemu()?;
        let kernel = kernel::build(self.ctx, flavour)?;
        let programs = selftests::build(self.ctx, &kernel)?;
        let mut entries = vec![Entry {
            path: "init".into(),
            source: self.ctx.repo.join("scripts/guest/init"),
            mode: 0o755,
        }];
        add_folder(&mut entries, &programs.ours, "tests", 0o755)?;
        add_folder(&mut entries, &programs.upstream, "tests/upstream", 0o755)?;
        add_folder(&mut entries, &kernel.modules, "", 0o644)?;
        let initramfs = kernel.build.join("initramfs.cpio");
        initramfs::pack(self.ctx, &entries, &initramfs)?;
        let system = System { kernel, initramfs };
        self.systems.insert(flavour, system.clone());
        Ok(system)
    }

    fn boot<'b>(
        &'b self,
        qemu: &'b QemuBuild,
        system: &'b System,
        flavour: Flavour,
        profile: &'b Profile,
        append: &'b str,
    ) -> Boot<'b> {
        Boot {
            profiles: &self.profiles,
            profile,
            qemu,
            kernel: &system.kernel.image,
            initramfs: &system.initramfs,
            append,
            debug: flavour == Flavour::Debug,
        }
    }

    /// Boots a guest and follows it to its end. `name` tells guests of one profile apart.
    pub fn run(
        &mut self,
        flavour: Flavour,
        profile: &str,
        name: &str,
        append: &str,
        mut seen: impl FnMut(Port, &str),
    ) -> Result<Record> {
        let system = self.system(flavour)?;
        let qemu = self.qemu()?;
        let profile = self.profiles.get(profile)?;
        let logs = self.logs().join(format!("{name}-{}", profile.name));
        let boot = self.boot(&qemu, &system, flavour, profile, append);
        let hint =
            "see what QEMU says, and whether the machine has 2 GiB of free memory for a guest";
        self.ctx
            .step(&format!("guest {name} {}", profile.name), hint, |step| {
                guest::run(self.ctx, boot, &logs, |port, line| {
                    if !line.is_empty() {
                        step.note(console::untimed(line));
                    }
                    seen(port, line);
                })
            })
    }

    /// Boots user-mode Linux and follows it to its end.
    pub fn um(&self, flavour: Flavour, name: &str, append: &str) -> Result<Record> {
        let kernel = kernel::build(self.ctx, flavour)?;
        let name = format!("{name}-{}", flavour.name());
        let logs = self.logs().join(&name);
        let hint = "see what the kernel said last, and whether there is 1 GiB of free memory";
        self.ctx.step(&format!("guest {name}"), hint, |step| {
            let watchdog = self.profiles.watchdog();
            um::run(self.ctx, &kernel, &logs, append, watchdog, |line| {
                if !line.is_empty() {
                    step.note(console::untimed(line));
                }
            })
        })
    }

    /// A guest on this terminal.
    pub fn shell(&mut self, flavour: Flavour, profile: &str) -> Result<()> {
        let system = self.system(flavour)?;
        let qemu = self.qemu()?;
        let profile = self.profiles.get(profile)?;
        self.boot(&qemu, &system, flavour, profile, "ext.shell")
            .interactive(self.ctx)
    }

    /// Where the logs of guests and tools go.
    pub fn logs(&self) -> PathBuf {
        self.ctx
            .cache
            .join(format!("log/guests{}", self.ctx.suffix))
    }
}

/// Adds all files below a folder, if there is one, except a module tree's links to its build.
fn add_folder(entries: &mut Vec<Entry>, folder: &Path, prefix: &str, mode: u32) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for file in WalkDir::new(folder).sort_by_file_name() {
        let file = file.with_context(|| format!("cannot read {}", folder.display()))?;
        if !file.file_type().is_file() {
            continue;
        }
        let inside = Path::new(prefix).join(file.path().strip_prefix(folder)?);
        entries.push(Entry {
            path: inside.to_string_lossy().into_owned(),
            source: fs::canonicalize(file.path())?,
            mode,
        });
    }
    Ok(())
}
