//! The gateway as the reactor sees it: what happened goes in, calls of the application and outputs come
//! out. Floor 2.

use std::net::SocketAddr;
use std::time::Instant;

use log::debug;

use super::slots::Slot;
use super::{CloseReason, Context, Gateway, Handler, Refusal, StreamEvent};
use crate::endpoint::{ConnectionId, Endpoint, ListenerId, Output, PacketInfo, Peer, StreamEnd};
use crate::proto::Suppressed;
use crate::proto::discovery::{answerable, canonical};

/// Timers expired per call. The driver calls again as long as its turn has time.
const TIMERS_PER_CALL: usize = 128;
/// Bytes read at once of a local stream: some twenty short requests, each of which may cost as much as a picture.
const LOCAL_READ_BYTES_MAX: usize = 512;

impl<H: Handler> Endpoint for Gateway<H> {
    fn handle_accept(&mut self, listener: ListenerId, peer: Peer, now: Instant) -> Option<ConnectionId> {
        self.core.set_time(now);
        let address = match peer {
            Peer::Tcp(address) => canonical(address),
            Peer::Unix(credentials) => {
                let id = self.core.attach(self.unix_queue_bytes(listener))?;
                self.tell(|handler, gateway| {
                    handler.on_stream(id, StreamEvent::Opened(listener, credentials), gateway)
                });
                return Some(id);
            }
        };
        let mut refusal = self.core.refusal(address.ip());
        let mut is_provisional = false;
        if refusal == Some(Refusal::ConnectionsPerIpMax) {
            is_provisional = self.core.admit_provisionally(address.ip());
            if is_provisional || self.core.replace(address.ip(), None) {
                refusal = None;
            }
        }
        let joined = if refusal.is_none() { self.core.join(address) } else { None };
        if let (Some(id), true) = (joined, is_provisional) {
            self.core.mark_provisional(id);
        }
        let Some(id) = joined else {
            let refusal = refusal.unwrap_or(Refusal::ConnectionsMax);
            self.core.stats.refused[&refusal] += 1;
            self.core.log.refused(address, refusal, self.core.now);
            self.tell(|handler, gateway| handler.on_refused(address, refusal, gateway));
            return None;
        };
        debug!("device {id} connects from {address}");
        if let Some(device) = self.core.device(id) {
            self.tell(|handler, gateway| handler.on_connect(&device, gateway));
        }
        Some(id)
    }

