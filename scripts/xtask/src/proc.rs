// SPDX-License-Identifier: GPL-2.0
//! Children that never outlive this process, however it ends.

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{killpg, Signal};
use nix::unistd::{getppid, setpgid, Pid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Mutex;

static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn groups() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    GROUPS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A child with a process group of its own; dropping it kills the group.
pub struct Proc {
    child: Child,
    group: Pid,
}

impl Deref for Proc {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Proc {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // Before it is waited for, the group's number cannot belong to anybody else.
        let _ = killpg(self.group, Signal::SIGKILL);
        groups().retain(|group| *group != self.group);
        let _ = self.child.wait();
    }
}

/// Makes the kernel kill the command when the thread that starts it ends.
fn die_with_us(command: &mut Command, own_group: bool) {
    let parent = nix::unistd::getpid();
    // SAFETY: the closure makes plain system calls only, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            if own_group {
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            }
            Ok(())
        });
    }
}

/// Starts a command that dies with this process.
pub fn spawn(command: &mut Command) -> Result<Proc> {
    die_with_us(command, true);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let group = Pid::from_raw(child.id() as i32);
    groups().push(group);
    Ok(Proc { child, group })
}

/// Runs a command that owns the terminal, such as a shell.
pub fn interactive(command: &mut Command) -> Result<std::process::ExitStatus> {
    die_with_us(command, false);
    command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))
}

/// On Ctrl-C and its like: kill the children and leave. The cache needs no goodbye.
pub fn handle_signals() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            for group in groups().iter() {
                let _ = killpg(*group, Signal::SIGKILL);
            }
            eprintln!("\ninterrupted; the next run continues from here");
            signal_hook::low_level::exit(128 + signal);
        }
    });
}
