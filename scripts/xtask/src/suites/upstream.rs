// SPDX-License-Identifier: GPL-2.0
//! Upstream's own selftests of iommufd and VFIO, on the kernel as released, the patched one with
//! the series off, and the patched one: the last two must pass what the first one passes. The lists
//! of that are checked in, so that a test cannot vanish from all three. With the series off,
//! moreover, all objects are the kernel's as released; with it on, the C that it replaces is in
//! none, and a tracepoint says that the domains they ask for came from ours. The kernel with the
//! series on also has to tell what `make run` shows.

use super::{account, check, Selection};
use crate::ctx::Ctx;
use crate::kernel::Flavour;
use crate::ktap::{Case, Outcome, Report};
use crate::lab::{Guest, Lab};
use crate::objects;
use crate::results::{Ledger, Source};
use crate::selftests::UPSTREAM;
use crate::story;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

const PROFILE: &str = "first-stage";

/// The tests map huge pages: 2 MiB each, 128 MiB in the largest. Those of VFIO get the first
/// PASID test device.
const APPEND: &str = "ext.hugepages=256 ext.vfio=0x1234:0x5041";

/// The kernel with the series on.
const OURS: Flavour = Flavour::Lean;

/// What the programs cause on it, and how a guest is told to count it.
const EVENT: &str = "iommu_ext/iommu_domain_alloc_user";

/// Functions and data of upstream's, and the object that defines them only with the series off.
const REPLACED: [(&str, &[&str]); 3] = [
    (
        "drivers/iommu/iommu.o",
        &[
            "iommu_alloc_global_pasid",
            "iommu_device_claim_dma_owner",
            "iommu_device_release_dma_owner",
            "iommu_device_unuse_default_domain",
            "iommu_device_use_default_domain",
            "iommu_free_global_pasid",
            "iommu_global_pasid_ida",
            "iommu_group_claim_dma_owner",
            "iommu_group_dma_owner_claimed",
            "iommu_group_release_dma_owner",
        ],
    ),
    (
        "drivers/iommu/intel/iommu.o",
        &["intel_iommu_domain_alloc_paging_flags"],
    ),
    (
        "drivers/iommu/iommufd/selftest.o",
        &["mock_domain_alloc_nested", "mock_domain_alloc_paging_flags"],
    ),
];

pub fn run(lab: &mut Lab, ledger: &mut Ledger, selection: &Selection) -> Result<()> {
    for part in [same_objects, replaced_objects, story] {
        part(lab, ledger)?;
        if selection.is_suite_settled("upstream", ledger.records()) {
            return Ok(());
        }
    }
    let programs: Vec<String> = UPSTREAM
        .iter()
        .flat_map(|upstream| upstream.programs)
        .map(|program| format!("upstream/{program}"))
        .collect();
    let mut guests = Vec::new();
    for flavour in [Flavour::Pristine, Flavour::Off, Flavour::Lean] {
        let trace = match flavour {
            OURS => format!(" ext.trace={EVENT}"),
            _ => String::new(),
        };
        guests.push(Guest {
            flavour,
            profile: PROFILE.into(),
            name: format!("upstream-{}", flavour.name()),
            programs: programs.clone(),
            append: format!("{APPEND}{trace}"),
        });
    }
    let series = lab.system(OURS)?.kernel.series;
    let lists = UPSTREAM
        .iter()
        .map(|upstream| read(lab.ctx, upstream.list, &series))
        .collect::<Result<Vec<_>>>()?;
    let list: BTreeSet<&str> = lists.iter().flat_map(|list| names(list)).collect();
    let ctx = lab.ctx;
    lab.run_all(
        &guests,
        |_, _| false,
        |Guest {
             flavour, programs, ..
         },
         record| {
            let (suite, profile) = ("upstream", flavour.name());
            account(
                ctx,
                ledger,
                suite,
                profile,
                programs,
                &record,
                |ledger, source, report| compare(ledger, source, report, &list),
            );
            for program in programs.iter().filter(|_| *flavour == OURS) {
                let source = Source {
                    suite,
                    profile,
                    program: program.rsplit('/').next().unwrap_or(program),
                    log: &record.tests_log,
                };
                let served = match traced(&record.tests, program) {
                    Some(count) if count > 0 => Outcome::Passed,
                    count => Outcome::Failed(format!("{EVENT} was seen {count:?} times")),
                };
                ledger.add(source, "served_by_domain_alloc_user", served);
            }
        },
    )
}

/// A list of what a kernel passes as released.
fn read(ctx: &Ctx, name: &str, series: &str) -> Result<String> {
    let path = ctx
        .repo
        .join(format!("scripts/upstream/{name}-{series}.txt"));
    fs::read_to_string(&path).with_context(|| {
        format!(
            "There is no list of the tests that Linux {series} passes, {}. Run upstream's {name} \
             selftests on that kernel unpatched and check in the names that pass.",
            path.display()
        )
    })
}

/// With the series off, what is compiled from the kernel's C files is what it would be without it.
fn same_objects(lab: &mut Lab, ledger: &mut Ledger) -> Result<()> {
    let pristine = lab.system(Flavour::Pristine)?.kernel;
    let off = lab.system(Flavour::Off)?.kernel;
    let (compared, found) = objects::differences(&pristine.tree, &pristine.build, &off.build)?;
    let source = Source {
        suite: "upstream",
        profile: Flavour::Off.name(),
        program: "objects",
        log: &off.build,
    };
    let result = match found.as_slice() {
        [] if compared > 0 => Ok(()),
        [] => Err("there was nothing to compare".into()),
        found => Err(found.join("\n")),
    };
    check(ledger, source, "as_released", result);
    Ok(())
}

