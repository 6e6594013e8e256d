//! The presence of devices, and the changes that no broker has received.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::topics::level;

/// Devices by the level that names them in topics.
#[derive(Debug, Default)]
pub(super) struct Presence {
    devices: BTreeMap<String, Device>,
    /// Connections of the gateway: their device, and the list of devices that last showed them.
    connections: HashMap<u64, (String, u32)>,
    /// The number of the last list.
    list: u32,
    /// Devices whose presence no message carries yet, in order, each once.
    changed: VecDeque<String>,
    /// Devices that went, in order, and some that have come back since.
    gone: VecDeque<String>,
    /// Whether a broker takes changes. A new connection to a broker begins with all devices anyway.
    is_publishing: bool,
}

#[derive(Debug)]
struct Device {
    /// The device as the control socket takes it.
    target: String,
    connections: u32,
    /// Whether it is in `changed`.
    is_changed: bool,
}

/// Devices that are away and remembered.
const GONE_MAX: usize = 4096;

impl Presence {
    /// A connection belongs to that device. An empty name means a device without name.
    pub(super) fn connected(&mut self, connection: u64, name: &str, ip: &str) {
        let key = level(if name.is_empty() { ip } else { name });
        let list = self.list;
        if let Some((known, seen)) = self.connections.get_mut(&connection) {
            *seen = list;
            if *known == key {
                return;
            }
            self.disconnected(connection);
        }
        self.connections.insert(connection, (key.clone(), list));
        let target = if name.is_empty() { ip.to_owned() } else { format!("@{name}") };
        let new = Device { target: String::new(), connections: 0, is_changed: false };
        let device = self.devices.entry(key.clone()).or_insert(new);
        device.target = target;
        device.connections += 1;
        if device.connections == 1 {
            self.change(key);
        }
    }

    /// A connection has ended.
    pub(super) fn disconnected(&mut self, connection: u64) {
        let Some((key, _)) = self.connections.remove(&connection) else { return };
        let Some(device) = self.devices.get_mut(&key) else { return };
        device.connections -= 1;
        if device.connections == 0 {
            self.gone.push_back(key.clone());
            self.change(key);
            self.forget();
        }
    }

