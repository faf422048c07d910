// SPDX-License-Identifier: GPL-2.0
//! What the kernel runs of an object file: its code and its data with what they refer to. Two
//! sources make the same kernel if that is the same, whatever the numbers of their lines are.

use anyhow::{Context, Result};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use walkdir::WalkDir;

/// Where warnings say in which line they are, and nothing else.
const LINES: &str = "__bug_table";

const ELF64: &[u8] = b"\x7fELF\x02\x01";
const SHT_SYMTAB: u32 = 2;
const SHT_RELA: u32 = 4;
const SHT_NOBITS: u32 = 8;
const SHF_ALLOC: u64 = 2;
const STT_SECTION: u8 = 3;
const SHN_UNDEF: u16 = 0;

/// The compiler counts what it gives names to.
static COUNTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(__UNIQUE_ID_\w+?)_?\d+").expect("the pattern is a constant"));

/// A section that is loaded: its name, its content or size, and what its places refer to.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    name: String,
    content: Vec<u8>,
    size: u64,
    references: Vec<Reference>,
}

#[derive(Debug, PartialEq, Eq)]
struct Reference {
    place: u64,
    kind: u64,
    symbol: String,
    addend: u64,
}

/// A little-endian ELF file of 64 bits, as compilers leave it.
struct Elf<'a>(&'a [u8]);

/// The header of a section.
#[derive(Clone, Copy)]
struct Header {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
}

impl<'a> Elf<'a> {
    fn bytes(&self, at: u64, len: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(usize::try_from(len).ok()?)?)
    }

    fn u16(&self, at: u64) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(at, 2)?.try_into().ok()?))
    }

    fn u32(&self, at: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(at, 4)?.try_into().ok()?))
    }

    fn u64(&self, at: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(at, 8)?.try_into().ok()?))
    }

    fn text(&self, table: Header, at: u32) -> Option<String> {
        let rest = self.bytes(table.offset, table.size)?.get(at as usize..)?;
        let text = rest.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn headers(&self) -> Option<Vec<Header>> {
        if !self.0.starts_with(ELF64) {
            return None;
        }
        let (table, size) = (self.u64(0x28)?, u64::from(self.u16(0x3a)?));
        (0..u64::from(self.u16(0x3c)?))
            .map(|index| {
                let at = table + index * size;
                Some(Header {
                    name: self.u32(at)?,
                    kind: self.u32(at + 4)?,
                    flags: self.u64(at + 8)?,
                    offset: self.u64(at + 24)?,
                    size: self.u64(at + 32)?,
                    link: self.u32(at + 40)?,
                    info: self.u32(at + 44)?,
                })
            })
            .collect()
    }

    /// The name of a symbol, or of the section that it stands for.
    fn symbol(&self, headers: &[Header], table: Header, index: u64) -> Option<String> {
        let at = table.offset + index * 24;
        let name = if self.bytes(at + 4, 1)?[0] & 0xf == STT_SECTION {
            let section = headers.get(usize::from(self.u16(at + 6)?))?;
            self.section_name(headers, *section)?
        } else {
            self.text(*headers.get(table.link as usize)?, self.u32(at)?)?
        };
        Some(COUNTED.replace_all(&name, "$1").into_owned())
    }

    fn section_name(&self, headers: &[Header], section: Header) -> Option<String> {
        let names = headers.get(usize::from(self.u16(0x3e)?))?;
        self.text(*names, section.name)
    }

    fn references(&self, headers: &[Header], rela: Header) -> Option<Vec<Reference>> {
        let symbols = *headers.get(rela.link as usize)?;
        if symbols.kind != SHT_SYMTAB {
            return None;
        }
        (0..rela.size / 24)
            .map(|index| {
                let at = rela.offset + index * 24;
                let info = self.u64(at + 8)?;
                Some(Reference {
                    place: self.u64(at)?,
                    kind: info & 0xffff_ffff,
                    symbol: self.symbol(headers, symbols, info >> 32)?,
                    addend: self.u64(at + 16)?,
                })
            })
            .collect()
    }

    /// The names of the symbols that have a place in one of the sections.
    fn defined(&self) -> Option<BTreeSet<String>> {
        let headers = self.headers()?;
        let table = *headers.iter().find(|header| header.kind == SHT_SYMTAB)?;
        let mut defined = BTreeSet::new();
        for index in 0..table.size / 24 {
            if self.u16(table.offset + index * 24 + 6)? != SHN_UNDEF {
                defined.insert(self.symbol(&headers, table, index)?);
            }
        }
        Some(defined)
    }

    /// All that is loaded but numbers of lines.
    fn sections(&self) -> Option<Vec<Section>> {
        let headers = self.headers()?;
        let mut sections = Vec::new();
        for (index, header) in headers.iter().enumerate() {
            let name = self.section_name(&headers, *header)?;
            if header.flags & SHF_ALLOC == 0 || name == LINES {
                continue;
            }
            let content = match header.kind {
                SHT_NOBITS => &[],
                _ => self.bytes(header.offset, header.size)?,
            };
            let mut references = Vec::new();
            for rela in &headers {
                if rela.kind == SHT_RELA && rela.info as usize == index {
                    references.extend(self.references(&headers, *rela)?);
                }
            }
            sections.push(Section {
                name,
                content: content.to_owned(),
                size: header.size,
                references,
            });
        }
        Some(sections)
    }
}

