// SPDX-License-Identifier: GPL-2.0
//! Semantic patches: Coccinelle edits C code by its structure.
//!
//! The first comment lines of a script say what it is about:
//!
//! ```text
//! // files: drivers/iommu/iommu.c include/linux/iommu.h
//! // hunks: 7.2=3 7.3=3
//! // options: --no-includes
//! ```
//!
//! `hunks` counts those of `diff -U0` over all the files; any other number stops the build.

use crate::cache;
use crate::ctx::Ctx;
use crate::edits::{Count, Files};
use crate::root::Root;
use crate::sandbox::Sandbox;
use crate::step::Step;
use anyhow::{bail, Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug)]
struct Script {
    path: PathBuf,
    name: String,
    text: String,
    files: Vec<String>,
    hunks: Count,
    options: Vec<String>,
}

impl Script {
    fn parse(path: &Path, text: String) -> Result<Self> {
        let field = |key: &str| {
            let head = text.lines().take_while(|line| line.starts_with("//"));
            head.filter_map(|line| line.trim_start_matches('/').trim().strip_prefix(key))
                .filter_map(|rest| rest.strip_prefix(':'))
                .flat_map(str::split_whitespace)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (files, options) = (field("files"), field("options"));
        let mut hunks = BTreeMap::new();
        for word in field("hunks") {
            let (series, count) = word.split_once('=').context("hunks: must be like 7.3=1")?;
            hunks.insert(
                series.to_owned(),
                count.parse().context("hunks: must be like 7.3=1")?,
            );
        }
        if files.is_empty() || hunks.is_empty() {
            bail!("the head comment must have lines `// files: ...` and `// hunks: 7.3=1 ...`");
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Script {
            path: path.to_owned(),
            name,
            text,
            files,
            hunks: Count::Each(hunks),
            options,
        })
    }

    /// Fails if it changed another number of places than it must.
    fn expect(&self, found: usize, series: &str) -> Result<()> {
        let wanted = self.hunks.of(series).with_context(|| self.name.clone())?;
        if found != wanted {
            bail!(
                "{}: changes {found} places of {} in {series}, and must change {wanted}. The source is not the \
                 one this semantic patch was written for: look at the code there, then adjust the patch or its \
                 `hunks` line.",
                self.path.display(),
                self.files.join(", ")
            );
        }
        Ok(())
    }
}

/// The scripts of the repository, in the order of their names.
fn scripts(repo: &Path) -> Result<Vec<Script>> {
    let dir = repo.join("scripts/cocci");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "cocci"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path)?;
            Script::parse(&path, text).with_context(|| path.display().to_string())
        })
        .collect()
}

/// The names of the scripts.
pub fn names(repo: &Path) -> Result<Vec<String>> {
    Ok(scripts(repo)?.into_iter().map(|s| s.name).collect())
}

/// Applies the scripts that are wanted, by name, to the files.
pub fn apply(
    ctx: &Ctx,
    root: &Root,
    step: &mut Step,
    files: &mut Files,
    series: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    for script in scripts(&ctx.repo)?.iter().filter(|s| wanted(&s.name)) {
        step.note(&script.name);
        let found = apply_one(ctx, root, step, files, script)?;
        script.expect(found, series)?;
    }
    Ok(())
}

/// The hunks of `diff -U0`, whose every other line begins with another character.
fn count_hunks(diff: &str) -> usize {
    diff.lines().filter(|line| line.starts_with("@@ ")).count()
}

fn apply_one(
    ctx: &Ctx,
    root: &Root,
    step: &mut Step,
    files: &mut Files,
    script: &Script,
) -> Result<usize> {
    let mut inputs = vec![root.key.clone(), script.text.clone()];
    for file in &script.files {
        inputs.push(file.clone());
        inputs.push(
            files
                .get(file)
                .with_context(|| script.name.clone())?
                .clone(),
        );
    }
    let known = ctx.cache.join("cocci").join(cache::hash(&inputs));
    if !known.is_dir() {
        let tmp = cache::scratch(ctx, "cocci")?;
        for file in &script.files {
            let text = files.get(file)?;
            cache::write(&tmp.join("old").join(file), text.as_bytes())?;
            cache::write(&tmp.join("new").join(file), text.as_bytes())?;
        }
        let sandbox = Sandbox::new(ctx, root)
            .rw(&tmp, "/work")
            .ro(&script.path, "/script.cocci");
        let spatch = sandbox.clone().cwd("/work/new");
        step.run(
            spatch
                .command("spatch")
                .args([
                    "--sp-file",
                    "/script.cocci",
                    "--in-place",
                    "--no-show-diff",
                    "--very-quiet",
                ])
                .args(&script.options)
                .args(&script.files),
        )?;
        for file in &script.files {
            let new = tmp.join("new").join(file);
            let text = tidy(files.get(file)?, &fs::read_to_string(&new)?);
            cache::write(&new, text.as_bytes())?;
        }
        // diff says by its status that there are differences, which is no failure.
        let mut diff = sandbox.cwd("/work").command("bash");
        let diff = step.output(diff.args(["-c", "diff -rU0 old new; [ $? -le 1 ]"]))?;
        fs::write(tmp.join("hunks"), count_hunks(&diff).to_string())?;
        cache::remove(&tmp.join("old"))?;
        cache::publish(&tmp, &known)?;
    }
    for file in &script.files {
        let text = fs::read_to_string(known.join("new").join(file))?;
        *files.get(file)? = text;
    }
    Ok(fs::read_to_string(known.join("hunks"))?.trim().parse()?)
}

