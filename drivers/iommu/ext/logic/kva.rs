// SPDX-License-Identifier: GPL-2.0

//! Which pages a buffer has, how often each is mapped, and what has to be mapped or
//! unmapped with one call each.
//!
//! Counts are kept in chunks, as many in one as a table of the IOMMU has leaves. All chunks
//! that a buffer touches are there before it is mapped, so that nothing fails between what
//! the IOMMU's page table says and what the counts say.

use core::ops::{
    DerefMut,
    Range,
    RangeInclusive, //
};

/// Bits of an address within a page.
pub const PAGE_SHIFT: u32 = 12;

/// Pages that a chunk counts.
pub const CHUNK_PAGES: usize = 512;

/// Permissions: what a device may do.
pub const READ: u32 = 1;
/// As [`READ`].
pub const WRITE: u32 = 2;

/// Why a buffer is not mapped or unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a buffer that may be mapped so.
    BadBuffer,
    /// A page is mapped with less permission.
    LessPermission,
    /// A page is mapped too often.
    Overflow,
    /// A page is not mapped.
    NotMapped,
}

/// The pages of a buffer.
///
/// # Invariants
///
/// `first` <= `last` <= [`usize::MAX`] >> [`PAGE_SHIFT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    first: usize,
    last: usize,
}

impl Pages {
    /// Checks the extent of a buffer. `whole`: of nothing but whole pages.
    pub fn new(addr: usize, size: usize, whole: bool) -> Result<Self, Refusal> {
        let last = size
            .checked_sub(1)
            .and_then(|size| addr.checked_add(size))
            .ok_or(Refusal::BadBuffer)?;
        let offset = (addr | size) & ((1 << PAGE_SHIFT) - 1);
        if addr == 0 || (whole && offset != 0) {
            return Err(Refusal::BadBuffer);
        }

        // INVARIANT: `addr` <= `last`.
        Ok(Self {
            first: addr >> PAGE_SHIFT,
            last: last >> PAGE_SHIFT,
        })
    }

    /// The address of the first page.
    pub fn addr(self) -> usize {
        self.first << PAGE_SHIFT
    }

    /// How many pages there are.
    pub fn count(self) -> usize {
        self.last - self.first + 1
    }

    /// The numbers of the chunks that count these pages.
    pub fn chunks(self) -> RangeInclusive<usize> {
        self.first / CHUNK_PAGES..=self.last / CHUNK_PAGES
    }

    /// The pages that the chunk of that number counts.
    pub fn of_chunk(number: usize) -> Self {
        // INVARIANT: A chunk has pages.
        Self {
            first: number * CHUNK_PAGES,
            last: number * CHUNK_PAGES + (CHUNK_PAGES - 1),
        }
    }

    /// Which of the places in a chunk are these pages'; the chunk is one of [`Self::chunks`].
    fn within(self, chunk: usize) -> Range<usize> {
        let base = chunk * CHUNK_PAGES;

        self.first.saturating_sub(base)..(self.last - base + 1).min(CHUNK_PAGES)
    }

    /// The first `n` pages, and the others; `n` is not 0.
    fn split(self, n: usize) -> (Self, Option<Self>) {
        if n >= self.count() {
            return (self, None);
        }
        let middle = self.first + n;

        // INVARIANT: `first` < `middle` <= `last`.
        (
            Self {
                last: middle - 1,
                ..self
            },
            Some(Self {
                first: middle,
                ..self
            }),
        )
    }
}

/// How often a page is mapped, and with what permission.
///
/// # Invariants
///
/// The permission, in the lowest two bits, is 0 if and only if the count above them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(u32);

impl Cell {
    /// A page that is not mapped.
    pub const EMPTY: Self = Self(0);

    const ONE: u32 = 1 << 2;
    const PROT: u32 = READ | WRITE;

    /// A page that is mapped `count` times, which is not 0 and has 30 bits; `prot` is not 0.
    pub const fn new(count: u32, prot: u32) -> Self {
        // INVARIANT: By what is required.
        Self((count * Self::ONE) | prot)
    }

