// SPDX-License-Identifier: GPL-2.0
//! `make run`: boots the lean kernel and tells what it does, in statements and tables.
//!
//! A program in the guest does the work and states facts; every expected one has to be there and
//! true. The rest comes from the kernel's own console.

use crate::console;
use crate::ctx::Ctx;
use crate::guest::{Port, Record};
use crate::kernel::Flavour;
use crate::lab::{Guest, Lab};
use anyhow::{Error, Result};
use std::collections::BTreeMap;

const PROFILE: &str = "first-stage";

/// What of the console is worth showing.
const EXCERPTS: [&str; 6] = [
    "Linux version",
    "DMAR: Host address width",
    "Enable scalable mode",
    "DMAR: Intel(R) Virtualization Technology",
    "iommu: Default domain type",
    "DMAR: [DMA",
];

/// A part of the story: the facts it needs, and the table that belongs to it.
struct Chapter {
    title: &'static str,
    facts: &'static [&'static str],
    table: &'static str,
    columns: &'static [&'static str],
}

const CHAPTERS: [Chapter; 4] = [
    Chapter {
        title: "The IOMMU and its groups",
        facts: &["scalable", "groups"],
        table: "groups",
        columns: &["device", "what it is", "group", "PASIDs"],
    },
    Chapter {
        title: "PASIDs from the Rust allocator",
        facts: &["given", "found", "foreign", "freed", "exhausted"],
        table: "ids",
        columns: &["set", "PASIDs"],
    },
    Chapter {
        title: "DMA with a PASID",
        facts: &["device", "before_attach", "dma", "after_detach"],
        table: "dma",
        columns: &["when", "PASID", "DMA", "bytes moved"],
    },
    Chapter {
        title: "DMA with PASID inside the kernel",
        facts: &["modes", "bypass", "iova", "kva", "disabled"],
        table: "modes",
        columns: &[
            "mode",
            "PASID",
            "addresses",
            "read from",
            "bytes moved",
            "after disable",
        ],
    },
];

/// What the guest's program said.
#[derive(Debug, Default, PartialEq)]
struct Story {
    facts: BTreeMap<String, (bool, String)>,
    rows: BTreeMap<String, Vec<Vec<String>>>,
}

impl Story {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut story = Story::default();
        for line in lines.filter_map(|line| line.strip_prefix("story: ")) {
            match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
                ["fact", name, truth, text] => {
                    story
                        .facts
                        .insert(name.into(), (truth == "true", text.into()));
                }
                ["row", table, ..] => {
                    let cells = line.splitn(3, ' ').nth(2).unwrap_or_default();
                    let cells = cells
                        .split('|')
                        .map(|cell| cell.trim().to_owned())
                        .collect();
                    story.rows.entry(table.into()).or_default().push(cells);
                }
                _ => {}
            }
        }
        story
    }

    /// The story as text, and the names of facts that are missing or false.
    fn tell(&self) -> (String, Vec<&'static str>) {
        let mut text = String::new();
        let mut wrong = Vec::new();
        for chapter in &CHAPTERS {
            text += &format!("\n{}\n", chapter.title);
            for name in chapter.facts {
                match self.facts.get(*name) {
                    Some((true, what)) => text += &format!("  yes  {what}\n"),
                    Some((false, what)) => {
                        text += &format!("  NO   {what}\n");
                        wrong.push(*name);
                    }
                    None => {
                        text += &format!("  NO   nothing was said of \"{name}\"\n");
                        wrong.push(*name);
                    }
                }
            }
            if let Some(rows) = self.rows.get(chapter.table) {
                text += &table(chapter.columns, rows);
            }
        }
        (text, wrong)
    }
}

