//! The reactor's state of one stream. With its file descriptor it has 16 bytes.

use std::time::Duration;

use super::system::Io;
use crate::endpoint::{ConnectionId, Errno};

#[derive(Debug)]
pub(super) struct Stream<S> {
    pub(super) io: S,
    /// The generation of the stream's id.
    generation: u32,
    /// The errno of the first failed write, or 0.
    write_error: u16,
    /// log2 of the maximum of bytes in one read.
    read_size: u8,
    flags: u8,
}

/// One property of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flag {
    /// An outgoing connection that is not established.
    Connecting = 1,
    /// The kernel took too few bytes. The reactor waits for the EPOLLOUT edge.
    Blocked = 2,
    /// The stream is in the ready list.
    HasMore = 4,
    /// The last visit took long. After a new edge the stream goes to the ready list first.
    Costly = 8,
}

/// The progress of a stream's end, in the two highest bits of the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum End {
    /// The reactor knows of no end.
    Open = 0,
    /// The kernel announced a half-close, which comes after the unread bytes.
    Announced = 1,
    /// The stream failed. The reactor reads it to its end, even if the endpoint paused it.
    Broken = 2,
    /// The reactor has notified the endpoint of the half-close.
    EofDelivered = 3,
}

const END_SHIFT: u8 = 6;
/// log2 of the bytes of a stream's first read, whose cost is unknown.
const FIRST_READ: u8 = 13;
/// log2 of the bytes of the smallest read.
const SMALLEST_READ: u8 = 9;
/// A read grows at most by this power of two, so that expensive bytes after cheap ones cause no long turn.
const GROWTH: u8 = 2;

impl<S> Stream<S> {
    pub(super) fn new(id: ConnectionId, io: S) -> Self {
        Self { io, generation: id.generation(), write_error: 0, read_size: FIRST_READ, flags: 0 }
    }

    /// Returns the id of this stream at `index`.
    pub(super) fn id(&self, index: usize) -> ConnectionId {
        ConnectionId::new(index as u32, self.generation)
    }

    pub(super) fn is(&self, flag: Flag) -> bool {
        self.flags & flag as u8 != 0
    }

    /// Sets or clears a flag and returns its former value.
    pub(super) fn set(&mut self, flag: Flag, value: bool) -> bool {
        let before = self.is(flag);
        self.flags = self.flags & !(flag as u8) | if value { flag as u8 } else { 0 };
        before
    }

    pub(super) fn end(&self) -> End {
        match self.flags >> END_SHIFT {
            0 => End::Open,
            1 => End::Announced,
            2 => End::Broken,
            _ => End::EofDelivered,
        }
    }

    pub(super) fn set_end(&mut self, end: End) {
        self.flags = self.flags & ((1 << END_SHIFT) - 1) | (end as u8) << END_SHIFT;
    }

    /// Returns the error of the first failed write.
    pub(super) fn write_error(&self) -> Option<Errno> {
        (self.write_error != 0).then_some(Errno(self.write_error.into()))
    }

    pub(super) fn fail_write(&mut self, error: Errno) {
        if self.write_error == 0 {
            // An error without a number counts as EIO. No kernel returns one.
            self.write_error = u16::try_from(error.0).ok().filter(|&errno| errno != 0).unwrap_or(EIO);
        }
    }

    /// The maximum of bytes in one read, which the endpoint handles in about one slice.
    pub(super) fn read_bytes_max(&self) -> usize {
        1 << self.read_size
    }

    /// Sizes the next read to take about one `slice`, after a read of `bytes` took `cost`.
    pub(super) fn adapt(&mut self, bytes: usize, cost: Duration, slice: Duration) {
        let in_slice = bytes as u128 * slice.as_nanos() / cost.as_nanos().max(1);
        let wanted = in_slice.max(1).ilog2().min(30) as u8;
        let largest = if bytes < self.read_bytes_max() { self.read_size } else { (self.read_size + GROWTH).min(30) };
        self.read_size = wanted.min(largest).max(SMALLEST_READ);
    }
}

const EIO: u16 = 5;

/// Returns the stream of `id`, unless the index belongs to another generation.
pub(super) fn stream_mut<S>(streams: &mut [Option<Stream<S>>], id: ConnectionId) -> Option<&mut Stream<S>> {
    let stream = streams.get_mut(id.index())?.as_mut()?;
    (stream.id(id.index()) == id).then_some(stream)
}

// In debug builds mio's sockets are larger.
const _: () = assert!(size_of::<Option<Stream<Io>>>() == 16 || cfg!(debug_assertions));

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn stream() -> Stream<()> {
        Stream::new(ConnectionId::new(7, 3), ())
    }

    #[test]
    fn flags_end_and_error_are_independent() {
        let mut stream = stream();
        let flags = [Flag::Connecting, Flag::Blocked, Flag::HasMore, Flag::Costly];
        for end in [End::Open, End::Announced, End::Broken, End::EofDelivered] {
            stream.set_end(end);
            for flag in flags {
                assert!(!stream.set(flag, true));
                assert!(flags.iter().all(|&other| stream.is(other) == (other == flag)), "{flag:?} at {end:?}");
                assert!(stream.set(flag, false));
                assert_eq!(stream.end(), end);
            }
        }
        assert_eq!(stream.write_error(), None);
        stream.fail_write(Errno(32));
        stream.fail_write(Errno(104));
        assert_eq!(stream.write_error(), Some(Errno(32)), "the first error stays");
        assert_eq!(stream.id(7), ConnectionId::new(7, 3));
    }

    #[test]
    fn a_read_shrinks_to_one_slice_at_once_and_grows_by_steps() {
        let mut stream = stream();
        assert_eq!(stream.read_bytes_max(), 8 << 10);
        stream.adapt(8 << 10, MS / 100, MS * 2);
        assert_eq!(stream.read_bytes_max(), 32 << 10, "grows fourfold at most");
        stream.adapt(32 << 10, MS * 4, MS * 2);
        stream.adapt(16 << 10, MS * 8, MS * 2);
        assert_eq!(stream.read_bytes_max(), 4 << 10);
        stream.adapt(4 << 10, MS / 100, MS * 2);
        stream.adapt(100, MS / 1000, MS * 2);
        assert_eq!(stream.read_bytes_max(), 16 << 10, "a short read does not size larger ones");
        stream.adapt(16 << 10, MS * 1000, MS);
        assert_eq!(stream.read_bytes_max(), 512);
        for _ in 0..20 {
            stream.adapt(stream.read_bytes_max(), Duration::ZERO, MS);
        }
        assert_eq!(stream.read_bytes_max(), 1 << 30);
    }
}
