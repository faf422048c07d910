// SPDX-License-Identifier: GPL-2.0
//! The test suites, and what they have in common.

mod compile;
mod host;
mod kunit;
mod lint;
mod misuse;
mod upstream;
mod vtd;

use crate::console;
use crate::ctx::Ctx;
use crate::guest::Record as GuestRecord;
use crate::kernel::Flavour;
use crate::ktap::{self, Outcome};
use crate::lab::Lab;
use crate::results::{self, Extent, Ledger, Record, Skips, Source, Totals};
use anyhow::{bail, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The suites in the order in which they run: quick ones first.
pub const SUITES: [&str; 6] = ["host", "lint", "compile", "kunit", "vtd", "upstream"];

/// The kselftests, by what they are about: `T=dma_owner` is `dma_owner_vfio` too.
const PROGRAMS: [&str; 5] = [
    "ioasid",
    "dma_owner",
    "user_domain",
    "dma_pasid",
    "pasid_testdev",
];

/// What to run. The lists hold patterns; none of them means everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub suites: Vec<String>,
    pub programs: Option<Vec<String>>,
    pub profiles: Option<Vec<String>>,
    /// `suite/part`: packages of host, kinds of checks of lint, kernels of kunit.
    pub parts: Option<Vec<String>>,
    /// The kernel of the guests of kunit and vtd, if not the debug kernel.
    pub kernel: Option<Flavour>,
    /// Patterns of failures. Where those that could come have come, the rest is left out.
    pub until: Vec<String>,
}

impl Selection {
    fn new(ctx: &Ctx, known_profiles: &[&str]) -> Result<Self> {
        let options = &ctx.options;
        if let Some(suite) = options
            .suite
            .as_deref()
            .filter(|suite| !SUITES.contains(suite))
        {
            bail!(
                "There is no suite {suite}. SUITE is one of {}.",
                SUITES.join(", ")
            );
        }
        if let Some(test) = options.test.as_deref() {
            if !PROGRAMS.contains(&test) {
                bail!(
                    "There is no test {test}. T is one of {}.",
                    PROGRAMS.join(", ")
                );
            }
        }
        if let Some(profile) = options.profile.as_deref() {
            if !known_profiles.contains(&profile) {
                bail!(
                    "There is no guest profile {profile}. PROFILE is one of {}.",
                    known_profiles.join(", ")
                );
            }
        }
        let narrowed = options.test.is_some() || options.profile.is_some();
        if let Some(suite) = options
            .suite
            .as_deref()
            .filter(|suite| narrowed && *suite != "vtd")
        {
            bail!(
                "T and PROFILE choose among the guest tests, which are the suite vtd; SUITE={suite} \
                 has none of them. Leave one of the two out."
            );
        }
        Ok(Selection {
            suites: match &options.suite {
                Some(suite) => vec![suite.clone()],
                None if narrowed => vec!["vtd".into()],
                None => SUITES.map(str::to_owned).to_vec(),
            },
            programs: options
                .test
                .as_ref()
                .map(|test| vec![test.clone(), format!("{test}_*")]),
            profiles: options.profile.clone().map(|profile| vec![profile]),
            ..Default::default()
        })
    }

    /// Whether there is a failure for each pattern that results of a profile could match.
    fn is_settled(&self, suite: &str, profile: &str, records: &[Record]) -> bool {
        let of_it =
            |suites: &str, profiles: &str| suites == suite && results::matches(profiles, profile);
        self.all_failed(of_it, records)
    }

    /// The same of all profiles of a suite.
    fn is_suite_settled(&self, suite: &str, records: &[Record]) -> bool {
        self.all_failed(|suites, _| suites == suite, records)
    }

    fn all_failed(&self, about: impl Fn(&str, &str) -> bool, records: &[Record]) -> bool {
        let about = |pattern: &&String| match pattern.split('/').collect::<Vec<_>>()[..] {
            [suite, profile, _] => about(suite, profile),
            _ => false,
        };
        let mut about = self.until.iter().filter(about).peekable();
        about.peek().is_some()
            && about.all(|pattern| records.iter().any(|record| record.fails_as(pattern)))
    }

    fn extent(&self) -> Extent {
        if self.profiles.is_some() {
            Extent::SomeProfiles
        } else if self.programs.is_some() {
            Extent::SomePrograms
        } else {
            Extent::Whole
        }
    }
}

/// Runs the selected suites and returns all results, judged.
pub fn run(lab: &mut Lab, selection: &Selection) -> Result<Vec<Record>> {
    let (records, end) = attempt(lab, selection)?;
    end.map(|()| records)
}

