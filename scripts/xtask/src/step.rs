// SPDX-License-Identifier: GPL-2.0
//! A step: something that takes time, with progress, a log file, and advice when it fails.

use crate::proc;
use anyhow::{anyhow, bail, Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Names a file to which begin and end of every step are appended (`make test-interrupt`).
pub const ANNOUNCE: &str = "IOMMU_EXT_STEPS";

/// How often a run without a terminal says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

const TAIL: usize = 20;

/// Where progress goes: a bar for each step at work, below what is said.
#[derive(Clone, Default)]
pub struct Ui {
    bars: MultiProgress,
}

impl Ui {
    pub fn say(&self, line: &str) {
        self.bars.suspend(|| println!("{line}"));
    }
}

/// A step at work.
pub struct Step {
    name: String,
    log: File,
    path: PathBuf,
    tail: VecDeque<String>,
    first_error: Option<String>,
    /// A command said that the disk is full.
    full: bool,
    message: Arc<Mutex<String>>,
    bar: Option<ProgressBar>,
}

/// A time as it is shown.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{:.1} s", time.as_secs_f32()),
        _ => format!("{} min {:02} s", s / 60, s % 60),
    }
}

fn announce(what: &str, name: &str) {
    let Some(path) = std::env::var_os(ANNOUNCE) else {
        return;
    };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{what} {name}\n").as_bytes());
    }
}

impl Step {
    pub(crate) fn perform<T>(
        ui: &Ui,
        logs: &Path,
        name: &str,
        hint: &str,
        work: impl FnOnce(&mut Step) -> Result<T>,
    ) -> Result<T> {
        fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let file: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let path = logs.join(format!("{file}.log"));
        let log =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let start = Instant::now();
        let message = Arc::new(Mutex::new(String::new()));
        let tty = std::io::stderr().is_terminal();
        let bar = tty.then(|| {
            let bar = ui.bars.add(ProgressBar::new_spinner());
            bar.set_prefix(name.to_owned());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix:28} {elapsed:>5}  {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        announce("begin", name);

        // Without a terminal, a line now and then from a thread that ends with the step.
        let (stop, stopped) = mpsc::channel::<()>();
        let heart = (!tty).then(|| {
            println!("  {name} ...");
            let (name, message) = (name.to_owned(), Arc::clone(&message));
            std::thread::spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(HEARTBEAT) {
                    let message = message.lock().map(|m| m.clone()).unwrap_or_default();
                    println!("  {name} ... {}  {message}", seconds(start.elapsed()));
                }
            })
        });

        let mut step = Step {
            name: name.to_owned(),
            log,
            path,
            tail: VecDeque::new(),
            first_error: None,
            full: false,
            message,
            bar: bar.clone(),
        };
        let result = work(&mut step);

        drop(stop);
        if let Some(heart) = heart {
            let _ = heart.join();
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
            ui.bars.remove(&bar);
        }
        match result {
            Ok(value) => {
                announce("end", name);
                ui.say(&format!("  {name:30} {}", seconds(start.elapsed())));
                Ok(value)
            }
            Err(error) => Err(step.explain(error, hint)),
        }
    }

