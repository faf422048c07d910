// SPDX-License-Identifier: GPL-2.0
//! The guest's initramfs.

use crate::cache;
use crate::ctx::Ctx;
use crate::root;
use crate::sandbox::Sandbox;
use anyhow::{bail, Context, Result};
use cpio::newc;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that the guest's init mounts something on, or writes to.
const FOLDERS: [&str; 8] = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin"];

const BUSYBOX: &str = "bin/busybox";

/// One file of the initramfs; the folders above it come by themselves, and so do busybox with its
/// links and the mount points.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Such as `tests/ioasid`.
    pub path: String,
    pub source: PathBuf,
    pub mode: u32,
}

/// What a path is.
enum Node {
    Folder,
    Link(String),
    File(PathBuf, u32),
}

/// Mode bits of the kinds of node.
const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// The archive: in the order of paths and without dates, so that the same input gives the same bytes.
fn archive(nodes: &BTreeMap<String, Node>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (ino, (path, node)) in nodes.iter().enumerate() {
        let (mode, content) = match node {
            Node::Folder => (FOLDER, Vec::new()),
            Node::Link(target) => (LINK, target.clone().into_bytes()),
            Node::File(source, mode) => {
                let content = fs::read(source);
                (
                    FILE | mode,
                    content.with_context(|| format!("cannot read {}", source.display()))?,
                )
            }
        };
        let links = if matches!(node, Node::Folder) { 2 } else { 1 };
        let header = newc::Builder::new(path)
            .ino(ino as u32 + 1)
            .mode(mode)
            .nlink(links);
        let mut writer = header.write(&mut out, content.len() as u32);
        std::io::Write::write_all(&mut writer, &content)?;
        writer.finish()?;
    }
    newc::trailer(&mut out)?;
    Ok(out)
}

fn add(nodes: &mut BTreeMap<String, Node>, path: &str, node: Node) -> Result<()> {
    for (at, _) in path.match_indices('/') {
        nodes.entry(path[..at].to_owned()).or_insert(Node::Folder);
    }
    if let Some(Node::File(..) | Node::Link(_)) = nodes.insert(path.to_owned(), node) {
        bail!("two files of the initramfs want to be {path}");
    }
    Ok(())
}

/// Packs the entries into `out`.
pub fn pack(ctx: &Ctx, entries: &[Entry], out: &Path) -> Result<()> {
    let root = root::prepare(ctx)?;
    let list = Sandbox::new(ctx, &root)
        .command("busybox")
        .arg("--list")
        .output()?;
    if !list.status.success() {
        bail!("busybox in the toolchain root failed ({})", list.status);
    }
    let mut nodes = BTreeMap::new();
    for folder in FOLDERS {
        add(&mut nodes, folder, Node::Folder)?;
    }
    add(
        &mut nodes,
        BUSYBOX,
        Node::File(root.dir.join("usr").join(BUSYBOX), 0o755),
    )?;
    for applet in String::from_utf8_lossy(&list.stdout)
        .lines()
        .filter(|name| *name != "busybox")
    {
        add(
            &mut nodes,
            &format!("bin/{applet}"),
            Node::Link("busybox".to_owned()),
        )?;
    }
    add(&mut nodes, "sbin", Node::Link("bin".to_owned()))?;
    for entry in entries {
        let node = Node::File(entry.source.clone(), entry.mode);
        add(&mut nodes, entry.path.trim_start_matches('/'), node)?;
    }
    cache::update(out, &archive(&nodes)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_repeatable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        fs::write(&file, "content").unwrap();
        let mut nodes = BTreeMap::new();
        add(&mut nodes, "a/b/x", Node::File(file.clone(), 0o755)).unwrap();
        add(&mut nodes, "a/l", Node::Link("b/x".into())).unwrap();
        assert!(add(&mut nodes, "a/l", Node::File(file, 0o755)).is_err());
        let bytes = archive(&nodes).unwrap();
        assert_eq!(bytes, archive(&nodes).unwrap());
        assert!(bytes.starts_with(b"070701"));

        let mut at = bytes.as_slice();
        let mut seen = Vec::new();
        loop {
            let mut reader = newc::Reader::new(at).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut content).unwrap();
            seen.push((
                reader.entry().name().to_owned(),
                reader.entry().mode(),
                content.len(),
            ));
            at = reader.finish().unwrap();
        }
        let expected = [
            ("a", FOLDER, 0),
            ("a/b", FOLDER, 0),
            ("a/b/x", FILE | 0o755, 7),
        ];
        for (entry, (name, mode, size)) in seen.iter().zip(expected) {
            assert_eq!((entry.0.as_str(), entry.1, entry.2), (name, mode, size));
        }
    }
}
