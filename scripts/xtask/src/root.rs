// SPDX-License-Identifier: GPL-2.0
//! The toolchain root: a Debian trixie with the compilers, in a folder of the cache.

use crate::cache;
use crate::ctx::Ctx;
use crate::proc;
use crate::sandbox::Sandbox;
use anyhow::{bail, Context, Result};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const PATH: &str = "/usr/lib/llvm-22/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";
pub const LIBCLANG: &str = "/usr/lib/llvm-21/lib";

const SUITE: &str = "trixie";
const PACKAGES: &str = include_str!("packages.txt");
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Folders that nobody reads there and that would double the number of files.
const EXCLUDED: [&str; 4] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// Packages (their names begin so) whose versions decide about what is built.
const COMPILERS: [&str; 14] = [
    "acpica",
    "bindgen",
    "binutils",
    "busybox",
    "clang",
    "coccinelle",
    "gcc",
    "libc6-dev",
    "libclang",
    "libllvm",
    "libstd-rust",
    "lld",
    "pahole",
    "rust",
];

/// What a root needs on the disk, in GiB.
const SIZE: u64 = 5;

/// Where this tool says how something is built.
const RECIPES: [&str; 9] = [
    include_str!("cdecl.rs"),
    include_str!("cocci.rs"),
    include_str!("edits.rs"),
    include_str!("kconfig.rs"),
    include_str!("kernel.rs"),
    include_str!("qemu.rs"),
    include_str!("sandbox.rs"),
    include_str!("selftests.rs"),
    include_str!("tree.rs"),
];

const NETWORK: &str = "check that the Debian mirror can be reached (the log names it; MIRROR=url \
                       chooses another, http_proxy is honoured), then run the same command again.";

#[derive(Clone, Debug)]
pub struct Root {
    pub dir: PathBuf,
    /// Names what compiles and its versions, which is what the compiler cache has to know.
    pub compilers: String,
    /// Names that and our recipes: other output is possible when it changes.
    pub key: String,
}

/// Where packages come from, and whose signature they need.
#[derive(Debug, PartialEq)]
struct Archive {
    mirror: String,
    security: String,
    keyring: PathBuf,
}

fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Package names of a list: one a line, `#` begins a comment.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split('#').next())
        .map(str::trim)
        .filter(|l| !l.is_empty())
}

/// The Debian mirror, its security twin and its keyring, of apt's configuration.
fn archive_of(sources: &str) -> Archive {
    let find = |pattern: &str| {
        let regex = Regex::new(pattern).ok()?;
        let lines = sources
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        lines
            .filter_map(|line| regex.captures(line))
            .map(|m| m[1].to_owned())
            .next()
    };
    let mirror = find(r"((?:https?|file):\S*/debian)/?(?:\s|$)");
    let security =
        find(r"((?:https?|file):\S*/debian-security|https?://security\.debian\.org)/?(?:\s|$)");
    let keyring = find(r"(?i)signed-by[:=]\s*(/\S*debian-archive\S*\.(?:gpg|asc|pgp))");
    let mirror = mirror.unwrap_or_else(|| DEFAULT_MIRROR.to_owned());
    Archive {
        security: security.unwrap_or_else(|| format!("{DEFAULT_MIRROR}-security")),
        mirror,
        keyring: keyring.unwrap_or_else(|| DEFAULT_KEYRING.to_owned()).into(),
    }
}

fn archive(ctx: &Ctx) -> Archive {
    let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    files.sort_by_key(|file| file.path());
    for file in files {
        text += &fs::read_to_string(file.path()).unwrap_or_default();
        text.push('\n');
    }
    let mut archive = archive_of(&text);
    if let Some(mirror) = &ctx.options.mirror {
        let mut words = mirror
            .split_whitespace()
            .map(|word| word.trim_end_matches('/'));
        archive.mirror = words.next().unwrap_or(DEFAULT_MIRROR).to_owned();
        archive.security = words
            .next()
            .map_or(format!("{}-security", archive.mirror), str::to_owned);
    }
    archive
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    dirs.into_iter().any(|dir| dir.join(program).exists())
}

