//! Sending: the corpus lends the bytes of one job at a time, without a copy and without a queue.

use std::time::Instant;

use pulsegate::unstable::endpoint::Output;

use super::Fleet;
use crate::content::{COALESCED, SPAM};
use crate::device::{ACTION, Job};
use crate::faults::Fault;

impl Fleet {
    /// Adds the device to the ready list if it has bytes to send.
    pub(super) fn offer(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        if device.is_ready() && !device.queued {
            device.queued = true;
            self.ready.push_back(index);
        }
    }

    /// Lends the next bytes of a ready device.
    pub(super) fn lend(&mut self, index: u32) -> Option<Output<'_>> {
        let id = self.id(index);
        let device = &mut self.devices[index as usize];
        // Faulty devices are slow on purpose, so their round trips would not measure the gateway.
        let echo = self.plan.echo && device.fault.is_none();
        let job = device.begin(echo, &mut self.rng)?;
        let bytes = self.corpus.bytes(job, device.echo.number, &mut self.scratch);
        self.job_len = bytes.len();
        let rest = &bytes[device.offset as usize..];
        let bytes = match device.fault.and_then(Fault::pieces) {
            Some((pieces, _)) => &rest[..rest.len().min(bytes.len().div_ceil(pieces as usize))],
            None => rest,
        };
        self.lent = bytes.len();
        Some(Output::Send { id, bytes })
    }

    /// Handles `taken` bytes that the kernel took of the lent ones.
    pub(super) fn sent(&mut self, index: u32, taken: usize, now: Instant) {
        let device = &mut self.devices[index as usize];
        let Some(job) = device.job else { return };
        self.tally.bytes_sent += taken as u64;
        if device.offset == 0 && matches!(job, Job::Echo(_)) {
            device.echo.at = self.clock.micros(now);
        }
        device.offset += taken as u32;
        device.blocked = taken < self.lent;
        if device.offset as usize == self.job_len {
            device.job = None;
            self.count_job(job);
        } else if !device.blocked
            && let Some((_, pause)) = device.fault.and_then(Fault::pieces)
        {
            device.held = true;
            device.due[ACTION] = self.clock.millis(now) + pause;
            self.rearm(index);
        }
        self.offer(index);
    }

    /// Counts a complete job.
    fn count_job(&mut self, job: Job) {
        let tally = &mut self.tally;
        match job {
            Job::Answer => tally.answers += 1,
            Job::Project(_) => tally.messages.project += 1,
            Job::Performance(_) => tally.messages.performance += 1,
            Job::Status(_) => tally.messages.status += 1,
            Job::Picture(_) => tally.messages.picture += 1,
            Job::Echo(_) => {
                tally.messages.status += 1;
                tally.echoes += 1;
            }
            Job::Coalesced(_, answer) => {
                tally.messages.performance += COALESCED;
                tally.answers += u64::from(answer);
            }
            Job::Rejected(_) | Job::Garbage(_) => tally.garbage += 1,
            Job::Spam => tally.spam += SPAM as u64,
        }
    }
}