    /// How often the page is mapped.
    pub const fn count(self) -> u32 {
        self.0 / Self::ONE
    }

    /// One more, with that permission.
    const fn more(self, prot: u32) -> Result<Self, Refusal> {
        if self.count() == 0 {
            return Ok(Self::new(1, prot));
        }
        if prot & !self.0 & Self::PROT != 0 {
            return Err(Refusal::LessPermission);
        }
        match self.0.checked_add(Self::ONE) {
            // INVARIANT: The permission stays.
            Some(cell) => Ok(Self(cell)),
            None => Err(Refusal::Overflow),
        }
    }

    /// One less.
    const fn less(self) -> Result<Self, Refusal> {
        match self.count() {
            0 => Err(Refusal::NotMapped),
            // INVARIANT: The permission goes with the last.
            1 => Ok(Self::EMPTY),
            // INVARIANT: It stays with others.
            _ => Ok(Self(self.0 - Self::ONE)),
        }
    }
}

/// The counts of [`CHUNK_PAGES`] pages. Those of a large buffer change together, and mostly are
/// the same: then one cell is all that is looked at.
///
/// # Invariants
///
/// If `alike`, the first cell is every page's; the others are the same unless `stale`.
/// `mapped` pages have a count other than 0.
pub struct Chunk<S> {
    cells: S,
    alike: bool,
    stale: bool,
    mapped: usize,
}

impl<S: DerefMut<Target = [Cell]>> Chunk<S> {
    /// A chunk that counts nothing, in [`CHUNK_PAGES`] empty cells.
    pub fn new(cells: S) -> Self {
        // INVARIANT: By what is required.
        Self {
            cells,
            alike: true,
            stale: false,
            mapped: 0,
        }
    }

    /// How many pages are mapped.
    pub fn mapped(&self) -> usize {
        self.mapped
    }

    /// What the pages at those places have, and how many in a row have it.
    pub fn rows(&self, places: Range<usize>) -> impl Iterator<Item = (Cell, usize)> + '_ {
        let (first, each) = match self.alike {
            true => (self.cells.first(), None),
            false => (None, self.cells.get(places.clone())),
        };
        let each = each
            .into_iter()
            .flat_map(|cells| cells.chunk_by(Cell::eq))
            .filter_map(|same| Some((*same.first()?, same.len())));

        first
            .map(|&cell| (cell, places.len()))
            .into_iter()
            .chain(each)
    }

    /// Makes a change of the pages at those places; what it refuses stays.
    pub fn change(&mut self, places: Range<usize>, change: impl Fn(Cell) -> Result<Cell, Refusal>) {
        let whole = places.len() == CHUNK_PAGES;

        if self.alike && !whole {
            match self.cells.split_first_mut() {
                Some((&mut first, others)) if self.stale => others.fill(first),
                _ => {}
            }
            self.alike = false;
        }
        self.stale = self.alike;
        let (places, pages_each) = match self.alike {
            true => (0..1, CHUNK_PAGES),
            false => (places, 1),
        };

        let mut rows = 0;
        for same in self
            .cells
            .get_mut(places)
            .into_iter()
            .flat_map(|cells| cells.chunk_by_mut(|a, b| a == b))
        {
            rows += 1;
            let Some(&before) = same.first() else {
                continue;
            };
            let Ok(after) = change(before) else {
                continue;
            };
            let pages = same.len() * pages_each;

            same.fill(after);
            match (before.count(), after.count()) {
                (0, 1..) => self.mapped += pages,
                (1.., 0) => self.mapped -= pages,
                _ => {}
            }
        }
        // INVARIANT: All cells, in one row, were changed in the same way.
        self.alike = whole && rows == 1;
    }
}

/// Where the counts are kept.
pub trait Counts {
    /// What holds the cells of a chunk.
    type Cells: DerefMut<Target = [Cell]>;

    /// A chunk, [`None`] if all its counts are 0 and nobody prepared it.
    fn chunk(&self, number: usize) -> Option<&Chunk<Self::Cells>>;

