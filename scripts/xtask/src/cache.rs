// SPDX-License-Identifier: GPL-2.0
//! The cache: one run at a time, and nothing appears in it before it is whole.

use crate::ctx::Ctx;
use crate::step::Step;
use anyhow::{bail, Context, Result};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a cold run of everything needs, in GiB.
pub const NEEDED: u64 = 12;

/// Held while this run uses the cache.
pub struct Lock {
    _file: Flock<File>,
    tmp: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = clear(&self.tmp);
    }
}

fn clear(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        remove(&entry?.path())?;
    }
    Ok(())
}

/// Waits for the cache, and clears away what an interrupted run left behind.
pub fn lock(ctx: &Ctx) -> Result<Lock> {
    let create = |dir: &Path| {
        fs::create_dir_all(dir).with_context(|| {
            format!(
                "The cache folder {} cannot be created; give a place that can be written with \
                 CACHE=dir",
                dir.display()
            )
        })
    };
    for dir in ["ccache", "log", "dl", "src", "tree", "build", "tmp"] {
        create(&ctx.cache.join(dir))?;
    }
    let path = ctx.cache.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, _)) => {
            ctx.say(format!(
                "waiting for another run that uses {}",
                ctx.cache.display()
            ));
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .with_context(|| format!("cannot lock {}", path.display()))?
        }
    };
    let tmp = ctx.cache.join("tmp");
    if fs::read_dir(&tmp)?.next().is_some() {
        ctx.say("clearing away what an interrupted run left behind");
        clear(&tmp)?;
    }
    Ok(Lock { _file: lock, tmp })
}

/// Removes what was built; the toolchain, the sources and the compiler cache stay.
pub fn clean(ctx: &Ctx) -> Result<()> {
    ctx.hold()?;
    for name in ["build", "tree", "cocci", "mutants", "log"] {
        discard(&ctx.cache, &ctx.cache.join(name))?;
    }
    Ok(())
}

/// Stops before a start that cannot end well.
pub fn check_space(ctx: &Ctx, needed: u64) -> Result<()> {
    let stat = nix::sys::statvfs::statvfs(&ctx.cache)?;
    let free = stat.blocks_available() * stat.fragment_size();
    is_enough(&ctx.cache, free, needed)
}

fn is_enough(cache: &Path, free: u64, needed: u64) -> Result<()> {
    let free = free >> 30;
    if free < needed {
        bail!(
            "There are {free} GiB free at {}, and what is still to come needs about {needed}. \
             Free some space, or give another place with CACHE=dir.",
            cache.display()
        );
    }
    Ok(())
}

/// A path of its own in the cache for something unfinished.
pub fn scratch(ctx: &Ctx, name: &str) -> Result<PathBuf> {
    vacant(&ctx.cache, name)
}

fn vacant(cache: &Path, name: &str) -> Result<PathBuf> {
    let path = cache.join("tmp").join(name);
    remove(&path)?;
    Ok(path)
}

/// Begins a build as a copy of a similar one, adapted by `adapt`, if there is that one and not yet
/// this one.
pub fn seed(
    ctx: &Ctx,
    step: &mut Step,
    similar: &Path,
    build: &Path,
    adapt: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if build.is_dir() || !similar.is_dir() {
        return Ok(());
    }
    step.note("copying a similar build");
    let name = build.file_name().unwrap_or_default();
    let tmp = scratch(ctx, &name.to_string_lossy())?;
    let mut copy = Command::new("cp");
    step.run(copy.args(["-a", "--reflink=auto"]).arg(similar).arg(&tmp))?;
    adapt(&tmp)?;
    fs::rename(&tmp, build).with_context(|| format!("cannot create {}", build.display()))
}

/// Gives something finished its name, in one move, after it has reached the disk.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    let file = File::open(from)?;
    // SAFETY: a plain system call on a descriptor that is open.
    let result = unsafe { nix::libc::syncfs(file.as_raw_fd()) };
    nix::errno::Errno::result(result).with_context(|| format!("cannot sync {}", from.display()))?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if to.is_dir() {
        remove(to)?;
    }
    fs::rename(from, to).with_context(|| format!("cannot create {}", to.display()))
}

/// Removes whatever is there, folders without permission bits included.
pub fn remove(path: &Path) -> Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.is_dir() {
        return fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()));
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(path).into_iter().flatten() {
        if entry.file_type().is_dir() {
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
        }
    }
    fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Removes something of the cache so that, wherever this is interrupted, it is there whole or
/// not at all.
pub fn discard(cache: &Path, path: &Path) -> Result<()> {
    let aside = vacant(cache, "discarded")?;
    if !path.exists() {
        return Ok(());
    }
    fs::rename(path, &aside).with_context(|| format!("cannot remove {}", path.display()))?;
    remove(&aside)
}

/// Writes a file unless it has that content already; says whether it wrote.
pub fn update(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    write(path, content)?;
    Ok(true)
}

/// Writes a file, whole or not at all.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} names no file", path.display());
    };
    fs::create_dir_all(parent).with_context(failed)?;
    let tmp = parent.join(format!(".{}.xtask", name.to_string_lossy()));
    let mut file = File::create(&tmp).with_context(failed)?;
    file.write_all(content).with_context(failed)?;
    fs::rename(&tmp, path).with_context(failed)
}

/// Whether the stamp says that this was done from the same inputs.
pub fn is_stamped(stamp: &Path, key: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|old| old == key)
}

/// Says that it was.
pub fn stamp(stamp: &Path, key: &str) -> Result<()> {
    write(stamp, key.as_bytes())
}

/// A short name for some content.
pub fn hash<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.as_ref().len() as u64).to_le_bytes());
        hasher.update(part.as_ref());
    }
    hasher
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A short name for the content of files and of the files under folders, by relative path.
pub fn hash_files(paths: &[PathBuf]) -> Result<String> {
    let mut parts = Vec::new();
    for path in paths {
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry?;
            if !entry.file_type().is_dir() {
                let name = entry.path().strip_prefix(path)?;
                parts.push(name.to_string_lossy().into_owned().into_bytes());
                parts.push(
                    fs::read(entry.path()).with_context(|| entry.path().display().to_string())?,
                );
            }
        }
    }
    Ok(hash(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_writes_only_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(update(&path, b"one").unwrap());
        assert!(!update(&path, b"one").unwrap());
        assert!(update(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn remove_copes_with_locked_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::create_dir_all(path.join("b/c")).unwrap();
        fs::set_permissions(path.join("b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        remove(&path).unwrap();
    }

    #[test]
    fn discarding_takes_what_an_interrupted_one_left() {
        let cache = tempfile::tempdir().unwrap();
        let (left, path) = (cache.path().join("tmp/discarded"), cache.path().join("a"));
        fs::create_dir_all(left.join("half")).unwrap();
        fs::create_dir_all(path.join("b")).unwrap();
        discard(cache.path(), &path).unwrap();
        assert!(!path.exists() && !left.exists());
        discard(cache.path(), &path).unwrap();
    }

    #[test]
    fn a_cold_start_needs_space() {
        assert!(is_enough(Path::new("/c"), NEEDED << 30, NEEDED).is_ok());
        let error = is_enough(Path::new("/c"), (NEEDED << 30) - 1, NEEDED).unwrap_err();
        assert!(error.to_string().contains("11 GiB free at /c"), "{error}");
    }

    #[test]
    fn hash_tells_parts_apart() {
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
    }
}
