// SPDX-License-Identifier: GPL-2.0
//! Programs of the toolchain root, run by bubblewrap: nothing is left behind when one dies.

use crate::ctx::Ctx;
use crate::root::{self, Root};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// What a program in the toolchain root gets to see. Its own files are read-only.
#[derive(Clone)]
pub struct Sandbox {
    args: Vec<OsString>,
}

impl Sandbox {
    pub fn new(ctx: &Ctx, root: &Root) -> Self {
        let mut sandbox = Sandbox { args: Vec::new() };
        sandbox.push([
            "--die-with-parent",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
        ]);
        sandbox.push(["--unshare-net", "--clearenv"]);
        for dir in ["usr", "etc", "var"] {
            sandbox = sandbox.ro(&root.dir.join(dir), Path::new("/").join(dir));
        }
        for dir in ["bin", "sbin", "lib", "lib64"] {
            sandbox.push(["--symlink", &format!("usr/{dir}"), &format!("/{dir}")]);
        }
        sandbox.push([
            "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--dir", "/root",
        ]);
        sandbox
            .rw(&ctx.cache.join("ccache"), "/ccache")
            .env("CCACHE_DIR", "/ccache")
            .env("CCACHE_MAXSIZE", "10G")
            .env("CCACHE_COMPILERCHECK", format!("string:{}", root.compilers))
            .env("PATH", root::PATH)
            .env("LIBCLANG_PATH", root::LIBCLANG)
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
    }

    fn push<const N: usize>(&mut self, args: [&str; N]) {
        self.args.extend(args.map(OsString::from));
    }

    fn triple(mut self, option: &str, a: impl AsRef<OsStr>, b: impl AsRef<OsStr>) -> Self {
        self.args
            .extend([option.into(), a.as_ref().to_owned(), b.as_ref().to_owned()]);
        self
    }

    /// Shows `host` at `inside`, read-only.
    pub fn ro(self, host: &Path, inside: impl AsRef<OsStr>) -> Self {
        self.triple("--ro-bind", host, inside)
    }

    /// Shows `host` at `inside`, writable.
    pub fn rw(self, host: &Path, inside: impl AsRef<OsStr>) -> Self {
        self.triple("--bind", host, inside)
    }

    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.triple("--setenv", name, value)
    }

    pub fn cwd(mut self, inside: impl AsRef<OsStr>) -> Self {
        self.args
            .extend(["--chdir".into(), inside.as_ref().to_owned()]);
        self
    }

    /// Any other option of bubblewrap.
    pub fn option<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.push(args);
        self
    }

    /// The host's network and name service.
    pub fn net(mut self) -> Self {
        self.args.retain(|arg| arg != "--unshare-net");
        for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"] {
            if Path::new(file).exists() {
                self = self.ro(Path::new(file), file);
            }
        }
        self
    }

    /// A program in the sandbox; add its arguments to the result.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("bwrap");
        command.args(&self.args).arg("--").arg(program);
        command
    }
}