    /// The same, to change it.
    fn chunk_mut(&mut self, number: usize) -> Option<&mut Chunk<Self::Cells>>;
}

/// Physically contiguous pages, wherever the kernel has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Physical address of the first.
    pub phys: u64,
    /// How many; not 0.
    pub pages: usize,
}

impl Piece {
    /// The physical address of a page, counted from the first.
    fn page(self, page: usize) -> u64 {
        self.phys + ((page as u64) << PAGE_SHIFT)
    }
}

/// The kernel's address space and the IOMMU's.
pub trait Space {
    /// Why mapping fails.
    type Error: From<Refusal>;

    /// What the kernel has at `addr`, that may be mapped with that permission.
    fn piece(&self, addr: usize, prot: u32) -> Option<Piece>;

    /// Whether all of a run is memory.
    fn is_memory(&self, run: Piece) -> bool;

    /// Maps a run: it is mapped wholly or, if that fails, not at all.
    fn map(&self, addr: usize, run: Piece, prot: u32) -> Result<(), Self::Error>;

    /// Unmaps pages that are mapped.
    fn unmap(&self, pages: Pages);
}

/// Calls `f` for each physically contiguous run of a buffer, with what comes from there on;
/// what `f` says it failed with comes back together with the pages that it failed at.
fn each_run<S: Space>(
    space: &S,
    pages: Pages,
    prot: u32,
    mut f: impl FnMut(Pages, Piece) -> Result<(), S::Error>,
) -> Result<(), (Pages, S::Error)> {
    let mut rest = Some(pages);
    let mut ahead = None;

    while let Some(pages) = rest {
        let at = |page: usize| space.piece((pages.first + page) << PAGE_SHIFT, prot);
        let refused = || (pages, Refusal::BadBuffer.into());

        let mut run = ahead.take().or_else(|| at(0)).ok_or_else(refused)?;
        while run.pages < pages.count() {
            let next = at(run.pages).ok_or_else(refused)?;
            if next.phys != run.page(run.pages) {
                ahead = Some(next);
                break;
            }
            run.pages += next.pages;
        }

        run.pages = run.pages.min(pages.count());
        let (this, others) = pages.split(run.pages);
        f(this, run).map_err(|error| (pages, error))?;
        rest = others;
    }
    Ok(())
}

/// A buffer that may be mapped.
pub struct Valid {
    pages: Pages,
    prot: u32,
    /// Where it is, if that is in one run.
    run: Option<Piece>,
}

/// Checks that a buffer may be mapped: all its pages, those that are mapped already, too.
pub fn validate<S: Space>(space: &S, pages: Pages, prot: u32) -> Result<Valid, S::Error> {
    if prot & !(READ | WRITE) != 0 || prot == 0 {
        return Err(Refusal::BadBuffer.into());
    }

    let mut one = None;
    each_run(space, pages, prot, |these, run| {
        one = (these == pages).then_some(run);
        if space.is_memory(run) {
            Ok(())
        } else {
            Err(Refusal::BadBuffer.into())
        }
    })
    .map_err(|(_, error)| error)?;

    Ok(Valid {
        pages,
        prot,
        run: one,
    })
}

/// As [`Chunk::rows`], of any chunk.
fn rows<C: Counts>(
    counts: &C,
    number: usize,
    places: Range<usize>,
) -> impl Iterator<Item = (Cell, usize)> + '_ {
    let chunk = counts.chunk(number);
    let absent = chunk.is_none().then_some((Cell::EMPTY, places.len()));

    absent.into_iter().chain(
        chunk
            .into_iter()
            .flat_map(move |chunk| chunk.rows(places.clone())),
    )
}

