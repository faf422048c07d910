// SPDX-License-Identifier: GPL-2.0
//! The edit manifest: our text inserted at anchors, declarations moved between files.
//!
//! Every edit says how many places it must match; any other number stops the build, so that a new
//! kernel is either edited as meant or not at all.
//!
//! A line `# part: NAME` begins a part of the manifest, which can be applied without the others. A
//! part may have several places in the file.

use crate::cdecl;
use anyhow::{anyhow, bail, Context, Result};
use regex::Regex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[serde(default, rename = "move")]
    moves: Vec<Move>,
    #[serde(default, rename = "insert")]
    inserts: Vec<Insert>,
    #[serde(skip)]
    name: String,
}

/// What a line begins with that begins a part.
const PART: &str = "\n# part: ";

/// A place in a file; exactly one of the fields, but for `within`.
#[derive(Debug, Deserialize)]
struct Anchor {
    before: Option<String>,
    after: Option<String>,
    before_decl: Option<String>,
    after_decl: Option<String>,
    at: Option<End>,
    within: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Start,
    End,
}

#[derive(Debug, Deserialize)]
struct Insert {
    #[serde(skip)]
    part: String,
    file: String,
    why: String,
    text: String,
    #[serde(flatten)]
    anchor: Anchor,
    #[serde(default)]
    count: Count,
}

#[derive(Debug, Deserialize)]
struct Move {
    #[serde(skip)]
    part: String,
    from: String,
    decl: String,
    to: String,
    why: String,
    #[serde(flatten)]
    anchor: Anchor,
    #[serde(default)]
    count: Count,
}

/// How many places must match, the same for all versions or one number for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Count {
    All(usize),
    Each(BTreeMap<String, usize>),
}

impl Default for Count {
    fn default() -> Self {
        Count::All(1)
    }
}

fn version(series: &str) -> Vec<u32> {
    series
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

impl Count {
    /// The number for a series: its own, or that of the newest one before it.
    pub fn of(&self, series: &str) -> Result<usize> {
        match self {
            Count::All(count) => Ok(*count),
            Count::Each(counts) => counts
                .iter()
                .filter(|(key, _)| version(key) <= version(series))
                .max_by_key(|(key, _)| version(key))
                .map(|(_, count)| *count)
                .ok_or_else(|| anyhow!("no count is given for {series}")),
        }
    }
}

/// Files of a source being edited: read when first asked for.
pub struct Files<'a> {
    base: &'a Path,
    texts: BTreeMap<String, String>,
}

impl<'a> Files<'a> {
    pub fn new(base: &'a Path) -> Self {
        Files {
            base,
            texts: BTreeMap::new(),
        }
    }

    pub fn get(&mut self, file: &str) -> Result<&mut String> {
        if !self.texts.contains_key(file) {
            let text = fs::read_to_string(self.base.join(file))
                .with_context(|| format!("{file} is not in this source"))?;
            self.texts.insert(file.to_owned(), text);
        }
        self.texts.get_mut(file).context("just inserted")
    }

    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

impl Anchor {
    fn fields(&self) -> [Option<String>; 5] {
        let show =
            |name: &str, value: &Option<String>| value.as_ref().map(|v| format!("{name} = '{v}'"));
        [
            show("before", &self.before),
            show("after", &self.after),
            show("before_decl", &self.before_decl),
            show("after_decl", &self.after_decl),
            self.at.map(|end| format!("at = {end:?}")),
        ]
    }

    fn describe(&self) -> String {
        let mut text = self
            .fields()
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(decl) = &self.within {
            text += &format!(", within = '{decl}'");
        }
        text
    }

