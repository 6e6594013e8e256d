//! The name of a device. Layer 2.

use std::fmt;
use std::num::NonZeroU8;
use std::ops::Deref;
use std::str::FromStr;

use crate::proto::{NAME_BYTES_MAX, is_name};

/// The name of a device: 1 to 128 bytes of UTF-8 without control, format or line characters. It is compared byte by byte.
///
/// It lies in place, so that it can be copied, and a [`Target`](crate::Target) with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Behind the name there are zeros.
    bytes: [u8; NAME_BYTES_MAX],
    len: NonZeroU8,
}

impl Name {
    /// The name that a text is, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        if is_name(text) { Self::of_valid(text) } else { None }
    }

    /// The name that a text is known to be.
    pub(super) fn of_valid(text: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: NonZeroU8::new(text.len() as u8)? })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // `new` copies a whole text, so this cannot fail.
        std::str::from_utf8(&self.bytes[..usize::from(self.len.get())]).unwrap_or_default()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text).ok_or(NameError)
    }
}

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a name of 1 to {NAME_BYTES_MAX} bytes without control, format or line characters")
    }
}

impl std::error::Error for NameError {}
