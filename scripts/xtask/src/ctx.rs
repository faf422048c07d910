// SPDX-License-Identifier: GPL-2.0
//! What one run works with: the repository, the cache, the settings.

use crate::cache;
use crate::source;
use crate::step::{Step, Ui};
use anyhow::{bail, Context, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// The kernel series that the edits are written for, newest first.
pub const SERIES: [&str; 2] = ["7.3", "7.2"];

/// Shown by `make help`.
pub const SETTINGS: &str = "\
Settings (make VARIABLE=value target):
  KVER=7.3|7.2   kernel series, newest point release (default 7.3)
  KSRC=dir       a kernel source tree of your own instead; it is never written to
  SUITE=name     make test: one suite of host, lint, compile, kunit, vtd,
                 upstream
  T=name         make test: the kselftests about one thing: ioasid, dma_owner,
                 user_domain, dma_pasid, pasid_testdev
  PROFILE=name   make test: one guest profile
  LONG=1         make test: the long form of the stress tests
  M=name         make mutants: one mutant; M=ioasid-* those whose names match
  OUT=dir        make tree, make series: where to write the patched kernel source,
                 or the patches
  CACHE=dir      where everything is kept (default $XDG_CACHE_HOME/iommu-ext)
  MIRROR=url     Debian mirror (default: the host's); in quotes, a second url is
                 that of security updates, if it is not the first with -security
  KVM=1          let guests use /dev/kvm";

/// The settings, from the environment; an empty variable counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub kver: Option<String>,
    pub ksrc: Option<PathBuf>,
    pub mirror: Option<String>,
    pub suite: Option<String>,
    pub test: Option<String>,
    pub profile: Option<String>,
    pub mutant: Option<String>,
    pub long: bool,
    pub out: Option<PathBuf>,
    pub kvm: bool,
}

fn var(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn switch(name: &str) -> Result<bool> {
    match var(name).as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => bail!("{name}={other} means nothing; {name} is 1 or 0, or left out."),
    }
}

impl Options {
    fn from_env() -> Result<Self> {
        let options = Options {
            kver: var("KVER"),
            ksrc: var("KSRC").map(PathBuf::from),
            mirror: var("MIRROR"),
            suite: var("SUITE"),
            test: var("T"),
            profile: var("PROFILE"),
            mutant: var("M"),
            long: switch("LONG")?,
            out: var("OUT").map(PathBuf::from),
            kvm: switch("KVM")?,
        };
        if let Some(kver) = &options.kver {
            if !SERIES.contains(&kver.as_str()) {
                bail!(
                    "KVER={kver} is not a kernel series that these edits are written for. Known \
                     are {}; leave KVER out for the newest, or point KSRC at a kernel tree of \
                     your own.",
                    SERIES.join(" and ")
                );
            }
            if options.ksrc.is_some() {
                bail!("KVER and KSRC both choose a kernel source; give only one of them.");
            }
        }
        if let Some(ksrc) = &options.ksrc {
            source::check_kernel(ksrc)?;
        }
        Ok(options)
    }
}

/// One run.
#[derive(Clone)]
pub struct Ctx {
    /// The overlay: this repository, or a variant of it.
    pub repo: PathBuf,
    pub cache: PathBuf,
    pub options: Options,
    pub jobs: usize,
    /// Set by [`Ctx::variant`].
    pub suffix: String,
    lock: Arc<Mutex<Option<cache::Lock>>>,
    ui: Ui,
}

impl Ctx {
    pub fn new() -> Result<Self> {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repo = repo.canonicalize().context("this repository is gone")?;
        let cache = match (var("CACHE"), var("XDG_CACHE_HOME"), var("HOME")) {
            (Some(dir), _, _) => env::current_dir()?.join(dir),
            (_, Some(dir), _) => env::current_dir()?.join(dir).join("iommu-ext"),
            (_, _, Some(dir)) => Path::new(&dir).join(".cache/iommu-ext"),
            _ => bail!(
                "Neither HOME nor CACHE is set, so there is no place to work in; give CACHE=dir."
            ),
        };
        Ok(Ctx {
            repo,
            cache,
            options: Options::from_env()?,
            jobs: std::thread::available_parallelism().map_or(2, |n| n.get()),
            suffix: String::new(),
            lock: Arc::default(),
            ui: Ui::default(),
        })
    }

    /// The same run on another overlay, built in folders of its own.
    pub fn variant(&self, name: &str, repo: &Path) -> Ctx {
        Ctx {
            repo: repo.to_owned(),
            suffix: format!("-{name}"),
            ..self.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<cache::Lock>> {
        self.lock
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until no other run uses the cache. It is ours until [`Ctx::release`] or the end.
    pub fn hold(&self) -> Result<()> {
        let mut lock = self.lock();
        if lock.is_none() {
            *lock = Some(cache::lock(self)?);
        }
        Ok(())
    }

    /// Lets others use the cache; what was built stays for a while.
    pub fn release(&self) {
        self.lock().take();
    }

    /// Does something that takes time. `hint` tells what to try when it fails.
    pub fn step<T>(
        &self,
        name: &str,
        hint: &str,
        work: impl FnOnce(&mut Step) -> Result<T>,
    ) -> Result<T> {
        Step::perform(&self.ui, &self.cache.join("log"), name, hint, work)
    }

    /// Prints a line, above any progress display.
    pub fn say(&self, line: impl AsRef<str>) {
        self.ui.say(line.as_ref());
    }
}
