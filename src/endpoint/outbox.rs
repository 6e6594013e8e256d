//! Bytes on their way to one peer. Floor 0.

/// Bytes that wait for the kernel to take them, in order. Its owner keeps one only while something
/// waits, and keeps the bound on how much may wait.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Bytes at the front that the kernel has already taken.
    taken: usize,
}

impl Outbox {
    /// The number of bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes held.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `bytes` bytes, exactly where nothing waits.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Makes room for exactly `bytes` bytes more.
    pub fn reserve_exact(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    /// Puts `bytes` behind what waits.
    pub fn push(&mut self, bytes: &[u8]) {
        let full = self.bytes.len() + bytes.len() > self.bytes.capacity();
        if full && self.taken >= self.len() {
            // Room at the front is used before the allocator is asked, but only when moving what
            // waits costs less than what was taken, so that each byte moves a bounded number of times.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts `bytes` before what waits.
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.bytes.splice(self.taken..self.taken, bytes.iter().copied());
    }

    /// What waits.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Forgets the first `taken` bytes: the kernel has them.
    pub fn advance(&mut self, taken: usize) {
        debug_assert!(taken <= self.len());
        self.taken += taken;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain `Vec`: the same bytes come out, in order, whatever the kernel takes.
    #[test]
    fn model() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let (mut outbox, mut model) = (Outbox::default(), Vec::new());
        for step in 0..10_000 {
            let bytes: Vec<u8> = (0..random(300)).map(|i| (step + i) as u8).collect();
            if random(2) == 0 {
                outbox.push(&bytes);
                model.extend_from_slice(&bytes);
            } else if random(8) == 0 {
                outbox.push_front(&bytes);
                model.splice(..0, bytes);
            } else {
                let taken = random(model.len().min(400) + 1);
                outbox.advance(taken);
                model.drain(..taken);
            }
            assert_eq!(outbox.waiting(), model, "step {step}");
            assert_eq!(outbox.is_empty(), model.is_empty());
        }
    }
}