    /// A list of all connections begins.
    pub(super) fn list_begins(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The list is complete: connections that it did not show have ended.
    pub(super) fn list_ends(&mut self) {
        let list = self.list;
        let ended = self.connections.iter().filter(|(_, (_, seen))| *seen != list).map(|(connection, _)| *connection);
        for connection in ended.collect::<Vec<_>>() {
            self.disconnected(connection);
        }
    }

    /// The gateway is away, and with it every connection.
    pub(super) fn all_gone(&mut self) {
        self.list_begins();
        self.list_ends();
    }

    /// The number of devices that are there.
    pub(super) fn online(&self) -> usize {
        self.devices.values().filter(|device| device.connections > 0).count()
    }

    /// The device of a topic's level as the control socket takes it.
    pub(super) fn target(&self, level: &str) -> String {
        let known = self.devices.get(level).map(|device| device.target.clone());
        // The gateway answers for devices that the uplink does not know.
        known.unwrap_or_else(|| match level.parse::<std::net::IpAddr>() {
            Ok(_) => level.to_owned(),
            Err(_) => format!("@{level}"),
        })
    }

    /// A new connection to a broker: everything is published again.
    pub(super) fn publish_all(&mut self) {
        self.is_publishing = true;
        self.changed.clear();
        for (key, device) in &mut self.devices {
            device.is_changed = true;
            self.changed.push_back(key.clone());
        }
    }

    /// The broker is away.
    pub(super) fn stop_publishing(&mut self) {
        self.is_publishing = false;
        self.changed.clear();
        self.devices.values_mut().for_each(|device| device.is_changed = false);
    }

    /// The broker keeps `online` for a device that is not there. Returns whether that is so.
    pub(super) fn is_stale(&mut self, level: &str) -> bool {
        !self.devices.get(level).is_some_and(|device| device.connections > 0 || device.is_changed)
    }

    /// The next device whose presence no message carries yet, and whether it is there.
    pub(super) fn take_changed(&mut self) -> Option<(String, bool)> {
        let key = self.changed.pop_front()?;
        let is_online = self.devices.get_mut(&key).is_some_and(|device| {
            device.is_changed = false;
            device.connections > 0
        });
        Some((key, is_online))
    }

    fn change(&mut self, key: String) {
        let Some(device) = self.devices.get_mut(&key).filter(|_| self.is_publishing) else { return };
        if !std::mem::replace(&mut device.is_changed, true) {
            self.changed.push_back(key);
        }
    }

    /// Forgets the devices that have been away longest.
    fn forget(&mut self) {
        while self.gone.len() > GONE_MAX {
            let Some(key) = self.gone.pop_front() else { return };
            match self.devices.get(&key) {
                Some(Device { is_changed: true, .. }) => return self.gone.push_back(key),
                Some(Device { connections: 0, .. }) => drop(self.devices.remove(&key)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(presence: &mut Presence) -> Vec<(String, bool)> {
        std::iter::from_fn(|| presence.take_changed()).collect()
    }

    fn change(key: &str, is_online: bool) -> (String, bool) {
        (key.into(), is_online)
    }

    fn publishing() -> Presence {
        let mut presence = Presence::default();
        presence.publish_all();
        presence
    }

    #[test]
    fn a_device_is_there_while_it_has_a_connection() {
        let mut presence = publishing();
        presence.connected(1, "", "192.0.2.7");
        presence.connected(2, "", "192.0.2.7");
        assert_eq!(changes(&mut presence), [change("192.0.2.7", true)]);
        presence.disconnected(1);
        assert_eq!(changes(&mut presence), []);
        presence.disconnected(2);
        presence.disconnected(2);
        assert_eq!(changes(&mut presence), [change("192.0.2.7", false)]);
        presence.connected(3, "", "192.0.2.7");
        presence.disconnected(3);
        presence.connected(4, "", "192.0.2.7");
        assert_eq!(changes(&mut presence), [change("192.0.2.7", true)], "the last state counts");
    }

    #[test]
    fn a_name_takes_the_place_of_the_address() {
        let mut presence = publishing();
        presence.connected(1, "", "192.0.2.7");
        presence.connected(1, "pump/7", "192.0.2.7");
        assert_eq!(changes(&mut presence), [change("192.0.2.7", false), change("pump_7", true)]);
        assert_eq!(presence.target("pump_7"), "@pump/7");
        assert_eq!((presence.target("192.0.2.9"), presence.target("other")), ("192.0.2.9".into(), "@other".into()));
    }

    #[test]
    fn a_list_ends_the_connections_that_it_does_not_show() {
        let mut presence = publishing();
        presence.connected(1, "a", "192.0.2.1");
        presence.connected(2, "b", "192.0.2.2");
        changes(&mut presence);
        presence.list_begins();
        presence.connected(2, "b", "192.0.2.2");
        presence.connected(3, "c", "192.0.2.3");
        presence.list_ends();
        assert_eq!(changes(&mut presence), [change("c", true), change("a", false)]);
        presence.all_gone();
        assert_eq!(presence.online(), 0);
    }

    #[test]
    fn each_connection_to_a_broker_begins_with_all_devices() {
        let mut presence = publishing();
        presence.connected(1, "a", "192.0.2.1");
        presence.stop_publishing();
        presence.connected(2, "b", "192.0.2.2");
        presence.disconnected(2);
        assert_eq!(changes(&mut presence), []);
        presence.publish_all();
        assert_eq!(changes(&mut presence), [change("a", true), change("b", false)]);
    }

    #[test]
    fn devices_that_went_are_forgotten_in_the_end() {
        let mut presence = publishing();
        for number in 0..3 * GONE_MAX as u64 {
            presence.connected(number, &format!("d{number}"), "192.0.2.1");
            presence.disconnected(number);
            changes(&mut presence);
        }
        assert!(presence.devices.len() <= GONE_MAX + 1, "{}", presence.devices.len());
        assert_eq!(presence.target("d5"), "@d5");
    }
}
