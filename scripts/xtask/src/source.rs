// SPDX-License-Identifier: GPL-2.0
//! The sources that the overlays are laid over: never written to once they are in the cache.

use crate::cache;
use crate::ctx::{Ctx, SERIES};
use crate::root::Root;
use crate::sandbox::Sandbox;
use anyhow::{bail, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The oldest kernel that the edits are written for.
const OLDEST: (u32, u32) = (7, 2);

/// What version control keeps and what a build leaves behind, in a tree of the user's.
const GENERATED: [&str; 24] = [
    ".git",
    "*.a",
    "*.cmd",
    ".*.d",
    "*.ko",
    "*.mod",
    "*.mod.c",
    "*.o",
    "*.order",
    "*.orig",
    "*.rej",
    "*.rmeta",
    "*.so",
    "*.symvers",
    ".config",
    ".config.old",
    ".tmp_*",
    ".version",
    "/System.map",
    "/arch/*/include/generated",
    "/include/config",
    "/include/generated",
    "/tags",
    "/vmlinux*",
];

const NETWORK: &str =
    "check that the Debian mirror can be reached (MIRROR=url chooses another), then \
                       run the same command again.";

const UNPACK: &str = "what was fetched may be damaged: remove the folder dl in the cache, then \
                      run the same command again.";

/// An unpacked source.
#[derive(Clone, Debug)]
pub struct Source {
    pub dir: PathBuf,
    /// Such as "7.3.4".
    pub version: String,
    /// Such as "7.3": the key of the counts in edit manifests.
    pub series: String,
    /// Names folders made from it.
    pub key: String,
    /// Changes when the content does.
    pub generation: String,
}

/// Version and series that a kernel's Makefile states.
fn kernel_version(makefile: &str) -> Option<(u32, u32, u32)> {
    let field = |name: &str| {
        makefile.lines().take(10).find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().parse().ok())?
        })
    };
    Some((field("VERSION")?, field("PATCHLEVEL")?, field("SUBLEVEL")?))
}

/// Numeric comparison of what follows the prefix: 7.3.10 is newer than 7.3.4.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// The newest folder of the cache that begins so.
fn newest(ctx: &Ctx, prefix: &str) -> Result<Option<Source>> {
    let mut found: Vec<_> = fs::read_dir(ctx.cache.join("src"))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort_by_key(|path| numbers(&path.to_string_lossy()));
    let Some(dir) = found.pop() else {
        return Ok(None);
    };
    let name = dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let version = name.rsplit('-').next().unwrap_or_default().to_owned();
    let series = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let key = name.split('-').next().unwrap_or_default().to_owned();
    Ok(Some(Source {
        dir,
        key: format!("{key}-{series}"),
        generation: version.clone(),
        version,
        series,
    }))
}

/// apt's index, brought up to date at most once in a run: the cache may be older than the mirror.
fn update_index(ctx: &Ctx, root: &Root) -> Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Relaxed) {
        return Ok(());
    }
    ctx.step("package index", NETWORK, |step| {
        let downloads = cache::scratch(ctx, "dl")?;
        fs::create_dir_all(&downloads)?;
        let apt = root.apt(ctx, &downloads);
        step.run(apt.command("apt-get").args(["update", "--error-on=any"]))
    })
}

/// The kernel source that this run is about.
pub fn kernel(ctx: &Ctx, root: &Root) -> Result<Source> {
    if let Some(dir) = &ctx.options.ksrc {
        return own_kernel(ctx, root, dir);
    }
    let wanted: &[&str] = match &ctx.options.kver {
        Some(kver) => &[kver.as_str()],
        None => &SERIES,
    };
    for series in wanted {
        if let Some(source) = newest(ctx, &format!("linux-{series}."))? {
            return Ok(source);
        }
        update_index(ctx, root)?;
        if let Some(source) = fetch_kernel(ctx, root, series)? {
            return Ok(source);
        }
    }
    bail!(
        "The Debian mirror has no source package of Linux {}. Old point releases disappear after a while: \
         point KSRC at a kernel tree of your own, or KVER at the other series ({}).",
        wanted.join(" or "),
        SERIES.join(", ")
    )
}

