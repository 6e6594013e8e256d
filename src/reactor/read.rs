//! Reading streams: each visit within its bytes and its time.

use std::io;
use std::time::Duration;

use super::kernel::{Kernel, is_exhausted};
use super::sockets::{Repeat, Sockets};
use super::stream::{End, Flag, stream_mut};
use crate::endpoint::{ConnectionId, Endpoint, Errno, StreamEnd};

/// The time in which each stream of the ready list has one visit, up to 400 streams.
const ROUND: Duration = Duration::from_millis(100);
/// The longest visit of a stream.
const SLICE_MAX: Duration = Duration::from_millis(2);
/// The shortest visit of a stream. 400 such visits fit into ROUND.
const SLICE_MIN: Duration = Duration::from_micros(250);
/// A stream with a longer visit goes to the end of the ready list at its next edge.
const CHEAP_VISIT: Duration = Duration::from_micros(250);
/// Bytes of the first read after an edge while the ready list is not empty. Even expensive bytes cost little then.
const FIRST_VISIT_BYTES: usize = 2 << 10;

/// The rest of one visit of a stream.
struct Visit {
    bytes: usize,
    spent: Duration,
    slice: Duration,
}

/// The next step of a visit after one read.
enum Next {
    /// Reads on.
    Read,
    /// Leaves the stream until the next edge.
    Leave,
    /// Puts the stream on the ready list.
    List,
}

impl<K: Kernel> Sockets<K> {
    /// Visits each stream of the ready list at most once, until the turn's time is over. At least one stream has a visit.
    pub(super) fn visit_ready_list(&mut self, endpoint: &mut impl Endpoint) {
        for _ in 0..self.ready_list.len() {
            let Some(id) = self.ready_list.pop_front() else { break };
            let Some(stream) = stream_mut(&mut self.streams, id) else { continue };
            stream.set(Flag::HasMore, false);
            self.read(id, self.limits.read_bytes_per_turn_max, endpoint);
            self.drain(endpoint);
            if self.turn.is_over() {
                break;
            }
        }
    }

    /// Reads a stream that has a new edge.
    pub(super) fn read_new(&mut self, id: ConnectionId, endpoint: &mut impl Endpoint) {
        let bytes = self.limits.read_bytes_per_turn_max;
        let others_wait = !self.ready_list.is_empty();
        self.read(id, if others_wait { bytes.min(FIRST_VISIT_BYTES) } else { bytes }, endpoint);
    }

    /// Reads a stream until it is empty, or until its visit is over. That takes `bytes` at most.
    fn read(&mut self, id: ConnectionId, bytes: usize, endpoint: &mut impl Endpoint) {
        let round = ROUND / (self.ready_list.len() as u32 + 1);
        let slice = round.clamp(SLICE_MIN, SLICE_MAX);
        let mut visit = Visit { bytes, spent: Duration::ZERO, slice };
        let mut buffer = std::mem::take(&mut self.buffer);
        let listed = loop {
            match self.read_once(id, &mut buffer, &mut visit, endpoint) {
                Next::Read => {}
                Next::Leave => break false,
                Next::List => break true,
            }
        };
        self.buffer = buffer;
        if let Some(stream) = stream_mut(&mut self.streams, id) {
            stream.set(Flag::Costly, visit.spent > CHEAP_VISIT);
        }
        if listed {
            self.list(id);
        }
    }

    fn read_once(
        &mut self,
        id: ConnectionId,
        buffer: &mut [u8],
        visit: &mut Visit,
        endpoint: &mut impl Endpoint,
    ) -> Next {
        let Some(stream) = stream_mut(&mut self.streams, id) else { return Next::Leave };
        let write_error = stream.write_error();
        let may_pause = write_error.is_none() && stream.end() < End::Broken;
        let wanted = if may_pause { endpoint.poll_read(id) } else { usize::MAX };
        if wanted == 0 {
            return Next::Leave;
        }
        let room = wanted.min(buffer.len()).min(visit.bytes).min(stream.read_bytes_max());
        match self.kernel.read(&mut stream.io, &mut buffer[..room]) {
            Ok(0) => {
                self.read_end(id, endpoint);
                Next::Leave
            }
            Ok(n) => {
                // A short read emptied the stream: an edge announces further bytes. Only an end that was
                // announced before is not announced again.
                let emptied = n < room && stream.end() == End::Open && write_error.is_none();
                endpoint.handle_data(id, &buffer[..n], self.turn.now);
                self.drain(endpoint);
                self.after_data(id, n, emptied, visit)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Next::Read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if write_error.is_some() {
                    self.fail(id, None, endpoint);
                } else if stream.end() != End::EofDelivered {
                    // Stale event: the end was that of the previous owner of this token.
                    stream.set_end(End::Open);
                }
                Next::Leave
            }
            Err(error) if is_exhausted(&error) && write_error.is_none() => {
                self.retry_later(id, Repeat::Read);
                Next::Leave
            }
            Err(error) => {
                self.fail(id, Some(error), endpoint);
                Next::Leave
            }
        }
    }

    /// Sizes the next read by the time that the endpoint took for `n` bytes.
    fn after_data(&mut self, id: ConnectionId, n: usize, emptied: bool, visit: &mut Visit) -> Next {
        if let Some(cost) = self.turn.charge(&self.kernel, n) {
            visit.spent += cost;
            if let Some(stream) = stream_mut(&mut self.streams, id) {
                stream.adapt(n, cost, visit.slice);
            }
        }
        visit.bytes = visit.bytes.saturating_sub(n);
        if emptied {
            Next::Leave
        } else if visit.bytes == 0 || visit.spent >= visit.slice || self.turn.is_over() {
            Next::List
        } else {
            Next::Read
        }
    }

    /// The reactor has read a stream to its end.
    fn read_end(&mut self, id: ConnectionId, endpoint: &mut impl Endpoint) {
        let Some(stream) = stream_mut(&mut self.streams, id) else { return };
        if stream.write_error().is_some() {
            // The kernel reports a stream's error once: the write got it.
            self.fail(id, None, endpoint);
        } else if stream.end() != End::EofDelivered {
            stream.set_end(End::EofDelivered);
            endpoint.handle_end(id, self.turn.now);
        }
        self.drain(endpoint);
    }

    /// Closes a failed stream with the error of its first failed write, else with the error of the read.
    fn fail(&mut self, id: ConnectionId, read: Option<io::Error>, endpoint: &mut impl Endpoint) {
        let write_error = stream_mut(&mut self.streams, id).and_then(|stream| stream.write_error());
        let error = write_error.or(read.map(Errno::from)).unwrap_or(Errno(0));
        self.close(id, StreamEnd::Failed(error), endpoint);
        self.drain(endpoint);
    }
}