    /// A gateway opens no streams.
    fn handle_connect(&mut self, _: ConnectionId, _: Instant) {}

    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        self.core.set_time(now);
        match self.core.slots.get_mut(id) {
            Some(Slot::Device(_)) => self.handle_device_data(id, bytes, now),
            Some(Slot::Stream(_)) => {
                self.tell(|handler, gateway| handler.on_stream(id, StreamEvent::Data(bytes), gateway))
            }
            _ => {}
        }
    }

    fn poll_read(&mut self, id: ConnectionId) -> usize {
        match self.core.slots.app_stream_mut(id) {
            Some(_) => LOCAL_READ_BYTES_MAX,
            None => self.core.poll_read(id),
        }
    }

    fn handle_end(&mut self, id: ConnectionId, now: Instant) {
        self.core.set_time(now);
        match self.core.slots.get_mut(id) {
            Some(Slot::Device(_)) => self.core.end_of_stream(id),
            Some(Slot::Stream(_)) => self.tell(|handler, gateway| handler.on_stream(id, StreamEvent::End, gateway)),
            _ => {}
        }
    }

    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant) {
        self.core.set_time(now);
        let drained = self.core.handle_sent(id, taken);
        if drained {
            // Memory may be free again.
            self.core.resume();
        }
        self.report();
        if drained && self.core.slots.app_stream_mut(id).is_some() {
            self.tell(|handler, gateway| handler.on_stream(id, StreamEvent::Drained, gateway));
        }
    }

    fn handle_writable(&mut self, id: ConnectionId, now: Instant) {
        self.core.set_time(now);
        self.core.handle_writable(id);
    }

    fn handle_close(&mut self, id: ConnectionId, end: StreamEnd, now: Instant) {
        self.core.set_time(now);
        let write_error = match end {
            StreamEnd::Failed(error) => CloseReason::Reset(error),
            StreamEnd::Closed => CloseReason::Closed,
        };
        match self.core.slots.remove(id) {
            Some(Slot::Device(slot)) => {
                let (device, end) = self.core.end(id, slot, write_error);
                self.core.resume();
                self.core.log.gone(&device, &end, self.core.now);
                self.report();
                self.tell(|handler, gateway| handler.on_disconnect(&device, &end, gateway));
            }
            Some(Slot::Stream(slot)) => {
                self.core.readers -= usize::from(slot.may_be_written_to());
                let (queued, answers) =
                    slot.pending.as_ref().map_or((0, 0), |pending| (pending.counted, pending.answers));
                self.core.memory.app_queue_changed(queued, 0);
                self.core.memory.answers_changed(answers, 0);
                let unsent = slot.pending.as_ref().map_or(&[][..], |pending| pending.outbox.waiting());
                self.tell(|handler, gateway| handler.on_stream(id, StreamEvent::Closed { end, unsent }, gateway));
            }
            _ => {}
        }
    }

    fn handle_datagram(&mut self, socket: ListenerId, from: SocketAddr, via: PacketInfo, bytes: &[u8], now: Instant) {
        let core = &mut self.core;
        core.set_time(now);
        core.stats.probes += 1;
        let ports = self.discovery_ports.iter().map(|&(_, port)| port);
        let source = canonical(from);
        let now_ms = core.clock.millis(now);
        let discovery = &core.settings.discovery;
        let verdict = answerable(source, via.local, ports, bytes, &discovery.reply)
            .and_then(|()| {
                let answered = core.interfaces.ask(&discovery.interfaces, via.interface, core.interface_name, core.now);
                if answered { Ok(()) } else { Err(Suppressed::Interface) }
            })
            .and_then(|()| core.rate.take(source.ip(), now_ms));
        match verdict {
            Ok(()) => core.answer(socket, from, via),
            Err(why) => {
                core.stats.probes_suppressed[&why] += 1;
                match why {
                    Suppressed::Rate => core.log.limit("discovery.rate", core.now),
                    Suppressed::SourceRate => core.log.limit("discovery.source_rate", core.now),
                    _ => {}
                }
            }
        }
    }

    fn handle_sent_to(&mut self, sent: bool) {
        let stats = &mut self.core.stats;
        match sent {
            true => stats.probes_answered += 1,
            false => stats.probes_suppressed[&Suppressed::NotSent] += 1,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.core.set_time(now);
        while let Some(key) = self.core.timers.expire(now) {
            self.tell(|handler, gateway| handler.on_timer(key, gateway));
        }
        if let Some(deadline) = self.core.stop_deadline {
            self.stop_some(deadline);
        }
        for _ in 0..TIMERS_PER_CALL {
            let Some((due, index)) = self.core.wheel.expire(self.core.now) else { break };
            self.core.handle_timer(due, index);
        }
        self.core.expire_commands();
        self.report();
        self.core.trim();
        self.core.resume();
        self.core.log.flush(self.core.now);
    }

    fn handle_wake(&mut self, now: Instant) {
        self.core.set_time(now);
        // Those that come meanwhile wake it again.
        for request in self.requests.waiting() {
            request.execute(&mut Context::new(&mut self.core));
        }
    }

    fn poll_output(&mut self) -> Option<Output<'_>> {
        self.core.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let core = &self.core;
        // What was asked for between two calls is not to wait for the next event.
        let at_once = (core.has_output() || core.commands.has_ended()).then_some(core.now);
        let timer = core.wheel.next_deadline();
        let stop = core.stop_deadline.and_then(|deadline| {
            // The next devices are told in the next turn, or a tick later if the application's own
            // streams have enough to take; the last word is at the deadline.
            let more = (self.stop_cursor as usize) < core.slots.capacity();
            match more {
                true if self.app_streams_are_full() => Some(core.now.after(1).min(deadline)),
                true => Some(core.now),
                false => (core.now < deadline).then_some(deadline),
            }
        });
        let admission = core.memory.next_check();
        let tick = [at_once, timer, admission, stop, core.log.due(), core.commands.next_deadline()]
            .into_iter()
            .flatten()
            .min();
        let tick = tick.map(|tick| core.clock.instant(tick));
        [tick, core.timers.next_deadline()].into_iter().flatten().min()
    }
}