/// With the series on, what it replaces is not compiled beside it.
fn replaced_objects(lab: &mut Lab, ledger: &mut Ledger) -> Result<()> {
    let off = lab.system(Flavour::Off)?.kernel.build;
    let on = lab.system(OURS)?.kernel.build;
    let mut faults = Vec::new();
    for (object, names) in REPLACED {
        let without = objects::defined(&off.join(object))?;
        let with = objects::defined(&on.join(object))?;
        let told =
            names.iter().filter_map(
                |name| match (without.contains(*name), with.contains(*name)) {
                    (true, false) => None,
                    (true, true) => Some(format!("{object}: {name} is still there")),
                    (false, _) => {
                        Some(format!("{object}: {name} is not there with the series off"))
                    }
                },
            );
        faults.extend(told);
    }
    let source = Source {
        suite: "upstream",
        profile: OURS.name(),
        program: "objects",
        log: &on,
    };
    let result = if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    };
    check(ledger, source, "replaced", result);
    Ok(())
}

/// What `make run` shows is there and true.
fn story(lab: &mut Lab, ledger: &mut Ledger) -> Result<()> {
    let (guest, told) = story::test(lab)?;
    let source = Source {
        suite: "upstream",
        profile: OURS.name(),
        program: "ext_story",
        log: &guest.tests_log,
    };
    check(ledger, source, "told", told);
    Ok(())
}

/// How often the guest saw a program cause the event.
fn traced(lines: &[String], program: &str) -> Option<u64> {
    let prefix = format!("# program {program} traced ");
    lines
        .iter()
        .find_map(|line| line.trim().strip_prefix(&prefix)?.parse().ok())
}

/// The names in a list, one a line, `#` for comments.
fn names(list: &str) -> BTreeSet<&str> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Adds one result for each listed test of a program. What is not listed is not compared, but may
/// not pass either: then the list is out of date.
fn compare(ledger: &mut Ledger, source: Source, report: Report, list: &BTreeSet<&str>) {
    let mut missing: BTreeSet<&str> = list
        .iter()
        .filter_map(|name| name.strip_prefix(source.program)?.strip_prefix('.'))
        .collect();
    if missing.is_empty() {
        ledger.fail(source, "list", "no test of this program is listed");
    }
    for Case { name, outcome } in report.cases {
        let name = crate::results::tidy(source.program, &name);
        let outcome = match (missing.remove(name), outcome) {
            (true, Outcome::Skipped(why)) => Outcome::Failed(format!(
                "skipped, though the unpatched kernel passes it: {why}"
            )),
            (true, outcome) => outcome,
            (false, Outcome::Passed) => Outcome::Failed(
                "passes, but is not listed as passing on the unpatched kernel".into(),
            ),
            (false, _) => continue,
        };
        ledger.add(source, name, outcome);
    }
    for name in missing {
        ledger.fail(
            source,
            name,
            "did not run, though the unpatched kernel passes it",
        );
    }
    if !report.errors.is_empty() {
        ledger.fail(source, "ktap", report.errors.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap;
    use std::path::Path;

    fn outcomes(list: &str, lines: &str) -> Vec<(String, bool)> {
        let mut ledger = Ledger::default();
        let source = Source {
            suite: "upstream",
            profile: "lean",
            program: "p",
            log: Path::new("/log"),
        };
        compare(
            &mut ledger,
            source,
            ktap::parse(lines.lines()),
            &names(list),
        );
        ledger
            .records()
            .iter()
            .map(|r| (r.test.clone(), !r.failed()))
            .collect()
    }

    #[test]
    fn listed_names_must_pass() {
        let list = "# comment\np.a\np.b\n\np.c\nq.d\n";
        let lines = "TAP version 13\n1..3\nok 1 global.a\nok 2 p.b # SKIP no\nnot ok 3 x\n";
        assert_eq!(
            outcomes(list, lines),
            [
                ("p.a".into(), true),
                ("p.b".into(), false),
                ("p.c".into(), false)
            ]
        );
    }

    #[test]
    fn the_list_must_be_complete() {
        assert_eq!(
            outcomes("p.a\n", "TAP version 13\n1..2\nok 1 a\nok 2 b\n"),
            [("p.a".into(), true), ("p.b".into(), false)]
        );
        assert_eq!(
            outcomes("q.a\n", "TAP version 13\n1..1\nok 1 a # SKIP x\n").len(),
            1
        );
        assert_eq!(outcomes("p.a\n", "TAP version 13\n1..2\nok 1 a\n").len(), 2);
    }

    #[test]
    fn events_are_counted_for_each_program() {
        let lines = ["# program a traced 0", "x", "# program b traced 12 "].map(str::to_owned);
        assert_eq!(traced(&lines, "a"), Some(0));
        assert_eq!(traced(&lines, "b"), Some(12));
        assert_eq!(traced(&lines, "c"), None);
    }

    #[test]
    fn the_checked_in_lists_are_sorted() {
        for list in [
            include_str!("../../../upstream/iommufd-7.2.txt"),
            include_str!("../../../upstream/iommufd-7.3.txt"),
            include_str!("../../../upstream/vfio-7.2.txt"),
            include_str!("../../../upstream/vfio-7.3.txt"),
        ] {
            let sorted: Vec<_> = names(list).into_iter().collect();
            let listed: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(!sorted.is_empty());
            assert_eq!(sorted, listed);
        }
    }
}
