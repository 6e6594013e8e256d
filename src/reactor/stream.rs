//! What is remembered of one stream, or of a socket where streams or datagrams arrive, besides its descriptor. Floor 3.

use std::time::Instant;

use super::system::Io;
use crate::endpoint::{ConnectionId, ListenerId};

/// 16 bytes a device.
#[derive(Debug)]
pub(super) struct Stream<S> {
    pub(super) io: S,
    /// With the index in the table, the stream's id.
    generation: u32,
    /// An outgoing connection that is not up yet.
    pub(super) connecting: bool,
    /// The kernel has taken too little and is to tell when it takes more.
    pub(super) blocked: bool,
    /// Waits in the list of streams that have more to read.
    pub(super) unfinished: bool,
    pub(super) end: End,
}

/// How near its end a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Nothing is known of one.
    Open,
    /// It has been announced, and lies behind what is still to be read.
    Announced,
    /// The stream is said to be broken: it is read to its end, wanted or not.
    Broken,
    /// The peer's end has been read, and the endpoint told.
    Told,
}

impl<S> Stream<S> {
    pub(super) fn new(id: ConnectionId, io: S) -> Self {
        let generation = id.generation();
        Self { io, generation, connecting: false, blocked: false, unfinished: false, end: End::Open }
    }

    /// The id of this stream, which lies at `index`.
    pub(super) fn id(&self, index: usize) -> ConnectionId {
        ConnectionId::new(index as u32, self.generation)
    }
}

/// The stream of `id`, if it is still that one.
pub(super) fn live<S>(streams: &mut [Option<Stream<S>>], id: ConnectionId) -> Option<&mut Stream<S>> {
    let stream = streams.get_mut(id.index())?.as_mut()?;
    (stream.id(id.index()) == id).then_some(stream)
}

// In debug builds mio's sockets remember where they are registered.
const _: () = assert!(size_of::<Option<Stream<Io>>>() == 16 || cfg!(debug_assertions));

/// A listener or datagram socket.
#[derive(Debug)]
pub(super) struct Arrivals<S> {
    pub(super) id: ListenerId,
    pub(super) socket: S,
    /// Left alone until then, because descriptors or memory had run out: no new edge comes for what
    /// waits already.
    pub(super) parked: Option<Instant>,
    /// Has more than one turn allows.
    pub(super) unfinished: bool,
}

impl<S> Arrivals<S> {
    pub(super) fn new(id: ListenerId, socket: S) -> Self {
        Self { id, socket, parked: None, unfinished: false }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.unfinished || self.parked.is_some_and(|until| until <= now)
    }
}