    fn explain(&self, error: anyhow::Error, hint: &str) -> anyhow::Error {
        let mut text = format!("{}: {error:#}", self.name);
        if !self.tail.is_empty() {
            if let Some(line) = self
                .first_error
                .as_ref()
                .filter(|line| !self.tail.contains(line))
            {
                text += &format!("\n\nThe first error was:\n  | {line}");
            }
            text += "\n\nThe last lines were:\n";
            for line in &self.tail {
                text += &format!("  | {line}\n");
            }
            text += &format!("The whole log is {}.", self.path.display());
        }
        let full = error.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .and_then(|e| e.raw_os_error())
                == Some(nix::libc::ENOSPC)
        });
        if full || self.full {
            text += "\nThe disk is full: free some space, or give another place with CACHE=dir. \
                     What is in the cache stays good and the next run goes on from here.";
        } else if !hint.is_empty() {
            text += &format!("\nWhat to try: {hint}");
        }
        anyhow!(text)
    }

    /// Shows what the step is doing just now.
    pub fn note(&self, message: impl Into<String>) {
        let message = message.into();
        if let Some(bar) = &self.bar {
            bar.set_message(message.clone());
        }
        if let Ok(mut current) = self.message.lock() {
            *current = message;
        }
    }

    /// Adds a line to the log.
    pub fn log(&mut self, line: &str) -> Result<()> {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        self.full |= line.contains("No space left on device");
        let error = ["error:", "error["].iter().any(|word| line.contains(word));
        if error && self.first_error.is_none() {
            self.first_error = Some(line.to_owned());
        }
        writeln!(self.log, "{line}").context("cannot write the log")
    }

    /// Runs a command, its output to the log.
    pub fn run(&mut self, command: &mut Command) -> Result<()> {
        self.watch(command, |_| None)
    }

    /// Runs a command, its output to the log; `progress` may make a message of a line.
    pub fn watch(
        &mut self,
        command: &mut Command,
        mut progress: impl FnMut(&str) -> Option<String>,
    ) -> Result<()> {
        self.log(&format!("+ {}", describe(command)))?;
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let mut child = proc::spawn(command)?;
        // The command keeps copies of the writing end, without which the pipe would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());

        let mut reader = BufReader::new(File::from(reader));
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if let Some(message) = progress(text) {
                self.note(message);
            }
            self.log(text)?;
            line.clear();
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("{} failed ({status})", name_of(command));
        }
        self.tail.clear();
        self.first_error = None;
        Ok(())
    }

    /// Runs a command and returns what it printed; its error output goes to the log.
    pub fn output(&mut self, command: &mut Command) -> Result<String> {
        self.log(&format!("+ {}", describe(command)))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log.try_clone()?);
        let mut child = proc::spawn(command)?;
        let mut text = Vec::new();
        if let Some(mut out) = child.stdout.take() {
            std::io::Read::read_to_end(&mut out, &mut text)?;
        }
        let status = child.wait()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if !status.success() {
            for line in fs::read_to_string(&self.path)
                .unwrap_or_default()
                .lines()
                .rev()
                .take(TAIL)
            {
                self.tail.push_front(line.to_owned());
            }
            bail!("{} failed ({status})", name_of(command));
        }
        self.tail.clear();
        self.first_error = None;
        Ok(text)
    }
}

/// The program that a command runs, for messages: inside the sandbox it follows `--`.
fn name_of(command: &Command) -> String {
    let inner = command.get_args().skip_while(|arg| *arg != "--").nth(1);
    inner
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned()
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(hint: &str, work: impl FnOnce(&mut Step) -> Result<()>) -> String {
        let logs = tempfile::tempdir().unwrap();
        let result = Step::perform(&Ui::default(), logs.path(), "a step", hint, work);
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_failure_tells_the_last_lines_and_what_to_try() {
        let text = failure("try again", |step| {
            let script = "echo Err: Connection refused; exit 100";
            step.run(Command::new("sh").args(["-c", script]))
        });
        let parts = [
            "a step: sh failed (exit status: 100)",
            "| Err: Connection refused",
            "a-step.log",
            "What to try: try again",
        ];
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_full_disk_is_called_so() {
        let own = failure("try again", |_| {
            fs::write("/dev/full", "x").context("cannot write the archive")
        });
        let script = "echo x >/dev/full";
        let commands = failure("try again", |step| {
            step.run(Command::new("bash").args(["-c", script]))
        });
        for text in [own, commands] {
            assert!(
                text.contains("disk is full") && text.contains("CACHE=dir"),
                "{text}"
            );
            assert!(!text.contains("try again"), "{text}");
        }
    }
}
