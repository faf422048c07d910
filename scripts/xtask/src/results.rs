// SPDX-License-Identifier: GPL-2.0
//! Accounts for every result, by the name `suite/profile/program.case`.
//!
//! A result counts once a profile. Nothing is forgiven silently: a skip has to be listed with its
//! reason, a listed one has to be skipped, and a test that no profile runs is a failure.

use crate::ktap::{Case, Outcome, Report};
use anyhow::{bail, Context, Result};
use regex::Regex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The checked-in skips, name and reason.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    #[serde(default, rename = "skip")]
    list: Vec<Skip>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    name: String,
    reason: String,
}

impl Skips {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the list of skips, {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let skips: Skips = toml::from_str(text)?;
        let mut names = BTreeSet::new();
        for skip in &skips.list {
            if skip.reason.trim().is_empty() {
                bail!("the skip of {} gives no reason", skip.name);
            }
            if skip.name.splitn(3, '/').count() != 3 {
                bail!(
                    "{} is not a name of the form suite/profile/program.case",
                    skip.name
                );
            }
            if !names.insert(&skip.name) {
                bail!("{} is listed twice", skip.name);
            }
        }
        Ok(skips)
    }

    fn lists(&self, name: &str) -> bool {
        self.list.iter().any(|skip| skip.name == name)
    }
}

/// One result and the log that tells of it.
#[derive(Clone, Debug)]
pub struct Record {
    pub suite: String,
    pub profile: String,
    /// `program.case`
    pub test: String,
    pub outcome: Outcome,
    /// It tells of the run, such as a guest that hung or code that did not build, and is no
    /// verdict of a test.
    pub of_the_run: bool,
    pub log: PathBuf,
}

impl Record {
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.suite, self.profile, self.test)
    }

    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    /// Whether it is the failure that a pattern asks for. What went wrong with the run itself, which
    /// anything could cause, has to be named in full.
    pub fn fails_as(&self, pattern: &str) -> bool {
        let name = self.name();
        self.failed() && (pattern == name || !self.of_the_run && matches(pattern, &name))
    }
}

/// Whether a name matches a pattern in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<String> = pattern.split('*').map(regex::escape).collect();
    Regex::new(&format!("^{}$", pattern.join(".*"))).is_ok_and(|regex| regex.is_match(name))
}

/// How much of a suite was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Only some profiles.
    SomeProfiles,
    /// Only some programs, each in all its profiles.
    SomePrograms,
    Whole,
}

/// All results of one run.
#[derive(Debug, Default)]
pub struct Ledger {
    records: Vec<Record>,
    suites: BTreeMap<String, Extent>,
}

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Totals {
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut totals = Totals::default();
        for record in records {
            match record.outcome {
                Outcome::Passed => totals.passed += 1,
                Outcome::Failed(_) => totals.failed += 1,
                Outcome::Skipped(_) => totals.skipped += 1,
            }
        }
        totals
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            n => write!(f, ", {n} skipped"),
        }
    }
}

/// Where results come from: a program in a guest, a package, a tool.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub suite: &'a str,
    pub profile: &'a str,
    pub program: &'a str,
    pub log: &'a Path,
}

impl Ledger {
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Adds the result of a test.
    pub fn add(&mut self, source: Source<'_>, case: &str, outcome: Outcome) {
        self.push(source, case, outcome, false);
    }

    /// Adds that something went wrong with the run itself.
    pub fn fail(&mut self, source: Source<'_>, case: &str, reason: impl Into<String>) {
        self.push(source, case, Outcome::Failed(reason.into()), true);
    }

    fn push(&mut self, source: Source<'_>, case: &str, outcome: Outcome, of_the_run: bool) {
        self.records.push(Record {
            suite: source.suite.to_owned(),
            profile: source.profile.to_owned(),
            test: format!("{}.{}", source.program, tidy(source.program, case)),
            outcome,
            of_the_run,
            log: source.log.to_owned(),
        });
    }

    /// Adds what a program reported; what is wrong with the report itself is one more failure.
    pub fn report(&mut self, source: Source<'_>, report: Report) {
        let Report { cases, mut errors } = report;
        if cases.is_empty() && errors.is_empty() {
            errors.push("no result at all".into());
        }
        for Case { name, outcome } in cases {
            self.add(source, &name, outcome);
        }
        if !errors.is_empty() {
            self.fail(source, "ktap", errors.join("; "));
        }
    }

    /// Ends a suite: one without a result is a failure.
    pub fn close_suite(&mut self, suite: &str, extent: Extent, log: &Path) {
        self.suites.insert(suite.to_owned(), extent);
        if !self.records.iter().any(|record| record.suite == suite) {
            let source = Source {
                suite,
                profile: "none",
                program: suite,
                log,
            };
            self.fail(source, "any", "the suite has no result");
        }
    }

