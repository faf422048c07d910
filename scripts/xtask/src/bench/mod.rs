// SPDX-License-Identifier: GPL-2.0
//! `make bench`: what the series costs beside its counterparts in C, which the benchmark modules
//! measure in the same boot. Instructions are counted by an emulator whose guest has them for a
//! clock; times are those of user-mode Linux. What should hold is said, and whether it does; a
//! benchmark fails only if it has no end or an answer was wrong.

mod dma_pasid;
mod ioasid;
mod results;
mod table;

use crate::console;
use crate::ctx::Ctx;
use crate::guest::Record;
use crate::kernel::Flavour;
use crate::lab::{Guest, Lab};
use anyhow::{bail, Result};
use results::Results;

const REPEATS: u32 = 5;

/// Has a module count instructions; `kernel` is more of the command line.
fn count(lab: &mut Lab, module: &str, name: &str, kernel: &str) -> Result<Results> {
    let append = format!("ext.bench={module} ext.repeats={REPEATS} ext.leaks=0 {kernel}");
    let guest = Guest {
        flavour: Flavour::Lean,
        profile: "icount".into(),
        name: name.into(),
        programs: Vec::new(),
        append,
    };
    let record = lab.run(&guest, |_, _| {})?;
    results(&record, module)
}

/// What a module printed, if it came to its end with right answers.
fn results(record: &Record, module: &str) -> Result<Results> {
    let prefix = format!("{module}: ");
    let lines = || {
        let lines = record.console.iter().map(|line| console::untimed(line));
        lines.filter_map(|line| line.strip_prefix(prefix.as_str()))
    };
    let log = record.console_log.display();
    if let Some(hung) = &record.hung {
        bail!("The benchmark has no end: {hung}. The console is {log}.");
    }
    if let Some(problem) = record.problems.first() {
        bail!(
            "The kernel complained: \"{}\" ({log}, line {}).",
            problem.text,
            problem.line
        );
    }
    match lines().find_map(|line| line.strip_prefix("end ")) {
        Some("0 wrong") => Ok(Results::read(lines())),
        Some(wrong) => bail!(
            "There were {wrong} answers, so what they cost means nothing. The console is {log}."
        ),
        None => bail!("The benchmark did not come to its end. The console is {log}."),
    }
}

pub fn run(ctx: &Ctx) -> Result<()> {
    let mut lab = Lab::new(ctx)?;
    ioasid::run(&mut lab)?;
    dma_pasid::run(&mut lab)?;
    ctx.say(format!(
        "Each is the median of {REPEATS} (lowest to highest)."
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn record(console: &[&str]) -> Record {
        let mut record = Record::new(false, Path::new("/logs"));
        record.console = console.iter().map(|line| line.to_string()).collect();
        record
    }

    #[test]
    fn a_module_must_come_to_its_end_with_right_answers() {
        let mut lines = vec!["[ 1.0] one_bench: begin", "[ 1.1] one_bench: a row 1 1 1"];
        let said = |lines: &[&str], module| match results(&record(lines), module) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(said(&lines, "one_bench").contains("did not come to its end"));
        lines.push("[ 1.2] one_bench: end 0 wrong");
        assert_eq!(said(&lines, "one_bench"), "");
        assert!(said(&lines, "other_bench").contains("did not come to its end"));
        lines[2] = "[ 1.2] one_bench: end 3 wrong";
        assert!(said(&lines, "one_bench").contains("3 wrong answers"));
    }
}
