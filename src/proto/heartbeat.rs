//! The heartbeat: what is said, how often, and how much silence is borne. Floor 0; holds no time.

use std::time::Duration;

/// What the gateway says when a beat is due.
pub const BEAT: &[u8] = b"heartbeat";
/// What a device answers to a beat.
pub const ANSWER: &[u8] = br#"{"Type":"Heartbeat"}"#;
/// Beats that may stay unanswered, unless configured otherwise.
pub const CREDIT: u8 = 5;
/// From one beat to the next, unless configured otherwise.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// How many more beats a silent device gets. *Invariant:* `left` never exceeds `full`, so no flood
/// of answers can hide a later death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatCredit {
    left: u8,
    full: u8,
}

/// What to do when a beat is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send it: a credit was left and has been taken.
    Send,
    /// Close the connection: no credit was left.
    Dead,
}

impl HeartbeatCredit {
    /// A device that has just joined: all `full` credits are left.
    pub const fn new(full: u8) -> Self {
        Self { left: full, full }
    }

    /// The device gave a sign of life.
    pub const fn refill(&mut self) {
        self.left = self.full;
    }

    /// Changes what full means; credit that is left beyond it is gone.
    pub const fn set_full(&mut self, full: u8) {
        self.full = full;
        if self.left > full {
            self.left = full;
        }
    }

    /// Whether nothing has been spent since the last refill.
    pub const fn is_full(self) -> bool {
        self.left == self.full
    }

    /// A beat is due.
    pub const fn spend(&mut self) -> Beat {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Beat::Send
            }
            None => Beat::Dead,
        }
    }

    /// Beats that would still be sent if the device stayed silent.
    pub const fn left(&self) -> u8 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `+` as a refill and `.` as a beat due; `x` in the answer is a death.
    fn check(full: u8, play: &str, expected: &str) {
        let mut credit = HeartbeatCredit::new(full);
        let mut got = String::new();
        for step in play.chars() {
            got.push(match step {
                '+' => {
                    credit.refill();
                    '+'
                }
                _ => match credit.spend() {
                    Beat::Send => char::from(b'0' + credit.left()),
                    Beat::Dead => 'x',
                },
            });
            assert!(credit.left() <= full);
        }
        assert_eq!(got, expected, "{full} {play}");
    }

    #[test]
    fn credit() {
        check(5, "......", "43210x");
        check(5, "....+......", "4321+43210x");
        check(5, "+++++......", "+++++43210x");
        check(2, "..x.", "10xx");
        check(1, ".+.+..", "0+0+0x");
        check(0, ".+.", "x+x");
        assert_eq!(size_of::<HeartbeatCredit>(), 2);
    }
}