fn fetch_kernel(ctx: &Ctx, root: &Root, series: &str) -> Result<Option<Source>> {
    let package = format!("linux-source-{series}");
    let deb = ctx.cache.join("dl").join(format!("{package}.deb"));
    if !deb.exists() {
        let there = ctx.step(&format!("fetch linux {series}"), NETWORK, |step| {
            let downloads = cache::scratch(ctx, "dl")?;
            fs::create_dir_all(&downloads)?;
            let apt = root.apt(ctx, &downloads);
            if step
                .output(
                    apt.command("apt-cache")
                        .args(["search", "-n", &format!("^{package}$")]),
                )?
                .is_empty()
            {
                return Ok(false);
            }
            step.run(apt.command("apt-get").args(["download", &package]))?;
            let file = only_file(&downloads)?;
            cache::publish(&file, &deb)?;
            Ok(true)
        })?;
        if !there {
            return Ok(None);
        }
    }
    ctx.step(&format!("unpack linux {series}"), UNPACK, |step| {
        let tmp = cache::scratch(ctx, "linux")?;
        fs::create_dir_all(&tmp)?;
        let sandbox = Sandbox::new(ctx, root)
            .ro(&deb, "/deb")
            .rw(&tmp, "/src")
            .cwd("/src");
        let script = format!(
            "set -o pipefail; dpkg-deb --fsys-tarfile /deb | tar -xO ./usr/src/{package}.tar.xz | \
             xz -dcT0 | tar -x --strip-components=1 --no-same-owner"
        );
        step.run(sandbox.command("bash").args(["-c", &script]))?;
        let (v, p, s) = check_kernel(&tmp)?;
        cache::publish(
            &tmp,
            &ctx.cache.join("src").join(format!("linux-{v}.{p}.{s}")),
        )?;
        cache::remove(&deb)
    })?;
    newest(ctx, &format!("linux-{series}."))
}

fn only_file(dir: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.path().is_file());
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file.path()),
        _ => bail!("the download left not one file in {}", dir.display()),
    }
}

/// A kernel tree that the edits can be laid over?
pub fn check_kernel(dir: &Path) -> Result<(u32, u32, u32)> {
    let version = fs::read_to_string(dir.join("Makefile"))
        .ok()
        .as_deref()
        .and_then(kernel_version);
    let Some(version) = version.filter(|_| dir.join("drivers/iommu/iommu.c").is_file()) else {
        bail!(
            "{} is no Linux kernel tree (its Makefile states no version, or drivers/iommu is missing). Point \
             KSRC at the top of an unpacked kernel source.",
            dir.display()
        );
    };
    if (version.0, version.1) < OLDEST {
        bail!(
            "{} is Linux {}.{}, and these edits begin with {}.{}. Point KSRC at a newer tree, or leave it out \
             to have one fetched.",
            dir.display(),
            version.0,
            version.1,
            OLDEST.0,
            OLDEST.1
        );
    }
    Ok(version)
}

/// The user's own tree, as it is when a run first needs it.
fn own_kernel(ctx: &Ctx, root: &Root, dir: &Path) -> Result<Source> {
    static COPY: Mutex<Option<Source>> = Mutex::new(None);
    let mut copy = COPY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if copy.is_none() {
        *copy = Some(copy_kernel(ctx, root, dir)?);
    }
    copy.clone().context("there is no copy of the kernel tree")
}