/// The first pages in a row, of these, that are mapped `count` times; for 0 those of which
/// nothing is known, too.
fn first_with<C: Counts>(counts: &C, pages: Pages, count: u32) -> Option<Pages> {
    let mut found: Option<Pages> = None;

    for number in pages.chunks() {
        let places = pages.within(number);
        let mut first = number * CHUNK_PAGES + places.start;

        for (cell, len) in rows(counts, number, places) {
            match (&mut found, cell.count() == count) {
                // INVARIANT: This row comes right behind.
                (Some(found), true) => found.last += len,
                // INVARIANT: A row has pages.
                (None, true) => {
                    found = Some(Pages {
                        first,
                        last: first + (len - 1),
                    })
                }
                (Some(_), false) => return found,
                (None, false) => {}
            }
            first += len;
        }
    }
    found
}

/// Calls `f` for each row of pages that are mapped `count` times.
fn each_with<C: Counts, E>(
    counts: &C,
    pages: Pages,
    count: u32,
    mut f: impl FnMut(Pages) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = Some(pages);

    while let Some(found) = rest.and_then(|pages| first_with(counts, pages, count)) {
        f(found)?;
        // INVARIANT: `found` ends before `pages` does.
        rest = (found.last < pages.last).then_some(Pages {
            first: found.last + 1,
            last: pages.last,
        });
    }
    Ok(())
}

/// Whether `change` can be made of the count of each page.
fn check<C: Counts>(
    counts: &C,
    pages: Pages,
    change: impl Fn(Cell) -> Result<Cell, Refusal>,
) -> Result<(), Refusal> {
    pages
        .chunks()
        .flat_map(|number| rows(counts, number, pages.within(number)))
        .try_for_each(|(cell, _)| change(cell).map(drop))
}

/// Makes a change that was [checked](check).
fn apply<C: Counts>(counts: &mut C, pages: Pages, change: impl Fn(Cell) -> Result<Cell, Refusal>) {
    for number in pages.chunks() {
        if let Some(chunk) = counts.chunk_mut(number) {
            chunk.change(pages.within(number), &change);
        }
    }
}

/// Maps a buffer whose chunks are all there.
///
/// What fails leaves everything as it was.
pub fn map<S: Space, C: Counts>(space: &S, counts: &mut C, buffer: Valid) -> Result<(), S::Error> {
    let Valid { pages, prot, run } = buffer;

    check(counts, pages, |cell| cell.more(prot))?;

    each_with(counts, pages, 0, |row| match run {
        Some(run) => {
            let part = Piece {
                phys: run.page(row.first - pages.first),
                pages: row.count(),
            };
            space
                .map(row.addr(), part, prot)
                .map_err(|error| (row, error))
        }
        None => each_run(space, row, prot, |pages, run| {
            space.map(pages.addr(), run, prot)
        }),
    })
    .map_err(|(failed, error)| {
        if failed.first > pages.first {
            // INVARIANT: By the condition.
            let done = Pages {
                last: failed.first - 1,
                ..pages
            };
            unmap_with(space, counts, done, 0);
        }
        error
    })?;

    apply(counts, pages, |cell| cell.more(prot));
    Ok(())
}

/// Unmaps a buffer; pages that others share stay.
pub fn unmap<S: Space, C: Counts>(space: &S, counts: &mut C, pages: Pages) -> Result<(), Refusal> {
    check(counts, pages, Cell::less)?;
    unmap_with(space, counts, pages, 1);
    apply(counts, pages, Cell::less);
    Ok(())
}

/// Unmaps those pages of a chunk that are mapped, however often, and forgets them.
pub fn clear<S: Space, C: Counts>(space: &S, counts: &mut C, chunk: usize) {
    let pages = Pages::of_chunk(chunk);

    apply(counts, pages, |cell| match cell.count() {
        0 => Ok(cell),
        _ => Ok(Cell::new(1, cell.0 & Cell::PROT)),
    });
    unmap_with(space, counts, pages, 1);
    apply(counts, pages, |_| Ok(Cell::EMPTY));
}

fn unmap_with<S: Space, C: Counts>(space: &S, counts: &C, pages: Pages, count: u32) {
    let Ok(()) = each_with(counts, pages, count, |row| {
        space.unmap(row);
        Ok::<(), core::convert::Infallible>(())
    });
}
