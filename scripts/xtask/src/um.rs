// SPDX-License-Identifier: GPL-2.0
//! User-mode Linux: boots a kernel as a program of the toolchain root, until it halts.

use crate::console::Watch;
use crate::ctx::Ctx;
use crate::guest::{self, Port, Record, Watchdog};
use crate::kernel::KernelBuild;
use crate::proc;
use crate::root;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

/// The kernel halts when its tests are over, even if there are none to run.
const COMMAND_LINE: [&str; 3] = ["mem=1G", "console=tty", "kunit_shutdown=halt"];

/// Its last words.
pub const HALTED: &str = "reboot: System halted";

/// Boots and follows it to its end; `seen` gets each line as it comes.
pub fn run(
    ctx: &Ctx,
    kernel: &KernelBuild,
    logs: &Path,
    append: &str,
    mut watchdog: Watchdog,
    mut seen: impl FnMut(&str),
) -> Result<Record> {
    fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let mut record = Record::new(false, logs);
    let mut log = File::create(&record.console_log)
        .with_context(|| format!("cannot write {}", record.console_log.display()))?;
    let inside = Path::new("/build").join(kernel.image.strip_prefix(&kernel.build)?);
    let sandbox = Sandbox::new(ctx, &root::prepare(ctx)?).ro(&kernel.build, "/build");
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let mut command = sandbox.command(inside);
    command
        .args(COMMAND_LINE)
        .args(append.split_whitespace())
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let start = Instant::now();
    let mut child = proc::spawn(&mut command)?;
    // It keeps copies of the writing end, without which the pipe would never end.
    drop(command);

    let (lines, incoming) = mpsc::channel();
    std::thread::spawn(move || guest::read_lines(Port::Console, File::from(reader), &lines));
    let mut watch = Watch::default();
    loop {
        match incoming.recv_timeout(watchdog.patience()) {
            Ok((_, line)) => {
                watchdog.heard();
                writeln!(log, "{line}").context("cannot write the log")?;
                watch.line(&line);
                seen(&line);
                record.console.push(line);
            }
            Err(RecvTimeoutError::Timeout) if record.hung.is_none() => {}
            Err(_) => break,
        }
        // A kernel that never stops talking is asked as well.
        if let Some(why) = watchdog.bark() {
            record.hung.get_or_insert(why);
            child.kill().context("cannot end user-mode Linux")?;
        }
    }
    drop(child);
    let verdict = watch.finish();
    record.announced = verdict.announced;
    record.problems = verdict.problems;
    record.time = start.elapsed();
    Ok(record)
}
