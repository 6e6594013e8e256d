//! Partial objects of all connections. Floor 0.
//!
//! A partial object lies in one of two places. A *stub* is one block of a single size: stubs of all connections together
//! have a bound by construction. A *region* is a mapping of its own, charged by the pages that were written to.

use std::mem;
use std::num::NonZeroU32;

use slab::Slab;

use super::{grammar::Grammar, json::Fault, scan::Scan};
pub(crate) use crate::blocks::PAGE_BYTES;
use crate::blocks::{Arena, Block, Region};

/// Gathers the objects that arrive in more than one read. Memory returns to the kernel as soon as it is free, except a few
/// spare regions that [`Self::trim`] gives back.
#[derive(Debug)]
pub struct PartialObjects {
    tails: Slab<Partial>,
    /// An arena for each size of a stub. Stubs come from the current one. The others run empty after a reload.
    arenas: [Arena; STUB_SIZES.len()],
    current: u8,
    /// Bytes that stubs and the table of partial objects may occupy.
    stubs_max: usize,
    /// Regions for the next large objects: mapping memory anew costs more than reading into it.
    spares: Vec<Region>,
    /// Resident bytes of all regions, spares included.
    regions: usize,
    /// Memory is short: regions return to the kernel at once.
    scarce: bool,
    /// A region or a block was asked for since the last [`Self::trim`].
    used: bool,
}

/// The last object that arrived in more than one read, while it is lent.
#[derive(Debug, Default)]
pub struct Reassembled(Option<Region>);

/// One connection's partial object in [`PartialObjects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(NonZeroU32);

#[derive(Debug)]
struct Partial {
    place: Place,
    scan: Scan,
    /// Where the last check of the grammar stopped.
    grammar: Grammar,
    /// The longest that the object may become: the limit when it began.
    bytes_max: u32,
}

#[derive(Debug)]
enum Place {
    Stub(u8, Block),
    Region(Region),
}

/// Sizes that a stub can have.
const STUB_SIZES: [usize; 5] = [64, 128, 256, 512, 1024];
/// Bytes of the table for each partial object, with its spare room.
const ENTRY_BYTES: usize = (size_of::<Partial>() + 8) * 5 / 4;
/// Entries that the table grows by at least.
const ENTRIES_GROWTH_MIN: usize = 4;
/// Spare regions, and how much of one may be resident.
const SPARES: usize = 4;
const SPARE_BYTES_MAX: usize = 256 << 10;
/// Address space of a partial object's first region.
const REGION_BYTES_MIN: usize = 64 << 10;
/// A full region moves to a region that is larger by this factor, so that copying stays linear.
const REGION_GROWTH: usize = 4;

impl Default for PartialObjects {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialObjects {
    /// Without anything in it, and without a bound on stubs. It takes memory only when an object arrives in parts.
    pub fn new() -> Self {
        Self {
            tails: Slab::new(),
            arenas: STUB_SIZES.map(Arena::new),
            current: STUB_SIZES.len() as u8 - 1,
            stubs_max: usize::MAX,
            spares: Vec::new(),
            regions: 0,
            scarce: false,
            used: false,
        }
    }

    /// Chooses the largest size of a stub with which `connections` of them fit into `bytes`. Returns the bytes that they need at most.
    pub(crate) fn set_stubs_max(&mut self, connections: usize, bytes: usize) -> usize {
        let each = |stub: usize| connections.saturating_mul(stub + ENTRY_BYTES).max(PAGE_BYTES);
        let fitting = STUB_SIZES.iter().rposition(|&stub| each(stub) <= bytes).unwrap_or(0);
        self.current = fitting as u8;
        self.stubs_max = each(STUB_SIZES[fitting]).min(bytes);
        self.stubs_max
    }

    /// Bytes that a stub has.
    pub(crate) fn stub_bytes(&self) -> usize {
        STUB_SIZES[usize::from(self.current)]
    }

    /// Bytes that one more stub may make resident, with its entry in the table.
    pub(crate) fn stub_growth(&self) -> usize {
        let table = if self.tails.len() < self.tails.capacity() { 0 } else { self.entries_growth() };
        self.stub_bytes() + table * ENTRY_BYTES
    }

    /// Entries that the table grows by when it is full.
    fn entries_growth(&self) -> usize {
        (self.tails.len() / 4).max(ENTRIES_GROWTH_MIN)
    }

    /// Resident bytes of partial objects, those included that are not filled yet.
    pub fn held(&self) -> usize {
        self.stubs() + self.regions
    }