/// The objects of a build that come from a C file of its tree, and differ from those of the other
/// build: how many were compared, and for each that differs its path and the first section that
/// does; also those that are linked into one of the kernels only. Whether there is Rust in the
/// kernel makes a difference where it is asked for.
pub fn differences(tree: &Path, build: &Path, other: &Path) -> Result<(usize, Vec<String>)> {
    let counts = |path: &Path| -> Result<bool> {
        let source = tree.join(path.with_extension("c"));
        let is_object = path.extension().is_some_and(|ext| ext == "o");
        Ok(is_object && source.is_file() && !differs_anyway(&source)?)
    };
    let alone = |path: &Path| format!("{}: is in one kernel only", path.display());
    let mut found = BTreeSet::new();
    // That an object lies in a folder does not mean that anything asks for it.
    for path in linked(build)?.symmetric_difference(&linked(other)?) {
        let path = Path::new(path);
        if counts(path)? {
            found.insert(alone(path));
        }
    }
    let mut compared = 0;
    for entry in WalkDir::new(build) {
        let entry = entry?;
        let path = entry.path().strip_prefix(build)?;
        if !counts(path)? {
            continue;
        }
        let twin = other.join(path);
        if !twin.is_file() {
            // Modules, libraries and what boots are not linked with the rest.
            found.insert(alone(path));
            continue;
        }
        compared += 1;
        if let Some(difference) = difference(entry.path(), &twin)? {
            found.insert(format!("{}: {difference}", path.display()));
        }
    }
    Ok((compared, found.into_iter().collect()))
}

/// The objects that a kernel is linked from.
fn linked(build: &Path) -> Result<BTreeSet<String>> {
    let archive = build.join("vmlinux.a");
    let content = fs::read(&archive).with_context(|| archive.display().to_string())?;
    members(&content).with_context(|| format!("{} is no thin archive", archive.display()))
}

/// The names in a thin archive. Only its tables have content in it: that of symbols, and that of
/// the names which do not fit into a header.
fn members(archive: &[u8]) -> Option<BTreeSet<String>> {
    let mut rest = archive.strip_prefix(b"!<thin>\n")?;
    let mut long: &[u8] = &[];
    let mut members = BTreeSet::new();
    while let Some((header, after)) = rest.split_at_checked(60) {
        let name = std::str::from_utf8(&header[..16]).ok()?.trim_end();
        let size: usize = std::str::from_utf8(&header[48..58])
            .ok()?
            .trim()
            .parse()
            .ok()?;
        rest = after;
        if ["/", "//", "/SYM64/"].contains(&name) {
            let table;
            (table, rest) = rest.split_at_checked(size.next_multiple_of(2))?;
            if name == "//" {
                long = table;
            }
            continue;
        }
        let name = match name.strip_prefix('/') {
            Some(at) => long
                .get(at.parse().ok()?..)?
                .split(|byte| *byte == b'\n')
                .next()?,
            None => name.as_bytes(),
        };
        let name = std::str::from_utf8(name).ok()?;
        members.insert(name.strip_suffix('/')?.to_owned());
    }
    rest.is_empty().then_some(members)
}

