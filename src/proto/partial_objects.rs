//! The objects of which only a part has come, of all connections. Floor 0.

use std::mem;
use std::num::NonZeroU32;

use slab::Slab;

use super::{grammar::Grammar, json::Fault, scan::Scan};
use crate::blocks::{BLOCK_BYTES_MAX, Block, Blocks, Region};

/// Where all connections gather the objects that came in more than one read. What is gathered goes back to the kernel
/// as soon as it is over, but for what [`Self::trim`] gives back.
#[derive(Debug, Default)]
pub struct PartialObjects {
    tails: Slab<Partial>,
    blocks: Blocks,
    /// Regions for the next big objects: mapping memory anew costs more than reading into it.
    spares: Vec<Region>,
    held: usize,
    /// A spare region or a block was asked for since the last [`Self::trim`].
    used: bool,
}

/// The last object that came in more than one read, while it is lent.
#[derive(Debug, Default)]
pub struct Reassembled(Option<Region>);

/// One connection's tail in [`PartialObjects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(NonZeroU32);

#[derive(Debug)]
struct Partial {
    place: Place,
    scan: Scan,
    /// Where the last check of the grammar stopped.
    grammar: Grammar,
}

#[derive(Debug)]
enum Place {
    Block(Block),
    Region(Region),
}

/// Spare regions, and how large one may be.
const SPARES: usize = 4;
const SPARE_BYTES_MAX: usize = 256 << 10;
/// Regions are a multiple of this, which is a page nearly everywhere.
const REGION_GRAIN: usize = 4096;

impl PartialObjects {
    /// Without anything in it. It takes memory only when an object comes in parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held for unfinished objects, those included that are not filled yet.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether no object is unfinished.
    pub fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    /// Gives back what was kept for the next object, unless there was a next one since the last call. To be called
    /// about once a second, or at the end of everything.
    pub fn trim(&mut self) {
        if mem::take(&mut self.used) {
            return;
        }
        self.spares = Vec::new();
        self.blocks.trim();
        if self.tails.is_empty() {
            self.tails = Slab::new();
        }
    }

    /// Takes back what was lent.
    pub(crate) fn recycle(&mut self, whole: &mut Reassembled) {
        if let Some(region) = whole.0.take() {
            self.keep(region);
        }
    }

    /// Puts the beginning of an object by.
    pub(super) fn begin(&mut self, bytes: &[u8], scan: Scan) -> Key {
        let mut place = self.place(bytes.len());
        self.bytes_mut(&mut place)[..bytes.len()].copy_from_slice(bytes);
        self.held += place.held();
        let key = self.tails.insert(Partial { place, scan, grammar: Grammar::default() }) as u32;
        Key(NonZeroU32::MIN.saturating_add(key))
    }

    pub(super) fn scan(&mut self, key: Key) -> &mut Scan {
        &mut self.tails[key.index()].scan
    }

    /// Puts `bytes` behind the `len` bytes that have come of an object of at most `max` bytes. Capacity doubles, so
    /// that the copying stays linear.
    pub(super) fn append(&mut self, key: Key, len: usize, bytes: &[u8], max: usize) {
        let need = len + bytes.len();
        let mut place = self.take_place(key);
        let before = place.capacity();
        if need > before {
            place = self.grow(place, len, (2 * before).min(max).max(need));
        }
        self.bytes_mut(&mut place)[len..need].copy_from_slice(bytes);
        self.tails[key.index()].place = place;
    }

    /// The rest of an object of which `len` bytes had come: it is whole, and lent until the next call with `whole`.
    pub(super) fn finish<'a>(
        &mut self,
        key: Key,
        len: usize,
        rest: &[u8],
        whole: &'a mut Reassembled,
    ) -> (Scan, &'a [u8]) {
        let Partial { place, scan, .. } = self.tails.remove(key.index());
        self.held -= place.held();
        let need = len + rest.len();
        let mut region = match place {
            Place::Region(region) if region.len() >= need => region,
            place => {
                let mut region = self.region(need);
                region[..len].copy_from_slice(&self.bytes(&place)[..len]);
                self.free(place);
                region
            }
        };
        region[len..need].copy_from_slice(rest);
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
        self.held -= place.held();
        self.free(place);
    }

    /// Bytes held for that one.
    pub(super) fn held_by(&self, key: Key) -> usize {
        self.tails.get(key.index()).map_or(0, |tail| tail.place.held())
    }

    fn take_place(&mut self, key: Key) -> Place {
        let none = Place::Region(Region::Allocated(Box::default()));
        mem::replace(&mut self.tails[key.index()].place, none)
    }

    fn grow(&mut self, old: Place, len: usize, capacity: usize) -> Place {
        let mut place = self.place(capacity);
        self.held = self.held + place.held() - old.held();
        match (&old, &mut place) {
            (Place::Block(from), Place::Block(to)) => self.blocks.copy(from, to, len),
            (old, Place::Region(to)) => to[..len].copy_from_slice(&self.bytes(old)[..len]),
            (Place::Region(_), Place::Block(_)) => unreachable!("what grows does not become small"),
        }
        self.free(old);
        place
    }

    /// Room for at least so many bytes.
    fn place(&mut self, bytes: usize) -> Place {
        self.used = true;
        if bytes <= BLOCK_BYTES_MAX { Place::Block(self.blocks.take(bytes)) } else { Place::Region(self.region(bytes)) }
    }

    fn region(&mut self, bytes: usize) -> Region {
        self.used = true;
        let found = self.spares.iter().position(|spare| spare.len() >= bytes);
        let bytes = bytes.max(BLOCK_BYTES_MAX).next_multiple_of(REGION_GRAIN);
        found.map_or_else(|| Region::new(bytes), |at| self.spares.swap_remove(at))
    }

    fn free(&mut self, place: Place) {
        match place {
            Place::Block(block) => self.blocks.give_back(&block),
            Place::Region(region) => self.keep(region),
        }
    }

    /// Keeps a region for the next object, if it is a good one.
    fn keep(&mut self, region: Region) {
        if region.len() > SPARE_BYTES_MAX {
            return;
        }
        if self.spares.len() < SPARES {
            self.spares.push(region);
        } else if let Some(least) = self.spares.iter_mut().min_by_key(|spare| spare.len())
            && least.len() < region.len()
        {
            *least = region;
        }
    }

    fn bytes<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match place {
            Place::Block(block) => self.blocks.bytes(block),
            Place::Region(region) => region,
        }
    }

    fn bytes_mut<'a>(&'a mut self, place: &'a mut Place) -> &'a mut [u8] {
        match place {
            Place::Block(block) => self.blocks.bytes_mut(block),
            Place::Region(region) => region,
        }
    }
}

impl Key {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Place {
    fn capacity(&self) -> usize {
        match self {
            Self::Block(block) => block.capacity(),
            Self::Region(region) => region.len(),
        }
    }

    /// With what is known of it.
    fn held(&self) -> usize {
        self.capacity() + size_of::<Partial>()
    }
}