    /// Resident bytes of stubs and of the table of partial objects.
    pub(crate) fn stubs(&self) -> usize {
        let table = self.tails.capacity() * (size_of::<Partial>() + 8);
        self.arenas.iter().map(Arena::resident).sum::<usize>() + table
    }

    /// Resident bytes of regions.
    pub(crate) fn regions(&self) -> usize {
        self.regions
    }

    /// Whether no object is partial.
    pub fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    /// Gives back what was kept for the next object, unless there was a next one since the last call. The owner calls it
    /// about once a second, or at the end of everything.
    pub fn trim(&mut self) {
        if mem::take(&mut self.used) {
            return;
        }
        self.drop_spares();
        self.arenas.iter_mut().for_each(Arena::trim);
        if self.tails.is_empty() {
            self.tails = Slab::new();
        } else if self.tails.len() < self.tails.capacity() / 4 {
            self.tails.shrink_to_fit();
        }
    }

    /// Whether memory is short: then regions return to the kernel at once.
    pub(crate) fn set_scarce(&mut self, scarce: bool) {
        self.scarce = scarce;
        if scarce {
            self.drop_spares();
        }
    }

    fn drop_spares(&mut self) {
        self.regions -= mem::take(&mut self.spares).iter().map(Region::resident).sum::<usize>();
    }

    /// Takes back what was lent.
    pub(crate) fn recycle(&mut self, whole: &mut Reassembled) {
        if let Some(region) = whole.0.take() {
            self.regions += region.resident();
            self.keep(region);
        }
    }

    /// Keeps the beginning of an object of at most `bytes_max` bytes.
    pub(super) fn begin(&mut self, bytes: &[u8], scan: Scan, bytes_max: u32) -> Key {
        let place = match self.stub(bytes.len()) {
            Some(mut stub) => {
                self.write(&mut stub, 0, bytes);
                stub
            }
            None => {
                let mut place = Place::Region(self.region(bytes.len(), bytes_max as usize));
                self.write(&mut place, 0, bytes);
                place
            }
        };
        if self.tails.len() == self.tails.capacity() {
            self.tails.reserve_exact(self.entries_growth());
        }
        let key = self.tails.insert(Partial { place, scan, grammar: Grammar::default(), bytes_max }) as u32;
        Key(NonZeroU32::MIN.saturating_add(key))
    }

    pub(super) fn scan(&mut self, key: Key) -> &mut Scan {
        &mut self.tails[key.index()].scan
    }

    /// The longest that this object may become.
    pub(super) fn bytes_max(&self, key: Key) -> u32 {
        self.tails[key.index()].bytes_max
    }

    /// Puts `bytes` behind the `len` bytes that have come.
    pub(super) fn append(&mut self, key: Key, len: usize, bytes: &[u8]) {
        let need = len + bytes.len();
        let max = self.bytes_max(key) as usize;
        let mut place = self.take_place(key);
        let before = self.capacity(&place);
        if need > before {
            place = self.grow(place, len, (REGION_GROWTH * before).min(max).max(need), max);
        }
        self.write(&mut place, len, bytes);
        self.tails[key.index()].place = place;
    }

    /// The rest of an object of which `len` bytes had come: it is complete, and lent until the next call with `whole`.
    pub(super) fn finish<'a>(
        &mut self,
        key: Key,
        len: usize,
        rest: &[u8],
        whole: &'a mut Reassembled,
    ) -> (Scan, &'a [u8]) {
        let Partial { place, scan, bytes_max, .. } = self.tails.remove(key.index());
        let need = len + rest.len();
        let place = match place {
            Place::Region(region) if region.len() >= need => Place::Region(region),
            place => self.grow(place, len, need, bytes_max as usize),
        };
        let Place::Region(mut region) = place else { unreachable!("a growing object becomes a region") };
        self.regions -= region.resident();
        region.write(len, rest);
        (scan, &whole.0.insert(region)[..need])
    }

    /// The `len` bytes that have come of an object.
    pub(super) fn received(&self, key: Key, len: usize) -> &[u8] {
        &self.bytes(&self.tails[key.index()].place)[..len]
    }

    /// Checks the grammar of the `len` bytes that have come of an object, from where the last check stopped, and of `rest`
    /// behind them.
    pub(super) fn check_grammar(&mut self, key: Key, len: usize, rest: &[u8]) -> Result<(), Fault> {
        let mut grammar = self.tails[key.index()].grammar;
        let checked = grammar.take(&self.received(key, len)[grammar.taken()..]).and_then(|()| grammar.take(rest));
        self.tails[key.index()].grammar = grammar;
        checked
    }

    /// Forgets an object that will not be finished.
    pub(super) fn release(&mut self, key: Key) {
        let Partial { place, .. } = self.tails.remove(key.index());
        self.free(place);
    }

