// SPDX-License-Identifier: GPL-2.0

//! Kernel virtual addresses: random buffers in a small address space, mapped and unmapped,
//! compared with a model that keeps a list of the buffers.

#![cfg(not(loom))]

use logic::logic::kva::{
    self, Cell, Chunk, Counts, Pages, Piece, Refusal, Space, CHUNK_PAGES, PAGE_SHIFT, READ, WRITE,
};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

const PAGE: usize = 1 << PAGE_SHIFT;

/// Where the space begins: some pages before the border of two chunks.
const FIRST: usize = (1 << 36) + CHUNK_PAGES - 20;
/// How many pages it has.
const SIZE: usize = 48;

/// Pages of the space that are special.
const HOLE: usize = 11;
const READ_ONLY: usize = 30;
const NO_MEMORY: usize = 41;

#[derive(Debug, PartialEq, Eq)]
enum Error {
    Refused(Refusal),
    Injected,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[derive(Default)]
struct Chunks(BTreeMap<usize, Chunk<Vec<Cell>>>);

impl Chunks {
    fn prepare(&mut self, pages: Pages) {
        for number in pages.chunks() {
            self.0
                .entry(number)
                .or_insert_with(|| Chunk::new(vec![Cell::EMPTY; CHUNK_PAGES]));
        }
    }
}

impl Counts for Chunks {
    type Cells = Vec<Cell>;

    fn chunk(&self, number: usize) -> Option<&Chunk<Vec<Cell>>> {
        self.0.get(&number)
    }
    fn chunk_mut(&mut self, number: usize) -> Option<&mut Chunk<Vec<Cell>>> {
        self.0.get_mut(&number)
    }
}

/// What the IOMMU has been told, page by page, and in how many calls.
#[derive(Default)]
struct Table {
    pages: BTreeMap<usize, (u64, u32)>,
    maps: usize,
    /// The call of `map` that fails, counted from 0.
    fail_at: Option<usize>,
}

struct Kernel {
    /// Where each page of the space is; contiguous for some, as `pieces` has it.
    phys: Vec<u64>,
    /// How many pages a leaf has.
    leaf: usize,
    table: RefCell<Table>,
}

impl Kernel {
    fn new(breaks: &[usize], leaf: usize) -> Self {
        let mut phys = Vec::new();
        let mut next = 0x10_0000u64;
        for page in 0..SIZE {
            if breaks.contains(&page) {
                next += 7 * PAGE as u64;
            }
            phys.push(next);
            next += PAGE as u64;
        }
        Self {
            phys,
            leaf,
            table: RefCell::default(),
        }
    }
}

impl Space for Kernel {
    type Error = Error;

    fn piece(&self, addr: usize, prot: u32) -> Option<Piece> {
        let page = (addr >> PAGE_SHIFT).checked_sub(FIRST)?;
        let allowed =
            |page| page < SIZE && page != HOLE && !(page == READ_ONLY && prot & WRITE != 0);
        if !allowed(page) {
            return None;
        }
        let mut pages = 1;
        while (page + pages) % self.leaf != 0
            && allowed(page + pages)
            && self.phys[page + pages] == self.phys[page] + (pages * PAGE) as u64
        {
            pages += 1;
        }
        Some(Piece {
            phys: self.phys[page],
            pages,
        })
    }

    fn is_memory(&self, run: Piece) -> bool {
        let end = run.phys + (run.pages * PAGE) as u64;
        !(run.phys..end).contains(&self.phys[NO_MEMORY])
    }

    fn map(&self, addr: usize, run: Piece, prot: u32) -> Result<(), Error> {
        let mut table = self.table.borrow_mut();
        let call = table.maps;
        table.maps += 1;
        if table.fail_at == Some(call) {
            return Err(Error::Injected);
        }
        for page in 0..run.pages {
            let phys = run.phys + (page * PAGE) as u64;
            let old = table
                .pages
                .insert((addr >> PAGE_SHIFT) + page, (phys, prot));
            assert_eq!(old, None, "a page is mapped twice");
        }
        Ok(())
    }

