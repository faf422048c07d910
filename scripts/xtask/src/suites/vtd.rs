// SPDX-License-Identifier: GPL-2.0
//! Our kselftests on emulated VT-d: one guest a profile, which runs all programs that name it.

use super::{account, selected, texts, Selection, Text};
use crate::kernel::Flavour;
use crate::lab::Lab;
use crate::results::Ledger;
use anyhow::{bail, Result};
use std::path::Path;

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

/// Whether a program is a capability's: `dma_owner` has dma_owner and dma_owner_vfio.
fn belongs(program: &str, capability: &str) -> bool {
    program
        .strip_prefix(capability)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
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
    for profile in known
        .iter()
        .filter(|profile| selected(&selection.profiles, profile))
    {
        let names: Vec<&str> = all
            .iter()
            .filter(|program| program.profiles.iter().any(|name| name == profile))
            .map(|program| program.name.as_str())
            .filter(|name| {
                selection
                    .programs
                    .as_ref()
                    .is_none_or(|list| list.iter().any(|item| belongs(name, item)))
            })
            .collect();
        if names.is_empty() {
            continue;
        }
        let long = if lab.ctx.options.long {
            " ext.long=1"
        } else {
            ""
        };
        let append = format!("ext.run={}{long}", names.join(","));
        let guest = lab.run(Flavour::Debug, profile, "vtd", &append, |_, _| {})?;
        account(
            lab,
            ledger,
            "vtd",
            profile,
            &names,
            &guest,
            |ledger, source, report| ledger.report(source, report),
        );
    }
    Ok(())
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
    fn a_capability_may_have_several_programs() {
        assert!(belongs("dma_owner", "dma_owner"));
        assert!(belongs("dma_owner_vfio", "dma_owner"));
        assert!(!belongs("dma_ownership", "dma_owner"));
        assert!(!belongs("ioasid", "dma_owner"));
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
