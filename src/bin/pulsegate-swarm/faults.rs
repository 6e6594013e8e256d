//! The faults of simulated devices, and their distribution over the devices.

pulsegate::closed_list! {
    /// One kind of fault. `Split` and `Coalesce` obey the protocol, and `Spam` is bearable. A sound gateway closes no
    /// connection for one of these three.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// Sends nothing and answers no beat.
        Silent => "silent",
        /// Sends an object in tiny pieces, too slowly for `limits.object_timeout`.
        Slow => "slow",
        /// Sends every object in many writes.
        Split => "split",
        /// Sends many objects in one write.
        Coalesce => "coalesce",
        /// Sends invalid objects, and finally bytes that are no objects.
        Garbage => "garbage",
        /// Sends, but never reads.
        NeverRead => "never-read",
        /// Resets its connection (RST) after a few seconds.
        Reset => "reset",
        /// Floods the gateway with heartbeats.
        Spam => "spam",
    }
}

impl Fault {
    /// Parses words separated by commas.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let parse = |word: &str| {
            let unknown = || format!("invalid fault '{word}': expected {}", Self::WORDS.join(", "));
            Self::find(word).ok_or_else(unknown)
        };
        text.split(',').map(|word| parse(word.trim())).collect()
    }

    /// The number of pieces of each object, and the milliseconds from one piece to the next.
    pub(crate) fn pieces(self) -> Option<(u32, u32)> {
        match self {
            // 40 s is longer than a gateway waits for an object or for a heartbeat answer.
            Self::Slow => Some((200, 200)),
            Self::Split => Some((16, 10)),
            _ => None,
        }
    }
}

/// Returns the fault of device `index`, if it has one. Exactly `share` of the devices are faulty. They are spread evenly
/// over the indices, and the kinds take turns.
pub(crate) fn of_device(index: u32, share: f64, kinds: &[Fault]) -> Option<Fault> {
    let before = (f64::from(index) * share).round() as usize;
    let after = (f64::from(index + 1) * share).round() as usize;
    if before == after || kinds.is_empty() {
        return None;
    }
    Some(kinds[before % kinds.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_known_words_separated_by_commas() {
        assert_eq!(Fault::parse_list("silent, never-read"), Ok(vec![Fault::Silent, Fault::NeverRead]));
        let all = Fault::WORDS.join(",");
        assert_eq!(Fault::parse_list(&all), Ok(Fault::ALL.to_vec()));
        assert!(Fault::parse_list("silent,,slow").is_err());
        assert!(Fault::parse_list("loud").unwrap_err().contains("'loud'"));
    }

    #[test]
    fn exactly_the_share_is_faulty_and_kinds_take_turns() {
        for (devices, share, expected) in [(1000, 0.05, 50), (7, 1.0, 7), (7, 0.0, 0), (200, 0.125, 25), (10, 0.33, 3)]
        {
            let faults: Vec<_> = (0..devices).filter_map(|i| of_device(i, share, &Fault::ALL)).collect();
            assert_eq!(faults.len(), expected, "{devices} {share}");
            for (position, fault) in faults.into_iter().enumerate() {
                assert_eq!(fault, Fault::ALL[position % 8]);
            }
        }
    }
}