    fn unmap(&self, pages: Pages) {
        let first = pages.addr() >> PAGE_SHIFT;
        for page in first..first + pages.count() {
            let old = self.table.borrow_mut().pages.remove(&page);
            assert!(old.is_some(), "a page is unmapped that is not mapped");
        }
    }
}

fn map(kernel: &Kernel, chunks: &mut Chunks, pages: Pages, prot: u32) -> Result<(), Error> {
    let buffer = kva::validate(kernel, pages, prot)?;
    chunks.prepare(pages);
    kva::map(kernel, chunks, buffer)
}

/// The buffers that are mapped, and with what permission each page was mapped first.
#[derive(Default, Clone, PartialEq, Debug)]
struct Model {
    pages: BTreeMap<usize, (u32, u32)>,
}

impl Model {
    fn refusal(&self, range: std::ops::Range<usize>, prot: u32) -> Option<Refusal> {
        let bad = |page| {
            page >= SIZE
                || page == HOLE
                || page == NO_MEMORY
                || (page == READ_ONLY && prot & WRITE != 0)
        };
        if range.clone().any(bad) {
            return Some(Refusal::BadBuffer);
        }
        let less = |page| matches!(self.pages.get(&page), Some((_, has)) if prot & !has != 0);
        range.clone().any(less).then_some(Refusal::LessPermission)
    }

    /// How many calls mapping takes: rows of pages that are contiguous in both spaces.
    fn runs(&self, kernel: &Kernel, range: std::ops::Range<usize>) -> usize {
        let new = |page| !self.pages.contains_key(&page);
        range
            .clone()
            .filter(|&page| {
                let goes_on = page > range.start
                    && new(page - 1)
                    && kernel.phys[page] == kernel.phys[page - 1] + PAGE as u64;
                new(page) && !goes_on
            })
            .count()
    }

    fn add(&mut self, range: std::ops::Range<usize>, prot: u32) {
        for page in range {
            self.pages.entry(page).or_insert((0, prot)).0 += 1;
        }
    }

    fn remove(&mut self, range: std::ops::Range<usize>) -> bool {
        if !range.clone().all(|page| self.pages.contains_key(&page)) {
            return false;
        }
        for page in range {
            let entry = self.pages.get_mut(&page).unwrap();
            entry.0 -= 1;
            if entry.0 == 0 {
                self.pages.remove(&page);
            }
        }
        true
    }
}

#[derive(Clone, Debug)]
struct Step {
    map: bool,
    addr: usize,
    size: usize,
    prot: u32,
    fail_at: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    (
        any::<bool>(),
        0..(SIZE + 2) * PAGE,
        prop_oneof![1..3 * PAGE, 1..SIZE * PAGE],
        1..=3u32,
        proptest::option::weighted(0.2, 0..4usize),
    )
        .prop_map(|(map, offset, size, prot, fail_at)| Step {
            map,
            addr: FIRST * PAGE + offset,
            size,
            prot,
            fail_at,
        })
}

fn place() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(CHUNK_PAGES - 1), 0..CHUNK_PAGES]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn like_the_model(
        breaks in proptest::collection::vec(0..SIZE, 0..12),
        leaf in prop_oneof![Just(1usize), Just(4), Just(512)],
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let kernel = Kernel::new(&breaks, leaf);
        let mut chunks = Chunks::default();
        let mut model = Model::default();

        for step in steps {
            let first = (step.addr >> PAGE_SHIFT) - FIRST;
            let range = first..((step.addr + step.size - 1) >> PAGE_SHIFT) - FIRST + 1;
            let pages = Pages::new(step.addr, step.size, false).unwrap();
            prop_assert_eq!(pages.count(), range.len());

            if !step.map {
                let expected = if model.remove(range) { Ok(()) } else { Err(Refusal::NotMapped) };
                prop_assert_eq!(kva::unmap(&kernel, &mut chunks, pages), expected);
            } else {
                let mut table = kernel.table.borrow_mut();
                table.maps = 0;
                table.fail_at = step.fail_at;
                drop(table);

                let got = map(&kernel, &mut chunks, pages, step.prot);
                match model.refusal(range.clone(), step.prot) {
                    Some(refusal) => {
                        prop_assert_eq!(got, Err(Error::Refused(refusal)));
                        prop_assert_eq!(kernel.table.borrow().maps, 0);
                    }
                    None => {
                        let runs = model.runs(&kernel, range.clone());
                        if step.fail_at.is_some_and(|at| at < runs) {
                            prop_assert_eq!(got, Err(Error::Injected));
                        } else {
                            prop_assert_eq!(got, Ok(()));
                            prop_assert_eq!(kernel.table.borrow().maps, runs);
                            model.add(range, step.prot);
                        }
                    }
                }
            }

            // What the IOMMU has is what the model says, wherever it is.
            let table: BTreeMap<_, _> = model
                .pages
                .iter()
                .map(|(&page, &(_, prot))| (FIRST + page, (kernel.phys[page], prot)))
                .collect();
            prop_assert_eq!(&kernel.table.borrow().pages, &table);
            let counted: usize = chunks.0.values().map(Chunk::mapped).sum();
            prop_assert_eq!(counted, table.len());
        }

        let numbers: Vec<_> = chunks.0.keys().copied().collect();
        for number in numbers {
            kva::clear(&kernel, &mut chunks, number);
        }
        prop_assert!(kernel.table.borrow().pages.is_empty());
        prop_assert!(chunks.0.values().all(|chunk| chunk.mapped() == 0));
    }

    /// Buffers that reach the ends of a chunk, or not quite.
    #[test]
    fn a_chunk_is_its_cells(
        changes in proptest::collection::vec((place(), place(), 0..3u32), 1..12)
    ) {
        let mut chunk = Chunk::new(vec![Cell::EMPTY; CHUNK_PAGES]);
        let mut cells = vec![Cell::EMPTY; CHUNK_PAGES];

        for (a, b, count) in changes {
            let places = a.min(b)..a.max(b) + 1;
            let change = |cell: Cell| match count {
                0 if cell.count() == 0 => Err(Refusal::NotMapped),
                0 => Ok(Cell::EMPTY),
                count => Ok(Cell::new(cell.count() + count, READ)),
            };

            chunk.change(places.clone(), change);
            for cell in &mut cells[places] {
                *cell = change(*cell).unwrap_or(*cell);
            }
            let mapped = cells.iter().filter(|cell| cell.count() != 0).count();
            prop_assert_eq!(chunk.mapped(), mapped);
            for places in [0..CHUNK_PAGES, 1..CHUNK_PAGES, 100..101] {
                let rows: Vec<Cell> = chunk
                    .rows(places.clone())
                    .flat_map(|(cell, pages)| vec![cell; pages])
                    .collect();
                prop_assert_eq!(&rows[..], &cells[places]);
            }
        }
    }

    #[test]
    fn pages_of_a_buffer(addr in 1usize.., size in 1usize..) {
        match Pages::new(addr, size, false) {
            Ok(pages) => {
                prop_assert_eq!(pages.addr(), addr / PAGE * PAGE);
                prop_assert_eq!(pages.count(), (addr + (size - 1)) / PAGE - addr / PAGE + 1);
            }
            Err(refusal) => {
                prop_assert_eq!(refusal, Refusal::BadBuffer);
                prop_assert!(addr.checked_add(size - 1).is_none());
            }
        }
    }
}

