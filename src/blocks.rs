//! Memory in blocks of one size, and regions of any size. Floor 0.
//!
//! Partial objects come and go in floods. The allocator of a C library would not return their memory to the kernel: one
//! small allocation of another kind pins everything below it. So blocks lie in mappings of their own, and a mapping
//! without blocks is unmapped.

use std::ops::{Deref, Range};

use memmap2::MmapMut;

/// Regions are a multiple of this, which is a page nearly everywhere.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Zeroed memory. The kernel gives it page by page as it is written to, and takes it back when this is dropped.
#[derive(Debug)]
pub(crate) struct Region {
    memory: Mapping,
    /// Bytes at the front that were ever written to.
    touched: usize,
}

#[derive(Debug)]
enum Mapping {
    Mapped(MmapMut),
    /// Where the kernel allows no more mappings.
    Allocated(Box<[u8]>),
}

impl Region {
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let memory =
            MmapMut::map_anon(bytes).map_or_else(|_| Mapping::Allocated(vec![0; bytes].into()), Mapping::Mapped);
        Self { memory, touched: 0 }
    }

    /// Writes `bytes` from `at` on; there must be room.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.bytes_mut()[at..end].copy_from_slice(bytes);
        self.touched = self.touched.max(end);
    }

    /// Bytes of the pages that the kernel has given.
    pub(crate) fn resident(&self) -> usize {
        match self.memory {
            Mapping::Mapped(_) => self.touched.next_multiple_of(PAGE_BYTES),
            Mapping::Allocated(_) => self.len(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Mapping::Mapped(memory) => memory,
            Mapping::Allocated(memory) => memory,
        }
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Mapping::Mapped(memory) => memory,
            Mapping::Allocated(memory) => memory,
        }
    }
}

/// A block in use. Its owner returns it with [`Arena::give_back`].
#[derive(Debug, Default)]
pub(crate) struct Block {
    number: u16,
    segment: u32,
}

/// Blocks of one size. Since all have the same size, resident memory never exceeds the most blocks that were in use at one
/// time, in whatever order they come and go.
#[derive(Debug)]
pub(crate) struct Arena {
    block_bytes: usize,
    segments: Vec<Option<Segment>>,
    /// No segment before this one has room.
    first: usize,
    /// Segments that are there.
    count: usize,
    /// Bytes that were ever written to, in all segments that are there.
    resident: usize,
    /// Blocks in use.
    used: usize,
}

const SEGMENT_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Segment {
    memory: Region,
    used: u16,
    /// Blocks that were ever used; those behind them were never written to.
    touched: u16,
    /// The first of the free ones among them, if there is one. Each begins with the number of the next.
    free: u16,
}

const NONE: u16 = u16::MAX;

impl Arena {
    /// Without blocks. `block_bytes` is a power of two from 64 bytes to 4 KiB.
    pub(crate) fn new(block_bytes: usize) -> Self {
        Self { block_bytes, segments: Vec::new(), first: 0, count: 0, resident: 0, used: 0 }
    }

    /// Size of a block.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Bytes that are resident, for blocks in use and free.
    pub(crate) fn resident(&self) -> usize {
        self.resident
    }

    /// Whether [`Self::take`] has a block to give.
    pub(crate) fn has_room(&self, resident_max: usize) -> bool {
        self.used * self.block_bytes < self.resident || self.resident + self.block_bytes <= resident_max
    }

    /// A block, unless it would make more than `resident_max` bytes resident.
    pub(crate) fn take(&mut self, resident_max: usize) -> Option<Block> {
        let size = self.block_bytes;
        let may_grow = self.resident + size <= resident_max;
        let fits =
            |segment: &Segment| segment.free != NONE || may_grow && range(segment.touched, size).end <= SEGMENT_BYTES;
        let found = self.segments[self.first..].iter().position(|segment| segment.as_ref().is_some_and(fits));
        let at = match found {
            Some(ahead) => self.first + ahead,
            None if may_grow => self.add(),
            None => return None,
        };
        if may_grow {
            self.first = at;
        }
        let Some(segment) = &mut self.segments[at] else { unreachable!("it was found or added") };
        self.used += 1;
        segment.used += 1;
        let number = segment.free;
        if number == NONE {
            segment.touched += 1;
            self.resident += size;
            return Some(Block { segment: at as u32, number: segment.touched - 1 });
        }
        let block = &segment.memory[range(number, size)];
        segment.free = u16::from_ne_bytes([block[0], block[1]]);
        Some(Block { segment: at as u32, number })
    }