/// Where dpkg keeps what it has not finished; apt refuses to work before it has.
const DPKG_UPDATES: &str = "/var/lib/dpkg/updates";

/// The two host programs that cannot be brought along.
fn host_packages(ctx: &Ctx) -> Result<()> {
    let mut wanted = vec![("bwrap", "bubblewrap"), ("mmdebstrap", "mmdebstrap")];
    if !am_root() {
        wanted.push(("newuidmap", "uidmap"));
    }
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(p, _)| !in_path(p))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install {}", missing.join(" "));
    if !am_root() || !in_path("apt-get") {
        bail!(
            "This host lacks {}, which make and enter the toolchain root. Install them with \
             `sudo {line}` (or your system's own package manager) and run this again.",
            missing.join(" and ")
        );
    }
    ctx.step(
        "host packages",
        &format!("run `dpkg --configure -a && apt-get update && {line}` by hand."),
        |step| {
            let apt = || {
                let mut command = Command::new("apt-get");
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command
            };
            if fs::read_dir(DPKG_UPDATES).is_ok_and(|mut files| files.next().is_some()) {
                step.note("finishing what dpkg was interrupted in");
                let mut dpkg = Command::new("dpkg");
                dpkg.env("DEBIAN_FRONTEND", "noninteractive");
                step.run(dpkg.args(["--configure", "-a"]))?;
            }
            step.run(apt().arg("update"))?;
            step.run(
                apt()
                    .args(["install", "-y", "--no-install-recommends"])
                    .args(&missing),
            )
        },
    )
}

/// bubblewrap needs user namespaces when it is not started by root.
fn check_bwrap() -> Result<()> {
    let mut command = Command::new("bwrap");
    command.args([
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--unshare-pid",
        "--proc",
        "/proc",
        "true",
    ]);
    let output = command.output().context("cannot start bwrap")?;
    if !output.status.success() {
        bail!(
            "bubblewrap cannot make a sandbox here ({}). Without root it needs user namespaces, which \
             this system does not allow: let its administrator allow them (kernel.unprivileged_userns_clone=1, \
             or an AppArmor profile for bwrap), or run this as root.",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// mmdebstrap, in a process namespace of its own where that is possible, so that it dies whole.
fn mmdebstrap() -> Command {
    let mut command;
    if am_root() {
        command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "mmdebstrap",
            "--mode=root",
        ]);
    } else {
        command = Command::new("mmdebstrap");
        command.arg("--mode=unshare");
        // The namespace's users must be able to enter it, which a home folder does not allow.
        command.env("TMPDIR", "/var/tmp");
    }
    command
}

/// Makes the toolchain root unless the cache has it.
pub fn prepare(ctx: &Ctx) -> Result<Root> {
    ctx.hold()?;
    host_packages(ctx)?;
    check_bwrap()?;

    let qemu = fs::read_to_string(ctx.repo.join("tools/qemu/packages.txt")).unwrap_or_default();
    let packages: BTreeSet<&str> = names(PACKAGES).chain(names(&qemu)).collect();
    let packages = packages.into_iter().collect::<Vec<_>>().join(",");
    // Without MIRROR= the host's mirror may change without making the root a different one.
    let key = cache::hash([&packages, ctx.options.mirror.as_deref().unwrap_or("")]);
    let dir = ctx.cache.join(format!("root-{key}"));
    if dir.is_dir() {
        return Root::of(dir);
    }
    // Another root takes the place of the one that is there.
    let cold = others(&ctx.cache, &dir)?.is_empty();
    cache::check_space(ctx, if cold { cache::NEEDED } else { SIZE })?;

    let archive = archive(ctx);
    if !archive.keyring.exists() {
        bail!(
            "The keyring {} of the Debian archive is missing, so packages cannot be verified; install \
             the package debian-archive-keyring and run this again.",
            archive.keyring.display()
        );
    }
    ctx.step("toolchain root", NETWORK, |step| {
        let tmp = cache::scratch(ctx, "root")?;
        let tar = cache::scratch(ctx, "root.tar")?;
        let (m, s) = (&archive.mirror, &archive.security);
        let mut command = mmdebstrap();
        command
            .args(["--variant=minbase", "--skip=cleanup/apt/lists"])
            .arg("--aptopt=Apt::Install-Recommends \"false\"")
            .arg("--aptopt=Acquire::Retries \"3\"")
            .arg("--dpkgopt=force-unsafe-io")
            .args(EXCLUDED.map(|path| format!("--dpkgopt=path-exclude={path}")))
            .arg("--keyring")
            .arg(&archive.keyring)
            .arg(format!("--include={packages}"))
            .arg(SUITE)
            .arg(if am_root() { &tmp } else { &tar });
        for line in [
            format!("deb {m} {SUITE} main"),
            format!("deb {m} {SUITE}-updates main"),
            format!("deb {m} {SUITE}-backports main"),
            format!("deb {s} {SUITE}-security main"),
            format!("deb-src {m} {SUITE} main"),
            format!("deb-src {s} {SUITE}-security main"),
        ] {
            command.arg(line);
        }
        if let Some(proxy) = apt_proxy() {
            command.arg(format!("--aptopt=Acquire::http::Proxy \"{proxy}\""));
        }
        step.watch(&mut command, |line| {
            line.strip_prefix("I: ").map(str::to_owned)
        })?;
        if !am_root() {
            step.note("unpacking");
            fs::create_dir_all(&tmp)?;
            let mut command = Command::new("tar");
            command
                .args(["--no-same-owner", "--exclude=./dev/*", "-xf"])
                .arg(&tar)
                .arg("-C")
                .arg(&tmp);
            step.run(&mut command)?;
            cache::remove(&tar)?;
        }
        // Downloads in the root keep its user, and mount points for the host's name service.
        fs::write(
            tmp.join("etc/apt/apt.conf.d/90xtask"),
            "APT::Sandbox::User \"root\";\nAcquire::Retries \"3\";\n",
        )?;
        for name in ["resolv.conf", "hosts", "nsswitch.conf"] {
            let path = tmp.join("etc").join(name);
            if !path.is_file() {
                cache::remove(&path)?;
                fs::write(path, "")?;
            }
        }
        step.note("writing to disk");
        cache::publish(&tmp, &dir)?;
        step.note("removing the previous one");
        remove_others(&ctx.cache, &dir)
    })?;
    Root::of(dir)
}

/// All roots of the cache but one.
fn others(cache: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let is_root = entry.file_name().to_string_lossy().starts_with("root-");
        if is_root && entry.path() != root {
            others.push(entry.path());
        }
    }
    Ok(others)
}

