// SPDX-License-Identifier: GPL-2.0
//! A strict reader of KTAP, as kselftest_harness and KUnit print it.
//!
//! Lines that are not KTAP are other people's output and mean nothing. What is KTAP has to be
//! complete: each level announces itself and its plan, and delivers every result in order.

use std::collections::HashSet;

/// How one test case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// One leaf of the result tree, named by its path: `suite.case.parameter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub outcome: Outcome,
}

/// What a KTAP stream held. An error means that the stream itself cannot be believed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub cases: Vec<Case>,
    pub errors: Vec<String>,
}

/// One KTAP statement, its indentation removed.
#[derive(Debug, PartialEq, Eq)]
enum Statement<'a> {
    Version,
    Plan {
        count: usize,
        skip: Option<&'a str>,
    },
    Result {
        ok: bool,
        number: usize,
        rest: &'a str,
    },
    BailOut(&'a str),
    Diagnostic(&'a str),
}

/// One level of nesting while it is being read.
struct Level {
    indent: usize,
    /// What it says that it is called.
    title: Option<String>,
    plan: Option<usize>,
    cases: Vec<Case>,
    /// The test that said that it begins, until its result.
    running: Option<String>,
    names: HashSet<String>,
    results: usize,
    /// The last diagnostics, which are the reason if the next result is a failure.
    notes: Vec<String>,
    /// Everything the finished level below told, until the result that it belongs to.
    below: Option<Below>,
}

const NOTES_KEPT: usize = 8;

/// What announces the name of a level.
const TITLE: &str = "Subtest: ";

/// What announces a test.
const RUN: &str = "RUN ";

#[derive(Default)]
struct Below {
    title: Option<String>,
    cases: Vec<Case>,
}

impl Below {
    /// The cases under the name of their level.
    fn named(self, name: &str) -> impl Iterator<Item = Case> + use<'_> {
        self.cases.into_iter().map(move |case| Case {
            name: format!("{name}.{}", case.name),
            ..case
        })
    }
}

impl Level {
    fn new(indent: usize) -> Self {
        Level {
            indent,
            title: None,
            plan: None,
            cases: Vec::new(),
            running: None,
            names: HashSet::new(),
            results: 0,
            notes: Vec::new(),
            below: None,
        }
    }
}

/// Reads a whole stream.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Report {
    let mut parser = Parser::default();
    for line in lines {
        parser.line(line.trim_end());
    }
    parser.finish()
}

#[derive(Default)]
struct Parser {
    levels: Vec<Level>,
    closed: bool,
    report: Report,
}

impl Parser {
    fn error(&mut self, text: impl Into<String>) {
        self.report.errors.push(text.into());
    }

