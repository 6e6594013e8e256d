//! Checks that each refusal and each close reason is justified.

use std::net::SocketAddr;
use std::time::Duration;

use super::books::Meaning;
use super::world::{SECOND, World};
use pulsegate::{CloseReason, ConnectionId, Disconnect, FramingCause, FramingFault, Refusal};

impl World {
    pub(super) fn let_in(&mut self, id: ConnectionId, address: SocketAddr) {
        assert!(self.used.insert(id), "the id {id} is used again");
        let known = |&link: &usize| self.network.links[link].id == Some(id);
        let position = self.pending.iter().position(known).unwrap_or_else(|| panic!("{id} is nobody's"));
        let link = self.pending.remove(position);
        assert_eq!(self.network.links[link].address, address);
        assert!(self.settings.access.allows(address.ip()), "{address} may not connect");
        assert!(!self.stopped, "{address} was let in during a stop");
        self.devices[link].heard = self.network.now;
        self.ids.insert(id, link);
        self.connections += 1;
    }

    pub(super) fn refused(&mut self, address: SocketAddr, refusal: Refusal) {
        let known = |&link: &usize| self.network.links[link].address == address;
        let position = self.pending.iter().position(known).unwrap_or_else(|| panic!("{address} is nobody's"));
        let link = self.pending.remove(position);
        self.devices[link].ended = true;
        let fair = match refusal {
            // Other devices may have left in the same turn, after the refusal.
            Refusal::ConnectionsMax => self.connections >= self.settings.limits.connections_max,
            Refusal::ConnectionsPerIpMax => self.connections >= self.settings.access.connections_per_ip_max,
            Refusal::AddressDenied => !self.settings.access.allows(address.ip()),
            Refusal::Shutdown => self.stopped,
            _ => false,
        };
        assert!(fair, "{address} was refused unfairly: {}", refusal);
    }

    /// Returns the longest and the shortest liveness timeout of the settings so far.
    pub(super) fn patience(&self) -> (Duration, Duration) {
        let most = self.interval.0 * (u32::from(self.credit.0) + 1);
        (most, self.interval.1 * u32::from(self.credit.1))
    }

    pub(super) fn ended(&mut self, link: usize, end: &Disconnect) {
        assert!(!std::mem::replace(&mut self.devices[link].ended, true), "device {link} ends twice");
        // The gateway does not read heartbeat answers behind the last rejected object.
        let refused_in_a_row = self.devices[link].refused_in_a_row;
        let missing = self.next_part(link).is_some();
        let partial = self.partial(link);
        let (state, device, now) = (&self.network.links[link], &self.devices[link], self.network.now);
        let at_fault = device.sent.front().map(|part| (part.start, &part.what));
        let (most, least) = self.patience();
        let fair = match end.reason {
            CloseReason::Closed => device.half_closed && state.end_delivered,
            CloseReason::Reset(_) => device.reset || state.broken,
            CloseReason::Silent => {
                // A device cannot answer a withheld beat.
                let beaten = !state.waiting && self.time_since(state.waited_at) > most + SECOND * 2;
                let good = beaten && device.good.is_some_and(|since| self.time_since(since) > most + SECOND * 2);
                // In a late turn a due beat follows the read at once. A beat that is less than an interval late takes a
                // credit.
                let in_late_turn = self.jumps.iter().any(|(at, _)| *at == device.heard);
                let least = if in_late_turn { least.saturating_sub(self.interval.0) } else { least };
                // A device that takes queued bytes is alive.
                now - device.heard.max(state.unblocked_at) >= least && !good
            }
            CloseReason::Framing(FramingFault { cause: FramingCause::Timeout, offset, .. }) => {
                let begun = now - device.heard >= SECOND * 30;
                // A device that vanished inside an object never completes it.
                let unended = |what: &Meaning| matches!(what, Meaning::Begun) || state.vanished;
                begun && at_fault.is_some_and(|(start, what)| start == offset && unended(what))
            }
            // Later objects inside a partial object are no JSON.
            CloseReason::Framing(FramingFault { cause: FramingCause::InvalidJson(_), offset, .. }) => {
                at_fault.is_some_and(|(start, what)| start < offset && matches!(what, Meaning::Begun | Meaning::Huge))
            }
            CloseReason::Framing(FramingFault { offset, .. }) => at_fault
                .is_some_and(|(start, what)| start == offset && matches!(what, Meaning::Garbage | Meaning::Huge)),
            CloseReason::Faulty => refused_in_a_row == 16,
            CloseReason::Stalled => now - state.taken_at >= SECOND * 30 && self.network.is_full(link),
            CloseReason::Removed => device.removed,
            CloseReason::Refused(Refusal::ConnectionsPerIpMax) => self.has_few_places(),
            CloseReason::Refused(..) => device.denied.is_some(),
            CloseReason::Replaced if device.replaced => true,
            CloseReason::Conflict => device.claimed.is_some(),
            CloseReason::Memory => self.stage.tight && (partial.is_some() || state.waiting || end.unsent > 0),
            CloseReason::Shutdown => self.stopped,
            // A device that answers within a fourth of an interval leaves no beat unanswered.
            CloseReason::Replaced => now - device.heard.max(state.unblocked_at) >= self.interval.1 / 4,
            _ => false,
        };
        assert!(fair, "device {link} ended unfairly: {end:?}, heard {:?} ago", now - device.heard);
        // Other ends begin between two turns, or inside a read.
        let heard_to_the_end = !self.stopped
            && !self.devices[link].replaced
            && !matches!(
                end.reason,
                CloseReason::Removed | CloseReason::Refused(..) | CloseReason::Faulty | CloseReason::Conflict
            );
        if heard_to_the_end {
            assert!(!missing, "device {link} ended ({}) with an object that came whole and was not shown", end.reason);
            if !matches!(end.reason, CloseReason::Framing(..)) {
                assert_eq!(end.unfinished, partial, "device {link}: {}", end.reason);
            }
        }
        // The kernel has taken all queued bytes, or they are reported as unsent. The rest are beats.
        let beats = (state.taken + end.unsent as u64).checked_sub(device.queued.len() as u64);
        assert!(beats.is_some_and(|bytes| bytes % 9 == 0), "device {link}: commands are lost: {end:?}");
    }

    /// Returns the time since then, without the stops of the process.
    pub(super) fn time_since(&self, then: std::time::Instant) -> Duration {
        let jumps = self.jumps.iter().filter(|(at, _)| *at > then);
        let excused: Duration = jumps.map(|(_, duration)| *duration + self.interval.0).sum();
        (self.network.now - then).saturating_sub(excused)
    }
}
