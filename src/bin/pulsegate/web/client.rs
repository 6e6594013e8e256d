//! One HTTP connection, without its socket: bytes in, a request out, an answer in, bytes out.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pulsegate::ConnectionId;
use pulsegate::unstable::endpoint::Outbox;

use super::request::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Method, Request, parse};
use super::response::{Response, Status};
use super::ring::Filter;
use super::router::Route;

/// How long a head or a body may take from its first byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may rest between requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take no byte while something waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ConnectionId,
    pub(super) from: IpAddr,
    pub(super) state: State,
    pub(super) queue: Outbox,
    /// Bytes of the queue that the kernel was offered and has not answered for.
    pub(super) lent: usize,
    /// Whether the kernel took less than it was offered.
    pub(super) is_blocked: bool,
    /// Received bytes that belong to no request yet.
    input: Vec<u8>,
    /// Whether the client has ended its sending half.
    has_ended: bool,
    /// When the connection ends unless something happens.
    pub(super) deadline: Instant,
}

/// A request and its body.
pub(super) type Complete = (Box<Request>, Vec<u8>);

/// The state of a connection.
#[derive(Debug)]
pub(super) enum State {
    /// The client sends a head.
    Head,
    /// The client sends the body of that request.
    Body(Box<Request>),
    /// The gateway has not answered.
    Waiting { awaited: Box<Awaited>, reply: Reply, since: Instant },
    /// The answer is sent, and then the next request is read.
    Writing,
    /// The client follows events.
    Streaming { position: u64, filter: Filter },
    /// The queue is sent, and then the connection ends.
    Closing,
}

/// The answer of the gateway that a request awaits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The figures or the list that this route shows.
    Route(Route),
    /// The answer to the command of that number.
    Command(u64),
}

/// The form of an answer, as its request asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) is_head: bool,
    pub(super) keep_alive: bool,
}

impl Client {
    pub(super) fn new(id: ConnectionId, from: IpAddr, now: Instant) -> Self {
        Self {
            id,
            from,
            state: State::Head,
            queue: Outbox::default(),
            lent: 0,
            is_blocked: false,
            input: Vec::new(),
            has_ended: false,
            deadline: now + REQUEST_TIMEOUT,
        }
    }

    /// Bytes that may be received. A client that sends more than one request at a time waits for its answers.
    pub(super) fn room(&self) -> usize {
        match self.state {
            State::Closing | State::Streaming { .. } => usize::MAX,
            _ => (HEAD_BYTES_MAX + BODY_BYTES_MAX).saturating_sub(self.input.len()),
        }
    }

    /// Takes bytes. Those behind the last request of a connection mean nothing.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.state, State::Closing | State::Streaming { .. }) {
            return;
        }
        if matches!(self.state, State::Head) && self.input.is_empty() {
            self.deadline = now + REQUEST_TIMEOUT;
        }
        self.input.extend_from_slice(bytes);
    }

    /// The client sends no more. Whether the connection is of no more use.
    pub(super) fn end(&mut self) -> bool {
        self.has_ended = true;
        matches!(self.state, State::Head | State::Body(_) | State::Streaming { .. })
    }

    /// The next request and its body, if both are complete.
    ///
    /// # Errors
    /// The answer to bytes that are no request, after which the connection ends.
    pub(super) fn next_request(&mut self) -> Result<Option<Complete>, Status> {
        if matches!(self.state, State::Head) {
            let Some((request, length)) = parse(&self.input)? else { return Ok(None) };
            self.input.drain(..length);
            self.state = State::Body(Box::new(request));
        }
        let State::Body(request) = &self.state else { return Ok(None) };
        if self.input.len() < request.content_length {
            return Ok(None);
        }
        let body = self.input.drain(..request.content_length).collect();
        match std::mem::replace(&mut self.state, State::Writing) {
            State::Body(request) => Ok(Some((request, body))),
            _ => Ok(None),
        }
    }

    /// Queues an answer.
    pub(super) fn answer(&mut self, response: &Response, reply: Reply, now: Instant) {
        let keep_alive = reply.keep_alive && !self.has_ended;
        self.queue.push(&response.bytes(reply.is_head, keep_alive));
        self.state = if keep_alive { State::Writing } else { State::Closing };
        self.deadline = now + WRITE_TIMEOUT;
    }

    /// The kernel took bytes. Whether the queue is empty.
    pub(super) fn sent(&mut self, taken: usize, now: Instant) -> bool {
        self.is_blocked = taken < std::mem::take(&mut self.lent);
        self.queue.advance(taken);
        if taken > 0 {
            self.deadline = now + WRITE_TIMEOUT;
        }
        self.queue.is_empty()
    }

    /// The answer is out: another request may come.
    pub(super) fn rest(&mut self, now: Instant) {
        self.state = State::Head;
        self.deadline = now + if self.input.is_empty() { IDLE_TIMEOUT } else { REQUEST_TIMEOUT };
        if self.input.is_empty() {
            // A large body's memory is not kept.
            self.input = Vec::new();
        }
    }

    /// Whether some of a request has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.input.is_empty() || matches!(self.state, State::Body(_))
    }
}

impl Reply {
    pub(super) fn to(request: &Request) -> Self {
        Self { is_head: request.method == Method::Head, keep_alive: request.keep_alive }
    }

    /// The answer to what is no request.
    pub(super) const LAST: Self = Self { is_head: false, keep_alive: false };
}
