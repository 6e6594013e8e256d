//! Virtual devices on virtual wires around a real [`Gateway`]: no socket, and a clock that jumps from one event to the
//! next. It keeps the law of the seam (one `handle_*`, then drain) and checks that the gateway keeps its part.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pulsegate::connection::{ClientConnection, Heard};
use pulsegate::endpoint::{Endpoint, Output, Peer, Via};
use pulsegate::proto::heartbeat::ANSWER;
use pulsegate::{
    ConnectionId, Disconnect, Gateway, ListenerId, OsError, Queued, SendError, Settings, StreamEnd, Target,
};

use super::{Recorder, Rng, Seen};

/// The gateway's grain: what it does is never early, and late by no more than this.
pub(crate) const TICK: Duration = pulsegate::tick::TICK;

/// A device's number in its network. It never means another device.
pub(crate) type LinkId = usize;

/// How the bytes of a device are cut into reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As the device sent them.
    Whole,
    /// So many bytes a read.
    Every(usize),
    /// Anywhere.
    Anywhere,
}

/// One device and its wire.
#[derive(Debug)]
pub(crate) struct Link {
    /// `None` where the gateway refused it.
    pub(crate) id: Option<ConnectionId>,
    pub(crate) address: SocketAddr,
    /// One way.
    pub(crate) latency: Duration,
    pub(crate) cut: Cut,
    /// Whether it answers beats.
    pub(crate) answers: bool,
    /// Whether it reads what is sent to it. See [`Network::set_reading`].
    pub(crate) reading: bool,
    /// Bytes that the path holds for a device that does not read.
    pub(crate) window: usize,
    /// Whether the kernel at times takes less than would fit.
    pub(crate) short_writes: bool,
    /// The stream is up, as the gateway sees it.
    pub(crate) open: bool,
    /// The device, or the cable to it, is gone without a word.
    pub(crate) vanished: bool,
    /// Bytes that it has sent or is about to: where in its stream the next one will stand.
    pub(crate) sent: u64,
    /// The answers to beats that it sent, by where they stand in its stream; emptied by who wants to know.
    pub(crate) answered: Vec<u64>,
    /// The gateway has been told of the end of its sending.
    pub(crate) end_told: bool,
    /// Bytes that were handed to the gateway.
    pub(crate) delivered: u64,
    /// When the last of them were.
    pub(crate) delivered_at: Instant,
    /// Bytes that the kernel took from the gateway.
    pub(crate) taken: u64,
    /// When it took the last of them.
    pub(crate) taken_at: Instant,
    /// When something last waited to be taken: meanwhile no beat is sent.
    pub(crate) waited_at: Instant,
    /// When beats were heard.
    pub(crate) beats: Vec<Instant>,
    /// What was heard besides.
    pub(crate) text: Vec<u8>,
    /// Whether the device has seen the gateway end the stream, and by an RST.
    pub(crate) ended: Option<bool>,
    client: ClientConnection,
    /// When the last of what it sent will have arrived: bytes do not overtake each other.
    arrival: Instant,
    /// Of the window.
    used: usize,
    unread: Vec<u8>,
    /// What has arrived and the gateway did not want to be read yet, and the end behind it.
    received: Vec<u8>,
    end_received: bool,
    /// The gateway waits for `handle_writable`.
    blocked: bool,
    /// Something waits to be taken.
    pub(crate) waiting: bool,
}

#[derive(Debug)]
enum Event {
    Up(Vec<u8>),
    End,
    Reset,
    Down(Vec<u8>),
    Writable,
    /// The gateway wants a stream to be read again.
    Readable,
}

