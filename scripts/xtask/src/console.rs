// SPDX-License-Identifier: GPL-2.0
//! Watches a guest's kernel console for reports: warnings, bugs, stalls, leaks, sanitizers.
//!
//! Every line is searched from end to end, whatever came before it, so neither interleaved
//! messages nor an announced warning nor an injected fault can hide a report. A stack dump that
//! no heading explains is a report as well.

use regex::Regex;
use std::sync::LazyLock;

/// Something on the console that fails the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the log, counted from 1.
    pub line: usize,
    pub text: String,
}

/// The kernel's headings of reports, wherever in a line they stand.
static REPORT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"WARNING:
        | \bBUG\b
        | \bOops\b
        | Kernel\ panic
        | \bpanicked\ at\b
        | \b(?:KASAN|KCSAN|KFENCE|UBSAN|ODEBUG):
        | unreferenced\ object
        | new\ suspected\ memory\ leak
        | detected\ (?:expedited\ )?stall
        | self-detected\ stall
        | (?:soft|hard)\ (?:lockup|LOCKUP)
        | INFO:\ (?:task|rcu|possible|trying\ to\ register|lockdep\ is\ turned\ off)
        | turning\ off\ the\ locking\ correctness\ validator
        | DEBUG_LOCKS_WARN
        | refcount_t:
        | list_(?:add|del)\ (?:double\ add|corruption)
        | sleeping\ function\ called
        | general\ protection\ fault
        | unable\ to\ handle\ (?:kernel|page)
        | Unable\ to\ handle\ kernel
        | (?:double\ fault|invalid\ opcode):
        | Bad\ (?:page|rss-counter)\ (?:state|map)
        | nobody\ cared
        | printk\ messages\ dropped
        | kmemleak:\ .*(?:disabled|Cannot\ allocate|pool\ empty)",
    )
});

/// Headings of stack dumps that are no reports: asked for, or what an injected fault looks like.
static NOTICE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"FAULT_INJECTION:\ forcing\ a\ failure
        | page\ allocation\ failure
        | SLUB:\ Unable\ to\ allocate
        | invoked\ oom-killer",
    )
});

static WARNED_FILE: LazyLock<Regex> = LazyLock::new(|| regex(r"WARNING:.*?(\S+\.(?:c|h|rs)):\d+"));
static EXPECT: LazyLock<Regex> = LazyLock::new(|| regex(r"expect-warn\ (BEGIN|END)\b\ ?(\S*)"));
static TIMESTAMP: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(?:<\d+>)?\[\ *\d+\.\d+\](?:\[\ *[TC]\d+\])?\ "));

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?x){pattern}")).expect("the pattern is a constant")
}

/// The line without the kernel's time stamp, as it was printed.
pub fn untimed(line: &str) -> &str {
    TIMESTAMP
        .find(line)
        .map_or(line, |stamp| &line[stamp.end()..])
}

/// The kernel says so when it prints a message again of which another CPU cut off the end.
const REPLAY: &str = "** replaying previous printk message **";

/// A warning that a test announced and has not closed yet.
struct Expected {
    line: usize,
    file: String,
    seen: usize,
}

#[derive(Default)]
pub struct Watch {
    read: usize,
    /// The last line, which may have been cut off, and whether the next one is to tell.
    last: Option<(usize, String)>,
    replay: bool,
    /// The line that is being judged.
    line: usize,
    expected: Option<Expected>,
    /// A heading came that explains the next stack dump.
    explained: bool,
    announced: usize,
    problems: Vec<Problem>,
}

/// What came of watching.
pub struct Verdict {
    pub problems: Vec<Problem>,
    /// How many warnings came as announced; the kernel's own count must agree.
    pub announced: usize,
}