    fn line(&mut self, line: &str) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        match statement(text) {
            None => {}
            Some(Statement::Diagnostic(note)) => {
                if let Some(level) = self.levels.last_mut() {
                    if let Some(title) = note.strip_prefix(TITLE) {
                        level.title.get_or_insert_with(|| title.to_owned());
                    }
                    if let Some(test) = note.strip_prefix(RUN) {
                        level.running = Some(test.trim_end_matches("...").trim().to_owned());
                    }
                    if level.notes.len() == NOTES_KEPT {
                        level.notes.remove(0);
                    }
                    level.notes.push(note.to_owned());
                }
            }
            Some(Statement::BailOut(reason)) => self.error(format!("bailed out: {reason}")),
            Some(Statement::Version) => self.version(indent),
            Some(Statement::Plan { count, skip }) => self.plan(indent, count, skip),
            Some(Statement::Result { ok, number, rest }) => self.result(indent, ok, number, rest),
        }
    }

    /// A version line opens a level.
    fn version(&mut self, indent: usize) {
        while self.levels.len() > 1 && self.levels.last().is_some_and(|l| l.indent > indent) {
            self.close_level();
        }
        match self.levels.last() {
            None if self.closed => self.error("a second version line: the program started twice"),
            Some(level) if level.indent >= indent => {
                self.error("a second version line at the same level: the program started twice")
            }
            Some(level) if level.below.is_some() => {
                self.error("a subtest ended without a result line of its own");
                self.levels.push(Level::new(indent));
            }
            _ => self.levels.push(Level::new(indent)),
        }
    }

    /// Makes the level of `indent` the current one, if there is such a level.
    fn settle(&mut self, indent: usize) -> bool {
        if !self.levels.iter().any(|level| level.indent == indent) {
            return false;
        }
        while self.levels.last().is_some_and(|l| l.indent > indent) {
            self.close_level();
        }
        true
    }

    fn plan(&mut self, indent: usize, count: usize, skip: Option<&str>) {
        if self.levels.is_empty() && !self.closed {
            // ksft_exit_skip() prints a plan of nothing and no version line.
            if skip.is_none() {
                self.error("a plan without a version line before it");
            }
            self.levels.push(Level::new(indent));
        }
        if !self.settle(indent) {
            return self.error(format!(
                "a plan (1..{count}) at a level that was never opened"
            ));
        }
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        if level.plan.is_some() {
            return self.error("a second plan at the same level");
        }
        level.plan = Some(count);
        match (count, skip) {
            (0, Some(reason)) => level.cases.push(Case {
                name: "all".into(),
                outcome: Outcome::Skipped(reason.to_owned()),
            }),
            (0, None) => self.error("the plan is empty: no test ran"),
            _ => {}
        }
    }

    fn result(&mut self, indent: usize, ok: bool, number: usize, rest: &str) {
        let (name, directive) = describe(number, rest);
        if !self.settle(indent) {
            return self.error(format!(
                "result \"{name}\" at a level that was never opened"
            ));
        }
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        level.results += 1;
        level.running = None;
        let mut errors = Vec::new();
        if number != level.results {
            errors.push(format!(
                "result \"{name}\" has number {number} where {} was due: results are missing, doubled or mixed up",
                level.results
            ));
        }
        if level.plan.is_none() {
            errors.push(format!("result \"{name}\" before any plan"));
        }
        if !level.names.insert(name.clone()) {
            errors.push(format!("two results have the name \"{name}\""));
        }
        let notes = std::mem::take(&mut level.notes);
        let below = level.below.take().unwrap_or_default();
        let outcome = outcome(ok, directive, &notes);
        let failed_below = below
            .cases
            .iter()
            .any(|case| matches!(case.outcome, Outcome::Failed(_)));
        let told = !below.cases.is_empty();
        level.cases.extend(below.named(&name));
        // A level above its cases adds nothing, unless it contradicts them.
        match &outcome {
            Outcome::Failed(_) if failed_below => {}
            Outcome::Passed if failed_below => {
                errors.push(format!("\"{name}\" says ok above a failed case"));
            }
            Outcome::Passed if told => {}
            Outcome::Skipped(_) if told => {}
            _ => level.cases.push(Case { name, outcome }),
        }
        self.report.errors.append(&mut errors);
    }

    /// Ends the innermost level and hands what it told to the one above.
    fn close_level(&mut self) {
        let Some(mut level) = self.levels.pop() else {
            return;
        };
        if let Some(orphans) = level.below.take() {
            self.error("a subtest ended without a result line of its own");
            match orphans.title.clone() {
                Some(title) => level.cases.extend(orphans.named(&title)),
                None => level.cases.extend(orphans.cases),
            }
        }
        if let Some(name) = level.running.take() {
            let outcome = failed("it did not end".into(), &level.notes);
            level.cases.push(Case { name, outcome });
        }
        match level.plan {
            None => self.error("no plan: the program ended early"),
            Some(plan) if plan != level.results => self.error(format!(
                "{} of {plan} planned results: {}",
                level.results,
                if level.results < plan {
                    "the program ended early"
                } else {
                    "more ran than were planned"
                }
            )),
            Some(_) => {}
        }
        match self.levels.last_mut() {
            Some(above) => {
                above.below = Some(Below {
                    title: level.title,
                    cases: level.cases,
                })
            }
            None => {
                self.closed = true;
                self.report.cases.extend(level.cases);
            }
        }
    }

    fn finish(mut self) -> Report {
        if self.levels.is_empty() && !self.closed && self.report.errors.is_empty() {
            self.error("no KTAP output at all");
        }
        while !self.levels.is_empty() {
            self.close_level();
        }
        self.report
    }
}