    pub(crate) fn bytes(&self, block: &Block) -> &[u8] {
        let segment = self.segments[block.segment as usize].as_ref();
        segment.map_or(&[], |segment| &segment.memory[range(block.number, self.block_bytes)])
    }

    /// Writes into a block from `at` on; there must be room.
    pub(crate) fn write(&mut self, block: &Block, at: usize, bytes: &[u8]) {
        if let Some(segment) = &mut self.segments[block.segment as usize] {
            segment.memory.write(range(block.number, self.block_bytes).start + at, bytes);
        }
    }

    pub(crate) fn give_back(&mut self, block: &Block) {
        let (at, size) = (block.segment as usize, self.block_bytes);
        let Some(segment) = &mut self.segments[at] else { return };
        self.used -= 1;
        segment.used -= 1;
        if segment.used == 0 && self.count > 1 {
            self.resident -= usize::from(segment.touched) * size;
            self.segments[at] = None;
            self.count -= 1;
            while let Some(None) = self.segments.last() {
                self.segments.pop();
            }
            self.first = self.first.min(self.segments.len());
            return;
        }
        segment.memory.write(range(block.number, size).start, &segment.free.to_ne_bytes());
        segment.free = block.number;
        self.first = self.first.min(at);
    }

    /// Gives the last segment back, too, if no block is in use.
    pub(crate) fn trim(&mut self) {
        if self.segments.iter().flatten().all(|segment| segment.used == 0) {
            *self = Self::new(self.block_bytes);
        }
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
}

fn range(number: u16, size: usize) -> Range<usize> {
    let start = usize::from(number) * size;
    start..start + size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Rng;

    #[test]
    fn blocks_do_not_overlap_and_their_memory_goes_back() {
        let mut rng = Rng(11);
        let mut arena = Arena::new(512);
        let mut taken: Vec<(Block, u8)> = Vec::new();
        let mut most = 0;
        for round in 0..20_000 {
            // Floods and ebbs.
            if rng.below(100) < if round / 2000 % 2 == 0 { 70 } else { 30 } {
                let block = arena.take(usize::MAX).expect("a block");
                arena.write(&block, 0, &[round as u8; 512]);
                taken.push((block, round as u8));
                most = most.max(taken.len());
            } else if !taken.is_empty() {
                let (block, mark) = taken.swap_remove(rng.below(taken.len()));
                assert!(arena.bytes(&block).iter().all(|byte| *byte == mark), "block {block:?} was written over");
                arena.give_back(&block);
            }
            assert!(arena.resident() <= most * 512, "{} bytes for {most} blocks", arena.resident());
        }
        for (block, _) in taken.drain(..) {
            arena.give_back(&block);
        }
        assert!(arena.resident() <= SEGMENT_BYTES, "{} bytes are kept", arena.resident());
        arena.trim();
        assert_eq!(arena.resident(), 0);
    }

    #[test]
    fn an_arena_that_may_not_grow_hands_out_free_blocks_alone() {
        let mut arena = Arena::new(64);
        let mut taken: Vec<_> = std::iter::from_fn(|| arena.take(100_000)).collect();
        assert_eq!(taken.len(), 100_000 / 64);
        for block in taken.drain(..).step_by(2) {
            arena.give_back(&block);
        }
        let again: Vec<_> = std::iter::from_fn(|| arena.take(100_000)).collect();
        assert_eq!((again.len(), arena.resident()), ((100_000 / 64_usize).div_ceil(2), 100_000 / 64 * 64));
    }

    #[test]
    fn a_region_counts_the_pages_that_were_written_to() {
        let mut region = Region::new(100_000);
        assert_eq!((region.len(), region.resident()), (25 * PAGE_BYTES, 0));
        region.write(5_000, b"x");
        assert_eq!(region.resident(), 2 * PAGE_BYTES);
        region.write(0, b"x");
        assert_eq!((region.resident(), region[5_000]), (2 * PAGE_BYTES, b'x'));
    }
}