    /// Resident bytes of that object's region, 0 for a stub.
    pub(super) fn region_of(&self, key: Key) -> usize {
        match self.tails.get(key.index()).map(|tail| &tail.place) {
            Some(Place::Region(region)) => region.resident(),
            _ => 0,
        }
    }

    /// Bytes that an object of `len` bytes, or none, can take without more resident memory.
    pub(super) fn room_of(&self, key: Option<Key>, len: usize) -> usize {
        match key.and_then(|key| self.tails.get(key.index())).map(|tail| &tail.place) {
            Some(Place::Region(region)) => region.resident().min(region.len()).saturating_sub(len),
            Some(stub) => self.capacity(stub).saturating_sub(len),
            None if self.arenas[usize::from(self.current)].has_room(self.stub_room()) => self.stub_bytes(),
            None => 0,
        }
    }

    fn take_place(&mut self, key: Key) -> Place {
        let none = Place::Stub(0, Block::default());
        mem::replace(&mut self.tails[key.index()].place, none)
    }

    /// Moves an object of `len` bytes to a region.
    fn grow(&mut self, old: Place, len: usize, capacity: usize, max: usize) -> Place {
        let mut region = self.region(capacity, max);
        let before = region.resident();
        region.write(0, &self.bytes(&old)[..len]);
        self.regions += region.resident() - before;
        self.free(old);
        Place::Region(region)
    }

    /// A stub for `bytes` bytes, if they fit one and stubs have room.
    fn stub(&mut self, bytes: usize) -> Option<Place> {
        self.used = true;
        if bytes > self.stub_bytes() {
            return None;
        }
        let room = self.stub_room();
        let block = self.arenas[usize::from(self.current)].take(room)?;
        Some(Place::Stub(self.current, block))
    }

    /// Bytes that the blocks of the current size may occupy.
    fn stub_room(&self) -> usize {
        let others = self.arenas.iter().filter(|arena| arena.block_bytes() != self.stub_bytes()).map(Arena::resident);
        // Each block has its entry in the table, whether the block is in use or free.
        let blocks = self.stubs_max / (self.stub_bytes() + ENTRY_BYTES);
        blocks.saturating_mul(self.stub_bytes()).saturating_sub(others.sum())
    }

    /// A region for at least `bytes` bytes of an object of at most `max` bytes. It is charged with what is resident of it.
    fn region(&mut self, bytes: usize, max: usize) -> Region {
        self.used = true;
        let fits = |spare: &Region| spare.len() >= bytes;
        if let Some(at) = self.spares.iter().position(fits) {
            return self.spares.swap_remove(at);
        }
        Region::new(bytes.max(REGION_BYTES_MIN.min(max)))
    }

    fn free(&mut self, place: Place) {
        match place {
            Place::Stub(size, block) => self.arenas[usize::from(size)].give_back(&block),
            Place::Region(region) => self.keep(region),
        }
    }

    /// Keeps a region for the next object, if it is a good one.
    fn keep(&mut self, region: Region) {
        if self.scarce || region.resident() > SPARE_BYTES_MAX {
            self.regions -= region.resident();
        } else if self.spares.len() < SPARES {
            self.spares.push(region);
        } else if let Some(least) = self.spares.iter_mut().min_by_key(|spare| spare.len())
            && least.len() < region.len()
        {
            self.regions -= least.resident();
            *least = region;
        } else {
            self.regions -= region.resident();
        }
    }

    fn bytes<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match place {
            Place::Stub(size, block) => self.arenas[usize::from(*size)].bytes(block),
            Place::Region(region) => region,
        }
    }

    fn write(&mut self, place: &mut Place, at: usize, bytes: &[u8]) {
        match place {
            Place::Stub(size, block) => self.arenas[usize::from(*size)].write(block, at, bytes),
            Place::Region(region) => {
                let before = region.resident();
                region.write(at, bytes);
                self.regions += region.resident() - before;
            }
        }
    }

    fn capacity(&self, place: &Place) -> usize {
        match place {
            Place::Stub(size, _) => STUB_SIZES[usize::from(*size)],
            Place::Region(region) => region.len(),
        }
    }

    /// Panics if the charged bytes differ from the held ones: for tests.
    pub(crate) fn check_invariants(&self) {
        let regions = self.tails.iter().filter_map(|(_, tail)| match &tail.place {
            Place::Region(region) => Some(region),
            Place::Stub(..) => None,
        });
        let resident: usize = regions.chain(&self.spares).map(Region::resident).sum();
        assert_eq!(self.regions, resident, "resident bytes of regions");
    }
}

impl Key {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}