/// What an object defines: functions and data, static ones too.
pub fn defined(object: &Path) -> Result<BTreeSet<String>> {
    let content = fs::read(object).with_context(|| object.display().to_string())?;
    let symbols = Elf(&content).defined();
    symbols.with_context(|| format!("{} has no symbols", object.display()))
}

/// Whether a source is compiled into something else for reasons of its own: whether there is Rust,
/// or where the linked kernel ends.
fn differs_anyway(source: &Path) -> Result<bool> {
    let text = fs::read(source).with_context(|| source.display().to_string())?;
    let text = String::from_utf8_lossy(&text);
    Ok(["CONFIG_RUST", "voffset.h"]
        .iter()
        .any(|reason| text.contains(reason)))
}

fn difference(one: &Path, other: &Path) -> Result<Option<String>> {
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let (one, other) = (read(one)?, read(other)?);
    // Such as the 32-bit code that boots the kernel: nothing of ours is in it.
    let (Some(a), Some(b)) = (Elf(&one).sections(), Elf(&other).sections()) else {
        return Ok((one != other).then(|| "differs".into()));
    };
    if a == b {
        return Ok(None);
    }
    let differ = a.iter().zip(&b).find(|(a, b)| a != b);
    Ok(Some(match differ {
        Some((a, b)) if a.name == b.name => format!("{} differs", a.name),
        _ => "not the same sections".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object with a section `.text` that has `main` and refers to a symbol, and one with
    /// numbers of lines.
    fn object(code: &[u8], lines: &[u8], symbol: &str, addend: u64) -> Vec<u8> {
        let names = b"\0.text\0__bug_table\0";
        let strings = [b"\0", symbol.as_bytes(), b"\0main\0"].concat();
        let mut symtab = vec![0; 24];
        symtab.extend(1u32.to_le_bytes());
        symtab.extend([0; 20]);
        symtab.extend((symbol.len() as u32 + 2).to_le_bytes());
        symtab.extend([0, 0, 1, 0]);
        symtab.extend([0; 16]);
        let rela = [
            0u64.to_le_bytes(),
            (1u64 << 32 | 4).to_le_bytes(),
            addend.to_le_bytes(),
        ];
        let rela = rela.concat();
        let pieces = [
            (0u32, 0u32, 0u64, &[][..], 0u32, 0u32),
            (1, 1, SHF_ALLOC, code, 0, 0),
            (7, 1, SHF_ALLOC, lines, 0, 0),
            (0, SHT_RELA, 0, &rela[..], 4, 1),
            (0, SHT_SYMTAB, 0, &symtab[..], 5, 0),
            (0, 3, 0, &strings[..], 0, 0),
            (0, 3, 0, &names[..], 0, 0),
        ];
        let mut file = ELF64.to_vec();
        file.resize(64, 0);
        let mut headers = Vec::new();
        for (name, kind, flags, content, link, info) in pieces {
            headers.extend(name.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            headers.extend(flags.to_le_bytes());
            headers.extend(0u64.to_le_bytes());
            headers.extend((file.len() as u64).to_le_bytes());
            headers.extend((content.len() as u64).to_le_bytes());
            headers.extend(link.to_le_bytes());
            headers.extend(info.to_le_bytes());
            headers.extend([0; 16]);
            file.extend(content);
        }
        let table = (file.len() as u64).to_le_bytes();
        file[0x28..0x30].copy_from_slice(&table);
        file[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&7u16.to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&6u16.to_le_bytes());
        file.extend(headers);
        file
    }

    #[test]
    fn lines_and_counts_make_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, object: Vec<u8>| {
            let path = dir.path().join(name);
            fs::write(&path, object).unwrap();
            path
        };
        let one = write("one.o", object(b"code", b"1", "__UNIQUE_ID_x_12", 0));
        for (object, wanted) in [
            (object(b"code", b"77", "__UNIQUE_ID_x_345", 0), None),
            (
                object(b"edoc", b"1", "__UNIQUE_ID_x_12", 0),
                Some(".text differs"),
            ),
            (object(b"code", b"1", "y", 0), Some(".text differs")),
            (
                object(b"code", b"1", "__UNIQUE_ID_x_12", 8),
                Some(".text differs"),
            ),
        ] {
            let other = write("other.o", object);
            let found = difference(&one, &other).unwrap();
            assert_eq!(found.as_deref(), wanted);
        }
        let other = write("other.o", b"\x7fELF, but not of 64 bits".to_vec());
        assert_eq!(difference(&other, &other).unwrap(), None);
        assert!(difference(&one, &other).unwrap().is_some());
    }

    #[test]
    fn what_is_referred_to_is_not_defined() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.o");
        fs::write(&path, object(b"code", b"1", "other", 0)).unwrap();
        assert_eq!(defined(&path).unwrap(), BTreeSet::from(["main".into()]));
        fs::write(&path, "no object").unwrap();
        assert!(defined(&path).is_err());
    }

    /// A thin archive. Names of more than 15 characters are in a table.
    fn archive(names: &[&str]) -> Vec<u8> {
        let header = |name: &str, size: usize| format!("{name:<48}{size:<10}`\n");
        let (mut table, mut members) = (String::new(), String::new());
        for name in names {
            if name.len() < 16 {
                members += &header(&format!("{name}/"), 1000);
            } else {
                members += &header(&format!("/{}", table.len()), 1000);
                table += &format!("{name}/\n");
            }
        }
        let table = format!("{}{table}", header("//", table.len()));
        let pad = if table.len() % 2 == 1 { "\n" } else { "" };
        let symbols = header("/", 4) + "1234";
        ["!<thin>\n", &symbols, &table, pad, &members]
            .concat()
            .into_bytes()
    }

    #[test]
    fn an_archive_has_members() {
        let names = [
            "a.o",
            "drivers/iommu/iommu.o",
            "lib/x.o",
            "drivers/iommu/ext/y.o",
        ];
        let content = archive(&names);
        assert_eq!(members(&content).unwrap(), names.map(str::to_owned).into());
        assert_eq!(members(&content[..content.len() - 1]), None);
        assert_eq!(members(b"!<arch>\n"), None);
    }

    #[test]
    fn objects_have_a_source_and_a_twin() {
        let dir = tempfile::tempdir().unwrap();
        let [tree, build, other] = ["tree", "build", "other"].map(|name| dir.path().join(name));
        for folder in [&tree, &build, &other] {
            fs::create_dir(folder).unwrap();
        }
        let put = |folder: &Path, name: &str, code: &[u8]| {
            fs::write(folder.join(name), object(code, b"", "x", 0)).unwrap();
        };
        for name in ["a.c", "b.c", "c.c", "e.c"] {
            fs::write(tree.join(name), "").unwrap();
        }
        // e.o lies in both folders, but is linked into one kernel only.
        fs::write(build.join("vmlinux.a"), archive(&["a.o", "b.o", "e.o"])).unwrap();
        fs::write(other.join("vmlinux.a"), archive(&["b.o", "a.o"])).unwrap();
        fs::write(tree.join("d.c"), "if (IS_ENABLED(CONFIG_RUST))").unwrap();
        for name in ["a.o", "b.o", "c.o", "d.o", "e.o", "linked.o"] {
            put(&build, name, b"1");
        }
        put(&other, "a.o", b"1");
        put(&other, "b.o", b"2");
        put(&other, "d.o", b"2");
        put(&other, "e.o", b"1");
        put(&other, "linked.o", b"2");
        let (compared, found) = differences(&tree, &build, &other).unwrap();
        assert_eq!(
            (compared, found),
            (
                3,
                vec![
                    "b.o: .text differs".to_owned(),
                    "c.o: is in one kernel only".to_owned(),
                    "e.o: is in one kernel only".to_owned(),
                ]
            )
        );
    }
}
