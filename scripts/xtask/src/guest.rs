// SPDX-License-Identifier: GPL-2.0
//! Boots a guest and follows it to its end.
//!
//! Serial port 0 is the kernel's console, port 1 what tests print. QEMU writes both to files, which
//! are followed: into a socket whose reader is late it would drop characters. Port 2 carries
//! requests of the guest, which are carried out through the monitor; these two are socket pairs
//! that QEMU inherits, so that nothing is left behind. A watchdog ends a guest that hangs.

use crate::console::{Problem, Watch};
use crate::ctx::Ctx;
use crate::monitor::Monitor;
use crate::proc;
use crate::qemu::QemuBuild;
use anyhow::{bail, Context, Result};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The checked-in guest profiles.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    timeout: u64,
    silence: u64,
    base: Base,
    profile: Vec<Profile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    memory: String,
    cpu: String,
    iommu: String,
    kernel: String,
    devices: Vec<String>,
}

/// Ends a guest that has had its time, or says nothing any more.
pub struct Watchdog {
    limit: Duration,
    silence: Duration,
    start: Instant,
    heard: Instant,
}

impl Watchdog {
    fn new(limit: Duration, silence: Duration, now: Instant) -> Self {
        Watchdog {
            limit,
            silence,
            start: now,
            heard: now,
        }
    }

    /// The guest said something.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
    }

    fn left(&self, now: Instant) -> [Duration; 2] {
        [(self.limit, self.start), (self.silence, self.heard)]
            .map(|(whole, since)| whole.saturating_sub(now.saturating_duration_since(since)))
    }

    /// How long all may be well without asking again.
    pub fn patience(&self) -> Duration {
        let [limit, silence] = self.left(Instant::now());
        limit.min(silence)
    }

    fn complaint(&self, now: Instant) -> Option<String> {
        let why = match self.left(now) {
            [Duration::ZERO, _] => format!("had not ended after {} s", self.limit.as_secs()),
            [_, Duration::ZERO] => format!("said nothing for {} s", self.silence.as_secs()),
            _ => return None,
        };
        Some(format!("the guest {why} and was ended by the watchdog"))
    }

    /// Why the guest is to be ended now; what it said before can be read for as long again.
    pub fn bark(&mut self) -> Option<String> {
        let now = Instant::now();
        let complaint = self.complaint(now)?;
        *self = Watchdog::new(self.limit, self.silence, now);
        Some(complaint)
    }
}

/// A kind of machine; what it leaves out is as in the base.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: String,
    /// What makes it worth a guest.
    #[allow(dead_code)]
    why: String,
    memory: Option<String>,
    cpu: Option<String>,
    iommu: Option<String>,
    kernel: Option<String>,
    #[serde(default)]
    extra: String,
    /// One CPU, whose clock counts instructions.
    #[serde(default)]
    icount: bool,
}

impl Profiles {
    pub fn read(ctx: &Ctx) -> Result<Self> {
        let path = ctx.repo.join("scripts/guests.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the guest profiles, {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    /// All names, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        self.profile
            .iter()
            .map(|profile| profile.name.as_str())
            .collect()
    }

    pub fn get(&self, name: &str) -> Result<&Profile> {
        self.profile
            .iter()
            .find(|profile| profile.name == name)
            .with_context(|| {
                format!(
                    "There is no guest profile {name}. Known are {}.",
                    self.names().join(", ")
                )
            })
    }

    /// When a guest is ended that shares the machine's processors with others, `at_once` altogether.
    pub fn limits(&self, at_once: usize) -> Limits {
        let seconds = |n: u64| Duration::from_secs(n) * at_once.max(1) as u32;
        Limits {
            total: seconds(self.timeout),
            silence: seconds(self.silence),
        }
    }

    /// QEMU's arguments that make the machine, and the kernel's.
    fn machine(&self, profile: &Profile, acpi: &Path) -> (Vec<String>, String) {
        let own = |own: &Option<String>, base: &str| own.as_deref().unwrap_or(base).to_owned();
        let cpus = if profile.icount { 1 } else { 2 };
        let mut args = format!(
            "-machine q35,kernel-irqchip=split -smp {cpus} -m {} -cpu {} {}",
            own(&profile.memory, &self.base.memory),
            own(&profile.cpu, &self.base.cpu),
            own(&profile.iommu, &self.base.iommu)
        );
        for more in self.base.devices.iter().chain([&profile.extra]) {
            args.push(' ');
            args += more;
        }
        if profile.icount {
            args += " -icount shift=0,sleep=off";
        }
        let acpi = acpi.display().to_string();
        let args = args
            .split_whitespace()
            .map(|arg| arg.replace("{acpi}", &acpi))
            .collect();
        (args, own(&profile.kernel, &self.base.kernel))
    }
}

/// How long a guest may take altogether, and without a word from it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub total: Duration,
    pub silence: Duration,
}