pub(crate) struct Network {
    pub(crate) gateway: Gateway<Recorder>,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) rng: Rng,
    pub(crate) links: Vec<Link>,
    /// What the application was told, and when.
    pub(crate) log: Vec<(Instant, Seen)>,
    /// Who was heard since a test last looked.
    pub(crate) spoke: Vec<LinkId>,
    /// Datagrams that the gateway sent.
    pub(crate) answers: Vec<(SocketAddr, Via, Vec<u8>)>,
    /// What new links are like.
    pub(crate) latency: Duration,
    pub(crate) cut: Cut,
    ids: HashMap<ConnectionId, LinkId>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: HashMap<u64, (LinkId, Event)>,
    queued: u64,
    /// Calls of `handle_timeout` since time last passed.
    timeouts_in_a_row: usize,
}

/// The one listener and the one datagram socket.
pub(crate) const LISTENER: ListenerId = ListenerId(1);
pub(crate) const DISCOVERY: ListenerId = ListenerId(2);
/// The port of the datagram socket.
pub(crate) const DISCOVERY_PORT: u16 = 5555;

/// More calls of `handle_timeout` without time passing than any number of timers explains: the loop would spin.
const TIMEOUTS_IN_A_ROW_MAX: usize = 200;

impl Network {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::seeded(settings, 1)
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant to begin with cannot be had otherwise")]
    pub(crate) fn seeded(settings: Settings, seed: u64) -> Self {
        settings.check().expect("settings that can be kept to");
        // A day ahead, so that a test may also look back.
        let start = Instant::now() + Duration::from_secs(86_400);
        let mut gateway = Gateway::new(Recorder::default(), settings, start, seed);
        gateway.add_discovery(DISCOVERY, SocketAddr::from(([0, 0, 0, 0], DISCOVERY_PORT)));
        Self {
            gateway,
            now: start,
            start,
            rng: Rng::new(seed),
            links: Vec::new(),
            log: Vec::new(),
            spoke: Vec::new(),
            answers: Vec::new(),
            latency: Duration::from_millis(5),
            cut: Cut::Whole,
            ids: HashMap::new(),
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            queued: 0,
            timeouts_in_a_row: 0,
        }
    }

    /// A device connects; whether it was let in is in [`Link::id`].
    pub(crate) fn connect(&mut self, address: SocketAddr) -> LinkId {
        let link = self.links.len();
        // The driver knows a stream only by the id that `handle_accept` gives, so it is entered before the drain.
        let id = self.gateway.handle_accept(LISTENER, Peer::Internet(address), self.now);
        self.links.push(Link {
            id,
            address,
            latency: self.latency,
            cut: self.cut,
            answers: true,
            reading: true,
            window: 128 << 10,
            short_writes: false,
            open: id.is_some(),
            vanished: false,
            sent: 0,
            answered: Vec::new(),
            end_told: false,
            delivered: 0,
            delivered_at: self.now,
            taken: 0,
            taken_at: self.now,
            waited_at: self.now,
            waiting: false,
            beats: Vec::new(),
            text: Vec::new(),
            ended: id.is_none().then_some(false),
            client: ClientConnection::new(),
            arrival: self.now,
            used: 0,
            unread: Vec::new(),
            received: Vec::new(),
            end_received: false,
            blocked: false,
        });
        if let Some(id) = id {
            let before = self.ids.insert(id, link);
            assert_eq!(before, None, "the id {id} belongs to a stream that is still open");
        }
        self.drain();
        link
    }

    /// The id of a device that was let in.
    pub(crate) fn id(&self, link: LinkId) -> ConnectionId {
        self.links[link].id.expect("a device that was let in")
    }

    /// A device sends bytes; they arrive after its latency.
    pub(crate) fn send(&mut self, link: LinkId, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.links[link].sent += bytes.len() as u64;
        self.up(link, Event::Up(bytes));
    }

    /// A device sends bytes with a pause before each piece; what it sends later comes behind them.
    pub(crate) fn send_slowly(&mut self, link: LinkId, bytes: &[u8], piece_bytes: usize, pause: Duration) {
        for piece in bytes.chunks(piece_bytes) {
            self.links[link].arrival = self.links[link].arrival.max(self.now) + pause;
            self.send(link, piece);
        }
    }

