// SPDX-License-Identifier: GPL-2.0
//! How results are shown, and what should hold of them.

use super::results::{Results, Spread};
use crate::story;
use std::ops::RangeInclusive;

/// Rows of results, and what should hold of them.
pub struct Table {
    pub rows: &'static [&'static str],
    /// What the sizes are.
    pub sizes: &'static str,
    /// As the module calls them, with a heading; the first is compared with the others.
    pub designs: &'static [(&'static str, &'static str)],
    /// How exact a cost is.
    pub digits: usize,
    pub claims: &'static [Claim],
}

/// What the first design costs of the second is within limits.
pub struct Claim {
    pub text: &'static str,
    pub row: &'static str,
    /// Whatever the size if there is none.
    pub size: Option<u32>,
    pub designs: (&'static str, &'static str),
    pub limits: RangeInclusive<f64>,
}

impl Claim {
    /// Whether it holds, and the ratios that say so; `None` if they were not measured.
    fn judge(&self, results: &Results) -> Option<(bool, String)> {
        let ratios: Vec<Spread> = results
            .sizes(self.row)
            .into_iter()
            .filter(|size| self.size.is_none_or(|only| only == *size))
            .filter_map(|size| results.ratio(self.row, size, self.designs))
            .collect();
        if ratios.is_empty() {
            return None;
        }
        let holds = ratios
            .iter()
            .all(|Spread(_, median, _)| self.limits.contains(median));
        let medians: Vec<String> = ratios.iter().map(|r| format!("{:.2}", r.1)).collect();
        Some((holds, medians.join(", ")))
    }
}

impl Table {
    pub fn tell(&self, results: &Results) -> String {
        let mut text = self.show(results);
        text.push('\n');
        for claim in self.claims {
            let (word, ratios) = match claim.judge(results) {
                Some((true, ratios)) => ("yes", ratios),
                Some((false, ratios)) => ("NO ", ratios),
                None => ("NO ", "not measured".into()),
            };
            text += &format!("  {word}  {}: {ratios}\n", claim.text);
        }
        text
    }

    fn show(&self, results: &Results) -> String {
        let Some(((first, heading), others)) = self.designs.split_first() else {
            return String::new();
        };
        let headings = ["row", self.sizes].map(str::to_owned).into_iter();
        let headings = headings.chain(self.designs.iter().map(|(_, name)| name.to_string()));
        let headings = headings.chain(others.iter().map(|(_, name)| format!("{heading}/{name}")));
        let headings: Vec<String> = headings.collect();

        let mut rows = Vec::new();
        for row in self.rows {
            for size in results.sizes(row) {
                let costs = self
                    .designs
                    .iter()
                    .map(|(design, _)| Some(results.cost(design, row, size)?.show(self.digits)));
                let ratios = others
                    .iter()
                    .map(|(other, _)| Some(results.ratio(row, size, (first, other))?.show(2)));
                let cells = costs.chain(ratios).map(Option::unwrap_or_default);
                rows.push(
                    [row.to_string(), size.to_string()]
                        .into_iter()
                        .chain(cells)
                        .collect(),
                );
            }
        }
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        story::table(&headings, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table {
        rows: &["pair", "find"],
        sizes: "IDs",
        designs: &[("ours", "ours"), ("old", "old"), ("ida", "IDA")],
        digits: 0,
        claims: &[
            Claim {
                text: "half",
                row: "pair",
                size: None,
                designs: ("ours", "old"),
                limits: 0.0..=0.5,
            },
            Claim {
                text: "half of few",
                row: "pair",
                size: Some(10),
                designs: ("ours", "old"),
                limits: 0.0..=0.5,
            },
            Claim {
                text: "more",
                row: "find",
                size: None,
                designs: ("ours", "ida"),
                limits: 1.0..=2.0,
            },
        ],
    };

    fn results(lines: &[&str]) -> Results {
        Results::read(lines.iter().copied())
    }

    #[test]
    fn what_was_not_measured_is_blank() {
        let results = results(&[
            "ours pair 10 1 10",
            "old pair 10 1 20",
            "ours pair 10 1 40",
            "old pair 10 1 40",
            "ours pair 10 1 30",
            "old pair 10 1 40",
            "ours other 10 1 30",
        ]);
        let expected = "\n\
            \x20   row   IDs  ours           old            IDA  ours/old             ours/IDA\n\
            \x20   ----  ---  -------------  -------------  ---  -------------------  --------\n\
            \x20   pair  10   30 (10 to 40)  40 (20 to 40)       0.75 (0.50 to 1.00)\n";
        assert_eq!(TABLE.show(&results), expected);
    }

    #[test]
    fn a_claim_holds_for_each_of_its_sizes_or_not() {
        let [half, half_of_few, more] = TABLE.claims else {
            panic!("there are three");
        };
        let few = ["ours pair 10 1 5", "old pair 10 1 10"];
        let many = ["ours pair 1000 1 6", "old pair 1000 1 10"];
        let (few, both) = (results(&few), results(&[few, many].concat()));
        assert_eq!(half.judge(&few), Some((true, "0.50".into())));
        assert_eq!(half.judge(&both), Some((false, "0.50, 0.60".into())));
        assert_eq!(half_of_few.judge(&both), Some((true, "0.50".into())));
        assert_eq!(more.judge(&both), None);
        let told = TABLE.tell(&both);
        assert!(told.contains("  NO   half: 0.50, 0.60\n"), "{told}");
        assert!(told.contains("  yes  half of few: 0.50\n"), "{told}");
        assert!(told.contains("  NO   more: not measured\n"), "{told}");
    }
}