fn remove_others(cache: &Path, root: &Path) -> Result<()> {
    for other in others(cache, root)? {
        cache::discard(cache, &other)?;
    }
    Ok(())
}

/// The proxy that the host's apt uses.
fn apt_proxy() -> Option<String> {
    let output = Command::new("apt-config")
        .args(["shell", "P", "Acquire::http::Proxy"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let proxy = text.trim().strip_prefix("P='")?.strip_suffix('\'')?;
    (!proxy.is_empty()).then(|| proxy.to_owned())
}

/// The versions of the packages that compile, of dpkg's status file.
fn compilers(status: &str) -> Vec<String> {
    let mut versions = Vec::new();
    for package in status.split("\n\n") {
        let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(name), Some(version)) = (field("Package: "), field("Version: ")) {
            if COMPILERS.iter().any(|prefix| name.starts_with(prefix)) {
                versions.push(format!("{name} {version}"));
            }
        }
    }
    versions.sort();
    versions
}

impl Root {
    fn of(dir: PathBuf) -> Result<Self> {
        let status = fs::read_to_string(dir.join("var/lib/dpkg/status"));
        let status =
            status.context("the toolchain root is damaged; remove it and run this again")?;
        let compilers = cache::hash(compilers(&status));
        let key = cache::hash([compilers.as_str()].into_iter().chain(RECIPES));
        Ok(Root {
            dir,
            compilers,
            key,
        })
    }

    /// apt in the root: network, writable lists, and a name for the user that apt accepts.
    pub fn apt(&self, ctx: &Ctx, downloads: &Path) -> Sandbox {
        let mut sandbox = Sandbox::new(ctx, self)
            .net()
            .rw(&self.dir.join("var"), "/var")
            .rw(downloads, "/downloads")
            .cwd("/downloads");
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            if let Some(value) = std::env::var_os(name) {
                sandbox = sandbox.env(name, value);
            }
        }
        if am_root() {
            sandbox.option(["--cap-add", "ALL"])
        } else {
            sandbox.option(["--unshare-user", "--uid", "0", "--gid", "0"])
        }
    }
}

