//! A connection claims a name. Layer 2.

use std::net::{IpAddr, SocketAddr};

use super::Identification;
use super::name::Name;
use super::names::Verdict;
use crate::endpoint::ConnectionId;
use crate::gateway::core::{CloseMode, Core};
use crate::gateway::settings::Takeover;
use crate::gateway::slots::Phase;
use crate::gateway::{CloseReason, Refusal};
use crate::proto::{Kind, Message};

/// The effect of an accepted object on the name of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Claim {
    /// Nothing new.
    Nothing,
    /// The connection has got its name.
    Identified,
    /// The gateway closes the connection behind the object.
    Close(CloseReason),
}

impl Core {
    /// Looks at the identity member of an accepted object.
    pub(in crate::gateway) fn claim(&mut self, id: ConnectionId, message: &Message<'_>) -> Claim {
        let index = id.index() as u32;
        if self.slots.device(id).is_none_or(|slot| slot.is_closing()) {
            return Claim::Nothing;
        }
        if let Some(name) = self.registry.names.name_of(index) {
            self.stats.names[&Identification::Changed] += u64::from(message.contradicts(name));
            return Claim::Nothing;
        }
        let claim = match message.identity() {
            None => Claim::Nothing,
            Some(text) => match text.and_then(|text| Name::new(&text)) {
                Some(name) => self.claim_name(id, &name),
                None => self.claim_nothing(id),
            },
        };
        self.charge_names();
        self.settle_place(id, message.kind() == Kind::Heartbeat, claim)
    }

    fn claim_nothing(&mut self, id: ConnectionId) -> Claim {
        self.stats.names[&Identification::Invalid] += 1;
        if let (true, Some(device)) = (self.registry.logged.insert(id.index() as u32), self.device(id)) {
            self.log.nameless(&device, self.now);
        }
        Claim::Nothing
    }

    fn claim_name(&mut self, id: ConnectionId, name: &Name) -> Claim {
        let index = id.index() as u32;
        match self.registry.names.slot_of(name) {
            Some(owner) => {
                let owner = self.slots.id_at(owner);
                if !self.may_take(owner, id, name) {
                    self.stats.names[&Identification::Conflict] += 1;
                    return Claim::Close(CloseReason::Conflict);
                }
                self.registry.names.reassign(name, index);
                self.registry.replaced.insert(owner.index() as u32, *name);
                self.begin_close(owner, CloseReason::Replaced, CloseMode::Reset);
            }
            None if self.memory.is_full() => {
                self.stats.names[&Identification::NoMemory] += 1;
                self.log.limit("limits.memory_budget", self.now);
                return Claim::Nothing;
            }
            None => {
                self.registry.names.insert(index, name);
                self.registry.remembered.forget(name);
            }
        }
        self.stats.names[&Identification::Identified] += 1;
        self.send_waiting(id, name);
        Claim::Identified
    }

    /// Whether the connection `id` may take `name` from its `owner`. A closing connection has no use for its name.
    fn may_take(&mut self, owner: ConnectionId, id: ConnectionId, name: &Name) -> bool {
        if self.slots.device(owner).is_none_or(|slot| slot.is_closing()) {
            return true;
        }
        if self.settings.identity.takeover == Takeover::Oldest {
            return false;
        }
        let max = self.settings.identity.takeovers_per_minute_max;
        match self.registry.names.claimed_again(name, max, self.now) {
            Verdict::Takeover => self.stats.names[&Identification::Takeover] += 1,
            Verdict::KnownConflict => return false,
            Verdict::Conflict => {
                let address = |id| self.slots.device(id).map(|slot| slot.address());
                if let (Some(owner), Some(claimant)) = (address(owner), address(id)) {
                    self.warn_of_conflict(name, owner, claimant);
                }
                return false;
            }
        }
        true
    }

    fn warn_of_conflict(&mut self, name: &Name, owner: SocketAddr, claimant: SocketAddr) {
        let text =
            format_args!("two devices have the name {name:?}: {owner} keeps it, {claimant} is closed as conflict");
        self.log.conflict(owner.ip(), text, self.now);
    }

    /// Lets a newcomer in beyond `access.connections_per_ip_max`, if it may be a device whose older connection from `ip` has
    /// a name. There is one such newcomer of an address at a time.
    pub(in crate::gateway) fn admit_provisionally(&self, ip: IpAddr) -> bool {
        if self.rules.identity_member.is_empty() {
            return false;
        }
        let mut is_named = false;
        for (id, slot) in self.slots.devices_of(ip) {
            let index = id.index() as u32;
            if self.registry.provisional.contains(&index) {
                return false;
            }
            is_named |= slot.phase != Phase::Closing && self.registry.names.name_of(index).is_some();
        }
        is_named
    }

    /// The connection `id` was let in by [`Self::admit_provisionally`].
    pub(in crate::gateway) fn mark_provisional(&mut self, id: ConnectionId) {
        self.registry.provisional.insert(id.index() as u32);
    }

    /// Decides about a connection beyond `access.connections_per_ip_max` once it has said its name, or should have.
    fn settle_place(&mut self, id: ConnectionId, is_heartbeat: bool, claim: Claim) -> Claim {
        let index = id.index() as u32;
        if self.registry.provisional.is_empty() || !self.registry.provisional.contains(&index) {
            return claim;
        }
        let Some(slot) = self.slots.device(id) else { return claim };
        // A device may answer beats before it sends its first report.
        let patience = self.liveness_timeout();
        if claim == Claim::Nothing && is_heartbeat && self.now.since(slot.since) < patience {
            return claim;
        }
        self.registry.provisional.remove(&index);
        let ip = slot.address().ip();
        let max = self.settings.access.connections_max_of(ip);
        let open = self.slots.devices_of(ip).filter(|(_, slot)| !slot.is_closing()).count();
        match claim {
            Claim::Close(_) => claim,
            _ if open <= max || self.replace(ip, Some(id)) => claim,
            _ => {
                self.stats.refused[&Refusal::ConnectionsPerIpMax] += 1;
                Claim::Close(CloseReason::Refused(Refusal::ConnectionsPerIpMax))
            }
        }
    }

    /// Accounts for the memory of names.
    pub(in crate::gateway) fn charge_names(&mut self) {
        self.memory.set_names(self.registry.held() + self.commands.held());
    }
}
