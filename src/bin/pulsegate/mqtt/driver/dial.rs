//! Connecting to a broker: the look-up of its name, and its addresses in turn.

use std::net::SocketAddr;
use std::time::Instant;

use super::{ADDRESSES_MAX, BROKER, Chore, DIAL_TIMEOUT, Driver, Output, Port, close};

impl Driver {
    pub(super) fn dial_broker(&mut self, place: usize, now: Instant) {
        let broker = &self.uplink.settings().brokers[place];
        self.port = broker.port;
        self.addresses.clear();
        match broker.ip() {
            Some(ip) => {
                self.addresses.push_back((ip, broker.port).into());
                self.dial_next("", now);
            }
            None => self.chores.push_back(Chore::Resolve(broker.host.clone())),
        }
    }

    /// Dials the next address of the broker. Without one, the attempt has failed for that reason.
    pub(super) fn dial_next(&mut self, why: &str, now: Instant) {
        let Some(to) = self.addresses.pop_front() else { return self.fail_broker(why, now) };
        let id = self.new_id(BROKER);
        self.broker = Port { id: Some(id), blocked: false, connecting: true };
        self.deadline = Some(now + DIAL_TIMEOUT);
        self.outputs.push_back(Output::Connect { id, from: None, to });
    }

    pub(super) fn fail_broker(&mut self, why: &str, now: Instant) {
        self.deadline = None;
        self.uplink.broker_failed(why, now);
        self.follow_up(now);
    }

    pub(super) fn end_resolver(&mut self) {
        if self.resolver.id.is_some() {
            self.chores.push_back(Chore::EndResolver);
            close(&mut self.outputs, &self.resolver, false);
        }
    }

    /// The look-up has written everything.
    pub(super) fn name_resolved(&mut self, now: Instant) {
        self.end_resolver();
        self.resolver.id = None;
        let text = String::from_utf8_lossy(&self.resolved);
        let addresses = text.lines().filter_map(|line| line.parse().ok()).take(ADDRESSES_MAX);
        self.addresses = addresses.map(|ip| SocketAddr::new(ip, self.port)).collect();
        self.dial_next("the name of the host is not known", now);
    }
}
