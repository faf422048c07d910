// SPDX-License-Identifier: GPL-2.0
//! The patched kernel tree: a source, our files laid over it, the edits applied.
//!
//! Files that we do not change are hard links into the source in the cache, which nobody ever
//! writes to. A file is touched only when its content changes, so that builds stay incremental, and
//! the tree is put right from whatever state an interrupted run left it in.

use crate::cache;
use crate::cocci;
use crate::ctx::Ctx;
use crate::edits::{Files, Manifest};
use crate::root::{self, Root};
use crate::source::{self, Source};
use crate::step::Step;
use anyhow::{bail, Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The folders of the repository that are laid over the kernel's.
const OVERLAY: [&str; 6] = [
    "Documentation",
    "drivers",
    "include",
    "rust",
    "samples",
    "tools/testing/selftests",
];

/// The edits that are no semantic patches.
pub const MANIFEST: &str = "scripts/edits.toml";

/// A kernel tree to build from; never to be written to.
#[derive(Clone, Debug)]
pub struct Tree {
    pub dir: PathBuf,
    pub source: Source,
    /// Changes when any file does.
    pub key: String,
    /// Changes when a Kconfig file does.
    pub kconfig: String,
}

/// The kernel as released.
pub fn pristine(ctx: &Ctx, root: &Root) -> Result<Tree> {
    let source = source::kernel(ctx, root)?;
    let trees = ctx.cache.join("tree");
    let dir = trees.join(format!("{}-pristine", source.key));
    let stamp = trees.join(format!(".{}-pristine", source.key));
    if !(dir.is_dir() && cache::is_stamped(&stamp, &source.generation)) {
        let hint = "see whether the folder tree in the cache may be written";
        ctx.step(&format!("link linux {}", source.key), hint, |_| {
            cache::remove(&stamp)?;
            settle(&source.dir, &Changes::new(), &dir)?;
            cache::stamp(&stamp, &source.generation)
        })?;
    }
    Ok(Tree {
        dir,
        key: source.generation.clone(),
        kconfig: source.generation.clone(),
        source,
    })
}

/// Files that a build or an editor leaves in the repository.
fn is_litter(name: &str) -> bool {
    let ends = [".o", ".ko", ".orig", ".rej", "~", ".swp", ".pyc"];
    name.starts_with('.') || ends.iter().any(|end| name.ends_with(end))
}

/// Our files: path in the kernel tree, and where they are.
pub fn overlay(repo: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for top in OVERLAY {
        let dir = repo.join(top);
        if !dir.exists() {
            continue;
        }
        let walk = WalkDir::new(&dir).into_iter();
        for entry in walk.filter_entry(|e| !is_litter(&e.file_name().to_string_lossy())) {
            let entry = entry?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(repo)?;
                files.insert(path.to_string_lossy().into_owned(), entry.path().to_owned());
            }
        }
    }
    if repo.join("Kconfig").exists() {
        files.insert("drivers/iommu/ext/Kconfig".to_owned(), repo.join("Kconfig"));
    }
    Ok(files)
}

/// What differs from the source: path and content.
pub type Changes = BTreeMap<String, Vec<u8>>;

/// Our files.
pub fn added(repo: &Path, source: &Source) -> Result<Changes> {
    let mut added = Changes::new();
    for (path, from) in overlay(repo)? {
        if source.dir.join(&path).exists() {
            bail!(
                "{} would replace a file of Linux {}. Overlay files are new files; give it another name, or \
                 describe the change as an edit.",
                path,
                source.version
            );
        }
        added.insert(
            path,
            fs::read(&from).with_context(|| from.display().to_string())?,
        );
    }
    Ok(added)
}

/// The source's files with the edits that are wanted: parts of the manifest and semantic patches,
/// by name.
pub fn edited(
    ctx: &Ctx,
    root: &Root,
    step: &mut Step,
    source: &Source,
    wanted: impl Fn(&str) -> bool,
) -> Result<Changes> {
    let mut files = Files::new(&source.dir);
    let mut manifest = Manifest::read(&ctx.repo.join(MANIFEST))?;
    manifest.retain(&wanted);
    manifest.apply_moves(&mut files, &source.series)?;
    cocci::apply(ctx, root, step, &mut files, &source.series, &wanted)?;
    manifest.apply_inserts(&mut files, &source.series)?;
    let texts = files.texts().iter();
    Ok(texts
        .map(|(path, text)| (path.clone(), text.clone().into_bytes()))
        .collect())
}

