//! One simulated device: a few dozen bytes, all of its state. What it sends lies in the corpus.

use pulsegate::unstable::connection::ClientConnection;
use pulsegate::unstable::wheel::TimerKey;

use crate::faults::Fault;
use crate::rng::Rng;
use crate::schedule::NEVER;

/// A device and, while it has one, its connection.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) phase: Phase,
    pub(crate) fault: Option<Fault>,
    /// Dials, each of which has its own [`pulsegate::ConnectionId`].
    pub(crate) generation: u32,
    /// Connections in a row that failed or did not live long.
    pub(crate) failures: u8,
    /// When the first three [`Report`]s and the [`ACTION`] are due, in milliseconds of the run.
    pub(crate) due: [u32; 4],
    /// The wheel's one timer of this device, set to the earliest of them.
    pub(crate) timer: Option<TimerKey>,
    /// Reports that wait to be sent: one bit for each [`Report`].
    waiting: u8,
    /// Beats that wait to be answered.
    pub(crate) answers: u8,
    /// A flood of heartbeats waits to be sent.
    pub(crate) flood: bool,
    /// Reports made so far: what picks the next one.
    reports: u16,
    /// What is being sent, and how much of it the kernel has taken.
    pub(crate) job: Option<Job>,
    pub(crate) offset: u32,
    /// The kernel takes no more for now.
    pub(crate) blocked: bool,
    /// The next piece of the job waits for its time.
    pub(crate) held: bool,
    /// Waits in the list of those that have something to send.
    pub(crate) queued: bool,
    /// The gateway has ended the connection in good order.
    pub(crate) ended: bool,
    /// It is this side that ended it.
    pub(crate) own_end: bool,
    /// It has been connected before.
    pub(crate) was_up: bool,
    pub(crate) client: ClientConnection,
    /// When it dialled or, once it is up, connected: microseconds of the run, wrapping.
    pub(crate) since: u32,
    /// When the last beat of this connection came, likewise.
    pub(crate) beat: Option<u32>,
    pub(crate) echo: Echo,
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected, until its dial is due.
    Down,
    /// Waits for its turn to dial.
    Queued,
    Connecting,
    Up,
}

/// The last place in [`Device::due`]: to dial, while it is down; else what its fault asks for.
pub(crate) const ACTION: usize = 3;

/// What a device reports by itself. The first three come by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Performance,
    Status,
    Picture,
    /// Who it is: once, after it has connected.
    Project,
}

/// Something to send. The number picks a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// To a beat.
    Answer,
    Project(u16),
    Performance(u16),
    Status(u16),
    Picture(u16),
    /// A status that asks for an answer.
    Echo(u16),
    /// Many objects in one write, an answer among them if so.
    Glued(u16, bool),
    /// An object that is none.
    Refused(u16),
    /// Bytes that end the connection.
    Garbage(u16),
    /// A flood of heartbeats.
    Spam,
}

/// The round trip that is being measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo {
    /// The number that was asked back last.
    pub(crate) number: u32,
    /// When the kernel took its first byte, in microseconds of the run, wrapping.
    pub(crate) at: u32,
    /// Its answer has not come yet.
    pub(crate) waiting: bool,
    /// The digits heard so far.
    heard: u32,
}

