// SPDX-License-Identifier: GPL-2.0
//! The tests that need no kernel: the decision logic, by proptest and loom, and this tool's own.

use super::{selected, suite_log, Selection};
use crate::ctx::Ctx;
use crate::ktap::Outcome;
use crate::lab::Lab;
use crate::proc;
use crate::results::{Ledger, Source};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// One way of running the tests of one package.
struct Package {
    /// As Cargo calls it.
    name: &'static str,
    /// As results call it.
    label: &'static str,
    loom: bool,
}

const PACKAGES: [Package; 3] = [
    Package {
        name: "logic",
        label: "logic",
        loom: false,
    },
    Package {
        name: "logic",
        label: "loom",
        loom: true,
    },
    Package {
        name: "xtask",
        label: "xtask",
        loom: false,
    },
];

/// The packages of the workspace, as Cargo lists them.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
}

fn cargo(ctx: &Ctx) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(&ctx.repo)
        .stdin(Stdio::null())
        .env("CARGO_TERM_COLOR", "never");
    cargo
}

fn members(ctx: &Ctx) -> Result<Vec<String>> {
    let output = cargo(ctx)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .output()
        .context("cannot start cargo")?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .context("cargo metadata did not list the packages of the workspace")?;
    Ok(metadata
        .packages
        .into_iter()
        .map(|package| package.name)
        .collect())
}

pub fn run(lab: &mut Lab, ledger: &mut Ledger, selection: &Selection) -> Result<()> {
    let ctx = lab.ctx;
    let members = members(ctx)?;
    let nextest = cargo(ctx)
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    for package in PACKAGES
        .iter()
        .filter(|p| selected(&selection.parts, &format!("host/{}", p.label)))
    {
        let log = suite_log(lab, &format!("host-{}.log", package.label))?;
        let source = Source {
            suite: "host",
            profile: package.label,
            program: "cargo",
            log: &log,
        };
        if !members.iter().any(|member| member == package.name) {
            ledger.fail(
                source,
                "package",
                format!("the workspace has no package {}", package.name),
            );
            continue;
        }
        let mut command = cargo(ctx);
        if nextest {
            command.args([
                "nextest",
                "run",
                "--no-tests",
                "pass",
                "--status-level",
                "all",
            ]);
            command.args(["--final-status-level", "none"]);
        } else {
            command.arg("test");
        }
        command.args(["--package", package.name, "--no-fail-fast", "--locked"]);
        if package.loom {
            // A folder of its own, or the other flags would rebuild everything each time.
            command.arg("--release").env("RUSTFLAGS", "--cfg loom");
            command.env("CARGO_TARGET_DIR", ctx.repo.join("target/loom"));
        }
        let hint = "the log holds what the tests printed";
        let (text, success) = ctx.step(&format!("host tests {}", package.label), hint, |_| {
            output(command, &log, LIMIT)
        })?;
        let results = if nextest {
            parse_nextest(&text)
        } else {
            parse_libtest(&text)
        };
        let failed = results
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        if results.is_empty() {
            ledger.fail(source, "run", tail(&text));
        } else if !success && !failed {
            ledger.fail(
                source,
                "run",
                format!("cargo failed though no test did\n{}", tail(&text)),
            );
        }
        for (name, outcome) in results {
            let (program, case) = name.split_once('.').unwrap_or((package.label, &name));
            ledger.add(Source { program, ..source }, case, outcome);
        }
    }
    Ok(())
}

/// When tests that do not end are ended.
const LIMIT: Duration = Duration::from_secs(1200);

/// Runs a command, its whole output into the log; returns that, and whether it succeeded.
fn output(mut command: Command, log: &Path, limit: Duration) -> Result<(String, bool)> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file);
    let mut child = proc::spawn(&mut command)?;
    let start = Instant::now();
    let mut status = child.try_wait()?;
    while status.is_none() && start.elapsed() < limit {
        sleep(Duration::from_millis(20));
        status = child.try_wait()?;
    }
    drop(child);
    let mut text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    if status.is_none() {
        text += &format!("\nit had not ended after {} s", limit.as_secs());
    }
    Ok((text, status.is_some_and(|status| status.success())))
}

/// The last lines, as the reason of a failure.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// The name of a result: the file of an integration test, then the path in it.
fn name(file: &str, path: &str) -> String {
    let path = path.trim_end_matches(" - should panic");
    let path = if file.is_empty() {
        path.to_owned()
    } else {
        format!("{file}::{path}")
    };
    path.replace("::tests::", "::").replace("::", ".")
}