/// All that differs.
fn changes(ctx: &Ctx, root: &Root, step: &mut Step, source: &Source) -> Result<Changes> {
    let mut changes = added(&ctx.repo, source)?;
    changes.extend(edited(ctx, root, step, source, |_| true)?);
    Ok(changes)
}

/// Names everything that the patched tree is made of.
fn key(ctx: &Ctx, root: &Root, source: &Source) -> Result<String> {
    let mut inputs = vec![
        source.dir.display().to_string(),
        source.generation.clone(),
        root.key.clone(),
    ];
    for (path, from) in overlay(&ctx.repo)? {
        inputs.push(path);
        inputs.push(cache::hash([fs::read(from)?]));
    }
    for name in [MANIFEST, "scripts/cocci"] {
        let path = ctx.repo.join(name);
        if path.exists() {
            inputs.push(cache::hash_files(&[path])?);
        }
    }
    Ok(cache::hash(inputs))
}

/// The kernel with the series.
pub fn patched(ctx: &Ctx, root: &Root) -> Result<Tree> {
    let source = source::kernel(ctx, root)?;
    let trees = ctx.cache.join("tree");
    let dir = trees.join(format!("{}{}", source.key, ctx.suffix));
    let stamp = trees.join(format!(".{}{}", source.key, ctx.suffix));
    let kconfig_stamp = trees.join(format!(".{}{}.kconfig", source.key, ctx.suffix));
    let key = key(ctx, root, &source)?;
    if !(dir.is_dir() && cache::is_stamped(&stamp, &key)) {
        let hint =
            "if an edit does not match, the kernel source is not one that it was written for: \
                    KVER names those that are.";
        ctx.step(
            &format!("patch linux {}{}", source.series, ctx.suffix),
            hint,
            |step| {
                let changes = changes(ctx, root, step, &source)?;
                cache::remove(&stamp)?;
                step.note("writing");
                seed(&trees.join(&source.key), &dir)?;
                settle(&source.dir, &changes, &dir)?;
                let kconfig = changes.iter().filter(|(path, _)| path.contains("Kconfig"));
                let kconfig = kconfig.flat_map(|(path, text)| [path.as_bytes(), text]);
                let kconfig = kconfig.chain([source.generation.as_bytes()]);
                cache::stamp(&kconfig_stamp, &cache::hash(kconfig))?;
                cache::stamp(&stamp, &key)
            },
        )?;
    }
    Ok(Tree {
        dir,
        source,
        key,
        kconfig: fs::read_to_string(kconfig_stamp)?,
    })
}

/// Begins a variant as the plain tree, if there is one: its files have the age of the plain builds.
pub fn seed(plain: &Path, dir: &Path) -> Result<()> {
    if plain.is_dir() && !dir.exists() {
        settle(plain, &Changes::new(), dir)?;
    }
    Ok(())
}

/// Makes `dir` the source plus the changes, touching only what differs.
pub fn settle(source: &Path, changes: &Changes, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
    for path in changes.keys() {
        wanted.extend(Path::new(path).ancestors().map(Path::to_owned));
    }
    for entry in WalkDir::new(source).min_depth(1) {
        let entry = entry?;
        let path = entry.path().strip_prefix(source)?;
        wanted.insert(path.to_owned());
        let target = dir.join(path);
        if !changes.contains_key(&*path.to_string_lossy()) {
            same(entry.path(), &target).with_context(|| target.display().to_string())?;
        }
    }
    for entry in WalkDir::new(dir).min_depth(1).contents_first(true) {
        let entry = entry?;
        if !wanted.contains(entry.path().strip_prefix(dir)?) {
            cache::remove(entry.path())?;
        }
    }
    for (path, content) in changes {
        cache::update(&dir.join(path), content)?;
        if let Ok(meta) = fs::metadata(source.join(path)) {
            fs::set_permissions(dir.join(path), meta.permissions())?;
        }
    }
    Ok(())
}

/// Makes `target` what `from` is.
fn same(from: &Path, target: &Path) -> Result<()> {
    let old = fs::symlink_metadata(target).ok();
    let new = fs::symlink_metadata(from)?;
    if old
        .as_ref()
        .is_some_and(|old| old.file_type() != new.file_type())
    {
        cache::remove(target)?;
        return same(from, target);
    }
    if new.is_dir() {
        if old.is_none() {
            fs::create_dir(target)?;
        }
    } else if new.is_symlink() {
        let link = fs::read_link(from)?;
        if old.is_none() {
            symlink(link, target)?;
        } else if fs::read_link(target)? != link {
            cache::remove(target)?;
            symlink(link, target)?;
        }
    } else {
        match old {
            None => fs::hard_link(from, target)?,
            Some(old) if old.ino() == new.ino() && old.dev() == new.dev() => {}
            // Other content gets today's date, or make would believe its old objects.
            Some(_) => {
                if cache::update(target, &fs::read(from)?)? {
                    fs::set_permissions(target, new.permissions())?;
                }
            }
        }
    }
    Ok(())
}