/// A shell in the toolchain root, in the current folder, for building by hand.
pub fn enter(ctx: &Ctx) -> Result<()> {
    let root = prepare(ctx)?;
    ctx.release();
    let cwd = std::env::current_dir()?;
    let mut sandbox = Sandbox::new(ctx, &root).net();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let out = ctx.options.out.as_ref().map(|dir| cwd.join(dir));
    for dir in [home, Some(ctx.repo.clone()), Some(cwd.clone()), out]
        .into_iter()
        .flatten()
    {
        if dir.is_dir() && dir != Path::new("/") {
            sandbox = sandbox.rw(&dir, &dir);
        }
    }
    for dir in ["/tmp", "/var/tmp"] {
        sandbox = sandbox.rw(Path::new(dir), dir);
    }
    let term = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into());
    let sandbox = sandbox
        .env("TERM", term)
        .env("PS1", "(toolchain) \\w\\$ ")
        .cwd(&cwd);
    let status = proc::interactive(sandbox.command("bash").arg("--norc"))?;
    // What its last command returned is nobody's business.
    if status.code().is_none() {
        bail!("The shell in the toolchain root ended with {status}.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_skips_comments() {
        let list: Vec<_> = names("# a\n\nmake # why\n rustc/trixie-backports\n").collect();
        assert_eq!(list, ["make", "rustc/trixie-backports"]);
    }

    #[test]
    fn one_root_is_left() {
        let cache = tempfile::tempdir().unwrap();
        let dir = |name: &str| cache.path().join(name);
        for name in ["root-old", "root-new", "src", "tmp"] {
            fs::create_dir(dir(name)).unwrap();
        }
        remove_others(cache.path(), &dir("root-new")).unwrap();
        assert!(dir("root-new").exists() && dir("src").exists());
        assert!(!dir("root-old").exists());
    }

    #[test]
    fn compilers_from_status() {
        let status = "Package: make\nVersion: 4\n\nPackage: rustc\nStatus: ok\nVersion: 1.96\n\nPackage: clang-22\nVersion: 22.1\n";
        assert_eq!(compilers(status), ["clang-22 22.1", "rustc 1.96"]);
    }

    #[test]
    fn archive_from_deb822() {
        let text = "Types: deb\n# http://old.example/debian\nURIs: http://ftp.example/debian/\n\
                    Suites: trixie\nSigned-By: /usr/share/keyrings/debian-archive-keyring.pgp\n\n\
                    Types: deb\nURIs: http://ftp.example/debian-security\n";
        let archive = archive_of(text);
        assert_eq!(archive.mirror, "http://ftp.example/debian");
        assert_eq!(archive.security, "http://ftp.example/debian-security");
        assert_eq!(
            archive.keyring,
            Path::new("/usr/share/keyrings/debian-archive-keyring.pgp")
        );
    }

    #[test]
    fn archive_from_list() {
        let text = "# deb http://no.example/debian x main\n\
                    deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://m.example/debian trixie main\n\
                    deb http://security.debian.org/ trixie-security main\n";
        let archive = archive_of(text);
        assert_eq!(archive.mirror, "https://m.example/debian");
        assert_eq!(archive.security, "http://security.debian.org");
        assert_eq!(
            archive.keyring,
            Path::new("/usr/share/keyrings/debian-archive-keyring.gpg")
        );
    }

    #[test]
    fn archive_falls_back_to_debian() {
        let archive = archive_of("deb http://archive.ubuntu.com/ubuntu noble main\n");
        assert_eq!(archive.mirror, DEFAULT_MIRROR);
        assert_eq!(archive.keyring, Path::new(DEFAULT_KEYRING));
    }
}
