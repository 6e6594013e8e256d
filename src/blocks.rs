//! Memory in blocks of a few sizes. Floor 0.
//!
//! What thousands of devices have left unfinished comes and goes in floods. From the system's allocator it would not go
//! back to the kernel: one small allocation of another kind, made meanwhile, pins all that lies below it. So blocks of
//! one size lie together in mappings of their own, the fullest first, and a mapping without blocks is unmapped.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// A stretch of zeroed memory that the kernel gave, page by page as it is touched, and has back when this is dropped.
#[derive(Debug)]
pub(crate) enum Region {
    Mapped(MmapMut),
    /// Where the kernel allows no more mappings.
    Allocated(Box<[u8]>),
}

impl Region {
    pub(crate) fn new(bytes: usize) -> Self {
        MmapMut::map_anon(bytes).map_or_else(|_| Self::Allocated(vec![0; bytes].into()), Self::Mapped)
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(memory) => memory,
            Self::Allocated(memory) => memory,
        }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Mapped(memory) => memory,
            Self::Allocated(memory) => memory,
        }
    }
}

/// A block in use. It is given back by hand, as memory that belongs to nobody cannot know of its end.
#[derive(Debug)]
pub(crate) struct Block {
    class: u8,
    number: u16,
    segment: u32,
}

impl Block {
    /// Its size in bytes.
    pub(crate) fn capacity(&self) -> usize {
        BLOCK_BYTES_MIN << self.class
    }
}

#[derive(Debug, Default)]
pub(crate) struct Blocks {
    classes: [Class; CLASSES],
}

const BLOCK_BYTES_MIN: usize = 64;
/// The largest block; what needs more has a [`Region`] of its own.
pub(crate) const BLOCK_BYTES_MAX: usize = BLOCK_BYTES_MIN << (CLASSES - 1);
/// Sizes double from one class to the next.
const CLASSES: usize = 10;
const SEGMENT_BYTES: usize = 64 << 10;

/// Blocks of one size.
#[derive(Debug, Default)]
struct Class {
    segments: Vec<Option<Segment>>,
    /// No segment before this one has room.
    first: usize,
    /// Segments that are there.
    count: usize,
}

#[derive(Debug)]
struct Segment {
    memory: Region,
    used: u16,
    /// Blocks that were ever used; those behind them have never been touched.
    touched: u16,
    /// The first of the free ones among them, if there is one. Each begins with the number of the next.
    free: u16,
}

const NONE: u16 = u16::MAX;

impl Blocks {
    /// A block of at least `bytes` bytes, at most [`BLOCK_BYTES_MAX`].
    pub(crate) fn take(&mut self, bytes: usize) -> Block {
        let class = bytes.max(BLOCK_BYTES_MIN).next_power_of_two().ilog2() - BLOCK_BYTES_MIN.ilog2();
        let (segment, number) = self.classes[class as usize].take(BLOCK_BYTES_MIN << class);
        Block { class: class as u8, number, segment: segment as u32 }
    }

    pub(crate) fn give_back(&mut self, block: &Block) {
        self.classes[usize::from(block.class)].give_back(block.segment as usize, block.number, block.capacity());
    }

    pub(crate) fn bytes(&self, block: &Block) -> &[u8] {
        let segment = self.classes[usize::from(block.class)].segments[block.segment as usize].as_ref();
        segment.map_or(&[], |segment| &segment.memory[range(block.number, block.capacity())])
    }

    pub(crate) fn bytes_mut(&mut self, block: &Block) -> &mut [u8] {
        let segment = self.classes[usize::from(block.class)].segments[block.segment as usize].as_mut();
        segment.map_or(&mut [], |segment| &mut segment.memory[range(block.number, block.capacity())])
    }

    /// Copies the first `bytes` bytes of a block to one of another size.
    pub(crate) fn copy(&mut self, from: &Block, to: &Block, bytes: usize) {
        let classes = [from.class, to.class].map(usize::from);
        let Ok([source, target]) = self.classes.get_disjoint_mut(classes) else { return };
        let source = source.segments[from.segment as usize].as_ref();
        let target = target.segments[to.segment as usize].as_mut();
        if let (Some(source), Some(target)) = (source, target) {
            let target = &mut target.memory[range(to.number, to.capacity())][..bytes];
            target.copy_from_slice(&source.memory[range(from.number, from.capacity())][..bytes]);
        }
    }

