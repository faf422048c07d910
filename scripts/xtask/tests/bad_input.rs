// SPDX-License-Identifier: GPL-2.0
//! What is asked for wrongly is refused at once: in one paragraph that names the cause and the way
//! out, with an exit status, and before anything is made.

use std::fs;
use std::process::Command;

const SETTINGS: [&str; 11] = [
    "KVER", "KSRC", "MIRROR", "CACHE", "SUITE", "T", "PROFILE", "LONG", "M", "OUT", "KVM",
];

/// What the tool says to a subcommand and settings that it must refuse.
fn refusal(command: &str, settings: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let mut tool = Command::new(env!("CARGO_BIN_EXE_xtask"));
    for name in SETTINGS {
        tool.env_remove(name);
    }
    tool.arg(command).current_dir(&dir).env("CACHE", &cache);
    let output = tool.envs(settings.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{settings:?}: {text}");
    assert!(!cache.exists(), "{settings:?} left something in the cache");
    let text = text.trim().strip_prefix("error: ").unwrap().to_owned();
    assert!(!text.contains('\n'), "{settings:?}: {text}");
    text
}

fn refused(command: &str, settings: &[(&str, &str)], words: &[&str]) {
    let text = refusal(command, settings);
    for word in words {
        assert!(text.contains(word), "{settings:?}: {text}");
    }
}

#[test]
fn kernel_series() {
    refused(
        "run",
        &[("KVER", "6.1")],
        &["KVER=6.1", "7.3 and 7.2", "KSRC"],
    );
    let both = [("KVER", "7.3"), ("KSRC", "/")];
    refused("run", &both, &["only one of them"]);
}

#[test]
fn kernel_trees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    refused("run", &[("KSRC", path)], &[path, "no Linux kernel tree"]);
    fs::create_dir_all(dir.path().join("drivers/iommu")).unwrap();
    fs::write(dir.path().join("drivers/iommu/iommu.c"), "").unwrap();
    let makefile = "VERSION = 6\nPATCHLEVEL = 18\nSUBLEVEL = 0\n";
    fs::write(dir.path().join("Makefile"), makefile).unwrap();
    refused("run", &[("KSRC", path)], &["Linux 6.18", "begin with 7.2"]);
}

#[test]
fn parts_of_the_tests() {
    refused("test", &[("SUITE", "x")], &["no suite x", "host, lint"]);
    refused("test", &[("T", "x")], &["no test x", "ioasid, dma_owner"]);
    refused(
        "test",
        &[("PROFILE", "x")],
        &["no guest profile x", "first-stage, second-stage"],
    );
    let neither = [("SUITE", "host"), ("T", "ioasid")];
    refused(
        "test",
        &neither,
        &["SUITE=host", "Leave one of the two out"],
    );
    refused(
        "mutants",
        &[("M", "x")],
        &["no mutant x", "ioasid-max-off-by-one"],
    );
}

#[test]
fn switches() {
    refused("test", &[("LONG", "yes")], &["LONG=yes", "1 or 0"]);
    refused("shell", &[("KVM", "on")], &["KVM=on", "1 or 0"]);
}

#[test]
fn places_to_write_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    fs::write(dir.path().join("precious"), "").unwrap();
    for command in ["tree", "series"] {
        refused(command, &[], &["OUT=dir"]);
        refused(command, &[("OUT", path)], &[path, "left alone"]);
        assert!(dir.path().join("precious").exists());
    }
    refused(
        "run",
        &[("CACHE", "/proc/none")],
        &["/proc/none", "CACHE=dir"],
    );
}