    /// The byte positions, line starts all, that the anchor means.
    fn places(&self, file: &str, text: &str) -> Result<Vec<usize>> {
        if self.fields().iter().flatten().count() != 1 {
            bail!("an edit needs exactly one of before, after, before_decl, after_decl, at");
        }
        let header = file.ends_with(".h");
        let inside = self
            .within
            .as_ref()
            .map(|decl| cdecl::find(text, decl, header));
        let allowed = |start: usize| match &inside {
            Some(decls) => decls.iter().any(|decl| decl.code.contains(&start)),
            None => true,
        };
        let mut places = Vec::new();
        if let Some(pattern) = self.before.as_ref().or(self.after.as_ref()) {
            let regex = Regex::new(pattern).with_context(|| format!("'{pattern}' is no regex"))?;
            for (start, line) in lines(text) {
                if allowed(start) && regex.is_match(line.trim_end_matches('\n')) {
                    places.push(if self.before.is_some() {
                        start
                    } else {
                        start + line.len()
                    });
                }
            }
        }
        if let Some(decl) = self.before_decl.as_ref().or(self.after_decl.as_ref()) {
            for decl in cdecl::find(text, decl, header) {
                let extent = decl.extent;
                places.push(if self.before_decl.is_some() {
                    extent.start
                } else {
                    extent.end
                });
            }
        }
        match self.at {
            Some(End::Start) => places.push(0),
            Some(End::End) => places.push(text.len()),
            None => {}
        }
        Ok(places)
    }
}

/// Puts whole lines at a place.
fn insert(text: &mut String, place: usize, lines: &str) {
    let mut piece = String::new();
    if place > 0 && !text[..place].ends_with('\n') {
        piece.push('\n');
    }
    piece += lines;
    if !piece.ends_with('\n') {
        piece.push('\n');
    }
    text.insert_str(place, &piece);
}

impl Manifest {
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut manifest = Self::parse(&text).with_context(|| path.display().to_string())?;
        manifest.name = name;
        Ok(manifest)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut manifest = Manifest::default();
        let begins = text.match_indices(PART).map(|(at, _)| at + 1);
        let begins: Vec<usize> = [0].into_iter().chain(begins).collect();
        for (n, &begin) in begins.iter().enumerate() {
            let end = begins.get(n + 1).map_or(text.len(), |&next| next);
            let piece = &text[begin..end];
            let name = piece.lines().next().unwrap_or_default();
            let part = name
                .strip_prefix(PART.trim_start())
                .unwrap_or_default()
                .trim();
            // Behind as many lines as in the file, for errors to tell the right ones.
            let ahead = "\n".repeat(text[..begin].matches('\n').count());
            let mut piece: Manifest = toml::from_str(&format!("{ahead}{piece}"))?;
            piece
                .moves
                .iter_mut()
                .for_each(|edit| edit.part = part.into());
            piece
                .inserts
                .iter_mut()
                .for_each(|edit| edit.part = part.into());
            manifest.moves.extend(piece.moves);
            manifest.inserts.extend(piece.inserts);
        }
        Ok(manifest)
    }

    /// The names of the parts.
    pub fn parts(&self) -> BTreeSet<&str> {
        let moves = self.moves.iter().map(|edit| edit.part.as_str());
        moves
            .chain(self.inserts.iter().map(|edit| edit.part.as_str()))
            .collect()
    }