    /// Gives the last empty segment of each class back, too.
    pub(crate) fn trim(&mut self) {
        for class in &mut self.classes {
            if class.segments.iter().flatten().all(|segment| segment.used == 0) {
                *class = Class::default();
            }
        }
    }

    /// Bytes of address space, for blocks in use and free.
    #[cfg(test)]
    pub(crate) fn mapped(&self) -> usize {
        self.classes.iter().map(|class| class.count * SEGMENT_BYTES).sum()
    }
}

fn range(number: u16, size: usize) -> std::ops::Range<usize> {
    let start = usize::from(number) * size;
    start..start + size
}

impl Class {
    fn take(&mut self, size: usize) -> (usize, u16) {
        let has_room = |segment: &Segment| segment.free != NONE || range(segment.touched, size).end <= SEGMENT_BYTES;
        let found = self.segments[self.first..].iter().position(|segment| segment.as_ref().is_some_and(has_room));
        let at = match found {
            Some(ahead) => self.first + ahead,
            None => self.add(),
        };
        self.first = at;
        let Some(segment) = &mut self.segments[at] else { unreachable!("it was found or added") };
        segment.used += 1;
        let number = segment.free;
        if number == NONE {
            segment.touched += 1;
            return (at, segment.touched - 1);
        }
        let block = &segment.memory[range(number, size)];
        segment.free = u16::from_ne_bytes([block[0], block[1]]);
        (at, number)
    }

    fn add(&mut self) -> usize {
        let segment = Segment { memory: Region::new(SEGMENT_BYTES), used: 0, touched: 0, free: NONE };
        self.count += 1;
        match self.segments.iter().position(Option::is_none) {
            Some(at) => {
                self.segments[at] = Some(segment);
                at
            }
            None => {
                self.segments.push(Some(segment));
                self.segments.len() - 1
            }
        }
    }

    fn give_back(&mut self, at: usize, number: u16, size: usize) {
        let Some(segment) = &mut self.segments[at] else { return };
        segment.used -= 1;
        if segment.used == 0 && self.count > 1 {
            self.segments[at] = None;
            self.count -= 1;
            while let Some(None) = self.segments.last() {
                self.segments.pop();
            }
            self.first = self.first.min(self.segments.len());
            return;
        }
        segment.memory[range(number, size)][..2].copy_from_slice(&segment.free.to_ne_bytes());
        segment.free = number;
        self.first = self.first.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Rng;

    #[test]
    fn blocks_do_not_overlap_and_their_memory_goes_back() {
        let mut rng = Rng(11);
        let mut blocks = Blocks::default();
        let mut taken: Vec<(Block, u8)> = Vec::new();
        for round in 0..20_000 {
            // Floods and ebbs.
            if rng.below(100) < if round / 2000 % 2 == 0 { 70 } else { 30 } {
                let bound = rng.pick(&[70, 1000, BLOCK_BYTES_MAX]);
                let bytes = 1 + rng.below(bound);
                let block = blocks.take(bytes);
                assert!((bytes..=(2 * bytes).max(BLOCK_BYTES_MIN)).contains(&block.capacity()));
                blocks.bytes_mut(&block).fill(round as u8);
                taken.push((block, round as u8));
            } else if !taken.is_empty() {
                let (block, mark) = taken.swap_remove(rng.below(taken.len()));
                assert!(blocks.bytes(&block).iter().all(|byte| *byte == mark), "block {block:?} was written over");
                blocks.give_back(&block);
            }
        }
        for (block, _) in taken.drain(..) {
            blocks.give_back(&block);
        }
        assert!(blocks.mapped() <= CLASSES * SEGMENT_BYTES, "{} bytes are kept", blocks.mapped());
        blocks.trim();
        assert_eq!(blocks.mapped(), 0);
    }

    #[test]
    fn room_that_is_free_is_used_before_more_is_asked_for() {
        let mut blocks = Blocks::default();
        let mut taken: Vec<_> = (0..2048).map(|_| blocks.take(64)).collect();
        assert_eq!(blocks.mapped(), 2 * SEGMENT_BYTES);
        for block in taken.drain(..).step_by(2) {
            blocks.give_back(&block);
        }
        let again: Vec<_> = (0..1024).map(|_| blocks.take(64)).collect();
        assert_eq!((again.len(), blocks.mapped()), (1024, 2 * SEGMENT_BYTES));
    }
}
