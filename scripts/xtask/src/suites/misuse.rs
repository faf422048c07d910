// SPDX-License-Identifier: GPL-2.0
//! Mistakes that the Rust API does not let anybody make. A file compiles as a module for the lean
//! kernel; with what stands under `#[cfg(misuse)]` it must not, for the reason it names.

use super::{check, has_extension, suite_log};
use crate::cache;
use crate::kernel::{self, KernelBuild};
use crate::lab::Lab;
use crate::proc;
use crate::results::{Ledger, Source};
use crate::root;
use anyhow::{bail, Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const FOLDER: &str = "tools/testing/misuse";

/// The error that a source says its misuse must give.
fn expected(source: &str) -> Option<&str> {
    source
        .lines()
        .find_map(|line| line.trim().strip_prefix("//! error: "))
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut sources = Vec::new();
    for file in files {
        let path = file?.path();
        if has_extension(&path, &["rs"]) {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

pub fn run(lab: &Lab, ledger: &mut Ledger, kernel: &KernelBuild) -> Result<()> {
    for path in sources(&lab.ctx.repo.join(FOLDER))? {
        let source = fs::read_to_string(&path)?;
        let Some(error) = expected(&source) else {
            bail!(
                "{} does not name the error that its misuse must give. Its head needs a line \
                 \"//! error: E0000\".",
                path.display()
            );
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        for (case, flags) in [("use", ""), ("misuse", "--cfg misuse")] {
            let log = suite_log(lab, &format!("misuse-{name}-{case}.log"))?;
            let (success, text) = compile(lab, kernel, &name, &source, flags, &log)?;
            let result = match case {
                "use" => accepted(success, &text),
                _ => rejected(success, &text, error),
            };
            let source = Source {
                suite: "lint",
                profile: "misuse",
                program: &name,
                log: &log,
            };
            check(ledger, source, case, result);
        }
    }
    Ok(())
}

/// Compiles a source as an object of a module outside of the kernel's tree.
fn compile(
    lab: &Lab,
    kernel: &KernelBuild,
    name: &str,
    source: &str,
    flags: &str,
    log: &Path,
) -> Result<(bool, String)> {
    let ctx = lab.ctx;
    let folder = kernel.build.join("xtask-misuse");
    let hint = "the log has all that the compiler says";
    ctx.step(&format!("misuse {name} {flags}"), hint, |_| {
        cache::remove(&folder)?;
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{name}.rs")), source)?;
        fs::write(
            folder.join("Kbuild"),
            format!("obj-m := {name}.o\nRUSTFLAGS_{name}.o := {flags}\n"),
        )?;
        let sandbox = kernel::sandbox(ctx, &root::prepare(ctx)?, &kernel.tree, &kernel.build);
        let file = File::create(log)?;
        let mut make = kernel::make(&sandbox);
        make.arg("M=/build/xtask-misuse")
            .arg(format!("{name}.o"))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let success = proc::spawn(&mut make)?.wait()?.success();
        Ok((success, fs::read_to_string(log)?))
    })
}

/// The number of an error at the head of a line, "" if it has none.
fn error_number(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("error")?;
    match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => rest.starts_with(": ").then_some(""),
    }
}

/// The errors of a compiler, by their numbers; its last one only says how many there were.
fn errors(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.contains("aborting due to"))
        .filter_map(error_number)
        .collect()
}

fn accepted(success: bool, text: &str) -> Result<(), String> {
    if success {
        return Ok(());
    }
    Err(format!("it does not compile: {}", errors(text).join(", ")))
}

fn rejected(success: bool, text: &str, error: &str) -> Result<(), String> {
    match errors(text).as_slice() {
        [only] if *only == error && !success => Ok(()),
        [] if success => Err("it compiles".into()),
        errors => Err(format!("not {error} alone, but: {}", errors.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "  RUSTC [M] x.o\nerror[E0505]: cannot move out of `guard`\n \
                        --> x.rs:1:2\nerror: aborting due to 1 previous error\n\
                        make[1]: *** [x.o] Error 1\n";

    #[test]
    fn the_error_is_named_by_the_source() {
        assert_eq!(expected("// x\n//! error: E0505\n"), Some("E0505"));
        assert_eq!(expected("// x\n"), None);
    }

    #[test]
    fn only_the_expected_error_will_do() {
        assert_eq!(rejected(false, SAID, "E0505"), Ok(()));
        assert!(rejected(false, SAID, "E0597").is_err());
        assert!(rejected(true, "", "E0505").is_err());
        assert!(rejected(false, "make: no rule\n", "E0505").is_err());
        let two = SAID.to_owned() + "error[E0432]: unresolved import\n";
        assert!(rejected(false, &two, "E0505").is_err());
        let unnumbered = SAID.to_owned() + "error: expected `;`\n";
        assert!(rejected(false, &unnumbered, "E0505").is_err());
        assert_eq!(accepted(true, ""), Ok(()));
        assert!(accepted(false, SAID).is_err());
    }
}
