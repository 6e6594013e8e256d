//! Closed lists of words, such as reasons, with a counter for each entry.
//!
//! [`closed_list!`](crate::closed_list!) makes the enum and everything that depends on its entries. So an entry without its
//! word, and a counter without its entry, do not compile.

use std::fmt;
use std::ops::{Index, IndexMut};

/// An enum with one word for each variant.
pub trait ClosedList: Sized {
    /// An array with one place for each entry.
    type Array<T>: AsRef<[T]> + AsMut<[T]>;
    /// The words, in the order of the variants.
    const WORDS: &'static [&'static str];

    /// Returns the index of this entry in [`Self::WORDS`].
    fn index(&self) -> usize;

    /// Creates an array with the values of `make`.
    fn array<T>(make: impl FnMut(usize) -> T) -> Self::Array<T>;
}

/// Makes the enum of a closed list: each variant is followed by its word. Variants may carry data.
///
/// The enum gets `COUNT`, `WORDS`, `index()` and `as_str()`, and implements [`ClosedList`]. An enum without data also gets
/// `ALL`, `find()` and `Display`. [`Counters`] has a counter for each entry.
///
/// ```
/// pulsegate::closed_list! {
///     /// A colour.
///     #[derive(Debug, Clone, Copy, PartialEq, Eq)]
///     pub enum Colour {
///         /// As blood.
///         Red => "red",
///         /// As grass.
///         Green => "green",
///     }
/// }
/// assert_eq!(Colour::find("green"), Some(Colour::ALL[1]));
/// let mut seen = pulsegate::Counters::<Colour>::default();
/// seen[&Colour::Green] += 1;
/// assert_eq!(seen.iter().collect::<Vec<_>>(), [("red", &0), ("green", &1)]);
/// ```
///
/// An entry without a word does not compile:
///
/// ```compile_fail
/// pulsegate::closed_list! { enum Colour { Red => "red", Green } }
/// ```
#[macro_export]
macro_rules! closed_list {
    (@plain $vis:vis $name:ident $($variant:ident)*) => {
        impl $name {
            /// Every entry, in order.
            #[allow(dead_code, reason = "not every list uses it")]
            $vis const ALL: [Self; Self::COUNT] = [$(Self::$variant),*];

            /// Returns the entry with this word.
            #[allow(dead_code, reason = "not every list uses it")]
            $vis fn find(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|entry| entry.as_str() == word)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    (@plain $($variants_with_data:tt)*) => {};
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident $(($($tuple:tt)*))? $({$($record:tt)*})? => $word:literal),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$variant_meta])* $variant $(($($tuple)*))? $({$($record)*})?),*
        }

        #[allow(dead_code, reason = "not every list uses all of it")]
        impl $name {
            /// The number of entries.
            $vis const COUNT: usize = Self::WORDS.len();
            /// Every entry's word, in order.
            $vis const WORDS: &'static [&'static str] = &[$($word),*];

            /// Returns the word of this entry.
            $vis const fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word),*
                }
            }

            /// Returns the index of this entry in the list.
            $vis const fn index(&self) -> usize {
                enum Place {
                    $($variant),*
                }
                match self {
                    $(Self::$variant { .. } => Place::$variant as usize),*
                }
            }
        }

        impl $crate::ClosedList for $name {
            type Array<T> = [T; $name::COUNT];
            const WORDS: &'static [&'static str] = $name::WORDS;

            fn index(&self) -> usize {
                self.index()
            }

            fn array<T>(make: impl FnMut(usize) -> T) -> Self::Array<T> {
                ::std::array::from_fn(make)
            }
        }

        $crate::closed_list!(@plain $vis $name $($variant $(($($tuple)*))? $({$($record)*})?)*);
    };
}

/// One counter for each entry of a closed list.
pub struct Counters<L: ClosedList, T = u64>(L::Array<T>);

impl<L: ClosedList, T> Counters<L, T> {
    /// Returns the words of the list with their counters, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &T)> {
        L::WORDS.iter().copied().zip(self.0.as_ref())
    }

    /// Returns the counters, for changes.
    pub fn values_mut(&mut self) -> &mut [T] {
        self.0.as_mut()
    }

    /// Returns the counters, in order.
    pub fn values(&self) -> &[T] {
        self.0.as_ref()
    }
}

impl<L: ClosedList> Counters<L> {
    /// Returns the sum of all counters.
    pub fn total(&self) -> u64 {
        self.values().iter().sum()
    }
}

impl<L: ClosedList, T> Index<&L> for Counters<L, T> {
    type Output = T;

    fn index(&self, entry: &L) -> &T {
        &self.0.as_ref()[entry.index()]
    }
}

impl<L: ClosedList, T> IndexMut<&L> for Counters<L, T> {
    fn index_mut(&mut self, entry: &L) -> &mut T {
        &mut self.0.as_mut()[entry.index()]
    }
}

impl<L: ClosedList, T: Default> Default for Counters<L, T> {
    fn default() -> Self {
        Self(L::array(|_| T::default()))
    }
}

impl<L: ClosedList, T: Clone> Clone for Counters<L, T> {
    fn clone(&self) -> Self {
        Self(L::array(|place| self.0.as_ref()[place].clone()))
    }
}

impl<L: ClosedList, T: PartialEq> PartialEq for Counters<L, T> {
    fn eq(&self, other: &Self) -> bool {
        self.values() == other.values()
    }
}

impl<L: ClosedList, T: Eq> Eq for Counters<L, T> {}

impl<L: ClosedList, T: fmt::Debug> fmt::Debug for Counters<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::closed_list! {
        #[derive(Debug, PartialEq)]
        enum Fault {
            Late(u32) => "late",
            Broken { at: usize } => "broken",
            Gone => "gone",
        }
    }

    #[test]
    fn variants_with_data_have_their_words_and_counters() {
        assert_eq!(Fault::WORDS, ["late", "broken", "gone"]);
        assert_eq!([Fault::Late(7), Fault::Broken { at: 3 }, Fault::Gone].map(|fault| fault.index()), [0, 1, 2]);
        let mut faults = Counters::<Fault>::default();
        faults[&Fault::Broken { at: 9 }] += 2;
        faults[&Fault::Gone] += 1;
        assert_eq!((faults.total(), faults.values()), (3, &[0, 2, 1][..]));
        assert_eq!(faults.clone(), faults);
        assert_eq!(format!("{faults:?}"), r#"{"late": 0, "broken": 2, "gone": 1}"#);
    }
}
