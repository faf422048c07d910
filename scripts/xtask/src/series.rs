// SPDX-License-Identifier: GPL-2.0
//! `make series OUT=dir`: the series as patches that can be mailed, with a cover letter.
//!
//! What is in which patch stands in scripts/series.toml. The patches come out of a scratch
//! repository of the kernel's files that the series changes. There they are applied again, and have
//! to give what `make tree` gives.

use crate::cache;
use crate::cocci;
use crate::ctx::Ctx;
use crate::edits::Manifest;
use crate::results::matches;
use crate::root::{self, Root};
use crate::sandbox::Sandbox;
use crate::step::Step;
use crate::tree::{self, Changes, Tree};
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PLAN: &str = "scripts/series.toml";

/// What checkpatch is not asked about.
const CHECKPATCH_IGNORED: [&str; 3] = [
    // exports.c exports what Rust defines, so no definition can stand above an export.
    "EXPORT_SYMBOL",
    // Maintainers of new files are for those who take the series to say.
    "FILE_PATH_CHANGES",
    // What moves is the kernel's own.
    "UNCOMMENTED_DEFINITION",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    cover: Cover,
    patch: Vec<Patch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cover {
    subject: String,
    body: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    subject: String,
    body: String,
    /// Parts of the manifest, and beginnings of the names of semantic patches.
    #[serde(default)]
    edits: Vec<String>,
    /// Patterns of files of ours.
    #[serde(default)]
    files: Vec<String>,
}

impl Series {
    fn read(repo: &Path) -> Result<Self> {
        let path = repo.join(PLAN);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    /// The patch that has a file of ours: the first that names it.
    fn of_file(&self, file: &str) -> Result<usize> {
        self.patch
            .iter()
            .position(|patch| patch.files.iter().any(|pattern| matches(pattern, file)))
            .with_context(|| format!("{PLAN} has no patch for the file {file}"))
    }

    /// The patch that has an edit: the one that names most of it.
    fn of_edit(&self, edit: &str) -> Result<usize> {
        let part = |name: &str| {
            let rest = edit.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with(['-', '.'])).then_some(name.len())
        };
        let patches = self.patch.iter().enumerate();
        patches
            .filter_map(|(at, patch)| Some((patch.edits.iter().filter_map(|e| part(e)).max()?, at)))
            .max()
            .map(|(_, at)| at)
            .with_context(|| format!("{PLAN} has no patch for the edits called {edit}"))
    }
}

/// The names of all edits: of parts of the manifest, of semantic patches.
fn edits(repo: &Path) -> Result<Vec<String>> {
    let manifest = Manifest::read(&repo.join(tree::MANIFEST))?;
    let mut edits: Vec<String> = manifest.parts().into_iter().map(str::to_owned).collect();
    edits.extend(cocci::names(repo)?);
    Ok(edits)
}

/// A repository in the scratch folder.
struct Git {
    dir: PathBuf,
    sandbox: Sandbox,
    /// Who commits is known, and signs off.
    known: bool,
}

impl Git {
    fn init(ctx: &Ctx, root: &Root, step: &mut Step, out: &Path) -> Result<Self> {
        let dir = cache::scratch(ctx, "series")?;
        fs::create_dir_all(&dir)?;
        let author = author(&ctx.repo);
        let known = author.is_some();
        let (name, mail) = author.unwrap_or(("Nobody".into(), "nobody@localhost".into()));
        let mut sandbox = Sandbox::new(ctx, root)
            .rw(&dir, "/series")
            .rw(out, "/out")
            .cwd("/series");
        for role in ["AUTHOR", "COMMITTER"] {
            sandbox = sandbox
                .env(&format!("GIT_{role}_NAME"), &name)
                .env(&format!("GIT_{role}_EMAIL"), &mail);
        }
        let git = Git {
            dir,
            sandbox,
            known,
        };
        git.run(step, &["init", "--quiet", "--initial-branch=series"])?;
        Ok(git)
    }

    fn run(&self, step: &mut Step, args: &[&str]) -> Result<()> {
        step.run(self.sandbox.command("git").args(args))
    }

    /// Commits files as they are then; those of the source keep its permissions.
    fn commit(&self, step: &mut Step, files: &Changes, source: &Path, message: &str) -> Result<()> {
        for (path, content) in files {
            let file = self.dir.join(path);
            cache::update(&file, content)?;
            if let Ok(meta) = fs::metadata(source.join(path)) {
                fs::set_permissions(file, meta.permissions())?;
            }
        }
        fs::write(self.dir.join(".git/message"), message)?;
        self.run(step, &["add", "--all", "--force"])?;
        let mut args = vec!["commit", "--quiet", "--file=.git/message"];
        if self.known {
            args.push("--signoff");
        }
        self.run(step, &args)
    }
}

/// Who git takes its user for.
fn author(repo: &Path) -> Option<(String, String)> {
    let mut git = Command::new("git");
    git.args(["var", "GIT_AUTHOR_IDENT"]).current_dir(repo);
    let output = git.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (name, rest) = text.split_once(" <")?;
    let (mail, _) = rest.split_once('>')?;
    Some((name.to_owned(), mail.to_owned()))
}

/// The patches in a folder, the cover letter first.
fn patches(out: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Writes the patches into an empty folder and applies them again.
pub fn write(ctx: &Ctx, root: &Root, tree: &Tree, out: &Path) -> Result<()> {
    let series = Series::read(&ctx.repo)?;
    let source = &tree.source;
    let hint = "if a part of the edits does not match without a later one, change their order in \
                scripts/series.toml";
    ctx.step("write the series", hint, |step| {
        let git = Git::init(ctx, root, step, out)?;
        let added = tree::added(&ctx.repo, source)?;
        let mut whole = tree::edited(ctx, root, step, source, |_| true)?;
        let mut pristine = Changes::new();
        for path in whole.keys() {
            pristine.insert(path.clone(), fs::read(source.dir.join(path))?);
        }
        let version = format!("Linux {}", source.version);
        git.commit(step, &pristine, &source.dir, &version)?;
        git.run(step, &["tag", "pristine"])?;

        for edit in edits(&ctx.repo)? {
            series.of_edit(&edit)?;
        }
        for (at, patch) in series.patch.iter().enumerate() {
            step.note(&patch.subject);
            let until_now = |edit: &str| series.of_edit(edit).is_ok_and(|of| of <= at);
            let mut files = tree::edited(ctx, root, step, source, until_now)?;
            for (path, content) in &added {
                if series.of_file(path)? == at {
                    files.insert(path.clone(), content.clone());
                }
            }
            let message = format!("{}\n\n{}", patch.subject, patch.body);
            git.commit(step, &files, &source.dir, &message)?;
        }

        step.note("patches");
        let format = [
            "format-patch",
            "--quiet",
            "--cover-letter",
            "--zero-commit",
            "--abbrev=12",
            "--output-directory=/out",
            "pristine",
        ];
        git.run(step, &format)?;
        let names = patches(out)?;
        let (letter, names) = names.split_first().context("git wrote no patch")?;
        cover(&series.cover, &version, &out.join(letter))?;

        step.note("applying them");
        git.run(step, &["checkout", "--quiet", "pristine"])?;
        let names: Vec<String> = names.iter().map(|name| format!("/out/{name}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        git.run(step, &[&["am", "--quiet"], names.as_slice()].concat())?;
        whole.extend(added);
        compare(&git.dir, &whole, &tree.dir)
    })
}

/// Fills in the cover letter.
fn cover(cover: &Cover, version: &str, path: &Path) -> Result<()> {
    let mut text = fs::read_to_string(path)?;
    let body = format!("{}\nThe patches apply to {version}.", cover.body);
    for (blank, ours) in [
        ("*** SUBJECT HERE ***", cover.subject.as_str()),
        ("*** BLURB HERE ***", &body),
    ] {
        if text.matches(blank).count() != 1 {
            bail!("git's cover letter has no place for ours: \"{blank}\"");
        }
        text = text.replace(blank, ours);
    }
    Ok(fs::write(path, text)?)
}

/// Whether a repository has these files, no others, and as they are in the patched tree.
fn compare(dir: &Path, files: &Changes, tree: &Path) -> Result<()> {
    let walk = walkdir::WalkDir::new(dir).into_iter();
    for entry in walk.filter_entry(|entry| entry.file_name() != ".git") {
        let entry = entry?;
        let path = entry.path().strip_prefix(dir)?.to_string_lossy();
        if entry.file_type().is_file() && !files.contains_key(&*path) {
            bail!("the patches bring {path}, which the patched tree lacks");
        }
    }
    for path in files.keys() {
        let read = |dir: &Path| fs::read(dir.join(path)).ok();
        if read(dir) != read(tree) {
            bail!("the patches make {path} other than it is in the patched tree");
        }
    }
    Ok(())
}

/// What checkpatch says of the patches, a line each.
pub fn complaints(ctx: &Ctx, root: &Root, tree: &Tree, out: &Path) -> Result<Vec<String>> {
    let hint = "the log has all that checkpatch says";
    ctx.step("checkpatch of the series", hint, |step| {
        let sandbox = Sandbox::new(ctx, root)
            .ro(&tree.dir, "/src")
            .ro(out, "/out")
            .cwd("/src");
        // Its status says that it complains, which is no failure here.
        let script = format!(
            "perl scripts/checkpatch.pl --strict --terse --quiet --no-summary --show-types \
             --ignore {} /out/*.patch; [ $? -le 1 ]",
            CHECKPATCH_IGNORED.join(",")
        );
        let text = step.output(sandbox.command("bash").args(["-c", &script]))?;
        Ok(text
            .lines()
            .map(|line| line.trim_start_matches("/out/").to_owned())
            .collect())
    })
}

/// What is in the folder, which must be nothing or a series of an earlier time.
fn earlier(out: &Path, cover: &Cover) -> Result<Vec<String>> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let names = patches(out)?;
    let is_ours = |letter: &String| {
        fs::read_to_string(out.join(letter)).is_ok_and(|text| text.contains(&cover.subject))
    };
    if !names.first().is_none_or(is_ours) || names.iter().any(|name| !is_numbered(name)) {
        bail!(
            "OUT={} holds other files than this series, so it is left alone. Give a new or an empty folder.",
            out.display()
        );
    }
    Ok(names)
}

/// Whether a file is called as git calls the patches of a series.
fn is_numbered(name: &str) -> bool {
    let number = name.split('-').next().unwrap_or_default();
    number.len() == 4 && number.parse::<u32>().is_ok() && name.ends_with(".patch")
}

/// `make series`.
pub fn export(ctx: &Ctx) -> Result<()> {
    let Some(out) = &ctx.options.out else {
        bail!("`make series` writes patches to a folder: say where with OUT=dir.");
    };
    let out = std::env::current_dir()?.join(out);
    let earlier = earlier(&out, &Series::read(&ctx.repo)?.cover)?;
    let root = root::prepare(ctx)?;
    let tree = tree::patched(ctx, &root)?;
    for name in earlier.iter().rev() {
        fs::remove_file(out.join(name))?;
    }
    write(ctx, &root, &tree, &out)?;
    let complaints = complaints(ctx, &root, &tree, &out)?;
    for line in &complaints {
        ctx.say(line);
    }
    if author(&ctx.repo).is_none() {
        ctx.say(
            "git does not know who you are, so the patches are nobody's and not signed off: set \
             user.name and user.email, and run this again.",
        );
    }
    ctx.say(format!(
        "{} patches and a cover letter for Linux {} are in {}; applied one after another they give \
         what `make tree` gives. Remarks of checkpatch: {}.",
        patches(&out)?.len() - 1,
        tree.source.version,
        out.display(),
        complaints.len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(patches: &[(&[&str], &[&str])]) -> Series {
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        let patch = |(edits, files): &(&[&str], &[&str])| Patch {
            subject: "s".into(),
            body: "b".into(),
            edits: strings(edits),
            files: strings(files),
        };
        Series {
            cover: Cover {
                subject: "S".into(),
                body: "B\n".into(),
            },
            patch: patches.iter().map(patch).collect(),
        }
    }

    #[test]
    fn a_file_is_in_the_first_patch_that_names_it() {
        let series = series(&[(&[], &["a/b.*"]), (&[], &["a/*"])]);
        assert_eq!(series.of_file("a/b.c").unwrap(), 0);
        assert_eq!(series.of_file("a/d/b.c").unwrap(), 1);
        let error = series.of_file("b").unwrap_err().to_string();
        assert!(error.contains("no patch for the file b"), "{error}");
    }

    #[test]
    fn an_edit_is_in_the_patch_that_names_most_of_it() {
        let series = series(&[(&["a"], &[]), (&["a-op", "b"], &[])]);
        for (edit, patch) in [
            ("a", 0),
            ("a-op.cocci", 1),
            ("a-op", 1),
            ("a-op-x.cocci", 1),
            ("a-opera.cocci", 0),
        ] {
            assert_eq!(series.of_edit(edit).unwrap(), patch, "{edit}");
        }
        assert!(series.of_edit("ab").is_err() && series.of_edit("c").is_err());
    }

    #[test]
    fn the_checked_in_series_is_whole() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let series = Series::read(&repo).unwrap();
        let mut filled: Vec<bool> = vec![false; series.patch.len()];
        for file in tree::overlay(&repo).unwrap().into_keys() {
            filled[series.of_file(&file).unwrap()] = true;
        }
        for edit in edits(&repo).unwrap() {
            filled[series.of_edit(&edit).unwrap()] = true;
        }
        for (patch, filled) in series.patch.iter().zip(filled) {
            assert!(filled, "nothing is in the patch \"{}\"", patch.subject);
            let text = format!("{}\n\n{}", patch.subject, patch.body);
            assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        }
    }

    #[test]
    fn the_cover_letter_is_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0000-cover-letter.patch");
        let letter = &series(&[]).cover;
        fs::write(
            &path,
            "Subject: *** SUBJECT HERE ***\n\n*** BLURB HERE ***\n\nN (2):\n",
        )
        .unwrap();
        cover(letter, "Linux 7.3.4", &path).unwrap();
        let text = "Subject: S\n\nB\n\nThe patches apply to Linux 7.3.4.\n\nN (2):\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(cover(letter, "Linux 7.3.4", &path).is_err());
    }

    #[test]
    fn the_patches_must_give_the_tree() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, tree) = (tmp.path().join("dir"), tmp.path().join("tree"));
        let mut files = Changes::new();
        for path in ["a", "d/b"] {
            cache::write(&dir.join(path), b"x").unwrap();
            cache::write(&tree.join(path), b"x").unwrap();
            files.insert(path.into(), b"x".to_vec());
        }
        cache::write(&tree.join("untouched"), b"x").unwrap();
        assert!(compare(&dir, &files, &tree).is_ok());
        fs::write(dir.join("d/b"), "y").unwrap();
        assert!(compare(&dir, &files, &tree).is_err());
        fs::write(dir.join("d/b"), "x").unwrap();
        fs::write(dir.join("more"), "x").unwrap();
        assert!(compare(&dir, &files, &tree).is_err());
    }

    #[test]
    fn only_this_series_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new");
        let cover = &Cover {
            subject: "ours".into(),
            body: String::new(),
        };
        assert!(earlier(&out, cover).unwrap().is_empty());
        fs::write(out.join("0001-old.patch"), "").unwrap();
        assert!(earlier(&out, cover).is_err());
        let letter = out.join("0000-cover-letter.patch");
        fs::write(&letter, "Subject: another").unwrap();
        assert!(earlier(&out, cover).is_err());
        fs::write(&letter, format!("Subject: {}", cover.subject)).unwrap();
        assert_eq!(earlier(&out, cover).unwrap().len(), 2);
        fs::write(out.join("precious.patch"), "").unwrap();
        assert!(earlier(&out, cover).is_err());
    }
}