/// Reads one line, its indentation gone. `None`: not KTAP.
fn statement(text: &str) -> Option<Statement<'_>> {
    if let Some(note) = text.strip_prefix('#') {
        return Some(Statement::Diagnostic(note.trim()));
    }
    if let Some(reason) = text.strip_prefix("Bail out!") {
        return Some(Statement::BailOut(reason.trim()));
    }
    if text.starts_with("KTAP version ") || text.starts_with("TAP version ") {
        return Some(Statement::Version);
    }
    if let Some(rest) = text.strip_prefix("1..") {
        let (count, rest) = number(rest)?;
        let skip = describe(0, rest)
            .1
            .filter(|(word, _)| *word == "SKIP")
            .map(|(_, why)| why);
        return Some(Statement::Plan { count, skip });
    }
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    let (number, rest) = number(rest.strip_prefix(' ')?)?;
    Some(Statement::Result { ok, number, rest })
}

/// Splits a decimal number off the front; it must be a word of its own.
fn number(text: &str) -> Option<(usize, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

/// Splits name and directive of a result line. kselftest's plain helpers put the name of a
/// skipped test behind the directive.
fn describe(number: usize, rest: &str) -> (String, Option<(&str, &str)>) {
    let rest = rest.trim();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, found) = if rest.starts_with('#') {
        (
            "",
            rest.strip_prefix('#')
                .map(str::trim_start)
                .unwrap_or_default(),
        )
    } else {
        match rest.split_once(" #") {
            Some((name, found)) => (name.trim(), found.trim_start()),
            None => (rest, ""),
        }
    };
    let found = (!found.is_empty()).then(|| {
        found
            .split_once(' ')
            .map_or((found, ""), |(word, why)| (word, why.trim()))
    });
    let name = match (name, found) {
        ("", Some((_, reason))) if !reason.is_empty() => reason.to_owned(),
        ("", _) => number.to_string(),
        (name, _) => name.to_owned(),
    };
    (name, found)
}

fn outcome(ok: bool, directive: Option<(&str, &str)>, notes: &[String]) -> Outcome {
    let because = |text: String| failed(text, notes);
    let (word, reason) = directive.unwrap_or_default();
    match (word.to_ascii_uppercase().as_str(), ok) {
        ("SKIP", true) => Outcome::Skipped(reason.to_owned()),
        ("SKIP", false) => because(format!("not ok, though skipped: {reason}")),
        (known @ ("XFAIL" | "XPASS" | "TODO" | "TIMEOUT" | "ERROR"), _) => {
            because(format!("marked {known}, which counts as failed: {reason}"))
        }
        (_, true) => Outcome::Passed,
        (_, false) => because(String::new()),
    }
}

/// A failure for that reason, if there is one, and for what the diagnostics say.
fn failed(text: String, notes: &[String]) -> Outcome {
    let mut lines = vec![text];
    lines.extend(notes.iter().filter(|note| telling(note)).cloned());
    lines.retain(|line| !line.is_empty());
    Outcome::Failed(if lines.is_empty() {
        "not ok".into()
    } else {
        lines.join("; ")
    })
}