impl Device {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self {
            phase: Phase::Down,
            fault,
            generation: 0,
            failures: 0,
            due: [NEVER; 4],
            timer: None,
            waiting: 0,
            answers: 0,
            flood: false,
            reports: 0,
            job: None,
            offset: 0,
            blocked: false,
            held: false,
            queued: false,
            ended: false,
            own_end: false,
            was_up: false,
            client: ClientConnection::new(),
            since: 0,
            beat: None,
            echo: Echo::default(),
        }
    }

    /// Forgets what belonged to the connection that is over.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            generation: self.generation,
            failures: self.failures,
            timer: self.timer,
            queued: self.queued,
            reports: self.reports,
            was_up: self.was_up,
            echo: Echo { number: self.echo.number, ..Echo::default() },
            ..Self::new(self.fault)
        };
    }

    /// The earliest of its timers.
    pub(crate) fn next_due(&self) -> u32 {
        self.due.into_iter().fold(NEVER, u32::min)
    }

    /// Wants a report sent. False if the one before is still waiting: that is then the one sent.
    pub(crate) fn report(&mut self, report: Report) -> bool {
        let bit = 1 << report as u8;
        let free = self.waiting & bit == 0;
        self.waiting |= bit;
        free
    }

    /// Forgets the reports that wait.
    pub(crate) fn drop_reports(&mut self) {
        self.waiting = 0;
        self.flood = false;
    }

    /// Whether there is something to send, now or when the kernel takes more.
    pub(crate) fn has_more(&self) -> bool {
        self.job.is_some() || self.answers > 0 || self.waiting != 0 || self.flood
    }

    /// Whether something can be offered to the kernel now.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Up && !self.blocked && !self.held && !self.ended && self.has_more()
    }

    /// Begins what is to be sent next, if nothing is being sent: answers before reports.
    pub(crate) fn begin(&mut self, echo: bool, rng: &mut Rng) -> Option<Job> {
        if self.job.is_none() {
            self.offset = 0;
            self.job = self.take_next(echo, rng);
        }
        self.job
    }

    fn take_next(&mut self, echo: bool, rng: &mut Rng) -> Option<Job> {
        if std::mem::take(&mut self.flood) {
            return Some(Job::Spam);
        }
        let coalesces = self.fault == Some(Fault::Coalesce) && self.waiting != 0;
        if self.answers > 0 && !coalesces {
            self.answers -= 1;
            return Some(Job::Answer);
        }
        const ORDER: [Report; 4] = [Report::Project, Report::Status, Report::Performance, Report::Picture];
        let report = ORDER.into_iter().find(|report| self.waiting & (1 << *report as u8) != 0)?;
        self.waiting &= !(1 << report as u8);
        if self.reports == 0 {
            self.reports = rng.below(1 << 15) as u16;
        }
        self.reports = self.reports.wrapping_add(1);
        let n = self.reports;
        match self.fault {
            Some(Fault::Coalesce) => {
                let answer = self.answers > 0;
                self.answers -= u8::from(answer);
                return Some(Job::Glued(n, answer));
            }
            Some(Fault::Garbage) if n % 6 == 5 => return Some(Job::Garbage(n / 6)),
            Some(Fault::Garbage) if n % 2 == 1 => return Some(Job::Refused(n / 2)),
            _ => {}
        }
        Some(match report {
            Report::Project => Job::Project(n),
            Report::Performance => Job::Performance(n),
            Report::Picture => Job::Picture(n),
            // One at a time: the numbers of two could not be told apart if one were lost.
            Report::Status if echo && !self.echo.waiting => {
                self.echo = Echo { number: self.echo.number.wrapping_add(1), waiting: true, ..Echo::default() };
                Job::Echo(n)
            }
            Report::Status => Job::Status(n),
        })
    }
}

impl Echo {
    /// Takes a piece of command text, which may be cut anywhere. True if the answer ended in it.
    pub(crate) fn hear(&mut self, text: &[u8]) -> bool {
        let mut answered = false;
        for &byte in text {
            match byte {
                b'0'..=b'9' => self.heard = self.heard.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')),
                b';' => {
                    answered |= self.waiting && self.heard == self.number;
                    self.waiting &= self.heard != self.number;
                    self.heard = 0;
                }
                _ => self.heard = 0,
            }
        }
        answered
    }
}

// Paid once per device.
const _: () = assert!(size_of::<Device>() <= 96);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_first_and_reports_once() {
        let mut rng = Rng::new(1);
        let mut device = Device::new(None);
        assert!(device.report(Report::Status));
        assert!(!device.report(Report::Status));
        assert!(device.report(Report::Project));
        device.answers = 1;
        let mut jobs = Vec::new();
        while let Some(job) = device.begin(true, &mut rng) {
            jobs.push(job);
            device.job = None;
        }
        assert!(matches!(jobs[..], [Job::Answer, Job::Project(_), Job::Echo(_)]), "{jobs:?}");
        assert!(!device.has_more());
        // While an answer is waited for, a status goes without a number.
        device.report(Report::Status);
        assert!(matches!(device.begin(true, &mut rng), Some(Job::Status(_))));
    }

    #[test]
    fn an_answer_is_known_however_it_is_cut() {
        let text = b"rebootecho 41;echo 42;x";
        for cut in 0..=text.len() {
            let mut echo = Echo { number: 42, at: 0, waiting: true, heard: 0 };
            let heard = u8::from(echo.hear(&text[..cut])) + u8::from(echo.hear(&text[cut..]));
            assert_eq!((heard, echo.waiting), (1, false), "cut at {cut}");
            assert!(!echo.hear(b"echo 42;"), "twice");
        }
    }
}
