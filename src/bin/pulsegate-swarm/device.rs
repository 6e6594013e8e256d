//! One simulated device. Its state has less than 100 bytes, because the corpus holds the objects that it sends.

use pulsegate::unstable::connection::ClientConnection;
use pulsegate::unstable::wheel::TimerKey;

use crate::faults::Fault;
use crate::rng::Rng;
use crate::schedule::NEVER;

/// A device and its connection, if it has one.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) phase: Phase,
    pub(crate) fault: Option<Fault>,
    /// The number of dials. Each dial has its own [`pulsegate::ConnectionId`].
    pub(crate) generation: u32,
    /// Failed dials and short connections in a row.
    pub(crate) failures: u8,
    /// The due times of the first three [`Report`]s and of the [`ACTION`], in milliseconds of the run.
    pub(crate) due: [u32; 4],
    /// The device's timer in the wheel, set to the earliest due time.
    pub(crate) timer: Option<TimerKey>,
    /// Queued reports, one bit for each [`Report`].
    waiting: u8,
    /// Beats without an answer so far.
    pub(crate) answers: u8,
    /// Whether a flood of heartbeats is queued.
    pub(crate) flood: bool,
    /// The number of reports so far. It selects the next object of the corpus.
    reports: u16,
    /// The job that is being sent, and the number of its bytes that the kernel has taken.
    pub(crate) job: Option<Job>,
    pub(crate) offset: u32,
    /// The kernel takes no more bytes until the socket becomes writable.
    pub(crate) blocked: bool,
    /// The next piece of the job waits for a timer.
    pub(crate) held: bool,
    /// The device is in the ready list.
    pub(crate) queued: bool,
    /// The gateway has half-closed the connection (FIN).
    pub(crate) ended: bool,
    /// The device has closed the connection.
    pub(crate) own_end: bool,
    /// The device had a connection before.
    pub(crate) was_up: bool,
    pub(crate) client: ClientConnection,
    /// The time of the dial or, once connected, of the connection: microseconds of the run, wrapping.
    pub(crate) since: u32,
    /// The time of the last beat of this connection, in the same unit.
    pub(crate) beat: Option<u32>,
    pub(crate) echo: Echo,
}

/// The state of a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected. The action timer may start a dial.
    Down,
    /// In the queue of dials.
    Queued,
    Connecting,
    Up,
}

/// The last index of [`Device::due`]: a dial of a device that is down, or a step of its fault.
pub(crate) const ACTION: usize = 3;

/// The reports of a device. The first three are periodic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Performance,
    Status,
    Picture,
    /// The identity of the device, once after each connect.
    Project,
}

/// The bytes of one send. The number selects an object of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// A heartbeat answer.
    Answer,
    Project(u16),
    Performance(u16),
    Status(u16),
    Picture(u16),
    /// A status that asks for an answer.
    Echo(u16),
    /// Many objects in one write. With `true`, a heartbeat answer is among them.
    Coalesced(u16, bool),
    /// An object that the gateway rejects.
    Rejected(u16),
    /// Bytes that are a framing error.
    Garbage(u16),
    /// A flood of heartbeats.
    Spam,
}

/// The measurement of one round trip.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo {
    /// The number of the last request.
    pub(crate) number: u32,
    /// The time at which the kernel took its first byte, in microseconds of the run, wrapping.
    pub(crate) at: u32,
    /// Whether the answer is outstanding.
    pub(crate) waiting: bool,
    /// The number that the digits received so far form.
    received: u32,
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

    /// Resets the state of the ended connection.
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

    /// The earliest due time.
    pub(crate) fn next_due(&self) -> u32 {
        self.due.into_iter().fold(NEVER, u32::min)
    }

    /// Queues a report. Returns false if the previous one of its kind is still queued.
    pub(crate) fn report(&mut self, report: Report) -> bool {
        let bit = 1 << report as u8;
        let free = self.waiting & bit == 0;
        self.waiting |= bit;
        free
    }

    /// Drops the queued reports.
    pub(crate) fn drop_reports(&mut self) {
        self.waiting = 0;
        self.flood = false;
    }

    /// Whether there are bytes to send, at once or when the socket becomes writable.
    pub(crate) fn has_more(&self) -> bool {
        self.job.is_some() || self.answers > 0 || self.waiting != 0 || self.flood
    }

    /// Whether the kernel may take bytes at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Up && !self.blocked && !self.held && !self.ended && self.has_more()
    }

    /// Returns the current job, or begins the next one. Answers come before reports.
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
                return Some(Job::Coalesced(n, answer));
            }
            Some(Fault::Garbage) if n % 6 == 5 => return Some(Job::Garbage(n / 6)),
            Some(Fault::Garbage) if n % 2 == 1 => return Some(Job::Rejected(n / 2)),
            _ => {}
        }
        Some(match report {
            Report::Project => Job::Project(n),
            Report::Performance => Job::Performance(n),
            Report::Picture => Job::Picture(n),
            // One request at a time: after a loss, two numbers would be ambiguous.
            Report::Status if echo && !self.echo.waiting => {
                self.echo = Echo { number: self.echo.number.wrapping_add(1), waiting: true, ..Echo::default() };
                Job::Echo(n)
            }
            Report::Status => Job::Status(n),
        })
    }
}

impl Echo {
    /// Takes a piece of command text, which TCP may cut anywhere. Returns true if it completes the answer.
    pub(crate) fn receive(&mut self, text: &[u8]) -> bool {
        let mut answered = false;
        for &byte in text {
            match byte {
                b'0'..=b'9' => self.received = self.received.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')),
                b';' => {
                    answered |= self.waiting && self.received == self.number;
                    self.waiting &= self.received != self.number;
                    self.received = 0;
                }
                _ => self.received = 0,
            }
        }
        answered
    }
}

// The memory of each device.
const _: () = assert!(size_of::<Device>() <= 96);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_first_and_each_report_once() {
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
        // While an answer is outstanding, a status asks for none.
        device.report(Report::Status);
        assert!(matches!(device.begin(true, &mut rng), Some(Job::Status(_))));
    }

    #[test]
    fn an_answer_is_recognised_at_every_cut() {
        let text = b"rebootecho 41;echo 42;x";
        for cut in 0..=text.len() {
            let mut echo = Echo { number: 42, at: 0, waiting: true, received: 0 };
            let answers = u8::from(echo.receive(&text[..cut])) + u8::from(echo.receive(&text[cut..]));
            assert_eq!((answers, echo.waiting), (1, false), "cut at {cut}");
            assert!(!echo.receive(b"echo 42;"), "a second answer");
        }
    }
}
