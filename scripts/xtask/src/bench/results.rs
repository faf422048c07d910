// SPDX-License-Identifier: GPL-2.0
//! What a benchmark module measured. Each line of it is a design, a row, a size, how many
//! operations were done, and what they cost together.

/// Costs per operation, in the order in which they were measured.
#[derive(Debug, PartialEq)]
struct Measured {
    design: String,
    row: String,
    size: u32,
    costs: Vec<f64>,
}

/// Lowest, median, highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread(pub f64, pub f64, pub f64);

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first()?, values.last()?);
        Some(Spread(*first, values[values.len() / 2], *last))
    }

    pub fn show(self, digits: usize) -> String {
        let Spread(low, median, high) = self;
        if low == high {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

#[derive(Debug, Default, PartialEq)]
pub struct Results(Vec<Measured>);

impl Results {
    pub fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut results = Results::default();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [design, row, numbers @ ..] = words.as_slice() else {
                continue;
            };
            let numbers: Vec<f64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
            if let [size, operations, cost] = numbers[..] {
                results.add(design, row, size as u32, cost / operations);
            }
        }
        results
    }

    fn add(&mut self, design: &str, row: &str, size: u32, cost: f64) {
        let known = self
            .0
            .iter_mut()
            .find(|m| m.design == design && m.row == row && m.size == size);
        match known {
            Some(measured) => measured.costs.push(cost),
            None => self.0.push(Measured {
                design: design.into(),
                row: row.into(),
                size,
                costs: vec![cost],
            }),
        }
    }

    /// Takes over the rows whose names begin so.
    pub fn take(&mut self, other: Results, prefix: &str) {
        let wanted = |m: &Measured| m.row.starts_with(prefix);
        self.0.extend(other.0.into_iter().filter(wanted));
    }

    fn costs(&self, design: &str, row: &str, size: u32) -> Option<&[f64]> {
        let found = |m: &&Measured| m.design == design && m.row == row && m.size == size;
        Some(&self.0.iter().find(found)?.costs)
    }

    pub fn cost(&self, design: &str, row: &str, size: u32) -> Option<Spread> {
        Spread::of(self.costs(design, row, size)?.to_vec())
    }

    /// The ratio of two designs, each time they were measured; none to what costs nothing.
    pub fn ratio(&self, row: &str, size: u32, (a, b): (&str, &str)) -> Option<Spread> {
        let pairs = self
            .costs(a, row, size)?
            .iter()
            .zip(self.costs(b, row, size)?);
        let ratios: Option<Vec<f64>> = pairs.map(|(a, b)| (*b != 0.0).then(|| a / b)).collect();
        Spread::of(ratios?)
    }

    /// The sizes that a row was measured with.
    pub fn sizes(&self, row: &str) -> Vec<u32> {
        let mut sizes: Vec<u32> = self
            .0
            .iter()
            .filter(|m| m.row == row)
            .map(|m| m.size)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_per_operation() {
        let results = Results::read(
            [
                "noise",
                "begin",
                "ours pair 10 1000 150000",
                "ours bytes 10 10 400",
                "end 0 wrong",
            ]
            .into_iter(),
        );
        assert_eq!(results.costs("ours", "pair", 10), Some(&[150.0][..]));
        assert_eq!(results.costs("ours", "bytes", 10), Some(&[40.0][..]));
        assert_eq!(results.0.len(), 2);
    }

    #[test]
    fn ratios_belong_to_the_same_repeat() {
        let results = Results::read(
            [
                "ours find 10 1 10",
                "old find 10 1 20",
                "ours find 10 1 40",
                "old find 10 1 40",
                "ours find 10 1 30",
                "old find 10 1 40",
                "ida find 10 1 0",
            ]
            .into_iter(),
        );
        let ratio = |designs| results.ratio("find", 10, designs);
        assert_eq!(ratio(("ours", "old")), Some(Spread(0.5, 0.75, 1.0)));
        assert_eq!(ratio(("ours", "ida")), None);
        assert_eq!(ratio(("ours", "new")), None);
    }

    #[test]
    fn only_the_wanted_rows_are_taken() {
        let mut results = Results::read(["ours find 10 1 10"].into_iter());
        let others = ["ours find 20 1 10", "ours readers-1 20 1 10"];
        results.take(Results::read(others.into_iter()), "readers");
        assert_eq!(results.sizes("find"), [10]);
        assert_eq!(results.sizes("readers-1"), [20]);
    }
}
