//! Tests eight bytes at a time ("SIMD within a register"), and returns bit masks.
//!
//! These functions know bytes, and neither strings nor depth nor grammar. They use arithmetic on words of eight bytes. A
//! MIPS router has no vectors, and for small executables the compiler vectorizes no loop over bytes. Words are read
//! little-endian, so bit 0 belongs to the first byte on every target.

/// Bytes in one block, with one bit each in a `u64`.
pub(super) const BLOCK: usize = 64;
/// Bytes in one step, which is a word.
pub(super) const STEP: usize = 8;

/// The bytes of a block that can change the splitter's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    /// `"`
    pub(super) quotes: u64,
    /// `\`
    pub(super) backslashes: u64,
    /// `{` `}` `[` `]`
    pub(super) brackets: u64,
}

impl Masks {
    /// Returns the masks of one block.
    #[inline(always)]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        // Each word sets the highest bit of each byte that does not match, and shifts the results of earlier words down by
        // one bit. So byte `8 * row + column` becomes bit `row` of byte `column`. The transposition at the end puts the 8 by
        // 8 bits in order.
        let (mut quotes, mut backslashes, mut brackets) = (0, 0, 0);
        for word in block.as_chunks().0 {
            let word = u64::from_le_bytes(*word);
            quotes = quotes >> 1 | nonzero(word ^ repeat(b'"'));
            backslashes = backslashes >> 1 | nonzero(word ^ repeat(b'\\'));
            // The bit 0x20 turns brackets into braces, and no other byte into one.
            let openers = (word | repeat(0x20)) ^ repeat(b'{');
            brackets = brackets >> 1 | nonzero(openers) & nonzero(openers ^ repeat(b'{' ^ b'}'));
        }
        Self {
            quotes: !transposed(quotes),
            // Few blocks have backslashes.
            backslashes: if backslashes == u64::MAX { 0 } else { !transposed(backslashes) },
            brackets: !transposed(brackets),
        }
    }

    /// Removes the first `bytes` (below 64) bytes of the block.
    #[inline(always)]
    pub(super) fn without_first(self, bytes: usize) -> Self {
        Self { quotes: self.quotes >> bytes, backslashes: self.backslashes >> bytes, brackets: self.brackets >> bytes }
    }
}

/// Sets the highest bit of each byte that is not 0. No sum carries into the next byte.
#[inline(always)]
fn nonzero(word: u64) -> u64 {
    (((word & repeat(0x7F)) + repeat(0x7F)) | word) & repeat(0x80)
}

/// Transposes a matrix of 8 by 8 bits: swaps single bits, then squares of 2 by 2, then of 4 by 4 (Hacker's Delight, 7-3).
#[inline(always)]
fn transposed(mut bits: u64) -> u64 {
    for (shift, pick) in [(7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0x0000_0000_F0F0_F0F0)] {
        let swap = (bits ^ (bits >> shift)) & pick;
        bits ^= swap ^ (swap << shift);
    }
    bits
}

/// Counts the leading bytes that a JSON string may contain without an escape: not `"`, not `\`, and not below 0x20
/// (RFC 8259, section 7).
#[inline(always)]
pub(super) fn leading_unescaped(step: &[u8; STEP]) -> usize {
    let word = u64::from_le_bytes(*step);
    // The xor maps `"` to 0x20, and control characters to control characters, so one comparison finds them all.
    let low = word ^ repeat(b'"' ^ 0x20);
    let backslashes = word ^ repeat(b'\\');
    // The subtraction sets the highest bit of each smaller byte. Its borrow can only change later bytes. `& !word` excludes
    // bytes of 0x80 and above.
    let below = low.wrapping_sub(repeat(0x21)) | backslashes.wrapping_sub(repeat(1));
    (below & !word & repeat(0x80)).trailing_zeros() as usize / 8
}

/// Counts the leading decimal digits.
#[inline(always)]
pub(super) fn leading_digits(step: &[u8; STEP]) -> usize {
    let word = u64::from_le_bytes(*step) ^ repeat(b'0');
    // The xor maps digits to 0 to 9. The sum sets the highest bit of every other byte, and its carry can only change later
    // bytes.
    let others = (word.wrapping_add(repeat(0x76)) | word) & repeat(0x80);
    others.trailing_zeros() as usize / 8
}

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// A run without `"` and `\`.
pub(super) struct Run {
    /// Its length in bytes.
    pub(super) bytes: usize,
    /// No byte is below 0x20.
    pub(super) printable: bool,
    /// No byte is 0x80 or above.
    pub(super) ascii: bool,
}

