//! The texts of names, packed in cells of 16 to 128 bytes. Layer 2.
//!
//! The system's allocator takes up to 26 bytes more for each name. Here a name takes at most 15 bytes more.

use crate::proto::NAME_BYTES_MAX;

const CELL: usize = 16;
const CLASSES: usize = NAME_BYTES_MAX / CELL;
const NONE: u32 = u32::MAX;

/// The texts by the number of cells that they need.
#[derive(Debug, Default)]
pub(super) struct Texts {
    classes: [Class; CLASSES],
}

#[derive(Debug)]
struct Class {
    memory: Vec<u8>,
    /// The first free place. Each free place begins with the number of the next.
    free: u32,
    used: u32,
}

impl Default for Class {
    fn default() -> Self {
        Self { memory: Vec::new(), free: NONE, used: 0 }
    }
}

impl Texts {
    /// Keeps a text of 1 to [`NAME_BYTES_MAX`] bytes. Returns its place among the texts of its size.
    pub(super) fn insert(&mut self, text: &str) -> u32 {
        let size = size(text.len());
        let class = &mut self.classes[size / CELL - 1];
        let mut place = class.free;
        if place == NONE {
            place = (class.memory.len() / size) as u32;
            class.memory.resize(class.memory.len() + size, 0);
        } else {
            let cell = &class.memory[place as usize * size..];
            class.free = cell.first_chunk().map_or(NONE, |next| u32::from_ne_bytes(*next));
        }
        class.used += 1;
        class.memory[place as usize * size..][..text.len()].copy_from_slice(text.as_bytes());
        place
    }

    /// The text of `len` bytes at `place`.
    pub(super) fn get(&self, place: u32, len: usize) -> &str {
        let size = size(len);
        let memory = &self.classes[size / CELL - 1].memory;
        std::str::from_utf8(&memory[place as usize * size..][..len]).unwrap_or_default()
    }

    /// Frees the text of `len` bytes at `place`.
    pub(super) fn remove(&mut self, place: u32, len: usize) {
        let size = size(len);
        let class = &mut self.classes[size / CELL - 1];
        class.used -= 1;
        if class.used == 0 {
            *class = Class::default();
            return;
        }
        class.memory[place as usize * size..][..4].copy_from_slice(&class.free.to_ne_bytes());
        class.free = place;
    }
}

fn size(len: usize) -> usize {
    len.max(1).div_ceil(CELL) * CELL
}