/// Copies a tree, without what builds in it left behind.
fn copy_kernel(ctx: &Ctx, root: &Root, dir: &Path) -> Result<Source> {
    let dir = dir.canonicalize().with_context(|| {
        format!(
            "KSRC={} cannot be read; point it at a kernel tree",
            dir.display()
        )
    })?;
    let (v, p, s) = check_kernel(&dir)?;
    let key = format!(
        "own{}-{v}.{p}",
        &cache::hash([dir.to_string_lossy().as_bytes()])[..8]
    );
    let copy = ctx.cache.join("src").join(&key);
    let generation = ctx.cache.join("src").join(format!(".{key}"));
    let sandbox = Sandbox::new(ctx, root)
        .ro(&dir, "/from")
        .rw(&ctx.cache.join("src"), "/to");
    let rsync = || {
        let mut rsync = sandbox.command("rsync");
        rsync.args([
            "-a",
            "--no-owner",
            "--no-group",
            "--delete",
            "--delete-excluded",
            "--itemize-changes",
        ]);
        rsync.args(GENERATED.map(|pattern| format!("--exclude={pattern}")));
        rsync
    };
    let paths = ["/from/".to_owned(), format!("/to/{key}/")];
    let hint = "see whether all of the folder in KSRC can be read";
    ctx.step("copy your kernel tree", hint, |step| {
        // The new generation is on record before the first change, in case this is interrupted.
        if !step
            .output(rsync().arg("--dry-run").args(&paths))?
            .is_empty()
        {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            cache::write(&generation, now.as_nanos().to_string().as_bytes())?;
            step.run(rsync().args(&paths))?;
        }
        Ok(())
    })?;
    let generation = fs::read_to_string(&generation)?;
    Ok(Source {
        dir: copy,
        version: format!("{v}.{p}.{s}"),
        series: format!("{v}.{p}"),
        key,
        generation,
    })
}

/// QEMU's source with Debian's patches.
pub fn qemu(ctx: &Ctx, root: &Root) -> Result<Source> {
    if let Some(source) = newest(ctx, "qemu-10.0.")? {
        return Ok(source);
    }
    let package = ctx.cache.join("dl/qemu");
    if !package.is_dir() {
        update_index(ctx, root)?;
        ctx.step("fetch qemu", NETWORK, |step| {
            let downloads = cache::scratch(ctx, "dl")?;
            fs::create_dir_all(&downloads)?;
            let apt = root.apt(ctx, &downloads);
            step.run(
                apt.command("apt-get")
                    .args(["source", "--download-only", "qemu"]),
            )?;
            cache::publish(&downloads, &package)
        })?;
    }
    ctx.step("unpack qemu", UNPACK, |step| {
        let tmp = cache::scratch(ctx, "qemu")?;
        fs::create_dir_all(&tmp)?;
        let sandbox = Sandbox::new(ctx, root)
            .ro(&package, "/dl")
            .rw(&tmp, "/out")
            .cwd("/out");
        step.run(
            sandbox
                .command("bash")
                .args(["-c", "dpkg-source --no-check -x /dl/*.dsc /out/qemu"]),
        )?;
        let version = fs::read_to_string(tmp.join("qemu/VERSION"))?;
        let version = version.trim();
        if !version.starts_with("10.0.") {
            cache::remove(&package)?;
            bail!("the mirror has QEMU {version}, and the test device is written for 10.0");
        }
        cache::publish(
            &tmp.join("qemu"),
            &ctx.cache.join("src").join(format!("qemu-{version}")),
        )?;
        cache::remove(&package)
    })?;
    newest(ctx, "qemu-10.0.")?.context("QEMU's source did not arrive in the cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_from_makefile() {
        let text = "# SPDX-License-Identifier: GPL-2.0\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n";
        assert_eq!(kernel_version(text), Some((7, 3, 4)));
        assert_eq!(kernel_version("all:\n\ttrue\n"), None);
    }

    #[test]
    fn point_releases_are_numbers() {
        assert!(numbers("linux-7.3.10") > numbers("linux-7.3.4"));
    }

    #[test]
    fn bad_trees_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_kernel(dir.path())
            .unwrap_err()
            .to_string()
            .contains("no Linux kernel tree"));
        fs::create_dir_all(dir.path().join("drivers/iommu")).unwrap();
        fs::write(dir.path().join("drivers/iommu/iommu.c"), "").unwrap();
        fs::write(
            dir.path().join("Makefile"),
            "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n",
        )
        .unwrap();
        assert!(check_kernel(dir.path())
            .unwrap_err()
            .to_string()
            .contains("6.12"));
    }
}