/// The same, and how it ended: if something broke, the results so far, and a failure that says so.
fn attempt(lab: &mut Lab, selection: &Selection) -> Result<(Vec<Record>, Result<()>)> {
    let file = lab.ctx.repo.join("scripts/skips.toml");
    let skips = Skips::read(&file)?;
    let mut ledger = Ledger::default();
    let end = all(lab, &mut ledger, selection);
    if let Err(error) = &end {
        let log = lab.logs();
        let source = Source {
            suite: "test",
            profile: "run",
            program: "suites",
            log: &log,
        };
        ledger.fail(source, "all", format!("{error:#}"));
    }
    Ok((ledger.judge(&skips, &file), end))
}

fn all(lab: &mut Lab, ledger: &mut Ledger, selection: &Selection) -> Result<()> {
    let ctx = lab.ctx;
    for suite in &selection.suites {
        ctx.say(format!("Suite {suite}"));
        let start = Instant::now();
        let before = ledger.records().len();
        match suite.as_str() {
            "host" => host::run(lab, ledger, selection)?,
            "lint" => lint::run(lab, ledger, selection)?,
            "compile" => compile::run(lab, ledger)?,
            "kunit" => kunit::run(lab, ledger, selection)?,
            "vtd" => vtd::run(lab, ledger, selection)?,
            "upstream" => upstream::run(lab, ledger, selection)?,
            other => bail!("there is no suite {other}"),
        }
        let logs = lab.logs();
        ledger.close_suite(suite, selection.extent(), &logs);
        ctx.say(format!(
            "Suite {suite}: {} in {:.0} s",
            Totals::of(&ledger.records()[before..]),
            start.elapsed().as_secs_f32()
        ));
    }
    Ok(())
}

/// `make test`. The last line sums up, also what there was before something broke.
pub fn test(ctx: &Ctx) -> Result<()> {
    let mut lab = Lab::new(ctx)?;
    let selection = Selection::new(ctx, &lab.profiles.names())?;
    ctx.hold()?;
    let (records, _) = attempt(&mut lab, &selection)?;
    summary(ctx, &records)
}

/// Tests failed; the summary has said so.
#[derive(Debug)]
pub struct Failed;

impl std::error::Error for Failed {}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("tests failed")
    }
}

/// Whether a list of patterns names something; no list names everything.
fn selected(list: &Option<Vec<String>>, name: &str) -> bool {
    list.as_ref()
        .is_none_or(|list| list.iter().any(|pattern| results::matches(pattern, name)))
}

/// Lists what failed and prints the last line; fails unless something ran and all of it passed.
pub fn summary(ctx: &Ctx, records: &[Record]) -> Result<()> {
    let totals = Totals::of(records);
    let failures = results::failures(records);
    if !failures.is_empty() {
        ctx.say(format!("\n{}", failures.trim_end()));
    }
    if totals.passed + totals.failed == 0 {
        ctx.say("\nNo test ran.");
    }
    ctx.say(format!("\n{totals}"));
    match totals {
        Totals {
            passed: 1..,
            failed: 0,
            ..
        } => Ok(()),
        _ => Err(Failed.into()),
    }
}

/// A program's part of what a guest printed.
#[derive(Debug, Default, PartialEq)]
struct ProgramRun<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
    status: Option<i32>,
    seconds: f32,
}

/// What a guest says of itself at its end.
#[derive(Debug, Default, PartialEq)]
struct Health {
    warnings: Option<usize>,
    oopses: Option<usize>,
    locks: Option<usize>,
    /// The leak detector worked to the end.
    kmemleak: bool,
    ended: bool,
}

/// Splits what came over the tests' port by the marks of the guest's init.
fn split<'a>(lines: &[&'a str]) -> (Vec<ProgramRun<'a>>, Health) {
    let mut runs = Vec::new();
    let mut health = Health::default();
    let mut current: Option<ProgramRun> = None;
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["#", "program", name, "begin"] => {
                runs.extend(current.replace(ProgramRun {
                    name,
                    ..Default::default()
                }));
            }
            ["#", "program", name, "end", status, seconds]
                if current.as_ref().is_some_and(|run| run.name == *name) =>
            {
                runs.extend(current.take().map(|run| ProgramRun {
                    status: status.parse().ok(),
                    seconds: seconds.parse().unwrap_or_default(),
                    ..run
                }));
            }
            ["#", "guest", "health", values @ ..] => {
                let value = |key| {
                    let found = values.iter().find_map(|value| value.strip_prefix(key));
                    found.and_then(|value| value.parse().ok())
                };
                health.warnings = value("warnings=");
                health.oopses = value("oopses=");
                health.locks = value("locks=");
                health.kmemleak = values.contains(&"kmemleak=ok");
            }
            ["#", "guest", "end"] => health.ended = true,
            _ => {
                if let Some(run) = &mut current {
                    run.lines.push(line);
                }
            }
        }
    }
    runs.extend(current);
    (runs, health)
}

