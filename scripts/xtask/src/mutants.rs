// SPDX-License-Identifier: GPL-2.0
//! `make mutants`: breaks our code in small ways, one at a time, and sees that the tests notice.
//!
//! A mutant is a file in scripts/mutants: what is wrong with it, text to replace (or to add, where
//! `find` is left out) and the tests that must fail. It is applied to a copy of this repository,
//! which has build folders of its own.

use crate::cache;
use crate::ctx::Ctx;
use crate::kernel::Flavour;
use crate::ktap::Outcome;
use crate::lab::Lab;
use crate::results::{matches, Record, Totals};
use crate::step::seconds;
use crate::suites::{self, Selection, Text};
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FOLDER: &str = "scripts/mutants";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    #[serde(skip)]
    name: String,
    /// What is wrong with it.
    why: String,
    change: Vec<Change>,
    /// Patterns of result names; each has to match a failed test. What went wrong with the run
    /// itself, which any change could break, counts where it is named in full.
    caught_by: Vec<String>,
    /// The programs that provoke what a guest says of itself, which are else all.
    programs: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// A file of this repository.
    file: PathBuf,
    /// Must occur exactly once; left out, the text is added at the end.
    find: Option<String>,
    replace: String,
}

impl Change {
    fn apply(&self, text: &str) -> Result<String> {
        let Some(find) = &self.find else {
            return Ok(format!("{text}{}", self.replace));
        };
        match text.matches(find.as_str()).count() {
            1 => Ok(text.replacen(find.as_str(), &self.replace, 1)),
            count => bail!(
                "the text to replace occurs {count} times in {}, not once: {find:?}",
                self.file.display()
            ),
        }
    }
}

impl Mutant {
    /// About how many seconds it takes to try it in the lean kernel, on two processors; most of
    /// them to build it.
    fn cost(&self) -> u32 {
        let suite = |name: &String| match name.as_str() {
            "host" => 5,
            "kunit" | "vtd" => 20,
            _ => 60,
        };
        self.selection().suites.iter().map(suite).sum()
    }

    /// The part of the tests that it is about.
    fn selection(&self) -> Selection {
        let named = selection(&self.caught_by);
        Selection {
            programs: named.programs.or_else(|| self.programs.clone()),
            ..named
        }
    }
}

fn parse(name: &str, text: &str) -> Result<Mutant> {
    let mut mutant: Mutant = toml::from_str(text)?;
    if mutant.change.is_empty() || mutant.caught_by.is_empty() || mutant.why.trim().is_empty() {
        bail!("a mutant needs a reason, a change, and tests that catch it");
    }
    if mutant.programs.is_some() && selection(&mutant.caught_by).programs.is_some() {
        bail!("the tests that catch it say already which programs run");
    }
    if let Some(bad) = mutant
        .caught_by
        .iter()
        .find(|name| name.splitn(3, '/').count() != 3)
    {
        bail!("{bad} is not a pattern of the form suite/profile/program.case");
    }
    mutant.name = name.to_owned();
    Ok(mutant)
}

/// The mutants whose names a pattern matches, those that are tried soonest first.
fn read(ctx: &Ctx, only: Option<&str>) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for Text { name, path, text } in suites::texts(&ctx.repo.join(FOLDER), "toml")? {
        let mutant =
            parse(&name, &text).with_context(|| format!("{} is not understood", path.display()))?;
        mutants.push(mutant);
    }
    let mut chosen = choose(mutants, only)?;
    // Stable: mutants of one capability stay together and share what is built for them.
    chosen.sort_by_key(Mutant::cost);
    Ok(chosen)
}

fn choose(mutants: Vec<Mutant>, only: Option<&str>) -> Result<Vec<Mutant>> {
    let Some(only) = only else {
        return Ok(mutants);
    };
    let names: Vec<String> = mutants.iter().map(|mutant| mutant.name.clone()).collect();
    let chosen: Vec<Mutant> = mutants
        .into_iter()
        .filter(|mutant| matches(only, &mutant.name))
        .collect();
    if chosen.is_empty() {
        bail!(
            "There is no mutant {only}. M is one of these, or a pattern such as ioasid-* for \
             several: {}.",
            names.join(", ")
        );
    }
    Ok(chosen)
}