#[test]
fn bad_buffers() {
    let bad = Err(Refusal::BadBuffer);
    assert_eq!(Pages::new(0, PAGE, false), bad);
    assert_eq!(Pages::new(PAGE, 0, false), bad);
    assert_eq!(Pages::new(usize::MAX, 2, false), bad);
    assert_eq!(Pages::new(PAGE, usize::MAX, false), bad);
    assert_eq!(Pages::new(usize::MAX, 1, false).unwrap().count(), 1);
    assert_eq!(Pages::new(PAGE + 1, PAGE, true), bad);
    assert_eq!(Pages::new(PAGE, PAGE - 1, true), bad);
    assert_eq!(Pages::new(PAGE, 2 * PAGE, true).unwrap().count(), 2);
}

#[test]
fn bad_permissions() {
    let kernel = Kernel::new(&[], 512);
    let pages = Pages::new(FIRST * PAGE, PAGE, false).unwrap();
    for prot in [0, 4, READ | 4, WRITE | 8, u32::MAX] {
        assert_eq!(
            kva::validate(&kernel, pages, prot).err(),
            Some(Error::Refused(Refusal::BadBuffer))
        );
    }
    assert!(kva::validate(&kernel, pages, READ | WRITE).is_ok());
}

#[test]
fn counts_never_wrap() {
    let kernel = Kernel::new(&[], 512);
    let mut chunks = Chunks::default();
    let pages = Pages::new(FIRST * PAGE, 2 * PAGE, false).unwrap();
    map(&kernel, &mut chunks, pages, READ).unwrap();

    // The count has 30 bits.
    let place = (FIRST + 1) % CHUNK_PAGES;
    let chunk = chunks.0.get_mut(&((FIRST + 1) / CHUNK_PAGES)).unwrap();
    chunk.change(place..place + 1, |_| Ok(Cell::new((1 << 30) - 2, READ)));
    let second = Pages::new((FIRST + 1) * PAGE, PAGE, false).unwrap();
    assert_eq!(map(&kernel, &mut chunks, second, READ), Ok(()));
    assert_eq!(
        map(&kernel, &mut chunks, pages, READ),
        Err(Error::Refused(Refusal::Overflow))
    );
    // The first page's count did not change.
    let first = Pages::new(FIRST * PAGE, PAGE, false).unwrap();
    kva::unmap(&kernel, &mut chunks, first).unwrap();
    assert_eq!(
        kva::unmap(&kernel, &mut chunks, first),
        Err(Refusal::NotMapped)
    );
}