/// Rows below their headings, in columns.
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, name)| {
            rows.iter()
                .map(|row| cell(row, at).chars().count())
                .chain([name.len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("    {}\n", padded.join("  ").trim_end())
    };
    let mut text = String::from("\n");
    text += &line(columns.iter().map(|name| name.to_string()).collect());
    text += &line(widths.iter().map(|width| "-".repeat(*width)).collect());
    for row in rows {
        text += &line((0..columns.len()).map(|at| cell(row, at)).collect());
    }
    text
}

/// The guest that has the story to tell.
fn guest() -> Guest {
    Guest {
        flavour: Flavour::Lean,
        profile: PROFILE.into(),
        name: "run".into(),
        programs: vec!["ext_story".into()],
        append: "ext.leaks=0".into(),
    }
}

/// The story that a guest told, or why it is none.
fn judge(guest: &Record, release: &str) -> (String, Result<(), String>) {
    let (text, wrong) = Story::read(guest.tests.iter().map(String::as_str)).tell();
    let console = guest.console_log.display();
    let version = format!("Linux version {release} ");
    let verdict = if let Some(hung) = &guest.hung {
        Err(format!(
            "The story has no end: {hung}. Its console is {console}. On a machine that is busy, try \
             again when it is not; `make shell` boots the same system for you to look at."
        ))
    } else if let Some(problem) = guest.problems.first() {
        Err(format!(
            "The kernel complained: \"{}\" ({console}, line {}).",
            problem.text, problem.line
        ))
    } else if !guest.console.iter().any(|line| line.contains(&version)) {
        Err(format!(
            "The console does not show \"{version}\"; it is {console}."
        ))
    } else if !wrong.is_empty() {
        Err(format!(
            "Not everything is as it should be: {}. What the guest said is in {}.",
            wrong.join(", "),
            guest.tests_log.display()
        ))
    } else {
        Ok(())
    };
    (text, verdict)
}

/// Boots the guest for a test: what it left behind, and whether it told the story.
pub fn test(lab: &mut Lab) -> Result<(Record, Result<(), String>)> {
    let release = lab.system(Flavour::Lean)?.kernel.release;
    let guest = lab.run(&guest(), |_, _| {})?;
    let verdict = judge(&guest, &release).1;
    Ok((guest, verdict))
}

pub fn run(ctx: &Ctx) -> Result<()> {
    let mut lab = Lab::new(ctx)?;
    let release = lab.system(Flavour::Lean)?.kernel.release;
    ctx.say(format!(
        "\nLinux {release} boots on an emulated PC with VT-d:\n"
    ));
    let guest = lab.run(&guest(), |port, line| {
        if port == Port::Console && EXCERPTS.iter().any(|excerpt| line.contains(excerpt)) {
            ctx.say(format!("  | {}", console::untimed(line)));
        }
    })?;
    let (text, verdict) = judge(&guest, &release);
    ctx.say(text);
    ctx.say(format!(
        "The guest ran for {:.1} s. Its console: {}",
        guest.time.as_secs_f32(),
        guest.console_log.display()
    ));
    verdict.map_err(Error::msg)
}

/// `make shell`: a guest on this terminal with everything in it.
pub fn shell(ctx: &Ctx) -> Result<()> {
    let mut lab = Lab::new(ctx)?;
    let profile = ctx.options.profile.as_deref().unwrap_or(PROFILE).to_owned();
    lab.profiles.get(&profile)?;
    lab.system(Flavour::Lean)?;
    // The kernel is in the guest's memory by the time another run could replace it.
    ctx.release();
    ctx.say("A guest follows on this terminal. Ctrl-A X ends it, Ctrl-A C talks to QEMU.");
    lab.shell(Flavour::Lean, &profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<String> {
        CHAPTERS
            .iter()
            .flat_map(|chapter| chapter.facts)
            .map(|name| format!("story: fact {name} true it is so"))
            .collect()
    }

    fn wrong(lines: &[String]) -> Vec<&'static str> {
        Story::read(lines.iter().map(String::as_str)).tell().1
    }

    #[test]
    fn every_fact_must_be_stated_and_true() {
        let mut lines = whole();
        assert!(wrong(&lines).is_empty());
        lines[2] = lines[2].replace("true", "false");
        let last = lines.pop();
        assert!(last.is_some());
        assert_eq!(wrong(&lines), ["given", "disabled"]);
    }

    #[test]
    fn tables_are_aligned() {
        let lines = [
            "noise",
            "story: row ids 0|2, 3, 4",
            "story: row ids 1|5",
            "story: nonsense",
        ];
        let (text, _) = Story::read(lines.into_iter()).tell();
        let expected = "\n    set  PASIDs\n    ---  -------\n    0    2, 3, 4\n    1    5\n";
        assert!(text.contains(expected), "{text}");
    }
}
