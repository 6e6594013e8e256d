//! The ways in which a device may misbehave, and who does.

pulsegate::closed_list! {
    /// One way to misbehave. `Split` and `Coalesce` are within the protocol, and `Spam` is bearable: a
    /// sound gateway cuts none of these three.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// Says nothing at all, and answers no beat.
        Silent => "silent",
        /// Sends an object in tiny pieces, so slowly that it is never done in time.
        Slow => "slow",
        /// Sends every object in many writes.
        Split => "split",
        /// Sends many objects in one write.
        Coalesce => "coalesce",
        /// Sends objects that are none, and at last bytes that are not even braces.
        Garbage => "garbage",
        /// Sends, but never reads.
        NeverRead => "never-read",
        /// Breaks its connection (RST) after a few seconds.
        Reset => "reset",
        /// Floods the gateway with heartbeats.
        Spam => "spam",
    }
}

impl Fault {
    /// A list of words with commas between them.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let parse = |word: &str| {
            let unknown = || format!("there is no fault '{word}', only {}", Self::WORDS.join(", "));
            Self::find(word).ok_or_else(unknown)
        };
        text.split(',').map(|word| parse(word.trim())).collect()
    }

    /// Into how many pieces it cuts each object, and the milliseconds from one to the next.
    pub(crate) fn pieces(self) -> Option<(u32, u32)> {
        match self {
            // 40 s: longer than a gateway waits for an object, or for an answer to its beats.
            Self::Slow => Some((200, 200)),
            Self::Split => Some((16, 10)),
            _ => None,
        }
    }
}

/// The fault of device `index`, if it has one. Exactly `share` of all devices are faulty, spread
/// evenly over the indices, and the kinds take turns.
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
    fn lists() {
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