/// Whether a diagnostic says more than that a test starts or ended.
fn telling(note: &str) -> bool {
    !(note.is_empty()
        || note.starts_with(RUN)
        || note.starts_with("OK ")
        || note.starts_with("FAIL ")
        || note.starts_with("Starting ")
        || note.starts_with(TITLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Report {
        parse(text.lines())
    }

    fn case(name: &str, outcome: Outcome) -> Case {
        Case {
            name: name.into(),
            outcome,
        }
    }

    fn passed(name: &str) -> Case {
        case(name, Outcome::Passed)
    }

    fn sole_error(text: &str) -> String {
        let errors = read(text).errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.into_iter().next().unwrap()
    }

    #[test]
    fn harness_output() {
        let report = read(
            "TAP version 13\r\n1..3\r\n# Starting 3 tests from 1 test cases.\r\n\
             #  RUN           ioasid.alloc ...\r\n#            OK  ioasid.alloc\r\nok 1 ioasid.alloc\r\n\
             # ioasid.c:10:find:Expected 1 (1) == 2 (2)\r\n#          FAIL  ioasid.find\r\nnot ok 2 ioasid.find\r\n\
             ok 3 ioasid.sva # SKIP no PASIDs\r\n# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0\r\n",
        );
        assert_eq!(report.errors, Vec::<String>::new());
        assert_eq!(
            report.cases,
            [
                passed("ioasid.alloc"),
                case(
                    "ioasid.find",
                    Outcome::Failed("ioasid.c:10:find:Expected 1 (1) == 2 (2)".into())
                ),
                case("ioasid.sva", Outcome::Skipped("no PASIDs".into())),
            ]
        );
    }

    #[test]
    fn kunit_output() {
        let report = read(
            "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: one\n    # module: x\n    1..2\n\
             \x20   ok 1 a\n        KTAP version 1\n        # Subtest: b\n        1..2\n        ok 1 p0\n\
             \x20       not ok 2 p1\n    not ok 2 b\n# one: pass:1 fail:1 skip:0 total:2\nnot ok 1 one\n\
             \x20   KTAP version 1\n    # Subtest: two\n    1..1\n    ok 1 c # SKIP why\nok 2 two # SKIP\n",
        );
        assert_eq!(report.errors, Vec::<String>::new());
        assert_eq!(
            report.cases,
            [
                passed("one.a"),
                passed("one.b.p0"),
                case("one.b.p1", Outcome::Failed("not ok".into())),
                case("two.c", Outcome::Skipped("why".into())),
            ]
        );
    }

    /// The kernel went down in the second test of a suite, or in the one after it.
    #[test]
    fn cases_of_a_subtest_without_end_have_its_name() {
        let report = read(
            "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: one\n    1..3\n    ok 1 a\n\
             \x20   not ok 2 b\n",
        );
        let failed = case("one.b", Outcome::Failed("not ok".into()));
        assert_eq!(report.cases, [passed("one.a"), failed]);
        assert!(!report.errors.is_empty());
    }

    #[test]
    fn a_test_without_result_failed() {
        let report = read(
            "TAP version 13\n1..3\n#  RUN           p.a ...\n#            OK  p.a\nok 1 p.a\n\
             #  RUN           p.b ...\n# p.c:7:b:Expected 1 (1) == 2 (2)\n",
        );
        let reason = "it did not end; p.c:7:b:Expected 1 (1) == 2 (2)";
        let failed = case("p.b", Outcome::Failed(reason.into()));
        assert_eq!(report.cases, [passed("p.a"), failed]);
        assert!(!report.errors.is_empty());
    }

    #[test]
    fn foreign_lines_mean_nothing() {
        let report = read(
            "hello\nTAP version 13\n1..1\nok then\nok 1x\nnot okay\n1..\nok 1 a\n[ 1.0] ok 1 b\n",
        );
        assert_eq!(
            report,
            Report {
                cases: vec![passed("a")],
                errors: vec![]
            }
        );
    }

    #[test]
    fn incomplete_streams_are_errors() {
        assert!(sole_error("").contains("no KTAP"));
        assert!(sole_error("hello\n").contains("no KTAP"));
        assert!(sole_error("TAP version 13\n").contains("no plan"));
        assert!(sole_error("TAP version 13\n1..2\nok 1 a\n").contains("1 of 2"));
        assert!(sole_error("TAP version 13\n1..1\nok 1 a\nok 2 b\n").contains("more ran"));
        assert!(sole_error("TAP version 13\n1..0\n").contains("empty"));
        assert!(sole_error("TAP version 13\n1..1\n1..1\nok 1 a\n").contains("second plan"));
        assert!(sole_error("TAP version 13\n1..1\nok 1 a\nBail out! ENOMEM\n").contains("ENOMEM"));
        assert!(sole_error("1..1\nok 1 a\n").contains("version line"));
        assert!(sole_error("TAP version 13\n1..1\nTAP version 13\nok 1 a\n").contains("twice"));
    }

    #[test]
    fn results_out_of_order_are_errors() {
        assert!(sole_error("TAP version 13\n1..2\nok 1 a\nok 1 b\n").contains("number 1"));
        assert!(sole_error("TAP version 13\n1..2\nok 1 a\nok 2 a\n").contains("two results"));
        let report = read("TAP version 13\nok 1 a\n1..1\n");
        assert!(
            report.errors.iter().any(|e| e.contains("before any plan")),
            "{report:?}"
        );
        assert!(!read("ok 1 a\n").errors.is_empty());
    }

    #[test]
    fn nesting_must_be_announced_and_closed() {
        let head = "KTAP version 1\n1..1\n";
        assert!(sole_error(&format!("{head}    ok 1 a\nok 1 s\n")).contains("never opened"));
        let open = format!("{head}    KTAP version 1\n    1..1\n    ok 1 a\n");
        let report = read(&open);
        assert_eq!(report.errors.len(), 2, "{report:?}");
        assert_eq!(report.cases, [passed("a")]);
        assert!(sole_error(&format!("{open}not ok 1 s\nok 2 t")).contains("more ran"));
        assert!(sole_error(&format!(
            "{head}    KTAP version 1\n    1..2\n    ok 1 a\nok 1 s\n"
        ))
        .contains("1 of 2"));
    }

    #[test]
    fn levels_may_not_contradict_each_other() {
        let below = "KTAP version 1\n1..1\n    KTAP version 1\n    1..1\n";
        assert!(sole_error(&format!("{below}    not ok 1 a\nok 1 s\n")).contains("above a failed"));
        let report = read(&format!("{below}    ok 1 a\nnot ok 1 s\n"));
        assert_eq!(
            report.cases,
            [passed("s.a"), case("s", Outcome::Failed("not ok".into()))]
        );
    }

    #[test]
    fn directives() {
        let outcome_of = |line: &str| {
            let report = read(&format!("TAP version 13\n1..1\n{line}\n"));
            assert_eq!(report.errors, Vec::<String>::new(), "{line}");
            report.cases.into_iter().next().unwrap()
        };
        for line in [
            "ok 1 a # XFAIL known",
            "ok 1 a # XPASS",
            "not ok 1 a # TODO later",
            "ok 1 a # TODO later",
            "ok 1 a # TIMEOUT",
            "not ok 1 a # SKIP broken",
            "not ok 1 a",
            "not ok 1 - a # error oops",
        ] {
            let Case { name, outcome } = outcome_of(line);
            assert_eq!(name, "a", "{line}");
            assert!(matches!(outcome, Outcome::Failed(_)), "{line}: {outcome:?}");
        }
        assert_eq!(outcome_of("ok 1 a #  said something"), passed("a"));
        assert_eq!(outcome_of("ok 1 - a"), passed("a"));
        assert_eq!(outcome_of("ok 1"), passed("1"));
        assert_eq!(
            outcome_of("ok 1 # SKIP no device"),
            case("no device", Outcome::Skipped("no device".into()))
        );
        assert_eq!(
            outcome_of("ok 1 a # skip x"),
            case("a", Outcome::Skipped("x".into()))
        );
    }

    #[test]
    fn a_program_may_skip_as_a_whole() {
        for text in [
            "1..0 # SKIP no iommufd\n",
            "TAP version 13\n1..0 # SKIP no iommufd\n",
        ] {
            let report = read(text);
            assert_eq!(report.errors, Vec::<String>::new());
            assert_eq!(
                report.cases,
                [case("all", Outcome::Skipped("no iommufd".into()))]
            );
        }
    }

    #[test]
    fn hostile_numbers_do_no_harm() {
        let report = read("TAP version 13\n1..99999999999999999999\nok 18446744073709551616 a\n");
        assert!(!report.errors.is_empty());
        let report = read("TAP version 13\n1..18446744073709551615\nok 18446744073709551615 a\n");
        assert_eq!(report.errors.len(), 2, "{report:?}");
    }
}