impl Limits {
    /// For a guest that starts now.
    pub fn watchdog(self) -> Watchdog {
        Watchdog::new(self.total, self.silence, Instant::now())
    }
}

/// What to boot.
#[derive(Clone, Copy)]
pub struct Boot<'a> {
    pub profiles: &'a Profiles,
    pub profile: &'a Profile,
    pub qemu: &'a QemuBuild,
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    /// More of the kernel command line.
    pub append: &'a str,
    /// The kernel has every checker.
    pub debug: bool,
}

/// Every guest's kernel command line begins so. What cannot go well any more ends the guest at
/// once. Writes to /dev/kmsg must not be rate-limited, as announced warnings depend on them; ports
/// 0 and 2 share an interrupt; on a busy host the emulated timer is too late for the kernel's
/// check of it, which then panics.
const KERNEL: &str = "console=ttyS0 oops=panic sysctl.kernel.panic_on_rcu_stall=1 panic=-1 \
                      reboot=t printk.devkmsg=on 8250.share_irqs=1 no_timer_check";

impl Boot<'_> {
    /// The emulator with everything but its ports.
    fn command(&self, ctx: &Ctx, kernel: &str, binds: &[&Path]) -> Result<Command> {
        let (machine, machine_kernel) = self.profiles.machine(self.profile, &self.qemu.acpi);
        let binds = [&[self.kernel, self.initramfs], binds].concat();
        let mut command = self.qemu.command(ctx, &binds)?;
        let accel = match (self.profile.icount, ctx.options.kvm) {
            (true, _) => "tcg,thread=single",
            (false, true) => "kvm",
            (false, false) => "tcg,thread=multi",
        };
        command
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-accel", accel])
            .args(machine)
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initramfs)
            .arg("-append")
            .arg(format!(
                "{kernel} {machine_kernel} ext.profile={} {}",
                self.profile.name, self.append
            ));
        Ok(command)
    }

    /// A guest on this terminal.
    pub fn interactive(&self, ctx: &Ctx) -> Result<()> {
        let mut command = self.command(ctx, KERNEL, &[])?;
        command.args(["-chardev", "stdio,id=terminal,mux=on,signal=off"]);
        command.args(["-serial", "chardev:terminal", "-mon", "chardev=terminal"]);
        command.args(["-serial", "null", "-serial", "null"]);
        let status = proc::interactive(&mut command)?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }
}

/// A source of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Console,
    Tests,
    Requests,
    Monitor,
}

/// How long to wait before a log is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// What a guest left behind.
#[derive(Debug)]
pub struct Record {
    pub console: Vec<String>,
    pub tests: Vec<String>,
    pub problems: Vec<Problem>,
    /// How many warnings came as announced.
    pub announced: usize,
    /// Why the guest did not come to its end by itself.
    pub hung: Option<String>,
    /// Its kernel has every checker.
    pub debug: bool,
    pub console_log: PathBuf,
    pub tests_log: PathBuf,
    pub time: Duration,
}

impl Record {
    pub fn new(debug: bool, logs: &Path) -> Self {
        Record {
            console: Vec::new(),
            tests: Vec::new(),
            problems: Vec::new(),
            announced: 0,
            hung: None,
            debug,
            console_log: logs.join("console.log"),
            tests_log: logs.join("tests.log"),
            time: Duration::ZERO,
        }
    }
}

/// Boots a guest and follows it to its end; `seen` gets each line of console and tests as it comes,
/// and may break it off. The logs are `console.log` and `tests.log` in `logs`.
pub fn run(
    ctx: &Ctx,
    boot: Boot<'_>,
    logs: &Path,
    limits: Limits,
    seen: impl FnMut(Port, &str) -> ControlFlow<()>,
) -> Result<Record> {
    fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let command = boot.command(ctx, KERNEL, &[logs])?;
    attend(command, Record::new(boot.debug, logs), limits, seen)
}