    /// Applies the rules that look at all results together.
    pub fn judge(mut self, skips: &Skips, skips_file: &Path) -> Vec<Record> {
        self.doubles();
        let extra = self
            .never_run(skips_file)
            .into_iter()
            .chain(self.stale(skips, skips_file));
        let extra: Vec<Record> = extra.collect();
        for record in &mut self.records {
            let listed = skips.lists(&record.name());
            match &record.outcome {
                Outcome::Skipped(why) if !listed => {
                    record.outcome = Outcome::Failed(format!(
                        "skipped, but not listed in {}: {why}",
                        skips_file.display()
                    ));
                }
                Outcome::Passed if listed => {
                    record.outcome = Outcome::Failed(format!(
                        "ran, though {} lists it as skipped",
                        skips_file.display()
                    ));
                }
                _ => {}
            }
        }
        self.records.extend(extra);
        self.records
    }

    fn doubles(&mut self) {
        let mut names = BTreeSet::new();
        for record in &mut self.records {
            if !names.insert(record.name()) {
                record.outcome = Outcome::Failed("a second result of this name".into());
                record.of_the_run = true;
            }
        }
    }

    /// Tests that every profile skipped.
    fn never_run(&self, log: &Path) -> Vec<Record> {
        let mut ran: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        for record in &self.records {
            if self.suites.get(&record.suite) == Some(&Extent::SomeProfiles) {
                continue;
            }
            *ran.entry((&record.suite, &record.test)).or_default() |=
                !matches!(record.outcome, Outcome::Skipped(_));
        }
        ran.into_iter()
            .filter(|(_, ran)| !ran)
            .map(|((suite, test), _)| Record {
                suite: suite.to_owned(),
                profile: "every".into(),
                test: test.to_owned(),
                outcome: Outcome::Failed("skipped in every profile".into()),
                of_the_run: true,
                log: log.to_owned(),
            })
            .collect()
    }

    /// Listed skips of tests that do not exist.
    fn stale(&self, skips: &Skips, log: &Path) -> Vec<Record> {
        let names: BTreeSet<String> = self.records.iter().map(Record::name).collect();
        let mut stale = Vec::new();
        for skip in &skips.list {
            let mut parts = skip.name.splitn(3, '/').map(str::to_owned);
            let (Some(suite), Some(profile), Some(test)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if self.suites.get(&suite) == Some(&Extent::Whole) && !names.contains(&skip.name) {
                stale.push(Record {
                    suite,
                    profile,
                    test,
                    outcome: Outcome::Failed("listed as skipped, but there is no such test".into()),
                    of_the_run: true,
                    log: log.to_owned(),
                });
            }
        }
        stale
    }
}

/// A case's name without what the program's name says already.
pub fn tidy<'a>(program: &str, case: &'a str) -> &'a str {
    let shorter = |prefix: &str| case.strip_prefix(prefix)?.strip_prefix('.');
    shorter("global")
        .or_else(|| shorter(program))
        .filter(|name| !name.is_empty())
        .unwrap_or(case)
}

