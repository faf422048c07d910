// SPDX-License-Identifier: GPL-2.0
//! Kernel configuration: tinyconfig plus fragments, none of whose symbols may be lost.

use crate::cache;
use crate::step::Step;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Symbol and value; "n" for one that is not set.
fn symbols(text: &str) -> BTreeMap<&str, &str> {
    let mut symbols = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix("# ")
            .and_then(|l| l.strip_suffix(" is not set"))
        {
            symbols.insert(name, "n");
        } else if line.starts_with("CONFIG_") {
            if let Some((name, value)) = line.split_once('=') {
                symbols.insert(name, value);
            }
        }
    }
    symbols
}

/// What was asked for and did not come about.
fn dropped(wanted: &str, config: &str) -> Vec<String> {
    let config = symbols(config);
    symbols(wanted)
        .into_iter()
        .filter_map(|(name, value)| {
            let got = config.get(name).copied().unwrap_or("n");
            (got != value).then(|| format!("{name}={value} (it is {got})"))
        })
        .collect()
}

/// Brings `.config` of a build folder up to date. `make` starts make in that folder; `key` names
/// the Kconfig files and tools that the result depends on.
pub fn configure(
    step: &mut Step,
    build: &Path,
    fragments: &[PathBuf],
    key: &str,
    make: impl Fn() -> Command,
) -> Result<()> {
    let mut wanted = String::new();
    for fragment in fragments {
        wanted += &fs::read_to_string(fragment)
            .with_context(|| format!("cannot read {}", fragment.display()))?;
        wanted.push('\n');
    }
    let (stamp, config) = (build.join(".xtask-config"), build.join(".config"));
    let key = cache::hash([key, &wanted]);
    if config.exists() && cache::is_stamped(&stamp, &key) {
        return Ok(());
    }
    step.note("configuring");
    cache::remove(&stamp)?;
    // Made aside, so that an unchanged result does not make everything out of date.
    let aside = build.join(".xtask-new");
    let with = |target: &str| {
        let mut command = make();
        command.args(["KCONFIG_CONFIG=.xtask-new", target]);
        command
    };
    step.run(&mut with("tinyconfig"))?;
    fs::write(&aside, fs::read_to_string(&aside)? + "\n" + &wanted)?;
    step.run(&mut with("olddefconfig"))?;
    let result = fs::read_to_string(&aside)?;
    let dropped = dropped(&wanted, &result);
    if !dropped.is_empty() {
        let names: Vec<String> = fragments
            .iter()
            .filter_map(|path| {
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
            })
            .collect();
        bail!(
            "The kernel's configuration dropped what {} asked for: {}. A dependency is missing: look the \
             symbol up in the kernel's Kconfig files and add what it depends on to the fragment, or take it out.",
            names.join(", "),
            dropped.join(", ")
        );
    }
    cache::update(&config, result.as_bytes())?;
    cache::stamp(&stamp, &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_symbols_are_named() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_S=\"x\"\n";
        assert!(dropped(
            "CONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_D is not set\nCONFIG_S=\"x\"\n",
            config
        )
        .is_empty());
        assert_eq!(
            dropped("CONFIG_B=y\nCONFIG_C=y\n# CONFIG_A is not set\n", config),
            [
                "CONFIG_A=n (it is y)",
                "CONFIG_B=y (it is n)",
                "CONFIG_C=y (it is m)"
            ]
        );
    }

    #[test]
    fn later_fragments_win() {
        assert!(dropped("CONFIG_A=y\n# CONFIG_A is not set\n", "").is_empty());
    }
}