    /// A device ends its sending half, behind what it has sent.
    pub(crate) fn half_close(&mut self, link: LinkId) {
        self.up(link, Event::End);
    }

    /// A device's stream breaks, behind what it has sent.
    pub(crate) fn reset(&mut self, link: LinkId) {
        self.up(link, Event::Reset);
    }

    fn up(&mut self, link: LinkId, event: Event) {
        let state = &mut self.links[link];
        state.arrival = state.arrival.max(self.now + state.latency);
        let at = state.arrival;
        self.schedule(at, link, event);
    }

    /// A device begins or ceases to read.
    pub(crate) fn set_reading(&mut self, link: LinkId, reading: bool) {
        let state = &mut self.links[link];
        state.reading = reading;
        if reading {
            let unread = std::mem::take(&mut state.unread);
            self.hear(link, &unread);
        }
    }

    /// The application sends a command, between two turns.
    pub(crate) fn command(&mut self, to: impl Into<Target>, text: &[u8]) -> Result<Queued, SendError> {
        let result = self.gateway.parts(self.now).1.try_send(to, text);
        self.drain();
        result
    }

    /// As [`Self::command`], by an application that wants to know what becomes of it.
    pub(crate) fn command_tagged(&mut self, to: impl Into<Target>, text: &[u8], tag: u64) -> Result<Queued, SendError> {
        let result = self.gateway.parts(self.now).1.send_tagged(to, text, tag);
        self.drain();
        result
    }

    /// The application removes devices, between two turns.
    pub(crate) fn remove(&mut self, target: impl Into<Target>) -> usize {
        let count = self.gateway.parts(self.now).1.remove(target);
        self.drain();
        count
    }

    pub(crate) fn stop(&mut self) {
        self.gateway.parts(self.now).1.stop();
        self.drain();
    }

    /// A probe comes to the gateway; the answers are in [`Self::answers`].
    pub(crate) fn probe(&mut self, from: SocketAddr, via: Via, bytes: &[u8]) {
        self.gateway.handle_datagram(DISCOVERY, from, via, bytes, self.now);
        self.drain();
    }

    pub(crate) fn stats(&mut self) -> pulsegate::Stats {
        self.gateway.parts(self.now).1.stats().clone()
    }

    /// Bytes of buffers held for objects and for commands.
    pub(crate) fn buffered(&mut self) -> (usize, usize) {
        self.gateway.parts(self.now).1.buffered()
    }

    /// How a device ended, and when, if it did.
    pub(crate) fn end_of(&self, link: LinkId) -> Option<(Instant, Disconnect)> {
        let id = self.id(link);
        self.log.iter().find_map(|(at, seen)| match *seen {
            Seen::Disconnect(gone, _, end) if gone == id => Some((*at, end)),
            _ => None,
        })
    }

    /// The objects of a device that the application was shown.
    pub(crate) fn messages_of(&self, link: LinkId) -> Vec<&[u8]> {
        let id = self.id(link);
        let messages = self.log.iter().filter_map(|(_, seen)| match seen {
            Seen::Message(of, bytes) if *of == id => Some(&bytes[..]),
            _ => None,
        });
        messages.collect()
    }

    /// Checks which objects of a device the application was shown. Says which differ, not every byte of them.
    #[track_caller]
    pub(crate) fn expect_messages(&self, link: LinkId, expected: &[Vec<u8>]) {
        let shown: Vec<_> = self.messages_of(link).into_iter().map(brief).collect();
        let expected: Vec<_> = expected.iter().map(|bytes| brief(bytes)).collect();
        assert_eq!(shown, expected, "the messages of device {link}");
    }

    /// Time stands still for the gateway, as in a process that was stopped: nothing is handed over meanwhile.
    pub(crate) fn jump(&mut self, duration: Duration) {
        self.now += duration;
        self.timeouts_in_a_row = 0;
    }