/// Reads what cargo test prints: `test NAME ... RESULT`.
fn parse_libtest(text: &str) -> Vec<(String, Outcome)> {
    let mut results = Vec::new();
    let mut file = "";
    for line in text.lines() {
        if let Some(target) = line.trim_start().strip_prefix("Running ") {
            let path = target.split_whitespace().next().unwrap_or_default();
            file = path
                .strip_prefix("tests/")
                .and_then(|f| f.strip_suffix(".rs"))
                .unwrap_or("");
            continue;
        }
        let Some((test, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        else {
            continue;
        };
        let outcome = if result == "ok" {
            Outcome::Passed
        } else if let Some(why) = result.strip_prefix("ignored") {
            Outcome::Skipped(why.trim_start_matches([',', ' ']).to_owned())
        } else {
            Outcome::Failed(message(text, test))
        };
        results.push((name(file, test), outcome));
    }
    results
}

/// Reads what cargo nextest prints: `RESULT [TIME] (N/M) PACKAGE::BINARY NAME`.
fn parse_nextest(text: &str) -> Vec<(String, Outcome)> {
    let mut results: Vec<(String, Outcome)> = Vec::new();
    for line in text.lines() {
        let Some((result, rest)) = line.trim_start().split_once(" [") else {
            continue;
        };
        if !result.chars().all(|c| c.is_ascii_uppercase()) {
            continue;
        }
        let Some((_, rest)) = rest.split_once("] ") else {
            continue;
        };
        let words: Vec<_> = rest
            .rsplit(") ")
            .next()
            .unwrap_or(rest)
            .split_whitespace()
            .collect();
        let [binary, test] = words[..] else {
            continue;
        };
        let file = binary.split_once("::").map_or("", |(_, file)| file);
        let name = name(if file.starts_with("bin/") { "" } else { file }, test);
        let outcome = match result {
            "PASS" => Outcome::Passed,
            "SKIP" => Outcome::Skipped("ignored".into()),
            "START" | "SLOW" | "TERMINATING" | "SETUP" => continue,
            other => Outcome::Failed(match message(text, test).as_str() {
                "failed" => other.to_owned(),
                message => message.to_owned(),
            }),
        };
        if !results.iter().any(|(known, _)| *known == name) {
            results.push((name, outcome));
        }
    }
    results
}

/// What a failed test printed.
fn message(text: &str, name: &str) -> String {
    let head = format!("thread '{name}' ");
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with(&head))
        .take_while(|line| !line.is_empty() && !line.starts_with("stack backtrace"))
        .take(8)
        .collect();
    if lines.is_empty() {
        "failed".into()
    } else {
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_without_end_are_ended() {
        let dir = tempfile::tempdir().unwrap();
        let sh = |script: &str, limit| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            output(
                command,
                &dir.path().join("log"),
                Duration::from_millis(limit),
            )
            .unwrap()
        };
        assert_eq!(sh("echo a; exit 1", 60_000), ("a\n".into(), false));
        assert_eq!(sh("echo a", 60_000), ("a\n".into(), true));
        let (text, success) = sh("echo a; sleep 60", 200);
        assert!(text.contains("had not ended") && !success, "{text}");
    }

    #[test]
    fn reads_what_libtest_prints() {
        let text = "     Running unittests src/lib.rs (target/debug/deps/logic-1)\n\
                    running 3 tests\ntest ioasid::tests::max ... ok\ntest a::b - should panic ... ok\n\
                    test slow ... ignored, takes long\n     Running tests/model.rs (target/x)\n\
                    test min ... FAILED\n\nfailures:\n\n---- min stdout ----\n\n\
                    thread 'min' (7) panicked at y:\nleft: 1\nstack backtrace:\n 0: z\n\n\
                    failures:\n    min\n\ntest result: FAILED. 2 passed; 1 failed; 1 ignored\n";
        assert_eq!(
            parse_libtest(text),
            [
                ("ioasid.max".into(), Outcome::Passed),
                ("a.b".into(), Outcome::Passed),
                ("slow".into(), Outcome::Skipped("takes long".into())),
                (
                    "model.min".into(),
                    Outcome::Failed("thread 'min' (7) panicked at y:\nleft: 1".into())
                ),
            ]
        );
    }

    #[test]
    fn reads_what_nextest_prints() {
        let text = "    Finished `test` profile [unoptimized] target(s) in 1.1s\n\
                    \x20       PASS [   0.016s] (1/4) xtask::bin/xtask ktap::tests::nested\n\
                    \x20       PASS [   0.010s] logic ioasid::tests::max\n\
                    \x20       SKIP [         ] logic slow\n\
                    \x20       FAIL [   0.010s] (2/4) logic::model min\n\
                    \x20 stdout ───\n\n    thread 'min' (9) panicked at x:\n    left: 1\n\n\
                    \x20    SIGABRT [   0.010s] (4/4) logic::model boom\n------------\n\
                    \x20    Summary [   0.030s] 4 tests run: 2 passed\n";
        assert_eq!(
            parse_nextest(text),
            [
                ("ktap.nested".into(), Outcome::Passed),
                ("ioasid.max".into(), Outcome::Passed),
                ("slow".into(), Outcome::Skipped("ignored".into())),
                (
                    "model.min".into(),
                    Outcome::Failed("thread 'min' (9) panicked at x:\nleft: 1".into())
                ),
                ("model.boom".into(), Outcome::Failed("SIGABRT".into())),
            ]
        );
    }

    #[test]
    fn no_tests_are_no_results() {
        assert_eq!(parse_libtest("error[E0425]: cannot find value\n"), []);
        assert_eq!(
            parse_nextest("error: could not compile `x` [lib] (y)\n"),
            []
        );
        assert_eq!(tail("a\n\nb\n"), "a\nb");
    }
}