/// Accounts for a guest that ran `programs`: their results, and whether the guest itself was well.
fn account(
    ctx: &Ctx,
    ledger: &mut Ledger,
    suite: &str,
    profile: &str,
    programs: &[String],
    guest: &GuestRecord,
    mut judge: impl FnMut(&mut Ledger, Source, ktap::Report),
) {
    let lines: Vec<&str> = guest.tests.iter().map(String::as_str).collect();
    let (runs, health) = split(&lines);
    for program in programs {
        let short = program.rsplit('/').next().unwrap_or(program);
        let source = Source {
            suite,
            profile,
            program: short,
            log: &guest.tests_log,
        };
        let Some(run) = runs.iter().find(|run| run.name == program) else {
            ledger.fail(source, "run", "the guest did not come to run it");
            continue;
        };
        let report = ktap::parse(run.lines.iter().copied());
        let failed = report
            .cases
            .iter()
            .any(|case| matches!(case.outcome, Outcome::Failed(_)));
        let before = ledger.records().len();
        judge(ledger, source, report);
        match run.status {
            None => ledger.fail(source, "run", "the guest ended while it ran"),
            Some(0 | 4) => {}
            Some(_) if failed => {}
            Some(status) => ledger.fail(
                source,
                "run",
                format!("exit status {status} though no case failed"),
            ),
        }
        ctx.say(format!(
            "  {suite}/{profile}/{short}: {} in {:.1} s",
            Totals::of(&ledger.records()[before..]),
            run.seconds
        ));
    }
    let source = Source {
        suite,
        profile,
        program: "guest",
        log: &guest.console_log,
    };
    if let Err(reason) = well(guest, &health) {
        ledger.fail(source, "console", reason);
    }
}