/// The failures with reason and log, by name, for the end of a run; empty without any.
pub fn failures(records: &[Record]) -> String {
    let mut text = String::new();
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| record.name());
    for record in records {
        if let Outcome::Failed(reason) = &record.outcome {
            let _ = writeln!(text, "FAILED {}", record.name());
            for line in reason.lines() {
                let _ = writeln!(text, "       {line}");
            }
            let _ = writeln!(text, "       log: {}", record.log.display());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap;

    fn source<'a>(profile: &'a str, program: &'a str) -> Source<'a> {
        Source {
            suite: "vtd",
            profile,
            program,
            log: Path::new("/log"),
        }
    }

    fn skips(names: &[&str]) -> Skips {
        let text: String = names
            .iter()
            .map(|name| format!("[[skip]]\nname = \"{name}\"\nreason = \"r\"\n"))
            .collect();
        Skips::parse(&text).unwrap()
    }

    fn judged(ledger: Ledger, listed: &[&str]) -> (Totals, Vec<String>) {
        let records = ledger.judge(&skips(listed), Path::new("skips.toml"));
        let mut failed: Vec<_> = records
            .iter()
            .filter(|r| r.failed())
            .map(Record::name)
            .collect();
        failed.sort();
        (Totals::of(&records), failed)
    }

    fn ledger(cases: &[(&str, &str, Outcome)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (profile, case, outcome) in cases {
            ledger.add(source(profile, "p"), case, outcome.clone());
        }
        ledger.close_suite("vtd", Extent::Whole, Path::new("/log"));
        ledger
    }

    fn skipped() -> Outcome {
        Outcome::Skipped("why".into())
    }

    #[test]
    fn names() {
        let ledger = ledger(&[
            ("a", "global.x", Outcome::Passed),
            ("a", "p.y", Outcome::Passed),
            ("a", "px.z", Outcome::Passed),
            ("a", "p.", Outcome::Passed),
        ]);
        let names: Vec<_> = ledger.records().iter().map(Record::name).collect();
        assert_eq!(
            names,
            ["vtd/a/p.x", "vtd/a/p.y", "vtd/a/p.px.z", "vtd/a/p.p."]
        );
    }

    #[test]
    fn counts_once_a_profile() {
        let (totals, failed) = judged(
            ledger(&[
                ("a", "x", Outcome::Passed),
                ("b", "x", Outcome::Passed),
                ("b", "y", Outcome::Failed("r".into())),
            ]),
            &[],
        );
        assert_eq!(totals.to_string(), "2 passed, 1 failed");
        assert_eq!(failed, ["vtd/b/p.y"]);
        let (totals, _) = judged(
            ledger(&[("a", "x", Outcome::Passed), ("a", "x", Outcome::Passed)]),
            &[],
        );
        assert_eq!(
            totals,
            Totals {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_pattern_asks_for_a_failure() {
        assert!(matches("a/*.c", "a/b.c") && !matches("a/*.c", "a/bxc") && !matches("a", "ab"));
        let ledger = ledger(&[
            ("a", "x", Outcome::Failed("r".into())),
            ("a", "y", Outcome::Passed),
        ]);
        let [failed, passed] = ledger.records() else {
            panic!("there are two");
        };
        assert!(failed.fails_as("vtd/a/p.x") && failed.fails_as("vtd/*/p.*"));
        assert!(!failed.fails_as("vtd/a/p.y") && !passed.fails_as("vtd/a/p.y"));
        let broken = Record {
            of_the_run: true,
            ..failed.clone()
        };
        for pattern in ["vtd/a/*", "*/*/p.x", "vtd/a/p.*"] {
            assert!(!broken.fails_as(pattern), "{pattern}");
        }
        assert!(broken.fails_as("vtd/a/p.x"));
    }

    #[test]
    fn failures_are_listed_by_name() {
        let failed = || Outcome::Failed("r".into());
        let text = failures(ledger(&[("b", "x", failed()), ("a", "x", failed())]).records());
        assert!(text.find("vtd/a/p.x") < text.find("vtd/b/p.x"), "{text}");
    }

    #[test]
    fn skips_must_be_listed() {
        let cases = [("a", "x", skipped()), ("b", "x", Outcome::Passed)];
        assert_eq!(judged(ledger(&cases), &[]).1, ["vtd/a/p.x"]);
        let (totals, failed) = judged(ledger(&cases), &["vtd/a/p.x"]);
        assert_eq!(failed, Vec::<String>::new());
        assert_eq!(totals.to_string(), "1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn listed_skips_must_be_skipped() {
        let cases = [("a", "x", Outcome::Passed)];
        assert_eq!(judged(ledger(&cases), &["vtd/a/p.x"]).1, ["vtd/a/p.x"]);
        assert_eq!(
            judged(ledger(&cases), &["vtd/a/p.gone"]).1,
            ["vtd/a/p.gone"]
        );
        assert_eq!(
            judged(ledger(&cases), &["kunit/a/p.x"]).1,
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_test_has_to_run_somewhere() {
        let cases = [("a", "x", skipped()), ("b", "x", skipped())];
        let listed = ["vtd/a/p.x", "vtd/b/p.x"];
        assert_eq!(judged(ledger(&cases), &listed).1, ["vtd/every/p.x"]);
        let mut some = ledger(&cases);
        some.close_suite("vtd", Extent::SomeProfiles, Path::new("/log"));
        assert_eq!(judged(some, &listed).1, Vec::<String>::new());
    }

    #[test]
    fn nothing_is_a_failure() {
        assert_eq!(judged(ledger(&[]), &[]).1, ["vtd/none/vtd.any"]);
        let mut silent = Ledger::default();
        silent.report(source("a", "p"), ktap::Report::default());
        assert_eq!(judged(silent, &[]).1, ["vtd/a/p.ktap"]);
    }

    #[test]
    fn an_incomplete_program_fails_beside_its_results() {
        let mut ledger = Ledger::default();
        ledger.report(
            source("a", "p"),
            ktap::parse(["TAP version 13", "1..2", "ok 1 x"]),
        );
        let (totals, failed) = judged(ledger, &[]);
        assert_eq!(
            totals,
            Totals {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
        assert_eq!(failed, ["vtd/a/p.ktap"]);
    }

    #[test]
    fn the_list_of_skips_is_checked() {
        assert!(Skips::parse("[[skip]]\nname = \"a/b/c.d\"\n").is_err());
        assert!(Skips::parse("[[skip]]\nname = \"a/b/c.d\"\nreason = \" \"\n").is_err());
        assert!(Skips::parse("[[skip]]\nname = \"a/c.d\"\nreason = \"r\"\n").is_err());
        let twice = "[[skip]]\nname = \"a/b/c.d\"\nreason = \"r\"\n".repeat(2);
        assert!(Skips::parse(&twice).is_err());
        assert!(Skips::parse("").is_ok());
    }

    #[test]
    fn failures_tell_reason_and_log() {
        let text = failures(ledger(&[("a", "x", Outcome::Failed("one\ntwo".into()))]).records());
        assert_eq!(
            text,
            "FAILED vtd/a/p.x\n       one\n       two\n       log: /log\n"
        );
    }
}
