// SPDX-License-Identifier: GPL-2.0
//! Our kselftests on emulated VT-d: one guest a profile, which runs all programs that name it.

use super::{account, selected, split, texts, Selection, Text};
use crate::kernel::Flavour;
use crate::ktap;
use crate::lab::{Guest, Lab};
use crate::results::{Ledger, Source};
use anyhow::{bail, Result};
use std::cmp::Reverse;
use std::path::Path;

const SUITE: &str = "vtd";

/// Where the programs are.
pub const FOLDER: &str = "tools/testing/selftests/iommu";

/// A kselftest and the profiles that the head of its source names.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    profiles: Vec<String>,
}

/// Reads the line ` * profiles: A B` of a source. `none` alone stands for a program that is no
/// test.
fn profiles(source: &str) -> Option<Vec<String>> {
    let list = source
        .lines()
        .find_map(|line| line.trim().strip_prefix("* profiles:"))?;
    let names: Vec<&str> = list.split_whitespace().collect();
    match names[..] {
        [] => None,
        ["none"] => Some(Vec::new()),
        _ => Some(names.into_iter().map(str::to_owned).collect()),
    }
}

fn programs(folder: &Path, known: &[&str]) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for Text { name, path, text } in texts(folder, "c")? {
        let Some(profiles) = profiles(&text) else {
            bail!(
                "{} does not name the profiles that it runs in. Its head comment needs a line \
                 \" * profiles: NAME ...\" (or \"none\", if it is no test).",
                path.display()
            );
        };
        if let Some(unknown) = profiles.iter().find(|name| !known.contains(&name.as_str())) {
            bail!(
                "{} names the profile {unknown}, which scripts/guests.toml lacks.",
                path.display()
            );
        }
        found.push(Program { name, profiles });
    }
    Ok(found)
}

pub fn run(lab: &mut Lab, ledger: &mut Ledger, selection: &Selection) -> Result<()> {
    let known: Vec<String> = lab
        .profiles
        .names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let all = programs(&lab.ctx.repo.join(FOLDER), &known)?;
    let mut guests = Vec::new();
    for profile in known
        .iter()
        .filter(|profile| selected(&selection.profiles, profile))
    {
        let programs: Vec<String> = all
            .iter()
            .filter(|program| program.profiles.iter().any(|name| name == profile))
            .filter(|program| selected(&selection.programs, &program.name))
            .map(|program| program.name.clone())
            .collect();
        if programs.is_empty() {
            continue;
        }
        let long = if lab.ctx.options.long {
            "ext.long=1"
        } else {
            ""
        };
        guests.push(Guest {
            flavour: selection.kernel.unwrap_or(Flavour::Debug),
            profile: profile.to_string(),
            name: SUITE.into(),
            programs,
            append: long.into(),
        });
    }
    // The longest first, so that none is alone at the end.
    guests.sort_by_key(|guest| Reverse(guest.programs.len()));
    let ctx = lab.ctx;
    lab.run_all(
        &guests,
        |guest, tests| settled(selection, &guest.profile, tests),
        |Guest {
             profile, programs, ..
         },
         record| {
            account(
                ctx,
                ledger,
                SUITE,
                profile,
                programs,
                &record,
                Ledger::report,
            )
        },
    )
}

/// Whether what a guest's programs have printed is all that it is run for. Whether the report itself
/// is in order is seen at its end only.
fn settled(selection: &Selection, profile: &str, tests: &[String]) -> bool {
    let lines: Vec<&str> = tests.iter().map(String::as_str).collect();
    let mut ledger = Ledger::default();
    for run in split(&lines).0 {
        let source = Source {
            suite: SUITE,
            profile,
            program: run.name,
            log: Path::new(""),
        };
        for case in ktap::parse(run.lines).cases {
            ledger.add(source, &case.name, case.outcome);
        }
    }
    selection.is_settled(SUITE, profile, ledger.records())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn profiles_of_a_source() {
        let head = |line: &str| profiles(&format!("// SPDX\n/*\n * A test\n{line}\n */\nint x;\n"));
        assert_eq!(head(" * profiles: a b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(head(" * profiles: none"), Some(vec![]));
        assert_eq!(head(" * nothing"), None);
        assert_eq!(head(" * profiles:"), None);
        assert_eq!(head(" * profiles: \t"), None);
    }

    #[test]
    fn enough_is_a_failure_for_each_pattern_about_the_guest() {
        let tests = [
            "# program p begin",
            "TAP version 13",
            "1..3",
            "ok 1 global.a",
            "not ok 2 f.b",
        ]
        .map(str::to_owned);
        let settled = |patterns: &[&str]| {
            let selection = Selection {
                until: patterns.iter().map(|p| p.to_string()).collect(),
                ..Default::default()
            };
            super::settled(&selection, "ats", &tests)
        };
        assert!(settled(&["vtd/ats/p.*b"]));
        assert!(settled(&["vtd/*/p.f.b", "host/logic/x.y", "vtd/lazy/p.a"]));
        assert!(!settled(&["vtd/ats/p.*b", "vtd/*/p.a"]));
        assert!(!settled(&["vtd/ats/p.*b", "vtd/ats/guest.console"]));
        assert!(!settled(&["vtd/ats/p.ktap"]));
        assert!(!settled(&["vtd/lazy/p.*b"]));
        assert!(!settled(&[]));
    }

    #[test]
    fn every_source_must_name_its_profiles() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.c"), " * profiles: p q\n").unwrap();
        fs::write(dir.path().join("a.c"), " * profiles: none\n").unwrap();
        fs::write(dir.path().join("a.h"), "\n").unwrap();
        let found = programs(dir.path(), &["p", "q"]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[1],
            Program {
                name: "b".into(),
                profiles: vec!["p".into(), "q".into()]
            }
        );
        assert!(programs(dir.path(), &["p"])
            .unwrap_err()
            .to_string()
            .contains("profile q"));
        for bad in ["int x;\n", " * profiles:\n", " * profiles: p none\n"] {
            fs::write(dir.path().join("c.c"), bad).unwrap();
            let error = programs(dir.path(), &["p", "q"]).unwrap_err().to_string();
            assert!(error.contains("c.c"), "{error}");
        }
    }
}
