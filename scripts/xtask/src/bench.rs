// SPDX-License-Identifier: GPL-2.0
//! `make bench`: what the allocator costs beside its C counterparts, which the benchmark module
//! measures in the same boot. Instructions are counted by an emulator whose guest has them for a
//! clock; times are those of user-mode Linux. What should hold is said, and whether it does; a
//! benchmark fails only if it has no end or an answer was wrong.

use crate::console;
use crate::ctx::Ctx;
use crate::guest::Record;
use crate::kernel::Flavour;
use crate::lab::{Guest, Lab};
use crate::story::table;
use anyhow::{bail, Result};
use std::ops::RangeInclusive;

const REPEATS: u32 = 5;
const PREFIX: &str = "ioasid_bench: ";

const OURS: &str = "ours";
const OLD: &str = "old";
const IDA: &str = "ida";

/// Rows of the tables, as the module calls them.
const ROWS: [&str; 8] = [
    "pair",
    "replace",
    "fill",
    "drain",
    "find",
    "readers-1",
    "readers-2",
    "bytes",
];

/// What the first design costs of the second is within limits, however many IDs there are.
struct Claim {
    text: &'static str,
    row: &'static str,
    designs: (&'static str, &'static str),
    limits: RangeInclusive<f64>,
}

const IN_INSTRUCTIONS: [Claim; 4] = [
    Claim {
        text: "find costs at most what it costs in C",
        row: "find",
        designs: (OURS, OLD),
        limits: 0.0..=1.0,
    },
    Claim {
        text: "alloc and free cost at most half of the old design",
        row: "pair",
        designs: (OURS, OLD),
        limits: 0.0..=0.5,
    },
    Claim {
        text: "alloc and free cost at most what the IDA costs",
        row: "pair",
        designs: (OURS, IDA),
        limits: 0.0..=1.0,
    },
    Claim {
        text: "an ID takes at most half of the old design's memory",
        row: "bytes",
        designs: (OURS, OLD),
        limits: 0.0..=0.5,
    },
];

/// The old design's twin is what was measured before the series was written.
const IN_TIME: [Claim; 1] = [Claim {
    text: "the old design costs 3.8 times the IDA, give or take a quarter",
    row: "pair",
    designs: (OLD, IDA),
    limits: 2.85..=4.75,
}];

/// Costs per operation, in the order in which they were measured.
#[derive(Debug, PartialEq)]
struct Measured {
    design: String,
    row: String,
    ids: u32,
    costs: Vec<f64>,
}

