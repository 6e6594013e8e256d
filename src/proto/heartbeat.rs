//! The heartbeat: its bytes, its interval and the credit of a device. It has no clock.

use std::time::Duration;

/// The default bytes of a beat.
pub const BEAT: &[u8] = b"heartbeat";
/// A heartbeat answer.
pub const ANSWER: &[u8] = br#"{"Type":"Heartbeat"}"#;
/// The default credit.
pub const CREDIT: u8 = 5;
/// The default time from one beat to the next.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// The number of beats that a device may still leave unanswered. The caller passes the full credit. *Invariant:* `left`
/// never exceeds it, so a flood of answers cannot hide a later death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatCredit {
    left: u8,
}

/// The action for a due beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send it. It has taken a credit.
    Send,
    /// Close the connection, because no credit is left.
    Dead,
}

impl HeartbeatCredit {
    /// Creates `full` credit for a new connection.
    pub const fn new(full: u8) -> Self {
        Self { left: full }
    }

    /// Refills the credit after a sign of life.
    pub const fn refill(&mut self, full: u8) {
        self.left = full;
    }

    /// Lowers the credit to at most `full`.
    pub const fn limit(&mut self, full: u8) {
        if self.left > full {
            self.left = full;
        }
    }

    /// Takes a credit for a due beat.
    pub const fn spend(&mut self) -> Beat {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Beat::Send
            }
            None => Beat::Dead,
        }
    }

    /// Returns the number of beats that the device may still leave unanswered.
    pub const fn left(&self) -> u8 {
        self.left
    }
}

/// The unanswered beats of one device. A device answers its beats in order, so an answer belongs to the oldest of them.
///
/// A device that reads two beats at once may send one answer for both. Each later answer would then count for an older beat.
/// So for a device that has answered at once before, an answer right after a beat belongs to that beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnansweredBeats {
    /// The number of unanswered beats. [`Self::MAX`] means that the number is unknown.
    waiting: u8,
}

impl UnansweredBeats {
    /// The bit for a device that has answered a beat at once.
    const PROMPT: u8 = 0x80;
    /// The largest number of unanswered beats that the count holds.
    const MAX: u8 = 0x7f;

    /// Counts a sent beat.
    pub const fn sent(&mut self) {
        if self.waiting & Self::MAX < Self::MAX {
            self.waiting += 1;
        }
    }

    /// Resets the number, because the gateway withheld a beat or the interval changed.
    pub const fn forget(&mut self) {
        self.waiting &= Self::PROMPT;
    }

    /// Counts an answer. `at_once` means that it came right after the latest beat. Returns the beat that it answers, where 1
    /// is the latest beat, 2 the one before it, and so on.
    pub const fn answered(&mut self, at_once: bool) -> Option<u8> {
        let waiting = self.waiting & Self::MAX;
        match (waiting, at_once) {
            (0, _) => None,
            (Self::MAX, false) => None,
            (1, true) => {
                self.waiting = Self::PROMPT;
                Some(1)
            }
            (_, true) if self.waiting & Self::PROMPT != 0 => {
                self.waiting = Self::PROMPT;
                Some(1)
            }
            (_, _) => {
                self.waiting -= 1;
                Some(waiting)
            }
        }
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
                    credit.refill(full);
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
        assert_eq!(size_of::<(HeartbeatCredit, UnansweredBeats)>(), 2);
    }

    /// Plays `.` as a beat sent, `-` as one withheld, `a` as an answer and `p` as one at once; each answer shows its beat.
    fn check_answers(play: &str, expected: &str) {
        let mut beats = UnansweredBeats::default();
        let mut got = String::new();
        for step in play.chars() {
            match step {
                '.' => beats.sent(),
                '-' => beats.forget(),
                step => match beats.answered(step == 'p') {
                    Some(beat) => got.push(char::from(b'0' + beat)),
                    None => got.push('?'),
                },
            }
        }
        assert_eq!(got, expected, "{play}");
    }

    #[test]
    fn an_answer_belongs_to_the_oldest_beat_unless_a_prompt_device_has_skipped_some() {
        check_answers(".a.a.a", "111");
        check_answers("....a.a.aaaa", "444321");
        check_answers("...p.p.p", "333");
        check_answers(".p...p.p", "111");
        check_answers(".p...aaa.p", "13211");
        check_answers("aa.aa", "??1?");
        check_answers("..-a.a", "?1");
        check_answers(&format!("{}a", ".".repeat(300)), "?");
        check_answers(&format!(".p{}ap.p", ".".repeat(300)), "1?11");
    }
}