/// Whether a guest came to its end without a report.
fn well(guest: &GuestRecord, health: &Health) -> Result<(), String> {
    const SHOWN: usize = 12;
    let mut faults = Vec::new();
    faults.extend(guest.hung.clone());
    if !health.ended && guest.hung.is_none() {
        faults.push("the guest ended without its end marker".into());
    }
    if guest.hung.is_some() || !health.ended {
        let from = guest.console.len().saturating_sub(SHOWN);
        faults.push("the last lines of its console:".into());
        faults.extend(
            guest.console[from..]
                .iter()
                .map(|line| format!("  | {line}")),
        );
    }
    for problem in guest.problems.iter().take(SHOWN) {
        faults.push(format!("line {}: {}", problem.line, problem.text));
    }
    if guest.problems.len() > SHOWN {
        faults.push(format!("and {} more", guest.problems.len() - SHOWN));
    }
    if health.ended && guest.problems.is_empty() {
        match health.warnings {
            Some(warnings) if warnings != guest.announced => faults.push(format!(
                "the kernel counted {warnings} warnings, the console showed {} announced ones and \
                 no other",
                guest.announced
            )),
            Some(_) => {}
            None => faults.push("the guest did not say how many warnings it counted".into()),
        }
        if health.oopses != Some(0) {
            faults.push("the kernel counted an oops that its console does not show".into());
        }
        if guest.debug && health.locks != Some(1) {
            faults
                .push("lockdep was not on to the end, though the console does not show why".into());
        }
        if guest.debug && !health.kmemleak {
            faults.push(
                "kmemleak did not look for leaks, though the console does not show why".into(),
            );
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// The console without time stamps, as KUnit wrote to it.
fn untimed(lines: &[String]) -> impl Iterator<Item = &str> {
    lines.iter().map(|line| console::untimed(line))
}

/// The files under version control, or all of them where there is none.
pub fn files(ctx: &Ctx) -> Result<Vec<PathBuf>> {
    let git = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&ctx.repo)
        .stdin(Stdio::null())
        .output();
    let mut files: Vec<PathBuf> = match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .collect(),
        _ => walkdir::WalkDir::new(&ctx.repo)
            .into_iter()
            .filter_entry(|entry| entry.file_name() != "target" && entry.file_name() != ".git")
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .filter_map(|entry| Some(entry.path().strip_prefix(&ctx.repo).ok()?.to_owned()))
            .collect(),
    };
    files.retain(|file| ctx.repo.join(file).is_file());
    files.sort();
    Ok(files)
}

/// A text file of a folder.
pub struct Text {
    /// Without folder and extension.
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

/// The files of a folder with this extension, in the order of their names.
pub fn texts(folder: &Path, extension: &str) -> Result<Vec<Text>> {
    let unread = |path: &Path| format!("cannot read {}", path.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| unread(folder))? {
        let path = entry?.path();
        if !has_extension(&path, &[extension]) {
            continue;
        }
        let name = path.file_stem().unwrap_or_default();
        texts.push(Text {
            name: name.to_string_lossy().into_owned(),
            text: fs::read_to_string(&path).with_context(|| unread(&path))?,
            path,
        });
    }
    texts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(texts)
}

/// Adds the result of a check that either holds or says why not.
fn check(ledger: &mut Ledger, source: Source, case: &str, result: Result<(), String>) {
    ledger.add(
        source,
        case,
        result.map_or_else(Outcome::Failed, |()| Outcome::Passed),
    );
}

/// The log folder of a suite that runs no guest.
fn suite_log(lab: &Lab, name: &str) -> Result<PathBuf> {
    let folder = lab.logs();
    fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}

/// Whether a path has one of these extensions.
fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| extensions.contains(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Problem;
    use std::time::Duration;

    fn guest() -> GuestRecord {
        GuestRecord {
            console: vec!["last words".into()],
            tests: Vec::new(),
            problems: Vec::new(),
            announced: 1,
            hung: None,
            debug: true,
            console_log: PathBuf::new(),
            tests_log: PathBuf::new(),
            time: Duration::ZERO,
        }
    }

    fn health() -> Health {
        Health {
            warnings: Some(1),
            oopses: Some(0),
            locks: Some(1),
            kmemleak: true,
            ended: true,
        }
    }

    #[test]
    fn splits_by_program() {
        let lines = [
            "noise",
            "# program a begin",
            "TAP version 13",
            "# program b end 0 1",
            "",
            "# program a end 1 2.5",
            "# program upstream/b begin",
            "x",
            "# guest health kmemleak=ok warnings=2 oopses=0 locks=",
            "# guest end",
        ];
        let (runs, health) = split(&lines);
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[0].name, "a");
        assert_eq!(runs[0].lines, ["TAP version 13", "# program b end 0 1", ""]);
        assert_eq!((runs[0].status, runs[0].seconds), (Some(1), 2.5));
        assert_eq!((runs[1].name, runs[1].status), ("upstream/b", None));
        assert_eq!(
            health,
            Health {
                warnings: Some(2),
                oopses: Some(0),
                locks: None,
                kmemleak: true,
                ended: true
            }
        );
    }

    #[test]
    fn a_guest_must_be_well() {
        assert_eq!(well(&guest(), &health()), Ok(()));
        let ill = |change: fn(&mut Health)| {
            let mut health = health();
            change(&mut health);
            well(&guest(), &health).unwrap_err()
        };
        assert!(ill(|health| health.ended = false).contains("end marker"));
        assert!(ill(|health| health.warnings = Some(2)).contains("2 warnings"));
        assert!(ill(|health| health.warnings = None).contains("how many"));
        assert!(ill(|health| health.oopses = Some(1)).contains("oops"));
        assert!(ill(|health| health.locks = Some(0)).contains("lockdep"));
        assert!(ill(|health| health.locks = None).contains("lockdep"));
        assert!(ill(|health| health.kmemleak = false).contains("kmemleak"));

        // Other kernels have no checkers that could be off.
        let lean = GuestRecord {
            debug: false,
            ..guest()
        };
        let unchecked = Health {
            locks: None,
            kmemleak: false,
            ..health()
        };
        assert_eq!(well(&lean, &unchecked), Ok(()));
        let hung = GuestRecord {
            hung: Some("hung".into()),
            ..guest()
        };
        assert!(well(&hung, &Health::default())
            .unwrap_err()
            .contains("last words"));
        let problems = vec![Problem {
            line: 3,
            text: "BUG: x".into(),
        }];
        assert_eq!(
            well(
                &GuestRecord {
                    problems,
                    ..guest()
                },
                &health()
            ),
            Err("line 3: BUG: x".into())
        );
    }
}
