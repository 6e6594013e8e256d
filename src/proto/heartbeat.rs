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

/// How many more beats a silent device gets. The caller knows how many are full credit. *Invariant:* `left` never exceeds
/// it, so no flood of answers can hide a later death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatCredit {
    left: u8,
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
    /// A device that has just connected has `full` credit.
    pub const fn new(full: u8) -> Self {
        Self { left: full }
    }

    /// The device gave a sign of life.
    pub const fn refill(&mut self, full: u8) {
        self.left = full;
    }

    /// Drops the credit beyond `full`, which has become less.
    pub const fn limit(&mut self, full: u8) {
        if self.left > full {
            self.left = full;
        }
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

/// The beats of one device that wait for their answers. A device answers its beats in order, so an answer belongs to the
/// oldest of them.
///
/// A device that reads two beats at once may answer them with one answer. From then on each of its answers seems to belong
/// to an older beat. So a device that has shown that it answers at once is taken at its word: an answer right behind a beat
/// belongs to that beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnansweredBeats {
    /// Beats sent and not answered: at most [`Self::MAX`], which means that nobody counts any more.
    waiting: u8,
}

impl UnansweredBeats {
    /// The bit that is set once the device has answered a beat at once.
    const PROMPT: u8 = 0x80;
    /// The largest number of unanswered beats that the count holds.
    const MAX: u8 = 0x7f;

    /// A beat was sent.
    pub const fn sent(&mut self) {
        if self.waiting & Self::MAX < Self::MAX {
            self.waiting += 1;
        }
    }

    /// A beat was due and was not sent, or the beats no longer stand an interval apart.
    pub const fn forget(&mut self) {
        self.waiting &= Self::PROMPT;
    }

    /// An answer has come, `at_once` behind the latest beat or not. Returns which beat it belongs to, counted back from 1,
    /// the latest.
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
