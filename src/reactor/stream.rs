//! The reactor's state of one stream beside its descriptor: 16 bytes a device.

use std::time::Duration;

use super::system::Io;
use crate::endpoint::{ConnectionId, Errno};

#[derive(Debug)]
pub(super) struct Stream<S> {
    pub(super) io: S,
    /// With the index in the table, the stream's id.
    generation: u32,
    /// The errno of the first write that failed, 0 for none.
    write_error: u16,
    /// log2 of the bytes that one read takes at most.
    read_size: u8,
    flags: u8,
}

/// One property of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flag {
    /// An outgoing connection that is not up yet.
    Connecting = 1,
    /// The kernel took too few bytes. The reactor waits for the EPOLLOUT edge.
    Blocked = 2,
    /// The stream is in the ready list.
    HasMore = 4,
    /// The last visit cost much time. A new edge puts the stream on the ready list instead of reading it.
    Costly = 8,
}

/// How near its end a stream is, in the two highest bits of the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum End {
    /// No end is known.
    Open = 0,
    /// The kernel announced the peer's end. It lies behind the bytes that are still unread.
    Announced = 1,
    /// The stream broke: the reactor reads it to its end, even if the endpoint paused it.
    Broken = 2,
    /// The endpoint knows of the peer's end.
    EofDelivered = 3,
}

const END_SHIFT: u8 = 6;
/// log2 of the bytes of a stream's first read. The cost of its bytes is not known yet.
const FIRST_READ: u8 = 13;
/// log2 of the bytes of the smallest read.
const SMALLEST_READ: u8 = 9;
/// A read grows at most by this power of two, so that cheap bytes buy no long turn for dear ones.
const GROWTH: u8 = 2;

impl<S> Stream<S> {
    pub(super) fn new(id: ConnectionId, io: S) -> Self {
        Self { io, generation: id.generation(), write_error: 0, read_size: FIRST_READ, flags: 0 }
    }

    /// The id of this stream, which lies at `index`.
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

    /// The error of the first write that failed.
    pub(super) fn write_error(&self) -> Option<Errno> {
        (self.write_error != 0).then_some(Errno(self.write_error.into()))
    }

    pub(super) fn fail_write(&mut self, error: Errno) {
        if self.write_error == 0 {
            // An error without a number, which no kernel gives, counts as EIO.
            self.write_error = u16::try_from(error.0).ok().filter(|&errno| errno != 0).unwrap_or(EIO);
        }
    }

    /// The most bytes that one read takes, so that the endpoint is done with them in about one slice.
    pub(super) fn read_bytes_max(&self) -> usize {
        1 << self.read_size
    }

    /// A read of `bytes` took `cost`: sizes the next read so that it takes about one `slice`.
    pub(super) fn adapt(&mut self, bytes: usize, cost: Duration, slice: Duration) {
        let in_slice = bytes as u128 * slice.as_nanos() / cost.as_nanos().max(1);
        let wanted = in_slice.max(1).ilog2().min(30) as u8;
        let largest = if bytes < self.read_bytes_max() { self.read_size } else { (self.read_size + GROWTH).min(30) };
        self.read_size = wanted.min(largest).max(SMALLEST_READ);
    }
}

const EIO: u16 = 5;

/// The stream of `id`, unless another stream has its place.
pub(super) fn stream_mut<S>(streams: &mut [Option<Stream<S>>], id: ConnectionId) -> Option<&mut Stream<S>> {
    let stream = streams.get_mut(id.index())?.as_mut()?;
    (stream.id(id.index()) == id).then_some(stream)
}

// In debug builds mio's sockets remember where they are registered.
const _: () = assert!(size_of::<Option<Stream<Io>>>() == 16 || cfg!(debug_assertions));

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn stream() -> Stream<()> {
        Stream::new(ConnectionId::new(7, 3), ())
    }

    #[test]
    fn flags_end_and_error_do_not_touch_each_other() {
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
        assert_eq!(stream.read_bytes_max(), 16 << 10, "a short read says nothing of larger ones");
        stream.adapt(16 << 10, MS * 1000, MS);
        assert_eq!(stream.read_bytes_max(), 512);
        for _ in 0..20 {
            stream.adapt(stream.read_bytes_max(), Duration::ZERO, MS);
        }
        assert_eq!(stream.read_bytes_max(), 1 << 30);
    }
}
