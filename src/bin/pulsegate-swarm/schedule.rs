//! The schedule of a device: its load, its place in each period, and its back-off. All times are milliseconds of the run.

use std::time::Duration;

use crate::rng::Rng;

/// A due time that never comes.
pub(crate) const NEVER: u32 = u32::MAX;

/// The reports of every device and their periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) performance: Option<Duration>,
    pub(crate) status: Option<Duration>,
    pub(crate) picture: Option<Duration>,
    /// Length of an object with a picture.
    pub(crate) picture_bytes: usize,
    /// All devices report at the same moments.
    pub(crate) together: bool,
}

impl Load {
    /// The names that [`Self::profile`] knows.
    pub(crate) const PROFILES: [&'static str; 5] = ["steady", "burst", "pictures", "idle", "mixed"];

    /// Returns the load of a profile.
    pub(crate) fn profile(name: &str) -> Option<Self> {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let idle = Self { performance: None, status: None, picture: None, picture_bytes: 128 << 10, together: false };
        Some(match name {
            "steady" => Self { performance: seconds(1), status: seconds(5), ..idle },
            "burst" => Self { performance: seconds(5), status: seconds(5), together: true, ..idle },
            "pictures" => Self { status: seconds(10), picture: seconds(5), ..idle },
            "idle" => idle,
            "mixed" => Self { performance: seconds(1), status: seconds(5), picture: seconds(30), ..idle },
            _ => return None,
        })
    }

    /// The periods in the order of [`crate::device::Report`], in milliseconds.
    pub(crate) fn periods(&self) -> [u32; 3] {
        [self.performance, self.status, self.picture]
            .map(|period| period.map_or(NEVER, |period| period.as_millis() as u32))
    }

    /// Whether devices only answer beats.
    pub(crate) fn is_idle(&self) -> bool {
        self.periods() == [NEVER; 3]
    }
}

/// Returns the first due time on a connection that begins at `now`: a random place in the period, so that devices do not
/// report at once, or the next multiple of the period if `together`.
pub(crate) fn first_due(now: u32, period: u32, together: bool, rng: &mut Rng) -> u32 {
    match period {
        NEVER => NEVER,
        _ if together => (now / period + 1) * period,
        _ => now + 1 + rng.below(period),
    }
}

/// Returns the due time after `due`, without drift. It skips due times that `now` has passed.
pub(crate) fn next_due(due: u32, period: u32, now: u32) -> u32 {
    let missed = (now - due) / period;
    due + (missed + 1) * period
}

/// Returns the wait before the next dial after `failures` (at least 1) in a row: 0.5 s, doubled each time, at most 30 s.
/// A random factor from 0.5 to 1.5 keeps devices that were cut together from returning together.
pub(crate) fn back_off(failures: u8, rng: &mut Rng) -> u32 {
    let full = (500u32 << failures.saturating_sub(1).min(6)).min(BACK_OFF_MAX);
    (full / 2 + rng.below(full + 1)).min(BACK_OFF_MAX)
}

const BACK_OFF_MAX: u32 = 30_000;

/// A connection that lived this long counts as a success, and resets the back-off.
pub(crate) const LIVED: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_a_load() {
        for name in Load::PROFILES {
            let load = Load::profile(name).unwrap();
            assert_eq!(load.is_idle(), name == "idle");
        }
        assert_eq!(Load::profile("heavy"), None);
    }

    #[test]
    fn first_dues_are_spread_or_together() {
        let mut rng = Rng::new(1);
        let dues: Vec<u32> = (0..1000).map(|_| first_due(5_000, 1_000, false, &mut rng)).collect();
        assert!(dues.iter().all(|due| (5_001..=6_000).contains(due)));
        let early = dues.iter().filter(|due| **due <= 5_500).count();
        assert!((400..600).contains(&early), "{early}");
        assert_eq!(first_due(5_300, 1_000, true, &mut rng), 6_000);
        assert_eq!(first_due(6_000, 1_000, true, &mut rng), 7_000);
        assert_eq!(first_due(5_000, NEVER, true, &mut rng), NEVER);
    }

    #[test]
    fn dues_do_not_drift_and_lie_ahead() {
        assert_eq!(next_due(1_000, 500, 1_000), 1_500);
        assert_eq!(next_due(1_000, 500, 1_499), 1_500);
        assert_eq!(next_due(1_000, 500, 1_500), 2_000);
        assert_eq!(next_due(1_000, 500, 9_999), 10_000);
    }

    #[test]
    fn back_off_doubles_to_its_bound() {
        let mut rng = Rng::new(2);
        for (failures, full) in [(1u8, 500), (2, 1_000), (3, 2_000), (6, 16_000), (7, 30_000), (255, 30_000)] {
            for _ in 0..200 {
                let wait = back_off(failures, &mut rng);
                assert!((full / 2..=(full * 3 / 2).min(30_000)).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}
