//! One object as the splitter cuts it out of the stream. Floor 0.

use std::ops::Range;

use super::json;

/// One whole object: from `{` to its `}`. What stands between them is for
/// [`Message::check`](super::Message::check).
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// The bytes as they were sent.
    pub bytes: &'a [u8],
    /// Where the first of them stands in the connection's stream.
    pub offset: u64,
    /// The deepest nesting, braces and brackets counted alike; at least 1.
    pub depth: u32,
    /// No byte is 0x80 or above.
    pub ascii: bool,
    /// Some range of `bytes` that is printable ASCII without `"` and `\`, often the picture: no
    /// need to look there again.
    pub(super) plain: Range<u32>,
    /// What the walk has found, if it has been over the object already, and the object is JSON.
    pub(super) valid: Option<json::Found<'a>>,
}

/// The same bytes at the same place: all else follows from them, or is how they came to be known.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.offset, self.bytes) == (other.offset, other.bytes)
    }
}

impl Eq for Object<'_> {}