/// Returns the run up to the first `"` or `\`, or to the end. In long strings this is several times as fast as blocks.
pub(super) fn run(input: &[u8]) -> Run {
    let bytes = memchr::memchr2(b'"', b'\\', input).unwrap_or(input.len());
    let input = &input[..bytes];
    // Only a byte below 0x20 borrows, and it is found itself, so the borrow does not matter.
    let below = |word: u64| word.wrapping_sub(repeat(0x20));
    // Few strings have control characters or bytes of 0x80 and above, so the first pass tests both.
    if !any_high_bit(input, |word| below(word) | word) {
        return Run { bytes, printable: true, ascii: true };
    }
    Run { bytes, printable: !any_high_bit(input, |word| below(word) & !word), ascii: input.is_ascii() }
}

/// Whether `of` sets the highest bit of any byte. It must not set it for spaces, which fill the last word.
#[inline(always)]
fn any_high_bit(input: &[u8], of: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = input.as_chunks();
    // Eight words at a time, without a branch between them.
    let (eights, others) = words.as_chunks::<8>();
    let mut last = [b' '; STEP];
    last[..rest.len()].copy_from_slice(rest);
    let mut bits = 0;
    let mut note = |word: &[u8; STEP]| bits |= of(u64::from_le_bytes(*word));
    for eight in eights {
        eight.iter().for_each(&mut note);
    }
    others.iter().for_each(&mut note);
    note(&last);
    bits & repeat(0x80) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Rng;

    /// Bit k is set where `is` holds for byte k.
    fn expected<const N: usize>(bytes: &[u8; N], is: impl Fn(u8) -> bool) -> u64 {
        bytes.iter().enumerate().map(|(at, &byte)| u64::from(is(byte)) << at).sum()
    }

    fn check(block: &[u8; BLOCK]) {
        let masks = Masks {
            quotes: expected(block, |b| b == b'"'),
            backslashes: expected(block, |b| b == b'\\'),
            brackets: expected(block, |b| b"{}[]".contains(&b)),
        };
        assert_eq!(Masks::of(block), masks);
        for step in block.as_chunks().0 {
            let unescaped = |b: &&u8| **b >= 0x20 && **b != b'"' && **b != b'\\';
            assert_eq!(leading_unescaped(step), step.iter().take_while(unescaped).count(), "{step:?}");
            assert_eq!(leading_digits(step), step.iter().take_while(|b| b.is_ascii_digit()).count(), "{step:?}");
        }
    }

    #[test]
    fn masks_and_counts_are_right_for_every_byte_at_every_place() {
        for byte in 0..=255 {
            for at in 0..20 {
                for around in [b'a', b'0', b'"', 0, 0xFF, byte ^ 1, byte.wrapping_add(1), byte.wrapping_sub(1)] {
                    let mut block = [around; BLOCK];
                    block[at] = byte;
                    check(&block);
                }
            }
        }
    }

    #[test]
    fn masks_and_counts_are_right_for_random_blocks() {
        let mut rng = Rng(0xb10c);
        for _ in 0..3000 {
            check(&std::array::from_fn(|_| rng.pick(b"\"\\{}[]\x00\x1f\x20\x7f\x80\xff09/:;ZY|]^")));
            check(&std::array::from_fn(|_| rng.next() as u8));
        }
    }

    #[test]
    fn a_run_ends_at_a_quote_or_backslash() {
        for (input, bytes, printable, ascii) in [
            (&b""[..], 0, true, true),
            (b"abc", 3, true, true),
            (b"ab\"\x01\xFF", 2, true, true),
            (b"a\x1Fb\\", 3, false, true),
            (b"\xC3\xA9 \x7F\"", 4, true, false),
        ] {
            let found = run(input);
            assert_eq!((found.bytes, found.printable, found.ascii), (bytes, printable, ascii), "{input:?}");
        }
    }

    #[test]
    fn one_special_byte_shows_in_a_run_of_every_length() {
        for length in 0..80 {
            for at in 0..length {
                for byte in [0, 0x1F, 0x20, 0x21, b'[', 0x7F, 0x80, 0xA0, 0xFF] {
                    for around in [b' ', b'a', 0x7F, 0xFF] {
                        let mut input = vec![around; length];
                        input[at] = byte;
                        let found = run(&input);
                        let expected = (length, byte >= 0x20, byte < 0x80 && input.is_ascii());
                        assert_eq!((found.bytes, found.printable, found.ascii), expected, "{input:?}");
                    }
                }
            }
        }
    }
}
