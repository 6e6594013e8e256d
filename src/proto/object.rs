//! One object of the stream, before its check.

use std::ops::Range;

use super::json;

/// A complete object, from `{` to its `}`. [`Message::check`](super::Message::check) checks its content.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// The bytes as the device sent them.
    pub bytes: &'a [u8],
    /// The position of the first byte in the connection's stream.
    pub offset: u64,
    /// The nesting depth of braces and brackets together, at least 1.
    pub depth: u32,
    /// No byte is 0x80 or above.
    pub ascii: bool,
    /// A range of unescaped ASCII in `bytes`, often a picture, which the check can skip.
    pub(super) unescaped: Range<u32>,
    /// The result of the walk, if it has checked the object already.
    pub(super) valid: Option<json::Found<'a>>,
}

/// Compares bytes and position, because all other fields depend on them.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.offset, self.bytes) == (other.offset, other.bytes)
    }
}

impl Eq for Object<'_> {}