/// The new text in the kernel's style where spatch has one of its own; lines that were there before
/// are not ours to touch.
fn tidy(old: &str, new: &str) -> String {
    let known: BTreeSet<&str> = old.lines().collect();
    let mut text = String::with_capacity(new.len());
    for line in new.lines() {
        if known.contains(line) {
            text += line;
        } else {
            text += &restyle(line);
        }
        text.push('\n');
    }
    text
}

/// A line without blanks at its end and before the colon of a label, with tabs at its beginning, and
/// as two lines if it is an `if` and its statement.
fn restyle(line: &str) -> String {
    const TAB: usize = 8;
    let code = line.trim();
    let indent = &line[..line.len() - line.trim_start().len()];
    let column = indent.chars().fold(0, |column, c| match c {
        '\t' => (column / TAB + 1) * TAB,
        _ => column + 1,
    });
    let tabs = "\t".repeat(column / TAB);
    let indent = format!("{tabs}{}", " ".repeat(column % TAB));

    if let Some(label) = code.strip_suffix(" :").filter(|l| l.starts_with("case ")) {
        return format!("{indent}{label}:");
    }
    match if_and_statement(code) {
        Some((head, statement)) => format!("{indent}{head}\n{indent}\t{statement}"),
        None if code.is_empty() => String::new(),
        None => format!("{indent}{code}"),
    }
}

fn if_and_statement(code: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (at, c) in code.strip_prefix("if")?.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => {
                let (head, statement) = code.split_at("if".len() + at + 1);
                let statement = statement.trim_start();
                return statement.ends_with(';').then_some((head, statement));
            }
            ')' => depth -= 1,
            ' ' => {}
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_lines_lose_blanks() {
        assert_eq!(
            tidy("a \n\tb;\n", "a \n\t\n\tc; \n\tb;\n"),
            "a \n\n\tc;\n\tb;\n"
        );
    }

    #[test]
    fn new_lines_are_in_the_kernel_s_style() {
        for (spatch, kernel) in [
            ("\tcase A :", "\tcase A:"),
            ("\tx = a ? b :", "\tx = a ? b :"),
            ("\t         b);", "\t\t b);"),
            (
                "\tif (f(a) && b) return -EINVAL;",
                "\tif (f(a) && b)\n\t\treturn -EINVAL;",
            ),
            ("\tif (a) {", "\tif (a) {"),
            ("\tif (f(a,", "\tif (f(a,"),
            ("\tiffy(a);", "\tiffy(a);"),
            ("\tif (a)", "\tif (a)"),
            (" \t", ""),
        ] {
            assert_eq!(tidy("", &format!("{spatch}\n")), format!("{kernel}\n"));
            let known = format!("{spatch}\n");
            assert_eq!(tidy(&known, &known), known);
        }
    }

    #[test]
    fn every_place_counts() {
        let diff = "diff -rU0 old/a.c new/a.c\n--- old/a.c\n+++ new/a.c\n@@ -1 +1 @@ f(void)\n\
                    -@@ x\n+@@ y\n@@ -9,2 +8,0 @@\n-a\n-b\ndiff -rU0 old/b.h new/b.h\n\
                    --- old/b.h\n+++ new/b.h\n@@ -0,0 +1 @@\n+c\n";
        assert_eq!((count_hunks(diff), count_hunks("")), (3, 0));

        let text = "// files: a.c b.h\n// hunks: 7.3=3\n";
        let script = Script::parse(Path::new("x/y.cocci"), text.to_owned()).unwrap();
        script.expect(3, "7.3").unwrap();
        for found in [0, 2, 4] {
            let error = script.expect(found, "7.3").unwrap_err().to_string();
            assert!(error.contains("x/y.cocci") && error.contains(&found.to_string()));
        }
        assert!(script.expect(3, "7.2").is_err());
    }

    #[test]
    fn head_comment() {
        let text = "// SPDX-License-Identifier: GPL-2.0\n// files: a.c b.h\n// hunks: 7.2=1 7.3=2\n// options: --no-includes\n\n@@\n@@\n";
        let script = Script::parse(Path::new("x/y.cocci"), text.to_owned()).unwrap();
        assert_eq!(script.files, ["a.c", "b.h"]);
        assert_eq!(script.hunks.of("7.3").unwrap(), 2);
        assert_eq!(script.options, ["--no-includes"]);
        assert!(Script::parse(Path::new("y"), "// files: a\n".to_owned()).is_err());
    }
}