/// In a folder with a patched tree: the source that it was made of.
const MARK: &str = ".iommu-ext-tree";

/// Whether a patched tree may be written to a folder: one that is empty, or that has one, of the
/// same source if that is known.
fn check_place(out: &Path, source: Option<&str>) -> Result<()> {
    let empty = fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    let of = fs::read_to_string(out.join(MARK)).ok();
    let same = |of: &str| source.is_none_or(|source| source == of);
    if !empty && !of.as_deref().is_some_and(same) {
        bail!(
            "OUT={} exists and is not the patched tree of {}, so it is left alone. Give a new or an empty folder.",
            out.display(),
            source.unwrap_or("a kernel")
        );
    }
    Ok(())
}

/// Writes the patched source as a plain tree of its own (`make tree OUT=dir`).
pub fn export(ctx: &Ctx) -> Result<()> {
    let Some(out) = &ctx.options.out else {
        bail!("`make tree` writes the patched kernel source to a folder: say where with OUT=dir.");
    };
    let out = std::env::current_dir()?.join(out);
    check_place(&out, None)?;
    let root = root::prepare(ctx)?;
    let tree = patched(ctx, &root)?;
    check_place(&out, Some(&tree.source.key))?;
    let hint = "see whether there is space in OUT, and whether you may write there";
    ctx.step("write the tree", hint, |step| {
        cache::stamp(&out.join(MARK), &tree.source.key)?;
        let mut rsync = crate::sandbox::Sandbox::new(ctx, &root)
            .ro(&tree.dir, "/from")
            .rw(&out, "/to")
            .command("rsync");
        // What changes gets today's date, or make would believe the objects of an earlier tree.
        step.run(rsync.args(["-rlp", "--checksum", "/from/", "/to/"]))
    })?;
    ctx.say(format!(
        "Linux {} with the series is in {}; build it inside `make enter` with `make LLVM=1`.",
        tree.source.version,
        out.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_tree_is_written_over_itself_only() {
        let tmp = tempfile::tempdir().unwrap();
        let out = tmp.path().join("out");
        check_place(&out, Some("linux-7.3")).unwrap();
        fs::create_dir(&out).unwrap();
        check_place(&out, None).unwrap();
        fs::write(out.join(MARK), "linux-7.3").unwrap();
        check_place(&out, None).unwrap();
        check_place(&out, Some("linux-7.3")).unwrap();
        let error = check_place(&out, Some("linux-7.2")).unwrap_err();
        assert!(error.to_string().contains("linux-7.2"), "{error}");
        assert!(check_place(tmp.path(), None).is_err());
    }

    #[test]
    fn settles_from_any_state() {
        let tmp = tempfile::tempdir().unwrap();
        let (source, dir) = (tmp.path().join("source"), tmp.path().join("tree"));
        fs::create_dir_all(source.join("d")).unwrap();
        fs::write(source.join("d/kept"), "kept").unwrap();
        fs::write(source.join("d/edited"), "old").unwrap();
        symlink("kept", source.join("d/link")).unwrap();
        let mut changes = Changes::new();
        changes.insert("d/edited".into(), b"new".to_vec());
        changes.insert("e/added".into(), b"added".to_vec());

        settle(&source, &changes, &dir).unwrap();
        assert_eq!(text(&dir.join("d/edited")), "new");
        assert_eq!(text(&source.join("d/edited")), "old");
        assert_eq!(text(&dir.join("e/added")), "added");
        assert_eq!(text(&dir.join("d/link")), "kept");
        let ino = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(ino(&dir.join("d/kept")), ino(&source.join("d/kept")));

        // Nothing changes, so nothing is touched.
        let edited = ino(&dir.join("d/edited"));
        fs::write(dir.join("d/.edited.xtask"), "half-writ").unwrap();
        settle(&source, &changes, &dir).unwrap();
        assert_eq!(ino(&dir.join("d/edited")), edited);
        assert!(!dir.join("d/.edited.xtask").exists());

        // No edits any more: the source's content, and newer than any object.
        settle(&source, &Changes::new(), &dir).unwrap();
        assert_eq!(text(&dir.join("d/edited")), "old");
        assert_ne!(ino(&dir.join("d/edited")), ino(&source.join("d/edited")));
        assert!(!dir.join("e").exists());
    }
}