/// Starts the emulator with its ports and stays until it ends.
fn attend(
    mut command: Command,
    mut record: Record,
    limits: Limits,
    mut seen: impl FnMut(Port, &str) -> ControlFlow<()>,
) -> Result<Record> {
    let start = Instant::now();
    let (lines, incoming) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));

    for (port, log) in [
        (Port::Console, &record.console_log),
        (Port::Tests, &record.tests_log),
    ] {
        File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let path = log.display().to_string().replace(',', ",,");
        command
            .arg("-chardev")
            .arg(format!("file,id={port:?},path={path}"));
        command.arg("-serial").arg(format!("chardev:{port:?}"));
        let (log, ended, lines) = (File::open(log)?, Arc::clone(&ended), lines.clone());
        std::thread::spawn(move || follow(port, log, &ended, &lines));
    }
    let mut wires = Vec::new();
    for port in [Port::Requests, Port::Monitor] {
        let (ours, other) = wire().context("cannot make a socket pair for the guest")?;
        let fd = other.as_raw_fd();
        command
            .arg("-chardev")
            .arg(format!("socket,id={port:?},fd={fd}"));
        proc::pass(&mut command, other);
        wires.push(ours.try_clone()?);
        let (ended, lines) = (Arc::clone(&ended), lines.clone());
        std::thread::spawn(move || {
            read_lines(port, ours, &lines);
            // The monitor's end is QEMU's.
            ended.fetch_or(port == Port::Monitor, Ordering::Release);
        });
    }
    command.args([
        "-serial",
        "chardev:Requests",
        "-mon",
        "chardev=Monitor,mode=control",
    ]);
    drop(lines);
    let [guest, qmp] = wires.try_into().ok().context("two ports take answers")?;

    let qemu_log = record.console_log.with_file_name("qemu.log");
    let errors = File::create(&qemu_log)?;
    command
        .stdin(Stdio::null())
        .stdout(errors.try_clone()?)
        .stderr(errors);
    let mut qemu = proc::spawn(&mut command)?;
    // With our copies of its ends of the sockets.
    drop(command);

    let mut monitor = Monitor::new(guest, qmp);
    let mut watch = Watch::default();
    let mut watchdog = limits.watchdog();
    loop {
        match incoming.recv_timeout(watchdog.patience().min(monitor.patience())) {
            Ok((port @ (Port::Console | Port::Tests), line)) => {
                watchdog.heard();
                if seen(port, &line).is_break() && record.hung.is_none() {
                    record.hung = Some("the guest was ended: enough was seen".into());
                    qemu.kill().context("cannot end QEMU")?;
                }
                if port == Port::Console {
                    watch.line(&line);
                    record.console.push(line);
                } else {
                    record.tests.push(line);
                }
            }
            Ok((Port::Requests, line)) => monitor.request(&line),
            Ok((Port::Monitor, line)) => monitor.message(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => monitor.expire(),
        }
        // A guest that never stops talking is asked as well.
        if let Some(why) = watchdog.bark() {
            record.hung.get_or_insert(why);
            qemu.kill().context("cannot end QEMU")?;
        }
    }
    let status = qemu.wait()?;
    let verdict = watch.finish();
    record.announced = verdict.announced;
    record.problems = verdict.problems;
    record.time = start.elapsed();
    if record.hung.is_none() && !status.success() {
        let said = fs::read_to_string(&qemu_log).unwrap_or_default();
        record.hung = Some(format!(
            "QEMU ended with {status}: {}",
            if said.trim().is_empty() {
                "it gave no reason"
            } else {
                said.trim()
            }
        ));
    }
    Ok(record)
}

/// Our end and QEMU's.
fn wire() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    Ok((UnixStream::from(ours), theirs))
}

/// Hands on every line of a socket or a pipe.
pub fn read_lines(port: Port, wire: impl Read, lines: &Sender<(Port, String)>) {
    let mut reader = BufReader::new(wire);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
        if lines.send((port, text(&line))).is_err() {
            return;
        }
        line.clear();
    }
}

/// Hands on every line of a log while QEMU writes it, the last one too if the guest did not end it.
fn follow(port: Port, log: File, ended: &AtomicBool, lines: &Sender<(Port, String)>) {
    let mut reader = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        // To be asked before reading: what is written before the end must still be read.
        let complete = ended.load(Ordering::Acquire);
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) if complete => break,
            Ok(0) | Err(_) => std::thread::sleep(POLL),
            Ok(_) if line.ends_with(b"\n") => {
                if lines.send((port, text(&line))).is_err() {
                    return;
                }
                line.clear();
            }
            Ok(_) => {}
        }
    }
    if !line.is_empty() {
        let _ = lines.send((port, text(&line)));
    }
}

