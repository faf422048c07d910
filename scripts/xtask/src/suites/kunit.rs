// SPDX-License-Identifier: GPL-2.0
//! Our KUnit suites: one boot of the debug kernel, which runs them before its init.

use super::{account, untimed};
use crate::kernel::Flavour;
use crate::ktap;
use crate::lab::Lab;
use crate::results::{Ledger, Source, Totals};
use anyhow::Result;

const PROFILE: &str = "first-stage";
const COMMAND_LINE: &str = "kunit.enable=1 kunit.filter_glob=iommu_ext_*";

pub fn run(lab: &mut Lab, ledger: &mut Ledger) -> Result<()> {
    let guest = lab.run(Flavour::Debug, PROFILE, "kunit", COMMAND_LINE, |_, _| {})?;
    let report = ktap::parse(untimed(&guest.console));
    let before = ledger.records().len();
    let source = Source {
        suite: "kunit",
        profile: PROFILE,
        program: "",
        log: &guest.console_log,
    };
    for case in report.cases {
        // A suite without cases of its own to tell of failed or was skipped as a whole.
        let (suite, name) = case.name.split_once('.').unwrap_or((&case.name, "suite"));
        ledger.add(
            Source {
                program: suite,
                ..source
            },
            name,
            case.outcome,
        );
    }
    if !report.errors.is_empty() {
        ledger.fail(
            Source {
                program: "kunit",
                ..source
            },
            "ktap",
            report.errors.join("; "),
        );
    }
    lab.ctx.say(format!(
        "  kunit/{PROFILE}: {} in {:.1} s",
        Totals::of(&ledger.records()[before..]),
        guest.time.as_secs_f32()
    ));
    account(lab, ledger, "kunit", PROFILE, &[], &guest, |_, _, _| {});
    Ok(())
}