    /// Lets so much time pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run_until(end);
    }

    /// Lets time pass up to and including `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
        self.advance(end);
    }

    /// Lets time pass until nothing is on its way and the gateway wants nothing; `limit` is more than that may take.
    pub(crate) fn settle(&mut self, limit: Duration) {
        let end = self.now + limit;
        while let Some(at) = self.next_event() {
            assert!(at <= end, "not settled within {limit:?}: the next event is {:?} away", at - self.now);
            self.step();
        }
    }

    /// When something will happen next; what is overdue happens now.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let event = self.queue.peek().map(|Reverse((at, _))| *at);
        [event, self.gateway.poll_timeout()].into_iter().flatten().min().map(|at| at.max(self.now))
    }

    /// Jumps to the next thing that happens, and lets it: first what comes by wire, then, as the reactor does, what is
    /// due. False if nothing ever will.
    pub(crate) fn step(&mut self) -> bool {
        let Some(at) = self.next_event() else { return false };
        self.advance(at);
        while let Some(&Reverse((at, number))) = self.queue.peek()
            && at <= self.now
        {
            self.queue.pop();
            let (link, event) = self.events.remove(&number).expect("an event for every entry");
            self.carry(link, event);
        }
        if self.gateway.poll_timeout().is_some_and(|due| due <= self.now) {
            self.timeouts_in_a_row += 1;
            assert!(self.timeouts_in_a_row < TIMEOUTS_IN_A_ROW_MAX, "poll_timeout stays in the past: the loop spins");
            self.gateway.handle_timeout(self.now);
            self.drain();
        }
        true
    }

    fn advance(&mut self, to: Instant) {
        if to > self.now {
            self.now = to;
            self.timeouts_in_a_row = 0;
        }
    }

    fn schedule(&mut self, at: Instant, link: LinkId, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued)));
        self.events.insert(self.queued, (link, event));
    }

    /// What was on the wire arrives.
    fn carry(&mut self, link: LinkId, event: Event) {
        let state = &mut self.links[link];
        if state.vanished {
            return;
        }
        let now = self.now;
        match (event, state.id) {
            (Event::Down(bytes), _) if state.ended != Some(true) => {
                if state.reading {
                    self.hear(link, &bytes);
                } else {
                    state.unread.extend_from_slice(&bytes);
                }
            }
            // The rest is for the gateway, which must be there still.
            (_, None) => {}
            (_, Some(_)) if !state.open => {}
            (Event::Up(bytes), Some(id)) => {
                state.received.extend_from_slice(&bytes);
                self.deliver(link, id, false);
            }
            (Event::End, Some(id)) => {
                state.end_received = true;
                self.deliver(link, id, false);
            }
            (Event::Readable, Some(id)) => self.deliver(link, id, false),
            (Event::Reset, Some(id)) => {
                // A broken stream is read to its end, whatever the gateway wants.
                self.deliver(link, id, true);
                let state = &mut self.links[link];
                if !state.open {
                    return;
                }
                state.open = false;
                self.ids.remove(&id);
                self.gateway.handle_close(id, StreamEnd::Failed(RESET), now);
                self.drain();
            }
            (Event::Writable, Some(id)) if state.blocked => {
                state.blocked = false;
                self.gateway.handle_writable(id, now);
                self.drain();
            }
            (Event::Writable | Event::Down(_), Some(_)) => {}
        }
    }

    /// Hands over what has arrived, as far as the gateway wants it.
    fn deliver(&mut self, link: LinkId, id: ConnectionId, broken: bool) {
        self.spoke.push(link);
        let bytes = std::mem::take(&mut self.links[link].received);
        let mut rest = &bytes[..];
        while !rest.is_empty() && self.links[link].open {
            let wanted = if broken { usize::MAX } else { self.gateway.poll_read(id) };
            if wanted == 0 {
                break;
            }
            let most = match self.links[link].cut {
                Cut::Whole => rest.len(),
                Cut::Every(n) => n,
                // Short ones as well, of a stream of any length.
                Cut::Anywhere if self.rng.chance(30) => 1 + self.rng.below(8),
                Cut::Anywhere => 1 + self.rng.below(rest.len()),
            };
            let (read, left) = rest.split_at(most.min(rest.len()).min(wanted));
            self.links[link].delivered += read.len() as u64;
            self.links[link].delivered_at = self.now;
            self.gateway.handle_data(id, read, self.now);
            self.drain();
            rest = left;
        }
        let state = &mut self.links[link];
        state.received = rest.to_vec();
        if rest.is_empty() && state.open && std::mem::take(&mut state.end_received) && !broken {
            state.end_told = true;
            self.gateway.handle_end(id, self.now);
            self.drain();
        }
    }

    /// A device reads.
    fn hear(&mut self, link: LinkId, mut bytes: &[u8]) {
        let now = self.now;
        let state = &mut self.links[link];
        state.used -= bytes.len();
        let mut answers = 0;
        loop {
            let (used, heard) = state.client.handle_data(bytes);
            bytes = &bytes[used..];
            match heard {
                Some(Heard::Beat) => {
                    state.beats.push(now);
                    answers += usize::from(state.answers);
                }
                Some(Heard::Text(text)) => state.text.extend_from_slice(text),
                None => break,
            }
        }
        if state.blocked {
            self.schedule(now, link, Event::Writable);
        }
        for _ in 0..answers {
            let start = self.links[link].sent;
            self.links[link].answered.push(start);
            self.send(link, ANSWER);
        }
    }

    /// Carries out all that the gateway wants, and notes what it has told the application.
    fn drain(&mut self) {
        let now = self.now;
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Send { id, bytes } => {
                    assert!(!bytes.is_empty(), "{id}: nothing was offered to be sent");
                    let link = *self.ids.get(&id).unwrap_or_else(|| panic!("bytes for {id}, which is not open"));
                    let state = &mut self.links[link];
                    assert!(!state.blocked, "{id}: bytes were offered before the kernel took any");
                    let mut taken = bytes.len().min(state.window - state.used);
                    let short = state.short_writes && self.rng.chance(40);
                    if short {
                        taken = self.rng.below(taken + 1);
                    }
                    state.used += taken;
                    state.taken += taken as u64;
                    if taken > 0 {
                        state.taken_at = now;
                    }
                    state.blocked = taken < bytes.len();
                    if state.blocked || state.waiting {
                        state.waited_at = now;
                    }
                    state.waiting = state.blocked;
                    let (arrival, unblocked) = (now + state.latency, state.blocked && short);
                    let down = bytes[..taken].to_vec();
                    if !down.is_empty() {
                        self.schedule(arrival, link, Event::Down(down));
                    }
                    if unblocked {
                        self.schedule(now + Duration::from_millis(3), link, Event::Writable);
                    }
                    self.gateway.handle_sent(id, taken, now);
                }
                Output::Read { id } => {
                    if let Some(&link) = self.ids.get(&id) {
                        self.schedule(now, link, Event::Readable);
                    }
                }
                Output::SendTo { to, via, bytes, .. } => self.answers.push((to, via, bytes.to_vec())),
                Output::Connect { .. } => panic!("a gateway opens no streams"),
                Output::Close { id, abort } => {
                    // One that is asked for twice, or too late, is no fault: the stream is gone.
                    if let Some(link) = self.ids.remove(&id) {
                        let state = &mut self.links[link];
                        state.open = false;
                        state.ended = Some(abort);
                        self.gateway.handle_close(id, StreamEnd::Closed, now);
                    }
                }
            }
        }
        let seen = std::mem::take(&mut self.gateway.handler_mut().seen);
        self.log.extend(seen.into_iter().map(|seen| (now, seen)));
    }
}

/// An object in one short line that differs where the object does.
pub(crate) fn brief(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(48)]);
    format!("{head}… {} bytes, {:x}", bytes.len(), hasher.finish())
}

/// `ECONNRESET`.
pub(crate) const RESET: OsError = OsError(104);
