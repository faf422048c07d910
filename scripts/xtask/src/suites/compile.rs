// SPDX-License-Identifier: GPL-2.0
//! Compiles what uses the kernel code that the series changes, with every warning on: drivers for
//! hardware that no guest has, and the series itself with its options at their defaults. One case
//! for each place, nothing is linked or booted.

use super::{check, has_extension, suite_log};
use crate::cache;
use crate::ctx::Ctx;
use crate::kconfig;
use crate::kernel;
use crate::lab::Lab;
use crate::proc;
use crate::results::{Ledger, Source};
use crate::root::{self, Root};
use crate::tree::{self, Tree};
use anyhow::{Context, Result};
use regex::Regex;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use walkdir::WalkDir;

/// A configuration: its architecture, its Kconfig fragments, and what is compiled of it: a folder,
/// or one file if the name ends in `.o`.
struct Config {
    name: &'static str,
    arch: &'static str,
    fragments: &'static [&'static str],
    /// Whether that has Rust in it, which takes a minute or two the first time.
    rust: bool,
    places: &'static [&'static str],
}

const CONFIGS: [Config; 3] = [
    Config {
        name: "x86_64",
        arch: "x86_64",
        fragments: &["base", "x86_64", "ext", "w1-x86_64"],
        rust: false,
        places: &[
            "arch/x86/mm/pat/set_memory.o",
            "arch/x86/mm/tlb.o",
            "drivers/base/platform.o",
            "drivers/bus/fsl-mc",
            "drivers/cdx",
            "drivers/dma/idxd",
            "drivers/gpu/host1x",
            "drivers/iommu/amd",
            "drivers/iommu/intel",
            "drivers/iommu/iommu.o",
            "drivers/iommu/iommufd",
            "drivers/iommu/virtio-iommu.o",
            "drivers/pci/pci-driver.o",
            "drivers/vfio",
        ],
    },
    Config {
        name: "arm64",
        arch: "arm64",
        fragments: &["base", "ext", "w1-arm64"],
        rust: false,
        places: &[
            "drivers/amba",
            "drivers/iommu/arm/arm-smmu-v3",
            "drivers/iommu/dma-iommu.o",
            "drivers/iommu/io-pgtable-arm.o",
            "drivers/iommu/iommu-sva.o",
            "drivers/iommu/iommu.o",
        ],
    },
    Config {
        name: "defaults",
        arch: "x86_64",
        fragments: &["base", "w1-defaults"],
        rust: true,
        places: &["drivers/iommu", "drivers/iommu/ext"],
    },
];

/// What was compiled of one configuration.
struct Outcome {
    build: PathBuf,
    success: bool,
    /// What make and the compilers said.
    text: String,
}

pub fn run(lab: &mut Lab, ledger: &mut Ledger) -> Result<()> {
    let root = root::prepare(lab.ctx)?;
    let tree = tree::patched(lab.ctx, &root)?;
    let logs = CONFIGS
        .iter()
        .map(|config| suite_log(lab, &format!("compile-{}.log", config.name)))
        .collect::<Result<Vec<_>>>()?;
    let ctx = lab.ctx;
    // One that could not be compiled at all takes nothing from what the others tell.
    let outcomes = proc::in_parallel(CONFIGS.iter().zip(&logs), |(config, log)| {
        Ok(compile(ctx, &root, &tree, config, log))
    })?;
    let mut end = Ok(());
    for ((config, log), outcome) in CONFIGS.iter().zip(&logs).zip(outcomes) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                end = end.and(Err(error));
                continue;
            }
        };
        let faults = faults(&outcome.text);
        for place in config.places {
            let source = Source {
                suite: "compile",
                profile: config.name,
                program: place.trim_end_matches(".o"),
                log,
            };
            check(ledger, source, "w1", judge(&outcome, &faults, place));
        }
    }
    end
}

/// Whether all files of a place compiled without a complaint.
fn judge(outcome: &Outcome, faults: &[Fault], place: &str) -> Result<(), String> {
    let here: Vec<&str> = faults
        .iter()
        .filter(|fault| is_in(&fault.file, place))
        .map(|fault| fault.line.as_str())
        .collect();
    if !here.is_empty() {
        return Err(here.join("\n"));
    }
    let compiled = objects(&outcome.build.join(place)).next().is_some();
    if !compiled {
        return Err("nothing was compiled".into());
    }
    // Then somebody else's fault may have kept files of this place from being compiled.
    if !outcome.success && faults.is_empty() {
        return Err("make failed; the log says why".into());
    }
    Ok(())
}

fn compile(ctx: &Ctx, root: &Root, tree: &Tree, config: &Config, log: &Path) -> Result<Outcome> {
    let name = format!("{}-w1-{}{}", tree.source.key, config.name, ctx.suffix);
    let build = ctx.cache.join("build").join(name);
    fs::create_dir_all(&build)?;
    let sandbox = kernel::sandbox(ctx, root, &tree.dir, &build);
    let make = || {
        let mut make = kernel::make(&sandbox);
        make.arg(format!("ARCH={}", config.arch));
        make
    };
    let configs = ctx.repo.join("scripts/configs");
    let fragments = config.fragments.iter();
    let fragments: Vec<PathBuf> = fragments
        .map(|name| configs.join(name).with_extension("config"))
        .collect();
    let key = cache::hash([&tree.kconfig, &root.key]);
    let step = format!(
        "compile {} {}{}",
        tree.source.series, config.name, ctx.suffix
    );
    let hint = "the fragments scripts/configs/w1-*.config may ask for what this kernel lacks";
    ctx.step(&step, hint, |step| {
        kconfig::configure(step, &build, &fragments, &key, make)?;
        step.note("compiling");
        // A warning is seen when its file is compiled; ccache makes that cheap.
        for object in config
            .places
            .iter()
            .flat_map(|place| objects(&build.join(place)))
        {
            cache::remove(&object)?;
        }
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = make();
        command
            .arg(format!("-j{}", ctx.jobs))
            // One file's words stay together.
            .args(["--keep-going", "--output-sync=target", "W=1"])
            // C sees the series on, but nothing of Rust is built where no file needs it.
            .args((!config.rust).then_some("CONFIG_RUST="))
            .args(targets(config.places))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let success =
            kernel::restartable(&build, || Ok(proc::spawn(&mut command)?.wait()?.success()))?;
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        Ok(Outcome {
            build: build.clone(),
            success,
            text,
        })
    })
}

