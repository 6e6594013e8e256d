//! The gateway's end of a device's stream: cuts, checks, and keeps the credit. It knows neither ids
//! nor sockets. Floor 1.

use crate::proto::{
    Beat, FramingFault, HeartbeatCredit, Kind, Message, MessageError, PartialObjects, Reassembled, Splitter,
    UnansweredBeats,
};
use crate::tick::Tick;

/// What the bytes of a stream must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The longest object, in bytes.
    pub object_bytes_max: u32,
    /// The deepest nesting of braces and brackets, at most 127.
    pub object_depth_max: u32,
    /// How many ticks an object may stay unfinished.
    pub object_timeout: u32,
    /// How many objects in a row may be refused; the last of them ends the connection.
    pub rejected_in_a_row_max: u8,
    /// How many beats a device may leave unanswered.
    pub credit: u8,
    /// What refills the credit.
    pub credit_from: CreditFrom,
    /// The key of the member that names a device. Empty: devices have no names.
    pub identity_member: String,
}

/// What refills a device's heartbeat credit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CreditFrom {
    /// Any accepted object, and one that is still coming: a device that is busy sending a picture is
    /// alive.
    #[default]
    Any,
    /// Heartbeat answers alone: the strict reading of the older protocol.
    Heartbeat,
}

/// What came out of a piece of the stream.
#[derive(Debug)]
pub enum Event<'a> {
    /// The device has answered a beat, see [`ServerConnection::beat_answered`].
    Heartbeat(Message<'a>),
    /// An object for the application.
    Message(Message<'a>),
    /// An object that was dropped, and how long it was. The stream goes on behind it.
    Rejected(MessageError, usize),
}

impl Event<'_> {
    /// The length of its object.
    pub fn object_bytes(&self) -> usize {
        match self {
            Self::Heartbeat(message) | Self::Message(message) => message.bytes().len(),
            Self::Rejected(_, bytes) => *bytes,
        }
    }
}

/// What ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The stream cannot be cut into further objects.
    Framing(FramingFault),
    /// Too many objects in a row were refused.
    Faulty,
}

/// Stands for as many rejected objects in a row as are too many.
const FAULTY: u8 = u8::MAX;

/// One device's stream. An idle one holds no buffer.
#[derive(Debug)]
pub struct ServerConnection {
    splitter: Splitter,
    /// When the unfinished object began; stale while there is none.
    object_since: Tick,
    credit: HeartbeatCredit,
    unanswered: UnansweredBeats,
    rejected_in_a_row: u8,
    /// More of the unfinished object has come since the last beat.
    progress: bool,
}

impl ServerConnection {
    /// A connection with full credit that has said nothing yet.
    pub fn new(credit: u8) -> Self {
        Self {
            splitter: Splitter::new(),
            object_since: Tick::default(),
            credit: HeartbeatCredit::new(credit),
            unanswered: UnansweredBeats::default(),
            rejected_in_a_row: 0,
            progress: false,
        }
    }

