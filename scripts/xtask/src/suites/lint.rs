// SPDX-License-Identifier: GPL-2.0
//! Style and static checks, one test case each. The kernel's own checkers run in the toolchain
//! root on the patched tree and on a copy of the lean build, and count only for files of ours.

use super::{check, files, has_extension, misuse, selected, suite_log, vtd, Selection};
use crate::cache;
use crate::ctx::Ctx;
use crate::kernel::{self, Flavour, KernelBuild};
use crate::lab::Lab;
use crate::proc;
use crate::results::{Ledger, Source};
use crate::root::{self, Root};
use crate::sandbox::Sandbox;
use crate::series;
use crate::source;
use crate::tree;
use anyhow::{Context, Result};
use regex::Regex;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What checkpatch is not asked about.
const CHECKPATCH_IGNORED: [&str; 1] = [
    // exports.c exports what Rust defines, so no definition can stand above an export.
    "EXPORT_SYMBOL",
];

/// ... nor about a diff that is no mail, with code of the kernel's that moves in it.
const CHECKPATCH_IGNORED_IN_EDITS: [&str; 6] = [
    "BAD_COMMIT_SEPARATOR",
    "COMMIT_LOG_LONG_LINE",
    "COMMIT_MESSAGE",
    "DIFF_IN_COMMIT_MSG",
    "MISSING_SIGN_OFF",
    "UNCOMMENTED_DEFINITION",
];

/// Where our pages are, in the kernel's documentation.
const PAGES: &str = "driver-api/iommu-ext";

/// A struct and a function may have one name in C, but not in Sphinx.
const SPHINX_IGNORED: &str = "WARNING: Duplicate C declaration";

/// Where our part of the kernel is, in the kernel's own shape.
const OURS: [&str; 6] = [
    "Documentation",
    "drivers",
    "include",
    "rust",
    "samples",
    "tools/testing/selftests",
];

/// Leftovers that no finished file has; in halves, so that they are not found here.
const MARKERS: [&str; 3] = [
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("<<<<", "<<<"),
];

/// What ends a kernel that Rust code must not do outside of tests.
const PANICS: [&str; 6] = [
    ".unwrap()",
    ".expect(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
    "unreachable!(",
];

/// How the names of our KUnit suites begin: the filter that runs them knows no other.
const KUNIT_PREFIX: &str = "iommu_ext_";

struct Lint<'a> {
    ctx: &'a Ctx,
    /// All files of the repository, relative.
    files: Vec<PathBuf>,
    logs: PathBuf,
}

pub fn run(lab: &mut Lab, ledger: &mut Ledger, selection: &Selection) -> Result<()> {
    if selected(&selection.parts, "lint/misuse") {
        let kernel = lab.system(Flavour::Lean)?.kernel;
        misuse::run(lab, ledger, &kernel)?;
    }
    let checked = ["lint/text", "lint/host", "lint/kernel"];
    if !checked.iter().any(|part| selected(&selection.parts, part)) {
        return Ok(());
    }
    let ctx = lab.ctx;
    let lint = Lint {
        ctx,
        files: files(ctx)?,
        logs: suite_log(lab, "lint")?,
    };
    fs::create_dir_all(&lint.logs)?;

    lint.record(ledger, "text", "files", "spdx", lint.spdx());
    lint.record(ledger, "text", "files", "leftovers", lint.leftovers());
    lint.record(ledger, "text", "rust", "no-panic", lint.no_panic());
    lint.record(ledger, "text", "kunit", "suites", lint.kunit_suites());
    lint.record(ledger, "text", "rst", "tests-exist", lint.named_tests());

    let mut fmt = lint.cargo(&["fmt", "--all", "--check"]);
    lint.command(ledger, ("host", "rust", "fmt"), &mut fmt, |line| {
        line.starts_with("Diff in")
    })?;
    let mut clippy = lint.cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);
    lint.command(ledger, ("host", "rust", "clippy"), &mut clippy, |line| {
        is_complaint(line)
    })?;

    let kernel = lab.system(Flavour::Lean)?.kernel;
    lint.kernel(ledger, &kernel)
}

