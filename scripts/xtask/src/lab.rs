// SPDX-License-Identifier: GPL-2.0
//! What guests are made of: the emulator, kernels, and for each kernel an initramfs with its
//! programs and modules. Everything is built at most once a run, when it is first needed. Guests
//! run side by side, as many as there are processors and memory for.

use crate::console;
use crate::ctx::Ctx;
use crate::guest::{self, Boot, Limits, Port, Profile, Profiles, Record};
use crate::initramfs::{self, Entry};
use crate::kernel::{self, Flavour, KernelBuild};
use crate::proc;
use crate::qemu::{self, QemuBuild, Target};
use crate::root;
use crate::selftests;
use crate::source;
use crate::um;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use walkdir::WalkDir;

pub struct Lab<'a> {
    pub ctx: &'a Ctx,
    pub profiles: Profiles,
    qemu: Option<QemuBuild>,
    systems: HashMap<Flavour, System>,
}

/// A guest to boot.
#[derive(Clone, Debug)]
pub struct Guest {
    pub flavour: Flavour,
    pub profile: String,
    /// Tells guests of one profile apart.
    pub name: String,
    /// What it runs, one after another.
    pub programs: Vec<String>,
    /// More of the kernel command line.
    pub append: String,
}

/// What a guest needs of the host's memory, in KiB: its own, and the emulator's.
const GUEST_MEMORY: usize = 5 << 19;

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

    /// Builds the emulator and kernels in parallel. No two kernels may want the same base, or each
    /// other ([`Flavour::base`]).
    pub fn prepare(&self, flavours: &[Flavour]) -> Result<()> {
        let ctx = self.ctx;
        let root = root::prepare(ctx)?;
        source::qemu(ctx, &root)?;
        for flavour in flavours {
            kernel::tree(ctx, &root, *flavour)?;
        }
        let kernels = flavours.iter().copied().map(Some);
        proc::in_parallel([None].into_iter().chain(kernels), |part| match part {
            None => qemu::build(ctx, Target::X86_64).map(drop),
            Some(flavour) => kernel::build(ctx, flavour).map(drop),
        })?;
        Ok(())
    }

    pub fn system(&mut self, flavour: Flavour) -> Result<System> {
        if let Some(system) = self.systems.get(&flavour) {
            return Ok(system.clone());
        }
        if self.qemu.is_none() {
            self.prepare(&[flavour])?;
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
        let hint = "`make clean` and build anew, if a file is missing";
        self.ctx.step("initramfs", hint, |_| {
            initramfs::pack(self.ctx, &entries, &initramfs)
        })?;
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

    /// Boots a guest and follows it to its end; `seen` gets each line as it comes.
    pub fn run(&mut self, guest: &Guest, mut seen: impl FnMut(Port, &str)) -> Result<Record> {
        let system = self.system(guest.flavour)?;
        let qemu = self.qemu()?;
        let limits = self.profiles.limits(1);
        self.follow(guest, &qemu, &system, limits, |port, line| {
            seen(port, line);
            ControlFlow::Continue(())
        })
    }

    /// Boots guests, several at once, the first ones first. `enough` gets what a guest's tests have
    /// printed so far when one has failed, and may break the guest off. `done` gets each guest with
    /// what it left behind, in the order in which they end.
    pub fn run_all(
        &mut self,
        guests: &[Guest],
        enough: impl Fn(&Guest, &[String]) -> bool + Sync,
        mut done: impl FnMut(&Guest, Record),
    ) -> Result<()> {
        let mut jobs = Vec::new();
        for guest in guests {
            jobs.push((guest, self.system(guest.flavour)?));
        }
        let qemu = self.qemu()?;
        let at_once = at_once(self.ctx.jobs, available_memory()).min(jobs.len());
        let limits = self.profiles.limits(at_once);
        let next = AtomicUsize::new(0);
        let over = AtomicBool::new(false);
        let (sender, records) = mpsc::channel();
        let lab = &*self;
        let work = |sender: mpsc::Sender<_>| {
            while let Some((guest, system)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut tests = Vec::new();
                let record = lab.follow(guest, &qemu, system, limits, |port, line| {
                    if over.load(Ordering::Relaxed) {
                        return ControlFlow::Break(());
                    }
                    if port == Port::Tests {
                        tests.push(line.to_owned());
                        if line.trim_start().starts_with("not ok") && enough(guest, &tests) {
                            return ControlFlow::Break(());
                        }
                    }
                    ControlFlow::Continue(())
                });
                // When another guest could not be run, nobody listens any more.
                let _ = sender.send((*guest, record));
            }
        };
        std::thread::scope(|scope| {
            let work = &work;
            for _ in 0..at_once {
                let sender = sender.clone();
                scope.spawn(move || work(sender));
            }
            drop(sender);
            let all = records.iter().try_for_each(|(guest, record)| {
                done(guest, record?);
                Ok(())
            });
            if all.is_err() {
                over.store(true, Ordering::Relaxed);
                next.store(jobs.len(), Ordering::Relaxed);
                proc::kill_all();
            }
            all
        })
    }

    fn follow(
        &self,
        guest: &Guest,
        qemu: &QemuBuild,
        system: &System,
        limits: Limits,
        mut seen: impl FnMut(Port, &str) -> ControlFlow<()>,
    ) -> Result<Record> {
        let name = &guest.name;
        let profile = self.profiles.get(&guest.profile)?;
        let logs = self.logs().join(format!("{name}-{}", profile.name));
        let append = format!("ext.run={} {}", guest.programs.join(","), guest.append);
        let boot = self.boot(qemu, system, guest.flavour, profile, &append);
        let hint = "see whether the disk is full";
        self.ctx
            .step(&format!("guest {name} {}", profile.name), hint, |step| {
                guest::run(self.ctx, boot, &logs, limits, |port, line| {
                    if !line.is_empty() {
                        step.note(console::untimed(line));
                    }
                    seen(port, line)
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
            let watchdog = self.profiles.limits(1).watchdog();
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

/// How many guests may run at once.
fn at_once(processors: usize, memory: Option<usize>) -> usize {
    let room = memory.map_or(processors, |memory| memory / GUEST_MEMORY);
    processors.min(room).max(1)
}

/// The host's memory that is free or can be made so, in KiB.
fn available_memory() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_share_processors_and_memory() {
        assert_eq!(at_once(2, Some(100 * GUEST_MEMORY)), 2);
        assert_eq!(at_once(16, Some(3 * GUEST_MEMORY + 1)), 3);
        assert_eq!(at_once(2, Some(0)), 1);
        assert_eq!(at_once(2, None), 2);
        assert!(available_memory().is_some_and(|memory| memory > 0));
    }
}