    /// Feeds the rest of a read. [`Self::offset`] shows how many bytes it used. Call it again with the remaining bytes until
    /// it gives no event, which means that all was used. After a [`Fault`] the connection takes no more. Cut objects are
    /// gathered in `tails`, and lent from `whole`, see [`Splitter::push`].
    pub fn handle_data<'a>(
        &mut self,
        input: &'a [u8],
        rules: &Rules,
        tails: &mut PartialObjects,
        whole: &'a mut Reassembled,
        now: Tick,
    ) -> Result<Option<Event<'a>>, Fault> {
        if self.rejected_in_a_row == FAULTY {
            return Err(Fault::Faulty);
        }
        let begun = self.splitter.unfinished().is_some();
        if !begun {
            self.object_since = now;
        }
        let (bytes_max, identity) = (rules.object_bytes_max, &rules.identity_member);
        let pushed = self.splitter.push_and_find(input, bytes_max, identity, tails, whole);
        let (_, object) = pushed.map_err(Fault::Framing)?;
        let Some(object) = object else {
            self.progress |= begun && !input.is_empty();
            return Ok(None);
        };
        self.progress = false;
        let event = match Message::check_and_find(&object, rules.object_depth_max, identity) {
            Ok(message) => {
                self.rejected_in_a_row = 0;
                let heartbeat = message.kind() == Kind::Heartbeat;
                if heartbeat || rules.credit_from == CreditFrom::Any {
                    self.credit.refill(rules.credit);
                }
                if heartbeat { Event::Heartbeat(message) } else { Event::Message(message) }
            }
            Err(error) => {
                // Told here, so that a limit that is lowered later ends no device whose next object is good.
                self.rejected_in_a_row += 1;
                if self.rejected_in_a_row >= rules.rejected_in_a_row_max {
                    self.rejected_in_a_row = FAULTY;
                }
                Event::Rejected(error, object.bytes.len())
            }
        };
        Ok(Some(event))
    }

    /// Whether more of the unfinished object has come since the last beat.
    pub fn has_progressed(&self) -> bool {
        self.progress
    }

    /// The stream was left unread and is read again: what it has said meanwhile is yet to be heard, so it has full
    /// credit, and until the next beat it counts as having progressed.
    pub fn expect_progress(&mut self, rules: &Rules) {
        self.progress = true;
        self.credit.refill(rules.credit);
    }

    /// A beat is due: takes a credit for it, or finds the device dead. A beat that is `late`, because
    /// the whole process was held up, costs nothing: the device may well have answered, unheard. An
    /// object that is still coming counts as one that has come, unless only answers do: in the middle of it
    /// no beat can be answered, and death can hide behind one that never ends only for the object timeout.
    pub fn handle_beat(&mut self, late: bool, rules: &Rules) -> Beat {
        if std::mem::take(&mut self.progress) && rules.credit_from == CreditFrom::Any {
            self.credit.refill(rules.credit);
        }
        if late { Beat::Send } else { self.credit.spend() }
    }

    /// The peer takes bytes that waited for it: a sign of life, unless only heartbeat answers are one.
    pub fn peer_took_bytes(&mut self, rules: &Rules) {
        if rules.credit_from == CreditFrom::Any {
            self.credit.refill(rules.credit);
        }
    }

    /// The beat that was due goes out.
    pub fn beat_sent(&mut self) {
        self.unanswered.sent();
    }

    /// The beat that was due does not go out, or the interval has changed: no answer can be told to belong to a beat of
    /// before.
    pub fn forget_beats(&mut self) {
        self.unanswered.forget();
    }

    /// The device has answered a beat, `at_once` behind the latest or not: which beat that is, see
    /// [`UnansweredBeats::answered`].
    pub fn beat_answered(&mut self, at_once: bool) -> Option<u8> {
        self.unanswered.answered(at_once)
    }

    /// For so many ticks until `now` the stream was not read: an unfinished object has so much more
    /// time, as its rest could not be heard.
    pub fn extend_deadline(&mut self, ticks: u32, now: Tick) {
        self.object_since = self.object_since.after(ticks).min(now.max(self.object_since));
    }

    /// Gives the unfinished object, if any, `ticks` more ticks.
    pub fn extend_object_deadline(&mut self, ticks: u32) {
        self.object_since = self.object_since.after(ticks);
    }

    /// Returns the beginning of the unfinished object, with every extension added.
    pub fn unfinished_since(&self) -> Option<Tick> {
        self.splitter.unfinished().map(|_| self.object_since)
    }

    /// When the unfinished object, if there is one, will have taken too long.
    pub fn object_deadline(&self, rules: &Rules) -> Option<Tick> {
        self.unfinished_since().map(|since| since.after(rules.object_timeout))
    }

    /// Checks whether the unfinished object, if there is one, can still become JSON. Only bytes that have come since the
    /// last check cost anything.
    pub fn check_unfinished(&self, tails: &mut PartialObjects) -> Result<(), FramingFault> {
        self.splitter.check_unfinished(tails)
    }

    /// The fault that ends the unfinished object once its time is over, see [`Splitter::timeout`].
    pub fn object_timeout(&self, tails: &mut PartialObjects) -> FramingFault {
        self.splitter.timeout(tails)
    }

    /// Where the unfinished object, if there is one, begins in the stream, and how many bytes of it
    /// have come.
    pub fn unfinished(&self) -> Option<(u64, usize)> {
        self.splitter.unfinished()
    }

    /// Bytes of the unfinished object, 0 without one.
    pub fn unfinished_bytes(&self) -> usize {
        self.splitter.unfinished().map_or(0, |(_, bytes)| bytes)
    }

    /// Gives back what is held of an unfinished object: the connection takes no more.
    pub fn release(&mut self, tails: &mut PartialObjects) {
        self.splitter.release(tails);
    }

    /// Bytes of the stream that were used so far.
    pub fn offset(&self) -> u64 {
        self.splitter.offset()
    }

    /// Beats that the device may still leave unanswered.
    pub fn credit(&self) -> u8 {
        self.credit.left()
    }

    /// The credit that is full has become less.
    pub fn limit_credit(&mut self, full: u8) {
        self.credit.limit(full);
    }

    /// Resident bytes of the unfinished object's region, and 0 for a stub.
    pub fn region(&self, tails: &PartialObjects) -> usize {
        self.splitter.region(tails)
    }

    /// Bytes that the unfinished object, or the next one, can take without more resident memory.
    pub(crate) fn room(&self, tails: &PartialObjects) -> usize {
        self.splitter.room(tails)
    }
}
