// SPDX-License-Identifier: GPL-2.0
//! Our KUnit suites: two boots of user-mode Linux, a kernel without IOMMU core, for them and for
//! the examples in our Rust API, and one of the debug kernel, which runs them before its init.

use super::{account, selected, untimed, well, Health, Selection};
use crate::guest::Record;
use crate::kernel::Flavour;
use crate::ktap;
use crate::lab::{Guest, Lab};
use crate::results::{Ledger, Source, Totals};
use crate::um;
use anyhow::Result;

const PROFILE: &str = "first-stage";
const UM: &str = "um";

const OURS: &str = "iommu_ext_*";
const EXAMPLES: &str = "rust_doctests_kernel.rust_doctest_kernel_iommu_ioasid_*";

fn command_line(suites: &str) -> String {
    format!("kunit.enable=1 kunit.filter_glob={suites}")
}

pub fn run(lab: &mut Lab, ledger: &mut Ledger, selection: &Selection) -> Result<()> {
    if selection.parts.is_none() {
        lab.prepare(&[Flavour::Um, Flavour::Debug])?;
    }
    if selected(&selection.parts, "kunit/um") {
        for (name, suites) in [("kunit", OURS), ("doctest", EXAMPLES)] {
            let guest = lab.um(Flavour::Um, name, &command_line(suites))?;
            judge(lab, ledger, UM, &guest);
            // It has no init that could say how it is.
            let health = Health {
                warnings: Some(guest.announced),
                oopses: Some(0),
                locks: None,
                kmemleak: false,
                ended: guest.console.iter().any(|line| line.contains(um::HALTED)),
            };
            if let Err(reason) = well(&guest, &health) {
                let source = source(UM, name, &guest);
                ledger.fail(source, "console", reason);
            }
        }
    }
    let settled = selection.is_settled("kunit", PROFILE, ledger.records());
    if selected(&selection.parts, "kunit/first-stage") && !settled {
        let guest = Guest {
            flavour: selection.kernel.unwrap_or(Flavour::Debug),
            profile: PROFILE.into(),
            name: "kunit".into(),
            programs: Vec::new(),
            append: command_line(OURS),
        };
        let guest = lab.run(&guest, |_, _| {})?;
        judge(lab, ledger, PROFILE, &guest);
        account(lab.ctx, ledger, "kunit", PROFILE, &[], &guest, |_, _, _| {});
    }
    Ok(())
}

fn source<'a>(profile: &'a str, program: &'a str, guest: &'a Record) -> Source<'a> {
    Source {
        suite: "kunit",
        profile,
        program,
        log: &guest.console_log,
    }
}

/// Takes the results from the console.
fn judge(lab: &Lab, ledger: &mut Ledger, profile: &str, guest: &Record) {
    let mut report = ktap::parse(untimed(&guest.console));
    let before = ledger.records().len();
    if report.cases.is_empty() && report.errors.is_empty() {
        report.errors.push("no result at all".into());
    }
    for case in report.cases {
        // A suite without cases of its own to tell of failed or was skipped as a whole.
        let (suite, name) = case.name.split_once('.').unwrap_or((&case.name, "suite"));
        ledger.add(source(profile, suite, guest), name, case.outcome);
    }
    if !report.errors.is_empty() {
        ledger.fail(
            source(profile, "kunit", guest),
            "ktap",
            report.errors.join("; "),
        );
    }
    lab.ctx.say(format!(
        "  kunit/{profile}: {} in {:.1} s",
        Totals::of(&ledger.records()[before..]),
        guest.time.as_secs_f32()
    ));
}
