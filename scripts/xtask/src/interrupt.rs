// SPDX-License-Identifier: GPL-2.0
//! `make test-interrupt`: a cold run in a cache of its own, interrupted once inside every step, by
//! Ctrl-C and by kill -9 in turn, and started again each time, until it completes.

use crate::cache;
use crate::ctx::Ctx;
use crate::proc;
use crate::step::ANNOUNCE;
use anyhow::{bail, Context, Result};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Steps that take a while are interrupted in their midst, all others as soon as they begin.
const MIDST: [(&str, Duration); 7] = [
    ("toolchain root", Duration::from_secs(25)),
    // These two are at work at the same time.
    ("kernel", Duration::from_secs(25)),
    ("qemu", Duration::from_secs(25)),
    ("unpack", Duration::from_secs(3)),
    ("patch", Duration::from_secs(1)),
    ("selftests", Duration::from_secs(1)),
    ("guest", Duration::from_secs(1)),
];

/// How soon after a signal everything must be gone.
const GRACE: Duration = Duration::from_secs(10);

/// Where the steps of one attempt are announced.
struct Announced {
    path: PathBuf,
    seen: usize,
}

impl Announced {
    /// The steps begun and ended since the last look.
    fn news(&mut self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end + 1]);
        let news: Vec<String> = whole.lines().skip(self.seen).map(str::to_owned).collect();
        self.seen += news.len();
        news
    }
}

/// How an attempt ended.
enum End {
    Completed,
    Interrupted(String),
    Failed,
}

/// One test: a cache, and what was interrupted in it.
struct Test<'a> {
    ctx: &'a Ctx,
    cache: PathBuf,
    output: PathBuf,
    /// The steps that ever began, and those whose interruption was tried.
    begun: BTreeSet<String>,
    struck: BTreeSet<String>,
    failures: Vec<String>,
}

fn delay(step: &str) -> Duration {
    MIDST
        .iter()
        .find(|(name, _)| step.starts_with(name))
        .map_or(Duration::ZERO, |(_, delay)| *delay)
}