    /// Forgets the edits of parts that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.moves.retain(|edit| wanted(&edit.part));
        self.inserts.retain(|edit| wanted(&edit.part));
    }

    fn checked(&self, what: &str, count: &Count, series: &str, found: usize) -> Result<()> {
        let wanted = count
            .of(series)
            .with_context(|| format!("{}: {what}", self.name))?;
        if found != wanted {
            bail!(
                "{}: {what}: matches {found} places in {series}, and must match {wanted}. The source is not \
                 the one this edit was written for: look at the file there, then adjust the anchor or its \
                 count.",
                self.name
            );
        }
        Ok(())
    }

    pub fn apply_moves(&self, files: &mut Files, series: &str) -> Result<()> {
        for edit in &self.moves {
            let what = format!("move of {} from {} ({})", edit.decl, edit.from, edit.why);
            let context = || format!("{}: {what}", self.name);
            let text = files.get(&edit.from).with_context(context)?;
            let found = cdecl::find(text, &edit.decl, edit.from.ends_with(".h"));
            self.checked(&what, &edit.count, series, found.len())?;
            for decl in found.into_iter().rev() {
                let from = files.get(&edit.from)?;
                let mut end = decl.extent.end;
                if from[..decl.extent.start].ends_with("\n\n") && from[end..].starts_with('\n') {
                    end += 1;
                }
                let piece = from[decl.extent.clone()].to_owned();
                from.replace_range(decl.extent.start..end, "");

                let to = files.get(&edit.to).with_context(context)?;
                let places = edit.anchor.places(&edit.to, to).with_context(context)?;
                let target = format!(
                    "{what}, placed in {} at {}",
                    edit.to,
                    edit.anchor.describe()
                );
                self.checked(&target, &Count::All(1), series, places.len())?;
                let place = places[0];
                let before = if to[..place].ends_with("\n\n") || place == 0 {
                    ""
                } else {
                    "\n"
                };
                let after = if to[place..].starts_with('\n') || place == to.len() {
                    ""
                } else {
                    "\n"
                };
                insert(to, place, &format!("{before}{piece}{after}"));
            }
        }
        Ok(())
    }

    /// Anchors are looked for in the text without any insertion, so that none depends on another.
    pub fn apply_inserts(&self, files: &mut Files, series: &str) -> Result<()> {
        let mut pieces: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
        for edit in &self.inserts {
            let anchor = edit.anchor.describe();
            let what = format!("insertion into {} at {anchor} ({})", edit.file, edit.why);
            let context = || format!("{}: {what}", self.name);
            let wanted = edit.count.of(series).with_context(context)?;
            if wanted == 0 && !files.base.join(&edit.file).exists() {
                continue;
            }
            let text = files.get(&edit.file).with_context(context)?;
            let places = edit.anchor.places(&edit.file, text);
            let places = places.with_context(context)?;
            self.checked(&what, &edit.count, series, places.len())?;
            let pieces = pieces.entry(&edit.file).or_default();
            pieces.extend(places.into_iter().map(|place| (place, edit.text.as_str())));
        }
        for (file, mut pieces) in pieces {
            let text = files.get(file)?;
            // Stable: at one place the order is the manifest's.
            pieces.sort_by_key(|(place, _)| *place);
            for (place, piece) in pieces.into_iter().rev() {
                insert(text, place, piece);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "one\ntwo\nthree\n";
    const C: &str = "struct a {\n\tint x;\n};\n\n/* b */\nstruct b {\n\tint x;\n};\n\nint f(void)\n{\n\treturn 0;\n}\n";

    fn apply(manifest: &str, series: &str) -> Result<BTreeMap<String, String>> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), A).unwrap();
        fs::write(dir.path().join("c.c"), C).unwrap();
        fs::write(dir.path().join("c.h"), "#ifndef H\n#define H\n#endif\n").unwrap();
        let manifest = Manifest::parse(manifest)?;
        let mut files = Files::new(dir.path());
        manifest.apply_moves(&mut files, series)?;
        manifest.apply_inserts(&mut files, series)?;
        Ok(files.texts)
    }

    fn error(manifest: &str, series: &str) -> String {
        format!("{:#}", apply(manifest, series).unwrap_err())
    }

    #[test]
    fn inserts_whole_lines() {
        let texts = apply(
            "[[insert]]\nfile = 'a'\nwhy = 'w'\nafter = '^two$'\ntext = 'x'\n\
             [[insert]]\nfile = 'a'\nwhy = 'w'\nbefore = 'one'\ntext = \"y\\nz\\n\"\n\
             [[insert]]\nfile = 'a'\nwhy = 'w'\nat = 'end'\ntext = 'end'\n",
            "7.3",
        )
        .unwrap();
        assert_eq!(texts["a"], "y\nz\none\ntwo\nx\nthree\nend\n");
    }

    #[test]
    fn within_limits_the_lines() {
        let texts = apply(
            "[[insert]]\nfile = 'c.c'\nwhy = 'w'\nafter = 'int x'\nwithin = 'struct b'\ntext = \"\\tint y;\"\n",
            "7.3",
        )
        .unwrap();
        assert_eq!(
            texts["c.c"],
            C.replace(
                "/* b */\nstruct b {\n\tint x;\n",
                "/* b */\nstruct b {\n\tint x;\n\tint y;\n"
            )
        );
    }

    #[test]
    fn moves_with_comment() {
        let texts = apply(
            "[[move]]\nfrom = 'c.c'\ndecl = 'struct b'\nto = 'c.h'\nwhy = 'w'\nafter_decl = 'H'\n",
            "7.3",
        )
        .unwrap();
        assert_eq!(
            texts["c.c"],
            "struct a {\n\tint x;\n};\n\nint f(void)\n{\n\treturn 0;\n}\n"
        );
        assert_eq!(
            texts["c.h"],
            "#ifndef H\n#define H\n\n/* b */\nstruct b {\n\tint x;\n};\n\n#endif\n"
        );
    }

    #[test]
    fn counts_are_exact() {
        let two = "[[insert]]\nfile = 'c.c'\nwhy = 'reason'\nafter = 'int x'\ntext = 'y'\n";
        let text = error(two, "7.3");
        assert!(
            text.contains("c.c") && text.contains("reason") && text.contains("matches 2 places"),
            "{text}"
        );
        let gone = "[[insert]]\nfile = 'a'\nwhy = 'w'\nafter = 'four'\ntext = 'y'\n";
        assert!(error(gone, "7.3").contains("matches 0 places"));
        let none = "[[move]]\nfrom = 'c.c'\ndecl = 'struct z'\nto = 'c.h'\nwhy = 'w'\nat = 'end'\n";
        assert!(error(none, "7.3").contains("struct z"));
        assert!(error(
            "[[insert]]\nfile = 'q'\nwhy = 'w'\nat = 'end'\ntext = 'y'\n",
            "7.3"
        )
        .contains("q is not in"));
    }

    #[test]
    fn counts_per_version() {
        let edit = "[[insert]]\nfile = 'a'\nwhy = 'w'\nafter = 'one'\ntext = 'y'\ncount = { '7.2' = 0, '7.3' = 1 }\n";
        assert!(apply(edit, "7.3").is_ok());
        assert!(apply(edit, "7.4").is_ok());
        assert!(error(edit, "7.2").contains("must match 0"));
        assert!(error(edit, "7.1").contains("no count is given"));
    }

    #[test]
    fn anchors_do_not_see_insertions() {
        let texts = apply(
            "[[insert]]\nfile = 'a'\nwhy = 'w'\nbefore = 'two'\ntext = 'two too'\n\
             [[insert]]\nfile = 'a'\nwhy = 'w'\nafter = 'two'\ntext = 'x'\n\
             [[insert]]\nfile = 'a'\nwhy = 'w'\nafter = 'two'\ntext = 'y'\n",
            "7.3",
        );
        assert_eq!(texts.unwrap()["a"], "one\ntwo too\ntwo\nx\ny\nthree\n");
    }

    #[test]
    fn parts_can_be_left_out() {
        let edit = |text: &str| {
            format!("[[insert]]\nfile = 'a'\nwhy = 'w'\nafter = 'one'\ntext = '{text}'\n")
        };
        let text = format!(
            "# A comment\n\n# part: p\n{}# part: q\n{}\n# part: p\n{}",
            edit("1"),
            edit("2"),
            edit("3")
        );
        let mut manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.parts(), BTreeSet::from(["p", "q"]));
        manifest.retain(|part| part == "p");
        let left: Vec<_> = manifest.inserts.iter().map(|edit| &edit.text).collect();
        assert_eq!(left, ["1", "3"]);
        let wrong = format!("{text}\n# part: r\nnonsense\n");
        let line = wrong.lines().count();
        let error = Manifest::parse(&wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}")), "{error}");
    }

    #[test]
    fn one_anchor_only() {
        let edit = "[[insert]]\nfile = 'a'\nwhy = 'w'\nafter = 'one'\nbefore = 'two'\ntext = 'y'\n";
        assert!(error(edit, "7.3").contains("exactly one"));
    }
}
