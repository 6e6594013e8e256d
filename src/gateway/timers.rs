//! The application's timers, each with a key of the application's choice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Deadlines by key, and keys in the order of their deadlines.
#[derive(Debug, Default)]
pub(super) struct AppTimers {
    deadlines: BTreeMap<u64, Instant>,
    queue: BTreeSet<(Instant, u64)>,
}

impl AppTimers {
    /// Starts the timer of `key`, in place of a running one.
    pub(super) fn set(&mut self, key: u64, deadline: Instant) {
        self.cancel(key);
        self.deadlines.insert(key, deadline);
        self.queue.insert((deadline, key));
    }

    /// Stops the timer of `key`. Returns whether it was running.
    pub(super) fn cancel(&mut self, key: u64) -> bool {
        let Some(deadline) = self.deadlines.remove(&key) else { return false };
        self.queue.remove(&(deadline, key))
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    /// Stops the earliest timer that is due at `now`, and returns its key.
    pub(super) fn expire(&mut self, now: Instant) -> Option<u64> {
        let &(deadline, key) = self.queue.first()?;
        if deadline > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test starts from any instant")]
    fn timers_expire_in_order_and_a_new_deadline_replaces_the_old_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = AppTimers::default();
        timers.set(7, at(5));
        timers.set(8, at(3));
        timers.set(9, at(3));
        timers.set(7, at(2));
        assert!(timers.cancel(9) && !timers.cancel(9));
        assert_eq!(timers.next_deadline(), Some(at(2)));
        assert_eq!(timers.expire(at(1)), None);
        assert_eq!((timers.expire(at(5)), timers.expire(at(5)), timers.expire(at(9))), (Some(7), Some(8), None));
        assert_eq!(timers.next_deadline(), None);
    }
}