/// Brings the copy of the repository up to date, touching only what differs.
fn sync(ctx: &Ctx, copy: &Path, changes: &[Change]) -> Result<()> {
    let files: BTreeSet<PathBuf> = suites::files(ctx)?.into_iter().collect();
    let mut texts = BTreeMap::new();
    for change in changes {
        if !files.contains(&change.file) {
            bail!("there is no file {} to change", change.file.display());
        }
        let text = match texts.remove(&change.file) {
            Some(text) => text,
            None => fs::read_to_string(ctx.repo.join(&change.file))?,
        };
        texts.insert(change.file.clone(), change.apply(&text)?);
    }
    for file in &files {
        let source = ctx.repo.join(file);
        let target = copy.join(file);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        match texts.remove(file) {
            Some(text) => cache::update(&target, text.as_bytes())?,
            None => cache::update(&target, &fs::read(&source)?)?,
        };
        fs::set_permissions(&target, fs::metadata(&source)?.permissions())?;
    }
    let keep = |entry: &walkdir::DirEntry| entry.depth() != 1 || entry.file_name() != "target";
    for entry in walkdir::WalkDir::new(copy).into_iter().filter_entry(keep) {
        let entry = entry?;
        if entry.file_type().is_file() && !files.contains(entry.path().strip_prefix(copy)?) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The part of the tests that the patterns are about.
fn selection(patterns: &[String]) -> Selection {
    let parts: Vec<[&str; 3]> = patterns
        .iter()
        .filter_map(|pattern| pattern.splitn(3, '/').collect::<Vec<_>>().try_into().ok())
        .collect();
    let list = |names: BTreeSet<String>| Some(names.into_iter().collect());
    let guests = || parts.iter().filter(|[suite, ..]| *suite == "vtd");
    let programs: BTreeSet<String> = guests()
        .filter_map(|[.., test]| Some(test.split_once('.')?.0.to_owned()))
        .filter(|program| program != "guest")
        .collect();
    Selection {
        suites: suites::SUITES
            .iter()
            .filter(|name| parts.iter().any(|[suite, ..]| suite == *name))
            .map(|name| name.to_string())
            .collect(),
        // What a guest says of itself may come of any program.
        programs: if programs.is_empty() {
            None
        } else {
            list(programs)
        },
        profiles: list(
            guests()
                .map(|[_, profile, _]| profile.to_string())
                .collect(),
        ),
        parts: list(
            parts
                .iter()
                .map(|[suite, part, _]| format!("{suite}/{part}"))
                .collect(),
        ),
        kernel: None,
        until: patterns.to_vec(),
    }
}

/// The patterns that no failure matches.
fn survived<'a>(patterns: &'a [String], records: &[Record]) -> Vec<&'a str> {
    patterns
        .iter()
        .filter(|pattern| !records.iter().any(|record| record.fails_as(pattern)))
        .map(String::as_str)
        .collect()
}

/// Whether a pattern is about a guest that the debug kernel boots in.
fn is_of_a_guest(pattern: &str) -> bool {
    pattern.starts_with("vtd/")
        || pattern.starts_with("kunit/") && !pattern.starts_with("kunit/um/")
}

/// What the tests in guests that mutants are about give in the lean kernel, without a mutant.
fn baseline(ctx: &Ctx, mutants: &[Mutant]) -> Result<Vec<Record>> {
    let patterns = mutants.iter().flat_map(|mutant| &mutant.caught_by);
    let guests: Vec<String> = patterns
        .filter(|pattern| is_of_a_guest(pattern) && !pattern.contains("/guest."))
        .cloned()
        .collect();
    if guests.is_empty() {
        return Ok(Vec::new());
    }
    ctx.say("\nThe lean kernel without a mutant");
    let selection = Selection {
        kernel: Some(Flavour::Lean),
        until: Vec::new(),
        ..selection(&guests)
    };
    suites::run(&mut Lab::new(ctx)?, &selection)
}

/// Whether the lean kernel, which is built and boots in less time, may tell a mutant: its tests are
/// in no other kernel, and there they pass without it. What a guest reports of itself, by checkers
/// that the lean kernel lacks, is no test that passes.
fn is_told_by_lean(patterns: &[String], baseline: &[Record]) -> bool {
    let mut guests = patterns
        .iter()
        .filter(|pattern| is_of_a_guest(pattern))
        .peekable();
    guests.peek().is_some() && guests.all(|pattern| passes(pattern, baseline))
}

/// Whether a pattern stands for tests that all passed.
fn passes(pattern: &str, records: &[Record]) -> bool {
    let mut named = records
        .iter()
        .filter(|record| matches(pattern, &record.name()))
        .peekable();
    named.peek().is_some() && named.all(|record| matches!(record.outcome, Outcome::Passed))
}