impl Lint<'_> {
    fn record(
        &self,
        ledger: &mut Ledger,
        profile: &str,
        program: &str,
        case: &str,
        result: Result<(), String>,
    ) {
        let source = Source {
            suite: "lint",
            profile,
            program,
            log: &self.logs,
        };
        check(ledger, source, case, result);
    }

    /// Text files with their content.
    fn texts(&self) -> impl Iterator<Item = (&Path, String)> {
        self.files.iter().filter_map(|file| {
            Some((
                file.as_path(),
                fs::read_to_string(self.ctx.repo.join(file)).ok()?,
            ))
        })
    }

    fn spdx(&self) -> Result<(), String> {
        verdict(
            self.texts()
                .filter(|(file, text)| !exempt(file) && !has_spdx(text)),
            |(file, _)| {
                format!(
                    "{}: no SPDX-License-Identifier: GPL-2.0 in its first three lines",
                    file.display()
                )
            },
        )
    }

    fn leftovers(&self) -> Result<(), String> {
        verdict(
            self.texts().flat_map(|(file, text)| leftovers(file, &text)),
            |line| line,
        )
    }

    fn no_panic(&self) -> Result<(), String> {
        let kernel = |file: &Path| {
            ["drivers", "rust", "samples"]
                .iter()
                .any(|dir| file.starts_with(dir))
        };
        let rust = self
            .texts()
            .filter(|(file, _)| kernel(file) && has_extension(file, &["rs"]));
        verdict(rust.flat_map(|(file, text)| panics(file, &text)), |line| {
            line
        })
    }

    /// The kernel is told by name which suites to run.
    fn kunit_suites(&self) -> Result<(), String> {
        verdict(
            self.texts()
                .filter(|(file, _)| file.starts_with("drivers"))
                .flat_map(|(_, text)| kunit_suites(&text))
                .filter(|suite| !suite.starts_with(KUNIT_PREFIX)),
            |suite| format!("{suite}: only suites called {KUNIT_PREFIX}* are run"),
        )
    }

    /// A test that a table of the documentation names is there.
    fn named_tests(&self) -> Result<(), String> {
        let tables = self
            .texts()
            .filter(|(file, _)| has_extension(file, &["rst"]))
            .flat_map(|(file, text)| {
                let file = file.display().to_string();
                let tests = named_tests(&text).into_iter();
                tests.map(move |(place, test)| (file.clone(), place, test))
            });
        verdict(
            tables.filter(|(_, place, test)| {
                !self
                    .texts()
                    .any(|(file, text)| is_place_of_tests(file, place) && has_test(&text, test))
            }),
            |(file, place, test)| format!("{file}: there is no test {test} of {place}"),
        )
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .args(args)
            .current_dir(&self.ctx.repo)
            .env("CARGO_TERM_COLOR", "never");
        cargo
    }

    /// Files of ours in the kernel's tree with one of these extensions.
    fn ours(&self, extensions: &[&str]) -> Vec<String> {
        self.files
            .iter()
            .filter(|file| OURS.iter().any(|folder| file.starts_with(folder)))
            .filter(|file| has_extension(file, extensions))
            .map(|file| file.to_string_lossy().into_owned())
            .collect()
    }

    /// Whether a line of a checker's output is a complaint about a file of ours.
    fn about_us(&self, line: &str) -> bool {
        let complaint = [
            "warning:",
            "error:",
            "WARNING:",
            "ERROR:",
            "Warning:",
            "Error:",
            "CRITICAL:",
        ];
        complaint.iter().any(|word| line.contains(word)) && self.names_ours(line)
    }

    fn names_ours(&self, line: &str) -> bool {
        self.files
            .iter()
            .filter(|file| OURS.iter().any(|folder| file.starts_with(folder)))
            .any(|file| line.contains(&format!("{}:", file.display())))
    }

    /// Runs a checker: its log, whether it succeeded, and what it said.
    fn output(&self, name: &str, command: &mut Command) -> Result<(PathBuf, bool, String)> {
        let log = self.logs.join(format!("{name}.log"));
        let hint = "the log has all that the checker says";
        let (success, text) = self.ctx.step(&format!("lint {name}"), hint, |_| {
            let file = File::create(&log)?;
            command
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file);
            let success = proc::spawn(command)?.wait()?.success();
            Ok((
                success,
                String::from_utf8_lossy(&fs::read(&log)?).into_owned(),
            ))
        })?;
        Ok((log, success, text))
    }

    /// Runs a checker that makes one case. It fails if its status says so or any line is a complaint.
    fn command(
        &self,
        ledger: &mut Ledger,
        (profile, program, case): (&str, &str, &str),
        command: &mut Command,
        mut complaint: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let (log, success, text) = self.output(&format!("{profile}-{program}-{case}"), command)?;
        let complaints: Vec<&str> = text.lines().filter(|line| complaint(line)).collect();
        let result = match complaints.as_slice() {
            [] if success => Ok(()),
            [] => Err(shorten(&last(&text))),
            lines => Err(shorten(lines)),
        };
        check(
            ledger,
            Source {
                suite: "lint",
                profile,
                program,
                log: &log,
            },
            case,
            result,
        );
        Ok(())
    }

    /// The kernel's checkers.
    fn kernel(&self, ledger: &mut Ledger, kernel: &KernelBuild) -> Result<()> {
        let root = root::prepare(self.ctx)?;
        let build = self.copy(kernel)?;
        let sandbox = kernel::sandbox(self.ctx, &root, &kernel.tree, &build);

        let mut checkpatch = sandbox.command("perl");
        checkpatch
            .args([
                "scripts/checkpatch.pl",
                "--strict",
                "--quiet",
                "--no-tree",
                "--terse",
            ])
            .args([
                "--no-summary",
                "--show-types",
                "--ignore",
                &CHECKPATCH_IGNORED.join(","),
            ])
            .arg("--file")
            .args(self.ours(&["c", "h", "rs", "rst", "S"]));
        self.command(
            ledger,
            ("kernel", "c", "checkpatch"),
            &mut checkpatch,
            |line| self.about_us(line),
        )?;

        let pristine = source::kernel(self.ctx, &root)?;
        let edits = Sandbox::new(self.ctx, &root)
            .ro(&pristine.dir, "/a")
            .ro(&kernel.tree, "/b")
            .cwd("/");
        let script = format!(
            "diff -ru a b | grep -v '^Only in ' | perl b/scripts/checkpatch.pl --strict --quiet --no-tree --terse \
             --no-summary --show-types --ignore {} -",
            CHECKPATCH_IGNORED_IN_EDITS.join(",")
        );
        let mut checkpatch = edits.command("bash");
        checkpatch.args(["-c", &script]);
        let case = ("kernel", "edits", "checkpatch");
        self.command(ledger, case, &mut checkpatch, is_complaint_of_checkpatch)?;

        self.series(ledger, &root)?;

        let mut doc = sandbox.command("python3");
        doc.args(["scripts/kernel-doc", "-none", "-Wall"])
            .args(self.ours(&["c", "h"]));
        self.command(ledger, ("kernel", "c", "kernel-doc"), &mut doc, |line| {
            self.about_us(line)
        })?;

        self.pages(ledger, &sandbox, &build)?;

        let mut fmt = sandbox.command("rustfmt");
        fmt.args([
            "--check",
            "--edition",
            "2021",
            "--config-path",
            ".rustfmt.toml",
        ])
        .args(self.ours(&["rs"]));
        self.command(ledger, ("kernel", "rust", "fmt"), &mut fmt, |line| {
            self.names_ours(line)
        })?;

        self.compile(ledger, &sandbox, &build)
    }

    /// Writes the series as patches, which has to give the patched tree.
    fn series(&self, ledger: &mut Ledger, root: &Root) -> Result<()> {
        let tree = tree::patched(self.ctx, root)?;
        let out = self.logs.join("series");
        cache::remove(&out)?;
        fs::create_dir_all(&out)?;
        let written = series::write(self.ctx, root, &tree, &out);
        let result = written.map_err(|error| format!("{error:#}"));
        self.record(ledger, "kernel", "series", "applies", result);
        Ok(())
    }

    /// Our pages as Sphinx makes them. It complains of a page only when it makes it.
    fn pages(&self, ledger: &mut Ledger, sandbox: &Sandbox, build: &Path) -> Result<()> {
        let output = build.join("Documentation/output");
        cache::remove(&output)?;
        let mut make = kernel::make(sandbox);
        make.arg("htmldocs").arg(format!("SPHINXDIRS={PAGES}"));
        let (log, success, text) = self.output("kernel-docs-pages", &mut make)?;
        let complaints: Vec<&str> = text
            .lines()
            .filter(|line| self.about_us(line) && !line.contains(SPHINX_IGNORED))
            .collect();
        let result = match complaints.as_slice() {
            [] if !success => Err(shorten(&last(&text))),
            [] => verdict(
                pages(&self.files).filter(|page| !output.join(page).is_file()),
                |page| format!("{} was not made", page.display()),
            ),
            lines => Err(shorten(lines)),
        };
        let source = Source {
            suite: "lint",
            profile: "kernel",
            program: "docs",
            log: &log,
        };
        check(ledger, source, "pages", result);
        Ok(())
    }

    /// Compiles our folders with every warning on, through clippy and sparse, in one go: each set of
    /// flags for itself would compile all of the kernel's Rust anew.
    fn compile(&self, ledger: &mut Ledger, sandbox: &Sandbox, build: &Path) -> Result<()> {
        self.forget_objects(build)?;
        let mut make = kernel::make(sandbox);
        make.arg(format!("-j{}", self.ctx.jobs))
            .args(["W=1", "CLIPPY=1", "C=2"]);
        // Debian's sparse is older than this spelling of typeof.
        make.arg("CHECK=sparse -D__typeof_unqual__=__typeof__")
            .args(FOLDERS.map(|folder| format!("{folder}/")));
        let (log, success, text) =
            kernel::restartable(build, || self.output("kernel-compile", &mut make))?;
        let complaints: Vec<&str> = text
            .lines()
            .filter(|line| is_complaint(line))
            .filter(|line| self.names_ours(line) || FOLDERS.iter().any(|f| line.contains(f)))
            .collect();
        for (program, case) in COMPILED {
            let lines: Vec<&str> = complaints
                .iter()
                .filter(|line| checker(line) == (program, case))
                .copied()
                .collect();
            let result = match lines.as_slice() {
                [] if success => Ok(()),
                [] => Err(format!("it does not compile\n{}", shorten(&last(&text)))),
                lines => Err(shorten(lines)),
            };
            let source = Source {
                suite: "lint",
                profile: "kernel",
                program,
                log: &log,
            };
            check(ledger, source, case, result);
        }
        Ok(())
    }

    /// The lean build once more: checkers build with other flags, which must not make the real one
    /// stale. It stays, so that only what changed is checked anew.
    fn copy(&self, kernel: &KernelBuild) -> Result<PathBuf> {
        let copy = PathBuf::from(format!("{}-lint", kernel.build.display()));
        if !copy.is_dir() {
            let hint = "see whether the disk is full";
            self.ctx
                .step("lint: copy of the lean build", hint, |step| {
                    cache::seed(self.ctx, step, &kernel.build, &copy, |_| Ok(()))
                })?;
        }
        cache::update(
            &copy.join(".config"),
            &fs::read(kernel.build.join(".config"))?,
        )?;
        Ok(copy)
    }

    /// Makes the next build compile our folders again, whatever its flags.
    fn forget_objects(&self, build: &Path) -> Result<()> {
        cache::remove(&build.join("rust/kernel.o"))?;
        for entry in FOLDERS
            .iter()
            .flat_map(|folder| walkdir::WalkDir::new(build.join(folder)))
            .filter_map(Result::ok)
        {
            if has_extension(entry.path(), &["o"]) {
                fs::remove_file(entry.path())
                    .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

/// Whether a line of a compiler's output is the heading or the place of a complaint.
fn is_complaint(line: &str) -> bool {
    // Debian's sparse does not know that __builtin_strlen() of a literal is constant, which
    // MODULE_INFO() relies on.
    if line.ends_with("error: bad constant expression") {
        return false;
    }
    let words = ["warning:", "error:", "warning[", "error["];
    line.trim_start().starts_with("--> ") || words.iter().any(|word| line.contains(word))
}

fn is_complaint_of_checkpatch(line: &str) -> bool {
    ["ERROR:", "WARNING:", "CHECK:"]
        .iter()
        .any(|word| line.contains(word))
}

/// Where all that is compiled is ours.
const FOLDERS: [&str; 2] = ["drivers/iommu/ext", "samples/iommu-ext"];

/// The cases that come out of one compilation.
const COMPILED: [(&str, &str); 3] = [("rust", "clippy"), ("c", "w1"), ("c", "sparse")];

/// Whose complaint it is; clang names the option that can turn it off.
fn checker(line: &str) -> (&'static str, &'static str) {
    let clang = line.contains("[-W") || line.contains("error:");
    COMPILED[if line.contains(".rs:") {
        0
    } else if clang {
        1
    } else {
        2
    }]
}

/// What Sphinx makes of our pages, in its output.
fn pages(files: &[PathBuf]) -> impl Iterator<Item = PathBuf> + '_ {
    let folder = Path::new("Documentation").join(PAGES);
    files
        .iter()
        .filter(move |file| file.starts_with(&folder) && has_extension(file, &["rst"]))
        .filter_map(|file| file.strip_prefix("Documentation").ok())
        .map(|page| page.with_extension("html"))
}

fn verdict<T>(faults: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> Result<(), String> {
    let faults: Vec<String> = faults.map(text).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(shorten(
        &faults.iter().map(String::as_str).collect::<Vec<_>>(),
    ))
}

/// The last lines that are not empty.
fn last(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(15)..].to_vec()
}

fn shorten(lines: &[&str]) -> String {
    const SHOWN: usize = 20;
    let mut text = lines[..lines.len().min(SHOWN)].join("\n");
    if lines.len() > SHOWN {
        text += &format!("\nand {} more", lines.len() - SHOWN);
    }
    if text.is_empty() {
        "failed without a word".into()
    } else {
        text
    }
}

/// Files that have no place for the line: the licences themselves, and what Cargo writes.
fn exempt(file: &Path) -> bool {
    file.starts_with("LICENSES") || file.file_name().is_some_and(|name| name == "Cargo.lock")
}

fn has_spdx(text: &str) -> bool {
    text.lines()
        .take(3)
        .any(|line| line.contains("SPDX-License-Identifier: GPL-2.0"))
}

fn leftovers(file: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let marker = MARKERS.iter().find(|marker| line.contains(**marker));
        let fault = match marker {
            Some(marker) => marker,
            None if line.ends_with([' ', '\t']) && !file.starts_with("LICENSES") => {
                "blank at the end"
            }
            None => continue,
        };
        found.push(format!("{}:{}: {fault}", file.display(), number + 1));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        found.push(format!("{}: the last line is not ended", file.display()));
    }
    found
}

/// Panicking calls ahead of a file's tests.
fn panics(file: &Path, text: &str) -> Vec<String> {
    let test = |line: &str| line.starts_with("#[cfg(test)]") || line.starts_with("#[kunit_tests");
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !test(line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| PANICS.iter().any(|call| line.contains(call)))
        .map(|(number, line)| format!("{}:{}: {}", file.display(), number + 1, line.trim()))
        .collect()
}

/// The names of KUnit suites that a source defines, in Rust or C.
fn kunit_suites(text: &str) -> Vec<String> {
    let regex = r#"#\[kunit_tests\((\w+)\)\]|struct kunit_suite \w+ = \{\s*\.name = "(\w+)""#;
    let Ok(regex) = Regex::new(regex) else {
        return Vec::new();
    };
    let suites = regex.captures_iter(text);
    suites
        .filter_map(|found| Some(found.get(1).or(found.get(2))?.as_str().to_owned()))
        .collect()
}

/// What tables whose last column is headed "Tests" say there: place and name of each test.
fn named_tests(rst: &str) -> Vec<(String, String)> {
    let mut tests = Vec::new();
    for table in rst.split(".. list-table::").skip(1) {
        let mut rows = table_rows(table).into_iter();
        let heading = rows.next().unwrap_or_default();
        if heading.last().is_some_and(|cell| cell == "Tests") {
            tests.extend(
                rows.filter_map(|mut row| row.pop())
                    .flat_map(|cell| cell_tests(&cell)),
            );
        }
    }
    tests
}

/// The cells of a list-table.
fn table_rows(table: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let lines = table.lines().skip(1);
    for line in lines.take_while(|line| line.is_empty() || line.starts_with(' ')) {
        let text = line.trim();
        if let Some(cell) = text.strip_prefix("* - ") {
            rows.push(vec![cell.to_owned()]);
        } else if let Some(row) = rows.last_mut() {
            if let Some(cell) = text.strip_prefix("- ") {
                row.push(cell.to_owned());
            } else if let Some(cell) = row.last_mut() {
                *cell += " ";
                *cell += text;
            }
        }
    }
    rows
}

/// Reads `PLACE: TEST, TEST (REMARK); PLACE: TEST`.
fn cell_tests(cell: &str) -> Vec<(String, String)> {
    let mut tests = Vec::new();
    for part in cell.split(';') {
        let (place, names) = part.split_once(':').unwrap_or((part, ""));
        for name in names.split(',') {
            let name = name.split('(').next().unwrap_or_default();
            tests.push((place.trim().to_owned(), name.trim().to_owned()));
        }
    }
    tests
}

/// Whether a file holds tests of a place, as tables call it.
fn is_place_of_tests(file: &Path, place: &str) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match place {
        "host" => file.starts_with("tools/testing/logic"),
        "KUnit" => file.starts_with("drivers") && name.contains("_kunit."),
        program => file.starts_with(vtd::FOLDER) && *name == format!("{program}.c"),
    }
}