/// A line as it was meant: without the carriage returns of a serial port.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end_matches('\n')
        .replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn profiles() -> Profiles {
        toml::from_str(include_str!("../../guests.toml")).unwrap()
    }

    #[test]
    fn profiles_replace_and_add() {
        let profiles = profiles();
        let machine = |name| profiles.machine(profiles.get(name).unwrap(), Path::new("/acpi"));
        let (args, kernel) = machine("first-stage");
        assert!(args.iter().any(|arg| arg.contains("x-flts=on")));
        assert!(kernel.contains("sm_on"));
        let (args, _) = machine("second-stage");
        assert!(!args.iter().any(|arg| arg.contains("x-flts=on")));
        let (args, _) = machine("no-iommu");
        assert!(!args.iter().any(|arg| arg.contains("intel-iommu")));
        let (args, _) = machine("ats");
        assert!(args.iter().any(|arg| arg == "pasid-testdev.ats=on"));
        assert!(!args.iter().any(|arg| arg == "-icount"));
        let (args, _) = machine("icount");
        assert!(args.iter().any(|arg| arg == "-icount"));
        assert!(args.windows(2).any(|pair| pair == ["-smp", "1"]));
        let (args, _) = machine("untrusted");
        assert!(args.iter().any(|arg| arg.starts_with("file=/acpi/")));
    }

    #[test]
    fn a_guest_ends_when_it_is_silent_or_talks_for_too_long() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(Duration::from_secs(900), Duration::from_secs(150), now);
        assert_eq!(dog.complaint(at(149)), None);
        let silent = dog.complaint(at(150)).unwrap();
        assert!(silent.contains("said nothing for 150 s"), "{silent}");
        dog.heard = at(899);
        assert_eq!(dog.complaint(at(899)), None);
        let late = dog.complaint(at(900)).unwrap();
        assert!(late.contains("had not ended after 900 s"), "{late}");
    }

    #[test]
    fn an_unknown_profile_names_the_known_ones() {
        let error = profiles().get("nonsense").unwrap_err().to_string();
        assert!(error.contains("first-stage, second-stage"), "{error}");
    }

    #[test]
    fn guests_that_share_the_processors_have_more_time() {
        let (alone, shared) = (profiles().limits(1), profiles().limits(2));
        assert_eq!(2 * alone.total, shared.total);
        assert_eq!(2 * alone.silence, shared.silence);
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);

    /// Why a shell did not come to its end that stands for an emulator, if it did not.
    fn hung(script: &str, total: Duration, silence: Duration) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::new(true, dir.path());
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        command.env("CONSOLE", &record.console_log);
        let limits = Limits { total, silence };
        let start = Instant::now();
        let record = attend(command, record, limits, |_, line| match line {
            "enough" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        assert!(start.elapsed() < LONG);
        record.unwrap().hung
    }

    #[test]
    fn the_watchdog_ends_what_hangs() {
        let silent = hung("exec sleep 99", LONG, SHORT).unwrap();
        assert!(silent.contains("said nothing"), "{silent}");
        let busy = "while :; do echo x >>$CONSOLE; sleep 0.01; done";
        let endless = hung(busy, SHORT, LONG).unwrap();
        assert!(endless.contains("had not ended"), "{endless}");
        assert_eq!(hung("echo x >>$CONSOLE", LONG, LONG), None);
    }

    #[test]
    fn a_guest_may_be_broken_off_or_die() {
        let enough = hung("echo enough >>$CONSOLE; exec sleep 99", LONG, LONG).unwrap();
        assert!(enough.contains("enough was seen"), "{enough}");
        let dead = hung("echo no memory >&2; exit 3", LONG, LONG).unwrap();
        assert!(dead.ends_with("3: no memory"), "{dead}");
    }

    #[test]
    fn lines_are_read_whatever_they_hold() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sender, lines) = mpsc::channel();
        theirs.write_all(b"one\r\ntw\xffo\n\n").unwrap();
        drop(theirs);
        read_lines(Port::Tests, ours, &sender);
        drop(sender);
        let lines: Vec<_> = lines.iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["one", "tw\u{fffd}o", ""]);
    }

    #[test]
    fn a_log_is_followed_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = File::create(&path).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, lines) = mpsc::channel();
        let follower = std::thread::spawn({
            let (log, ended) = (File::open(&path).unwrap(), Arc::clone(&ended));
            move || follow(Port::Console, log, &ended, &sender)
        });
        log.write_all(b"one\r\ntw").unwrap();
        assert_eq!(lines.recv().unwrap().1, "one");
        std::thread::sleep(2 * POLL);
        log.write_all(b"o\nunended").unwrap();
        assert_eq!(lines.recv().unwrap().1, "two");
        ended.store(true, Ordering::Release);
        follower.join().unwrap();
        assert_eq!(lines.recv().unwrap().1, "unended");
        assert!(lines.recv().is_err());
    }
}