/// Lowest, median, highest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread(f64, f64, f64);

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first()?, values.last()?);
        Some(Spread(*first, values[values.len() / 2], *last))
    }

    fn show(self, digits: usize) -> String {
        let Spread(low, median, high) = self;
        if low == high {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

#[derive(Debug, Default, PartialEq)]
struct Results(Vec<Measured>);

impl Results {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut results = Results::default();
        for line in lines.filter_map(|line| line.strip_prefix(PREFIX)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [design, row, numbers @ ..] = words.as_slice() else {
                continue;
            };
            let numbers: Vec<f64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
            let [ids, operations, cost] = numbers[..] else {
                continue;
            };
            let cost = match *row {
                "bytes" => cost / ids,
                _ => cost / operations,
            };
            results.add(design, row, ids as u32, cost);
        }
        results
    }

    fn add(&mut self, design: &str, row: &str, ids: u32, cost: f64) {
        let known = self
            .0
            .iter_mut()
            .find(|m| m.design == design && m.row == row && m.ids == ids);
        match known {
            Some(measured) => measured.costs.push(cost),
            None => self.0.push(Measured {
                design: design.into(),
                row: row.into(),
                ids,
                costs: vec![cost],
            }),
        }
    }

    /// Lookups by several at once are measured elsewhere.
    fn take_readers(&mut self, other: Results) {
        let readers = |m: &Measured| m.row.starts_with("readers");
        self.0.extend(other.0.into_iter().filter(readers));
    }

    fn costs(&self, design: &str, row: &str, ids: u32) -> Option<&[f64]> {
        let found = |m: &&Measured| m.design == design && m.row == row && m.ids == ids;
        Some(&self.0.iter().find(found)?.costs)
    }

    /// The ratio of two designs, each time they were measured; none to what costs nothing.
    fn ratio(&self, row: &str, ids: u32, (a, b): (&str, &str)) -> Option<Spread> {
        let pairs = self
            .costs(a, row, ids)?
            .iter()
            .zip(self.costs(b, row, ids)?);
        let ratios: Option<Vec<f64>> = pairs.map(|(a, b)| (*b != 0.0).then(|| a / b)).collect();
        Spread::of(ratios?)
    }

    /// How many IDs were held, as far as a row was measured.
    fn sizes(&self, row: &str) -> Vec<u32> {
        let mut sizes: Vec<u32> = self
            .0
            .iter()
            .filter(|m| m.row == row)
            .map(|m| m.ids)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn table(&self, digits: usize) -> String {
        let mut rows = Vec::new();
        for row in ROWS {
            let digits = if row == "bytes" { 1 } else { digits };
            for ids in self.sizes(row) {
                let cost = |design| {
                    let costs = self.costs(design, row, ids)?;
                    Some(Spread::of(costs.to_vec())?.show(digits))
                };
                let ratio = |other| Some(self.ratio(row, ids, (OURS, other))?.show(2));
                let cells = [cost(OURS), cost(OLD), cost(IDA), ratio(OLD), ratio(IDA)];
                let cells = cells.map(Option::unwrap_or_default);
                rows.push([[row.to_owned(), ids.to_string()].as_slice(), &cells].concat());
            }
        }
        table(
            &["row", "IDs", "ours", "old", "IDA", "ours/old", "ours/IDA"],
            &rows,
        )
    }

    /// Whether a claim holds, and the ratios that say so; `None` if they were not measured.
    fn judge(&self, claim: &Claim) -> Option<(bool, String)> {
        let ratios: Vec<Spread> = self
            .sizes(claim.row)
            .into_iter()
            .filter_map(|ids| self.ratio(claim.row, ids, claim.designs))
            .collect();
        if ratios.is_empty() {
            return None;
        }
        let holds = ratios
            .iter()
            .all(|Spread(_, median, _)| claim.limits.contains(median));
        let medians: Vec<String> = ratios.iter().map(|r| format!("{:.2}", r.1)).collect();
        Some((holds, medians.join(", ")))
    }

    fn tell(&self, claims: &[Claim]) -> String {
        let mut text = String::from("\n");
        for claim in claims {
            let (word, ratios) = match self.judge(claim) {
                Some((true, ratios)) => ("yes", ratios),
                Some((false, ratios)) => ("NO ", ratios),
                None => ("NO ", "not measured".into()),
            };
            text += &format!("  {word}  {}: {ratios}\n", claim.text);
        }
        text
    }
}

/// What the module printed, if it came to its end with right answers.
fn results(record: &Record) -> Result<Results> {
    let lines = || record.console.iter().map(|line| console::untimed(line));
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
    match lines().find_map(|line| line.strip_prefix(PREFIX)?.strip_prefix("end ")) {
        Some("0 wrong") => Ok(Results::read(lines())),
        Some(wrong) => bail!(
            "The allocators gave {wrong} answers, so what they cost means nothing. The console is {log}."
        ),
        None => bail!("The benchmark did not come to its end. The console is {log}."),
    }
}

pub fn run(ctx: &Ctx) -> Result<()> {
    let mut lab = Lab::new(ctx)?;
    let append = format!("ext.bench={REPEATS} ext.leaks=0");
    let counted = Guest {
        flavour: Flavour::Lean,
        profile: "icount".into(),
        name: "bench".into(),
        programs: Vec::new(),
        append,
    };
    let counted = lab.run(&counted, |_, _| {})?;
    let append = format!("kunit.enable=0 ioasid_bench.repeats={REPEATS}");
    let timed = lab.um(Flavour::Um, "bench", &append)?;
    // Only the kind of userspace that uses seccomp goes with several CPUs; there will be none.
    let append = format!("{append} ncpus=2 seccomp=on");
    let together = lab.um(Flavour::UmSmp, "bench", &append)?;

    let (counted, mut timed) = (results(&counted)?, results(&timed)?);
    timed.take_readers(results(&together)?);
    ctx.say("\nInstructions for each operation, bytes for each ID");
    ctx.say(counted.table(0));
    ctx.say(counted.tell(&IN_INSTRUCTIONS));
    ctx.say("Nanoseconds for each operation, in user-mode Linux");
    ctx.say(timed.table(1));
    ctx.say(timed.tell(&IN_TIME));
    ctx.say(format!(
        "Each is the median of {REPEATS} (lowest to highest)."
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lines: &[&str]) -> Results {
        Results::read(lines.iter().copied())
    }

    #[test]
    fn costs_are_per_operation_and_bytes_per_id() {
        let results = results(&[
            "noise",
            "ioasid_bench: begin",
            "ioasid_bench: ours pair 10 1000 150000",
            "ioasid_bench: ours bytes 10 1 400",
            "ioasid_bench: end 0 wrong",
        ]);
        assert_eq!(results.costs(OURS, "pair", 10), Some(&[150.0][..]));
        assert_eq!(results.costs(OURS, "bytes", 10), Some(&[40.0][..]));
        assert_eq!(results.0.len(), 2);
    }

    #[test]
    fn ratios_belong_to_the_same_repeat() {
        let results = results(&[
            "ioasid_bench: ours find 10 1 10",
            "ioasid_bench: old find 10 1 20",
            "ioasid_bench: ours find 10 1 40",
            "ioasid_bench: old find 10 1 40",
            "ioasid_bench: ours find 10 1 30",
            "ioasid_bench: old find 10 1 40",
        ]);
        assert_eq!(
            results.ratio("find", 10, (OURS, OLD)),
            Some(Spread(0.5, 0.75, 1.0))
        );
        assert!(results.table(0).contains("30 (10 to 40)"));
        assert!(results.table(0).contains("0.75 (0.50 to 1.00)"));
    }

    #[test]
    fn a_claim_holds_for_every_size_or_not() {
        let claim = &IN_INSTRUCTIONS[1];
        let mut results = results(&[
            "ioasid_bench: ours pair 10 1 5",
            "ioasid_bench: old pair 10 1 10",
        ]);
        assert_eq!(results.judge(claim), Some((true, "0.50".into())));
        results.add(OURS, "pair", 1000, 6.0);
        results.add(OLD, "pair", 1000, 10.0);
        assert_eq!(results.judge(claim), Some((false, "0.50, 0.60".into())));
        assert_eq!(results.judge(&IN_INSTRUCTIONS[0]), None);
        results.add(OURS, "bytes", 10, 40.0);
        results.add(IDA, "bytes", 10, 0.0);
        assert_eq!(results.ratio("bytes", 10, (OURS, IDA)), None);
        assert!(results.tell(&IN_INSTRUCTIONS).contains("not measured"));
    }
}