impl Watch {
    /// Takes the next line.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        self.read += 1;
        if line == REPLAY {
            self.replay = true;
            return;
        }
        let replay = std::mem::take(&mut self.replay);
        let last = self.last.replace((self.read, line.to_owned()));
        match last {
            Some((_, last)) if replay && line.starts_with(&last) => {}
            Some((number, last)) => self.judge(number, &last),
            None => {}
        }
    }

    pub fn finish(mut self) -> Verdict {
        if let Some((number, last)) = self.last.take() {
            self.judge(number, &last);
        }
        if let Some(expected) = self.expected.take() {
            self.problems.push(Problem {
                line: expected.line,
                text: format!("expect-warn BEGIN {} was never ended", expected.file),
            });
        }
        Verdict {
            problems: self.problems,
            announced: self.announced,
        }
    }

    fn judge(&mut self, number: usize, line: &str) {
        self.line = number;
        let text = untimed(line);
        if let Some(found) = EXPECT.captures(text) {
            match &found[1] {
                "BEGIN" => self.begin(&found[2]),
                _ => self.end(),
            }
        }
        if NOTICE.is_match(text) {
            self.explained = true;
        }
        if REPORT.is_match(text) {
            self.explained = true;
            if !self.announced_warning(text) {
                self.problem(text);
            }
        } else if text.contains("Call Trace:") && !std::mem::take(&mut self.explained) {
            self.problem("a stack dump without a heading that explains it");
        }
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(Problem {
            line: self.line,
            text: text.into(),
        });
    }

    fn begin(&mut self, file: &str) {
        if self.expected.is_some() {
            self.problem("expect-warn BEGIN inside another one");
        }
        if file.is_empty() {
            self.problem("expect-warn BEGIN names no source file");
        }
        self.expected = Some(Expected {
            line: self.line,
            file: file.to_owned(),
            seen: 0,
        });
    }

    fn end(&mut self) {
        match self.expected.take() {
            None => self.problem("expect-warn END without BEGIN"),
            Some(Expected { seen: 0, file, .. }) => {
                self.problem(format!("a warning from {file} was announced, none came"))
            }
            Some(_) => {}
        }
    }

    /// Whether the line is exactly the warning that was announced, the first of its kind, and
    /// nothing else.
    fn announced_warning(&mut self, text: &str) -> bool {
        let Some(expected) = &mut self.expected else {
            return false;
        };
        let Some(found) = WARNED_FILE.captures(text) else {
            return false;
        };
        let ours = found[1]
            .strip_suffix(expected.file.as_str())
            .is_some_and(|head| head.is_empty() || head.ends_with('/'));
        if !ours || expected.seen > 0 || REPORT.find_iter(text).count() > 1 {
            return false;
        }
        expected.seen += 1;
        self.announced += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARN: &str =
        "[    9.1] WARNING: drivers/iommu/ext/ioasid.rs:12 at ioasid_free+0x1/0x2, CPU#0: x/1";
    const BEGIN: &str = "[    9.0] expect-warn BEGIN drivers/iommu/ext/ioasid.rs";
    const END: &str = "[    9.2] expect-warn END";

    fn watch(lines: &[&str]) -> Vec<String> {
        let mut watch = Watch::default();
        for line in lines {
            watch.line(line);
        }
        watch
            .finish()
            .problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.line, problem.text))
            .collect()
    }

    fn clean(lines: &[&str]) {
        assert_eq!(watch(lines), Vec::<String>::new());
    }

    #[test]
    fn headings_are_found_anywhere() {
        for report in [
            WARN,
            "[    1.0][   T12] WARNING: possible circular locking dependency detected",
            "random words then WARNING: suspicious RCU usage",
            "BUG: KASAN: slab-use-after-free in foo+0x1/0x2",
            "[ 1.0] BUG kmalloc-64 (Not tainted): Right Redzone overwritten",
            "[ 1.0] kernel BUG at mm/slub.c:1!",
            "[ 1.0] [ BUG: Invalid wait context ]",
            "[ 1.0] Oops: general protection fault, probably for non-canonical address",
            "[ 1.0] Kernel panic - not syncing: Attempted to kill init!",
            "[ 1.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[ 1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[ 1.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
            "[ 1.0] INFO: task x:1 blocked for more than 120 seconds.",
            "[ 1.0] INFO: trying to register non-static key.",
            "[ 1.0] UBSAN: array-index-out-of-bounds in x.c:1:2",
            "[ 1.0] unreferenced object 0xffff888100000000 (size 64):",
            "[ 1.0] kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "[ 1.0] DEBUG_LOCKS_WARN_ON(1)",
            "[ 1.0] refcount_t: underflow; use-after-free.",
            "[ 1.0] list_add corruption. next->prev should be prev",
            "[ 1.0] BUG: sleeping function called from invalid context at x.c:1",
            "[ 1.0] rust_kernel: panicked at drivers/x.rs:1:2:",
            "** 12 printk messages dropped **",
        ] {
            assert_eq!(watch(&[report]).len(), 1, "{report}");
        }
    }

    #[test]
    fn ordinary_lines_are_none() {
        clean(&[
            "[    0.0] Linux version 7.3.4 (clang) # SMP PREEMPT",
            "[    0.0] DMAR: [Firmware Bug]: No firmware reserved region",
            "[    0.0] kasan: KernelAddressSanitizer initialized (generic)",
            "[    0.0] DMAR: [DMA Read NO_PASID] Request device [00:02.0] fault addr 0x1000",
            "[    0.0] rcu: RCU lockdep checking is enabled.",
            "debugging, oopsie, no warning: none",
        ]);
    }

    #[test]
    fn an_injected_fault_is_no_report_but_hides_none() {
        let dump = [
            "[ 1.0] FAULT_INJECTION: forcing a failure.",
            "[ 1.0] Call Trace:",
            "[ 1.0]  foo+0x1/0x2",
        ];
        clean(&dump);
        assert_eq!(watch(&[dump[0], WARN, dump[1], dump[2]]).len(), 1);
        assert_eq!(
            watch(&[dump[0], dump[1], dump[1]]),
            ["3: a stack dump without a heading that explains it"]
        );
        clean(&[
            "x: page allocation failure: order:0, mode:0xcc0",
            "Call Trace:",
        ]);
    }

    #[test]
    fn an_unexplained_stack_dump_is_a_report() {
        assert_eq!(watch(&["[ 1.0] Call Trace:"]).len(), 1);
    }

    #[test]
    fn an_announced_warning_is_none() {
        clean(&[
            BEGIN,
            "[ 9.0] ------------[ cut here ]------------",
            WARN,
            "[ 9.1] Call Trace:",
            END,
        ]);
        clean(&[BEGIN, &WARN.replace("drivers/", "/src/drivers/"), END]);
        clean(&[
            BEGIN,
            "[ 1.0] WARNING: CPU: 0 PID: 1 at drivers/iommu/ext/ioasid.rs:12 ioasid_free+0x1/0x2",
            END,
        ]);
    }

    #[test]
    fn announced_means_exactly_one_from_that_file() {
        assert_eq!(watch(&[BEGIN, END]).len(), 1);
        assert_eq!(watch(&[BEGIN, WARN, WARN, END]).len(), 1);
        assert_eq!(watch(&[BEGIN, WARN]).len(), 1);
        assert_eq!(watch(&[WARN, BEGIN, WARN, END]).len(), 1);
        assert_eq!(watch(&[BEGIN, WARN, END, WARN]).len(), 1);
        assert_eq!(
            watch(&[BEGIN, &WARN.replace("ioasid.rs", "xioasid.rs"), WARN, END]).len(),
            1
        );
        assert_eq!(
            watch(&[BEGIN, &WARN.replace("iommu/ext", "xiommu/ext"), END]).len(),
            2
        );
        assert_eq!(watch(&[BEGIN, WARN, "BUG: KASAN: x", END]).len(), 1);
        assert_eq!(
            watch(&[BEGIN, &format!("{WARN} BUG: x"), WARN, END]).len(),
            1
        );
        assert_eq!(watch(&[BEGIN, BEGIN, WARN, END]).len(), 1);
        assert_eq!(watch(&[END]).len(), 1);
        assert_eq!(watch(&["expect-warn BEGIN", WARN, END]).len(), 3);
    }

    #[test]
    fn announced_warnings_are_counted() {
        let mut watch = Watch::default();
        for line in [BEGIN, WARN, END, BEGIN, WARN, END, WARN] {
            watch.line(line);
        }
        assert_eq!(watch.finish().announced, 2);
    }

    #[test]
    fn a_message_that_is_replayed_counts_once() {
        clean(&[&BEGIN[..35], REPLAY, BEGIN, WARN, END]);
        assert_eq!(watch(&[WARN, REPLAY, WARN]).len(), 1);
        // Nothing is overlooked for what another message is.
        assert_eq!(watch(&[WARN, REPLAY, BEGIN, WARN, END]).len(), 1);
        assert_eq!(watch(&[BEGIN, REPLAY]).len(), 1);
    }

    #[test]
    fn time_stamps_are_removed() {
        assert_eq!(untimed("[    1.234567] ok 1 a"), "ok 1 a");
        assert_eq!(untimed("[    1.234567][    T1]     ok 1 a"), "    ok 1 a");
        assert_eq!(untimed("<6>[   11.234567][ C1] x"), "x");
        assert_eq!(untimed("[drm] x"), "[drm] x");
    }
}