/// What make is to build: places that are in no other one.
fn targets<'a>(places: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let outermost = |place: &&&str| {
        let mut others = places.iter().filter(|other| other != place);
        !others.any(|other| is_in(place, other))
    };
    places.iter().filter(outermost).map(|place| target(place))
}

/// What make calls a place.
fn target(place: &str) -> String {
    if place.ends_with(".o") {
        place.into()
    } else {
        format!("{place}/")
    }
}

/// The objects below a folder, or the one object.
fn objects(place: &Path) -> impl Iterator<Item = PathBuf> {
    WalkDir::new(place)
        .into_iter()
        .filter_map(Result::ok)
        .map(|entry| entry.into_path())
        .filter(|path| has_extension(path, &["o"]))
}

/// A complaint and the file whose compilation raised it, in the kernel tree.
#[derive(Debug, PartialEq)]
struct Fault {
    file: String,
    line: String,
}

fn faults(text: &str) -> Vec<Fault> {
    let patterns = [
        r"^In file included from (?<includer>[^:]+):",
        r"^(?<file>[^:\s]+):\d+:(\d+:)? (fatal )?(warning|error): ",
        r"^Warning: (?<file>[^:\s]+):\d+ ",
        r"^ +--> (?<file>[^:\s]+\.rs):\d+:\d+$",
        r"\*\*\* \[[^\]]*?(?<file>[\w./-]+\.o)\] Error",
    ];
    let patterns: Vec<Regex> = patterns.iter().filter_map(|p| Regex::new(p).ok()).collect();
    let mut faults = Vec::new();
    let mut includer: Option<&str> = None;
    for line in text.lines() {
        let Some(found) = patterns.iter().find_map(|pattern| pattern.captures(line)) else {
            continue;
        };
        if let Some(name) = found.name("includer") {
            // The first one is what is being compiled.
            includer.get_or_insert(name.as_str());
        } else if let Some(name) = found.name("file") {
            let file = includer.take().unwrap_or(name.as_str());
            faults.push(Fault {
                file: file.trim_start_matches("/src/").to_owned(),
                line: line.to_owned(),
            });
        }
    }
    faults
}

/// Whether a file, source or object, belongs to a place.
fn is_in(file: &str, place: &str) -> bool {
    match place.strip_suffix("o") {
        Some(stem) if stem.ends_with('.') => file
            .strip_prefix(stem)
            .is_some_and(|extension| ["c", "o"].contains(&extension)),
        _ => file
            .strip_prefix(place)
            .is_some_and(|rest| rest.starts_with('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_belong_to_what_is_compiled() {
        let text = "  CC      drivers/a/x.o\n\
                    /src/drivers/a/x.c:1:2: warning: unused [-Wunused]\n\
                    In file included from /src/drivers/b/y.c:9:\n\
                    In file included from /src/include/linux/z.h:3:\n\
                    /src/include/linux/iommu.h:4:5: error: unknown type\n\
                    Warning: /src/drivers/c.c:7 function parameter 'd' not described in 'e'\n\
                    warning: unused variable: `f`\n  --> /src/drivers/d.rs:1:2\n\
                    make[4]: *** [/src/scripts/Makefile.build:289: drivers/b/y.o] Error 1\n\
                    make[3]: *** [/src/scripts/Makefile.build:548: drivers/b] Error 2\n";
        let files: Vec<String> = faults(text).into_iter().map(|fault| fault.file).collect();
        assert_eq!(
            files,
            [
                "drivers/a/x.c",
                "drivers/b/y.c",
                "drivers/c.c",
                "drivers/d.rs",
                "drivers/b/y.o"
            ]
        );
    }

    #[test]
    fn places_are_folders_or_files() {
        assert!(is_in("drivers/a/x.c", "drivers/a"));
        assert!(!is_in("drivers/ab/x.c", "drivers/a"));
        assert!(is_in("drivers/a/x.c", "drivers/a/x.o"));
        assert!(is_in("drivers/a/x.o", "drivers/a/x.o"));
        assert!(!is_in("drivers/a/xy.c", "drivers/a/x.o"));
        assert_eq!(target("drivers/a"), "drivers/a/");
        assert_eq!(target("drivers/a.o"), "drivers/a.o");
        let targets: Vec<String> = targets(&["drivers/a", "drivers/a/b", "drivers/c.o"]).collect();
        assert_eq!(targets, ["drivers/a/", "drivers/c.o"]);
    }

    #[test]
    fn a_place_needs_an_object() {
        let dir = tempfile::tempdir().unwrap();
        let outcome = |success| Outcome {
            build: dir.path().to_owned(),
            success,
            text: String::new(),
        };
        assert!(judge(&outcome(true), &[], "a").is_err());
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/x.o"), "").unwrap();
        assert_eq!(judge(&outcome(true), &[], "a"), Ok(()));
        assert!(judge(&outcome(false), &[], "a").is_err());
        let fault = Fault {
            file: "a/x.c".into(),
            line: "bad".into(),
        };
        assert_eq!(judge(&outcome(true), &[fault], "a"), Err("bad".into()));
    }
}
