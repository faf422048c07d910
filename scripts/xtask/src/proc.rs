// SPDX-License-Identifier: GPL-2.0
//! Children that never outlive this process, however it ends.

use anyhow::{Context, Result};
use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::prctl;
use nix::sys::signal::{killpg, Signal};
use nix::unistd::{getppid, setpgid, Pid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The thread that started a child, and the child's process group.
static GROUPS: Mutex<Vec<(ThreadId, Pid)>> = Mutex::new(Vec::new());

fn groups() -> std::sync::MutexGuard<'static, Vec<(ThreadId, Pid)>> {
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
        groups().retain(|(_, group)| *group != self.group);
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

/// Lets a command have a descriptor, under its number. What other threads start meanwhile does not
/// get it; here it is closed with the command.
pub fn pass(command: &mut Command, fd: OwnedFd) {
    // SAFETY: the closure makes a plain system call only, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            fcntl(fd.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
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
    groups().push((thread::current().id(), group));
    Ok(Proc { child, group })
}

/// Runs a command that owns the terminal, such as a shell.
pub fn interactive(command: &mut Command) -> Result<std::process::ExitStatus> {
    die_with_us(command, false);
    command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))
}

/// Kills all children. Who waits for one sees it die.
pub fn kill_all() {
    kill(|_| true);
}

/// The same for those that some threads started.
fn kill(by: impl Fn(ThreadId) -> bool) {
    for (_, group) in groups().iter().filter(|(thread, _)| by(*thread)) {
        let _ = killpg(*group, Signal::SIGKILL);
    }
}

/// Does the same with several items in parallel, each in a thread: where one makes use of one
/// processor only, others have the rest. When one fails, the children of the others are killed.
pub fn in_parallel<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (sender, results) = mpsc::channel();
    let mut done = BTreeMap::new();
    let mut cause = None;
    thread::scope(|scope| {
        let work = &work;
        let mut threads = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            let sender = sender.clone();
            let worker = scope.spawn(move || sender.send((i, work(item))));
            threads.push(worker.thread().id());
        }
        drop(sender);
        loop {
            match results.recv_timeout(Duration::from_millis(50)) {
                Ok((i, Ok(result))) => {
                    done.insert(i, result);
                }
                Ok((_, Err(error))) => {
                    cause.get_or_insert(error);
                }
                // Again and again, for what they start meanwhile.
                Err(RecvTimeoutError::Timeout) => {
                    if cause.is_some() {
                        kill(|thread| threads.contains(&thread));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    match cause {
        Some(error) => Err(error),
        None => Ok(done.into_values().collect()),
    }
}

/// On Ctrl-C and its like: kill the children and leave. The cache needs no goodbye.
pub fn handle_signals() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            kill_all();
            eprintln!("\ninterrupted; the next run continues from here");
            signal_hook::low_level::exit(128 + signal);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn of_parallel_work_the_first_failure_counts() {
        let run = |command: &[&str]| -> Result<usize> {
            let status = spawn(Command::new(command[0]).args(&command[1..]))?.wait()?;
            anyhow::ensure!(status.success(), "{command:?}: {status}");
            Ok(command.len())
        };
        let lengths = in_parallel([&["sleep", "0.2"][..], &["true"]], run).unwrap();
        assert_eq!(lengths, [2, 1]);
        let start = std::time::Instant::now();
        let error = in_parallel([&["sleep", "60"][..], &["false"]], run).unwrap_err();
        assert!(error.to_string().contains("false"), "{error}");
        assert!(start.elapsed().as_secs() < 30);
    }

    #[test]
    fn a_descriptor_goes_to_one_child_only() {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let fd = writer.as_raw_fd();
        let mut chosen = Command::new("sh");
        chosen.args(["-c", &format!("echo chosen >&{fd}")]);
        pass(&mut chosen, writer);
        let mut other = Command::new("sh");
        other.args(["-c", &format!("echo other >&{fd}; exec sleep 60")]);
        let _other = spawn(other.stderr(Stdio::null())).unwrap();
        spawn(&mut chosen).unwrap().wait().unwrap();
        drop(chosen);
        // It has an end, though the other child is still there.
        let mut text = String::new();
        std::fs::File::from(reader)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "chosen\n");
    }
}