/// Processes whose command line names the cache, or that have their root or folder in it.
fn survivors(cache: &Path) -> Vec<String> {
    let name = cache.to_string_lossy();
    let own = std::process::id().to_string();
    let command = |process: &Path| fs::read_to_string(process.join("cmdline")).unwrap_or_default();
    let is_in = |link: PathBuf| fs::read_link(link).is_ok_and(|path| path.starts_with(cache));
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy() != own.as_str())
        .map(|entry| entry.path())
        .filter(|process| {
            let inside = ["root", "cwd"].map(|link| is_in(process.join(link)));
            inside.contains(&true) || command(process).contains(&*name)
        })
        .map(|process| {
            command(&process)
                .split('\0')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

/// The path whose name is longer by `end`.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(end);
    name.into()
}

/// What was not tried by the time a run completed.
fn untried(begun: &BTreeSet<String>, struck: &BTreeSet<String>) -> Vec<String> {
    if begun.is_empty() {
        return vec!["no step was announced".into()];
    }
    let left = begun.difference(struck);
    left.map(|step| format!("{step}: it was never interrupted"))
        .collect()
}

impl Test<'_> {
    /// Starts a run and interrupts it in the first step that never was.
    fn attempt(&mut self, signal: Signal) -> Result<End> {
        let announced = beside(&self.cache, ".steps");
        cache::remove(&announced)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.output)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("run")
            .env("CACHE", &self.cache)
            .env(ANNOUNCE, &announced);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut run = proc::spawn(&mut command)?;
        let mut announced = Announced {
            path: announced,
            seen: 0,
        };
        let mut strike: Option<(String, Instant)> = None;
        loop {
            for news in announced.news() {
                if let Some(step) = news.strip_prefix("begin ") {
                    self.begun.insert(step.to_owned());
                    if strike.is_none() && !self.struck.contains(step) {
                        strike = Some((step.to_owned(), Instant::now() + delay(step)));
                    }
                } else if let Some(step) = news.strip_prefix("end ") {
                    if strike.take_if(|(name, _)| name == step).is_some() {
                        self.struck.insert(step.to_owned());
                        self.failures
                            .push(format!("{step}: it ended before it could be interrupted"));
                    }
                }
            }
            if let Some((step, _)) = strike.take_if(|(_, at)| *at <= Instant::now()) {
                kill(Pid::from_raw(run.id() as i32), signal).context("cannot interrupt the run")?;
                let status = run.wait()?;
                let told = status.signal() == Some(signal as i32)
                    || status.code() == Some(128 + signal as i32);
                self.struck.insert(step.clone());
                if !told {
                    self.failures
                        .push(format!("{step}: the run ended with {status} instead"));
                }
                return Ok(End::Interrupted(step));
            }
            if let Some(status) = run.try_wait()? {
                return Ok(if status.success() {
                    End::Completed
                } else {
                    End::Failed
                });
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether everything that the run had started is gone.
    fn is_quiet(&self) -> Result<(), Vec<String>> {
        let end = Instant::now() + GRACE;
        loop {
            let left = survivors(&self.cache);
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(left);
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn all(&mut self) -> Result<()> {
        let start = Instant::now();
        for signal in [Signal::SIGINT, Signal::SIGKILL].into_iter().cycle() {
            match self.attempt(signal)? {
                End::Interrupted(step) => {
                    let time = start.elapsed().as_secs();
                    self.ctx
                        .say(format!("  {time:5} s  {step}: interrupted by {signal}"));
                    if let Err(left) = self.is_quiet() {
                        self.failures
                            .push(format!("{step}: left running: {}", left.join(", ")));
                    }
                }
                End::Completed => {
                    self.failures.extend(untried(&self.begun, &self.struck));
                    return Ok(());
                }
                End::Failed => {
                    self.failures.push(format!(
                        "a run failed by itself; see {}",
                        self.output.display()
                    ));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The whole test; prints its sum last.
pub fn run(ctx: &Ctx) -> Result<()> {
    let cache = beside(&ctx.cache, "-interrupt");
    cache::remove(&cache)?;
    fs::create_dir_all(&cache)?;
    let output = beside(&cache, ".log");
    cache::remove(&output)?;
    ctx.say(format!(
        "A cold run in {}, interrupted inside every step",
        cache.display()
    ));
    let mut test = Test {
        ctx,
        cache,
        output,
        begun: BTreeSet::new(),
        struck: BTreeSet::new(),
        failures: Vec::new(),
    };
    test.all()?;
    // Every interruption is a test, and so is the completion.
    let total = test.begun.len() + 1;
    for failure in &test.failures {
        ctx.say(format!("FAILED {failure}"));
    }
    let failed = test.failures.len();
    if failed == 0 {
        for end in ["", ".log", ".steps"] {
            cache::remove(&beside(&test.cache, end))?;
        }
    }
    ctx.say(format!(
        "{} passed, {failed} failed",
        total.saturating_sub(failed)
    ));
    if failed > 0 {
        bail!(
            "The cache did not survive every interruption; it is kept in {}.",
            test.cache.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_are_found_by_what_they_use() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(survivors(cache.path()), Vec::<String>::new());
        let file = cache.path().join("file");
        fs::write(&file, "").unwrap();
        let _named = proc::spawn(Command::new("tail").arg("-f").arg(&file)).unwrap();
        let mut inside = Command::new("sleep");
        let _inside = proc::spawn(inside.arg("60").current_dir(&cache)).unwrap();
        let mut found = survivors(cache.path());
        found.sort();
        assert_eq!(found, ["sleep", "tail"]);
    }

    #[test]
    fn every_step_is_interrupted() {
        let steps = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let untried = |begun, struck| super::untried(&steps(begun), &steps(struck));
        assert!(untried(&["a", "b"], &["b", "a"]).is_empty());
        assert_eq!(
            untried(&["a", "b"], &["a"]),
            ["b: it was never interrupted"]
        );
        assert_eq!(untried(&[], &[]), ["no step was announced"]);
    }

    #[test]
    fn the_longest_steps_are_interrupted_in_their_midst() {
        assert!(delay("kernel 7.3 lean") > delay("unpack linux 7.3"));
        assert_eq!(delay("fetch qemu"), Duration::ZERO);
    }
}