/// Applies one mutant and runs what must catch it.
fn attempt(ctx: &Ctx, variant: &Ctx, baseline: &[Record], mutant: &Mutant) -> Result<()> {
    sync(ctx, &variant.repo, &mutant.change).context("it cannot be applied")?;
    let mut lab = Lab::new(variant)?;
    let mut run = |kernel| -> Result<_> {
        let selection = Selection {
            kernel,
            ..mutant.selection()
        };
        let records = suites::run(&mut lab, &selection).context("it could not be tried")?;
        Ok(survived(&mutant.caught_by, &records))
    };
    let lean = is_told_by_lean(&mutant.caught_by, baseline);
    let mut missed = run(lean.then_some(Flavour::Lean))?;
    if lean && !missed.is_empty() {
        missed = run(None)?;
    }
    if !missed.is_empty() {
        bail!("it survived: no failure matches {}", missed.join(", "));
    }
    Ok(())
}

/// How far a run has come.
struct Progress {
    start: Instant,
    /// What the tried ones and all together were expected to cost.
    tried: u32,
    all: u32,
    caught: usize,
    survived: usize,
}

impl Progress {
    /// The sum so far, and how long the rest takes at this pace.
    fn tell(&self) -> String {
        let gone = self.start.elapsed();
        let rest = gone.mul_f64(f64::from(self.all - self.tried) / f64::from(self.tried.max(1)));
        format!(
            "{} caught, {} survived in {}, about {} to go",
            self.caught,
            self.survived,
            seconds(gone),
            seconds(rest)
        )
    }
}