/// Whether a source defines a test, in whatever way.
fn has_test(source: &str, name: &str) -> bool {
    let pattern = format!(
        r"(?m)^TEST(_F(_TIMEOUT)?)?\((\w+, )?{name}[,)]|\bfn {name}\(|\bKUNIT_CASE\({name}\)"
    );
    Regex::new(&pattern).is_ok_and(|regex| regex.is_match(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_lines() {
        assert!(has_spdx("#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0\n"));
        assert!(!has_spdx("a\nb\nc\n// SPDX-License-Identifier: GPL-2.0\n"));
        assert!(!has_spdx("// SPDX-License-Identifier: MIT\n"));
        assert!(exempt(Path::new("LICENSES/preferred/GPL-2.0")));
        assert!(exempt(Path::new("tools/testing/logic/Cargo.lock")));
        assert!(!exempt(Path::new("Cargo.toml")));
    }

    #[test]
    fn leftovers_are_found() {
        let found = |text: &str| leftovers(Path::new("f"), text).len();
        assert_eq!(found("a\n\nb\n"), 0);
        assert_eq!(found("a \nb\t\nc"), 3);
        assert_eq!(found(&format!("// {}: later\n", MARKERS[0])), 1);
    }

    #[test]
    fn panics_outside_of_tests_are_found() {
        let text = "// .unwrap()\nlet a = b.unwrap();\n#[kunit_tests(x)]\nmod t { c.unwrap(); }\n";
        assert_eq!(
            panics(Path::new("f.rs"), text),
            ["f.rs:2: let a = b.unwrap();"]
        );
    }

    #[test]
    fn kunit_suites_of_both_languages() {
        let c = "static struct kunit_suite s = {\n\t.name = \"stubs\",\n";
        assert_eq!(kunit_suites(c), ["stubs"]);
        assert_eq!(kunit_suites("#[kunit_tests(model)]\nmod t {}\n"), ["model"]);
    }

    #[test]
    fn documented_tests() {
        let rst = ".. list-table::\n   :header-rows: 1\n\n   * - Case\n     - Tests\n   * - one\n     - prog: a,\n       b (remark); KUnit: c\n\nText: x\n\n.. list-table::\n\n   * - Case\n     - Where\n   * - a\n     - b: c\n";
        let tests = [("prog", "a"), ("prog", "b"), ("KUnit", "c")];
        assert_eq!(
            named_tests(rst),
            tests.map(|(place, test)| (place.to_owned(), test.to_owned()))
        );
        assert!(is_place_of_tests(
            Path::new("drivers/x/y_kunit.rs"),
            "KUnit"
        ));
        assert!(is_place_of_tests(
            &Path::new(vtd::FOLDER).join("prog.c"),
            "prog"
        ));
        assert!(!is_place_of_tests(
            &Path::new(vtd::FOLDER).join("prog_b.c"),
            "prog"
        ));
        assert!(has_test("TEST_F(prog, a)\n", "a"));
        assert!(has_test("TEST_F_TIMEOUT(prog, a, 9)\n", "a"));
        assert!(has_test("    fn a() -> Result {\n", "a"));
        assert!(has_test("\tKUNIT_CASE(a),\n", "a"));
        assert!(!has_test("TEST_F(prog, ab)\ncall(x, a)\n", "a"));
    }

    #[test]
    fn pages_of_ours() {
        let folder = Path::new("Documentation").join(PAGES);
        let files = [
            folder.join("a.rst"),
            folder.join("a.svg"),
            "README.rst".into(),
        ];
        let made: Vec<PathBuf> = pages(&files).collect();
        assert_eq!(made, [Path::new(PAGES).join("a.html")]);
    }

    #[test]
    fn complaints_have_a_heading_and_a_place() {
        assert!(is_complaint("warning: unused variable"));
        assert!(is_complaint("   --> drivers/iommu/ext/ioasid.rs:1:2"));
        assert!(is_complaint("error[E0425]: not found"));
        assert!(!is_complaint("  CC      drivers/iommu/ext/test/main.o"));
        assert_eq!(checker("  --> drivers/x.rs:1:2"), ("rust", "clippy"));
        assert_eq!(
            checker("x.c:1:2: warning: unused variable 'y' [-Wunused]"),
            ("c", "w1")
        );
        assert_eq!(
            checker("x.c:1:2: warning: context imbalance in 'y'"),
            ("c", "sparse")
        );
    }
}