pub fn run(ctx: &Ctx) -> Result<()> {
    let mutants = read(ctx, ctx.options.mutant.as_deref())?;
    ctx.hold()?;
    let copy = ctx.cache.join("mutants");
    let variant = ctx.variant("mutant", &copy);
    let all = mutants.iter().map(Mutant::cost).sum();
    ctx.say(format!(
        "{} mutants, which take about {} on two processors, and longer the first time",
        mutants.len(),
        seconds(Duration::from_secs(u64::from(all)))
    ));
    let baseline = baseline(ctx, &mutants)?;
    let mut progress = Progress {
        start: Instant::now(),
        tried: 0,
        all,
        caught: 0,
        survived: 0,
    };
    let mut records = Vec::new();
    for (at, mutant) in mutants.iter().enumerate() {
        let name = format!("Mutant {} of {}, {}", at + 1, mutants.len(), mutant.name);
        ctx.say(format!("\n{name}: {}", mutant.why));
        let start = Instant::now();
        let outcome = match attempt(ctx, &variant, &baseline, mutant) {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        progress.tried += mutant.cost();
        let verdict = match &outcome {
            Outcome::Failed(reason) => {
                progress.survived += 1;
                reason
            }
            _ => {
                progress.caught += 1;
                "caught"
            }
        };
        let time = seconds(start.elapsed());
        ctx.say(format!("{name}: {verdict}, {time}\n{}", progress.tell()));
        records.push(Record {
            suite: "mutants".into(),
            profile: "all".into(),
            test: mutant.name.clone(),
            outcome,
            of_the_run: false,
            log: ctx.cache.join("log"),
        });
    }
    let width = mutants
        .iter()
        .map(|mutant| mutant.name.len())
        .max()
        .unwrap_or(0);
    ctx.say("");
    for (mutant, record) in mutants.iter().zip(&records) {
        let verdict = if record.failed() {
            "SURVIVED"
        } else {
            "caught"
        };
        ctx.say(format!(
            "{:width$}  {verdict:8}  {}",
            mutant.name,
            mutant.caught_by.join(" ")
        ));
    }
    debug_assert_eq!(Totals::of(&records).skipped, 0);
    suites::summary(ctx, &records)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "why = \"w\"\ncaught_by = [\"host/logic/ioasid.*\", \"vtd/first-stage/ioasid.max\"]\n\
                        [[change]]\nfile = \"f\"\nfind = \"a\"\nreplace = \"b\"\n";

    #[test]
    fn mutants_are_checked() {
        assert_eq!(parse("m", GOOD).unwrap().name, "m");
        for (from, to) in [
            ("\"w\"", "\"\""),
            ("host/logic/", "host"),
            ("find", "found"),
            (
                "caught_by = [\"host/logic/ioasid.*\", \"vtd/first-stage/ioasid.max\"]",
                "caught_by = []",
            ),
        ] {
            assert!(parse("m", &GOOD.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn changes_match_exactly_once() {
        let change = |find: Option<&str>| Change {
            file: "f".into(),
            find: find.map(str::to_owned),
            replace: "X".into(),
        };
        assert_eq!(change(Some("b")).apply("abc").unwrap(), "aXc");
        assert_eq!(change(None).apply("abc\n").unwrap(), "abc\nX");
        assert!(change(Some("b"))
            .apply("abcb")
            .unwrap_err()
            .to_string()
            .contains("2 times"));
        assert!(change(Some("d")).apply("abc").is_err());
    }

    #[test]
    fn only_what_matters_runs() {
        let names = |list: &[&str]| Some(list.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let chosen = selection(&parse("m", GOOD).unwrap().caught_by);
        assert_eq!(chosen.suites, ["host", "vtd"]);
        assert_eq!(chosen.programs, names(&["ioasid"]));
        assert_eq!(chosen.profiles, names(&["first-stage"]));
        assert_eq!(chosen.parts, names(&["host/logic", "vtd/first-stage"]));
        let patterns = ["kunit/*/a.b", "vtd/*/p_*.a", "vtd/ats/guest.console"].map(str::to_owned);
        let chosen = selection(&patterns);
        assert_eq!(chosen.suites, ["kunit", "vtd"]);
        assert_eq!(chosen.profiles, names(&["*", "ats"]));
        assert_eq!(chosen.programs, names(&["p_*"]));
        assert_eq!(selection(&patterns[2..]).programs, None);

        let caught_by = |test| {
            let text = GOOD.replace("ioasid.max\"]", &format!("{test}\"]\nprograms = [\"p\"]"));
            parse("m", &text)
        };
        let mutant = caught_by("guest.console").unwrap();
        assert_eq!(mutant.selection().programs, names(&["p"]));
        assert!(caught_by("ioasid.max").is_err());
    }

    #[test]
    fn mutants_are_chosen_by_pattern() {
        let mutants = || ["a-x", "a-y", "b"].map(|name| parse(name, GOOD).unwrap());
        let chosen = |only| -> Result<Vec<String>> {
            let chosen = choose(mutants().into(), only)?;
            Ok(chosen.into_iter().map(|mutant| mutant.name).collect())
        };
        assert_eq!(chosen(None).unwrap(), ["a-x", "a-y", "b"]);
        assert_eq!(chosen(Some("a-*")).unwrap(), ["a-x", "a-y"]);
        assert_eq!(chosen(Some("b")).unwrap(), ["b"]);
        let error = chosen(Some("a")).unwrap_err().to_string();
        assert!(
            error.contains("no mutant a") && error.contains("a-x, a-y, b"),
            "{error}"
        );
    }

    #[test]
    fn the_pace_so_far_tells_the_rest() {
        let progress = Progress {
            start: Instant::now() - Duration::from_secs(100),
            tried: 50,
            all: 200,
            caught: 3,
            survived: 1,
        };
        let text = progress.tell();
        assert!(
            text.starts_with("3 caught, 1 survived in 1 min 40 s"),
            "{text}"
        );
        assert!(text.ends_with("about 5 min 00 s to go"), "{text}");
    }

    fn record(name: &str, outcome: Outcome) -> Record {
        Record {
            suite: "host".into(),
            profile: "logic".into(),
            test: name.into(),
            outcome,
            of_the_run: false,
            log: PathBuf::new(),
        }
    }

    #[test]
    fn every_pattern_needs_a_failure() {
        let records = [
            record("ioasid.max", Outcome::Failed("x".into())),
            record("ioasid.min", Outcome::Passed),
        ];
        let patterns: Vec<String> = ["host/*/ioasid.*", "host/logic/ioasid.min", "kunit/*/*"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            survived(&patterns, &records),
            ["host/logic/ioasid.min", "kunit/*/*"]
        );
    }

    #[test]
    fn lean_tells_only_what_passes_there() {
        let records = [
            record("p.a", Outcome::Passed),
            record("p.b", Outcome::Skipped("x".into())),
            record("p.c", Outcome::Failed("x".into())),
        ];
        assert!(passes("host/logic/p.a", &records));
        for pattern in [
            "host/logic/p.b",
            "host/*/p.c",
            "host/logic/*",
            "host/logic/q.*",
        ] {
            assert!(!passes(pattern, &records), "{pattern}");
        }

        let guest = |suite: &str| Record {
            suite: suite.into(),
            ..record("p.a", Outcome::Passed)
        };
        let records = [guest("kunit"), guest("vtd")];
        let told = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| p.to_string()).collect();
            is_told_by_lean(&patterns, &records)
        };
        assert!(told(&["kunit/logic/p.a", "vtd/logic/p.a", "host/x/y"]));
        assert!(!told(&["kunit/logic/p.a", "vtd/logic/guest.console"]));
        assert!(!told(&["kunit/logic/p.b", "vtd/logic/p.a"]));
        assert!(!told(&["kunit/um/p.a", "host/x/y"]));
    }

    #[test]
    fn the_checked_in_mutants_apply() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for Text { path, name, text } in suites::texts(&repo.join(FOLDER), "toml").unwrap() {
            let mutant = parse(&name, &text).unwrap();
            for change in mutant.change {
                let text = fs::read_to_string(repo.join(&change.file)).unwrap();
                assert!(change.apply(&text).is_ok(), "{}", path.display());
            }
        }
    }
}
