//! A broker without sockets, which misbehaves on demand.

use mqtt_protocol_core::mqtt::common::{Arc, Cursor};
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use serde_json::Value;

use crate::mqtt::Version;

/// A fault of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It accepts no connection.
    Refuses,
    /// It answers nothing.
    Silent,
    /// It acknowledges no message and answers no PINGREQ.
    NeverAcks,
    /// It closes one connection with that packet.
    HangsUpAfter(u64),
    /// It answers CONNECT with that code.
    Rejects(u8),
    /// It answers CONNECT with bytes that are no MQTT.
    Garbage,
    /// It acknowledges the messages of one read in reverse.
    AcksBackwards,
    /// It answers CONNECT in the form of 3.1.1, since it does not know version 5.
    OldForm,
}

pub(super) struct SimBroker {
    version: Version,
    pub(super) fault: Fault,
    pub(super) is_open: bool,
    hangs_up: bool,
    is_silent: bool,
    packets: u64,
    builder: PacketBuilder,
    out: Vec<u8>,
    acks: Vec<[u8; 5]>,
    /// Messages that have come: topic and payload.
    messages: Vec<(String, Vec<u8>)>,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) keep_alive: Option<u16>,
    pub(super) qos_max: Option<u8>,
    pub(super) retain_available: bool,
    /// The number of the message that ends each connection.
    pub(super) deadly: Option<u64>,
    /// The number of the message that is refused.
    pub(super) forbidden: Option<u64>,
    pub(super) pings: u32,
    pub(super) has_goodbye: bool,
    pub(super) acks_asked: u32,
    pub(super) retained: u32,
    /// The most messages without acknowledgement at one time.
    pub(super) in_flight_max: usize,
    unacked: usize,
}

impl SimBroker {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            fault: Fault::None,
            is_open: false,
            hangs_up: false,
            is_silent: false,
            packets: 0,
            builder: PacketBuilder::new(),
            out: Vec::new(),
            acks: Vec::new(),
            messages: Vec::new(),
            receive_maximum: 20,
            packet_bytes_max: None,
            keep_alive: None,
            qos_max: None,
            retain_available: true,
            deadly: None,
            forbidden: None,
            pings: 0,
            has_goodbye: false,
            acks_asked: 0,
            retained: 0,
            in_flight_max: 0,
            unacked: 0,
        }
    }

    pub(super) fn accept(&mut self) -> bool {
        self.is_open = self.fault != Fault::Refuses;
        self.packets = 0;
        self.unacked = 0;
        self.is_silent = false;
        self.builder.reset();
        self.is_open
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.hangs_up = false;
        self.out.clear();
        self.acks.clear();
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.is_open && self.hangs_up
    }

    /// Bytes for the client.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if self.fault == Fault::AcksBackwards {
            self.acks.reverse();
        }
        for ack in std::mem::take(&mut self.acks) {
            // Version 3.1.1 has no code.
            let bytes = if self.version == Version::V3 { &[0x40, 2, ack[2], ack[3]][..] } else { &ack[..] };
            self.out.extend_from_slice(bytes);
            self.unacked -= 1;
        }
        if self.is_open { std::mem::take(&mut self.out) } else { Vec::new() }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 && !self.hangs_up {
            match self.builder.feed(&mut cursor) {
                PacketBuildResult::Complete(packet) => self.packet(&packet),
                PacketBuildResult::Incomplete => {}
                PacketBuildResult::Error(error) => panic!("the uplink sent no MQTT: {error:?}"),
            }
        }
    }

    fn packet(&mut self, packet: &RawPacket) {
        self.packets += 1;
        if matches!(self.fault, Fault::HangsUpAfter(packets) if packets < self.packets) {
            self.hangs_up = true;
            self.fault = Fault::None;
        }
        // A silent broker stays silent until the connection ends.
        self.is_silent |= self.fault == Fault::Silent;
        if self.hangs_up || self.is_silent {
            return;
        }
        match packet.packet_type() {
            1 => self.connack(),
            3 => self.message(packet),
            8 => {
                let id = [packet.data_as_slice()[0], packet.data_as_slice()[1]];
                match self.version {
                    Version::V3 => self.out.extend([0x90, 5, id[0], id[1], 1, 1, 1]),
                    Version::V5 => self.out.extend([0x90, 6, id[0], id[1], 0, 1, 1, 1]),
                }
            }
            12 => {
                self.pings += 1;
                if self.fault != Fault::NeverAcks {
                    self.out.extend([0xd0, 0]);
                }
            }
            14 => self.has_goodbye = true,
            4 => {}
            other => panic!("the uplink sent a packet of type {other}"),
        }
    }

    fn connack(&mut self) {
        match (self.fault, self.version) {
            (Fault::Garbage, _) => return self.out.extend(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            (Fault::OldForm, _) => return self.out.extend([0x20, 2, 0, 1]),
            (Fault::Rejects(code), Version::V5) => return self.out.extend([0x20, 3, 0, code, 0]),
            (_, Version::V3) => return self.out.extend([0x20, 2, 0, 0]),
            _ => {}
        }
        let mut properties = vec![33];
        properties.extend(self.receive_maximum.to_be_bytes());
        if let Some(max) = self.packet_bytes_max {
            properties.push(39);
            properties.extend(max.to_be_bytes());
        }
        if let Some(seconds) = self.keep_alive {
            properties.push(19);
            properties.extend(seconds.to_be_bytes());
        }
        properties.extend(self.qos_max.map(|max| [36, max]).into_iter().flatten());
        properties.extend([37, u8::from(self.retain_available)]);
        self.out.extend([0x20, properties.len() as u8 + 3, 0, 0, properties.len() as u8]);
        self.out.extend(properties);
    }

    fn message(&mut self, packet: &RawPacket) {
        let body: Arc<[u8]> = packet.data_as_slice().into();
        let (topic, payload, id, retain) = match self.version {
            Version::V3 => {
                let message = v3_1_1::Publish::parse(packet.flags(), body).unwrap().0;
                (
                    message.topic_name().to_owned(),
                    message.payload().as_slice().to_vec(),
                    message.packet_id(),
                    message.retain(),
                )
            }
            Version::V5 => {
                let message = v5_0::Publish::parse(packet.flags(), body).unwrap().0;
                (
                    message.topic_name().to_owned(),
                    message.payload().as_slice().to_vec(),
                    message.packet_id(),
                    message.retain(),
                )
            }
        };
        let number = number(&payload);
        if number.is_some() && number == self.deadly {
            self.hangs_up = true;
            return;
        }
        self.retained += u32::from(retain);
        self.messages.push((topic, payload));
        let Some(id) = id else { return };
        self.acks_asked += 1;
        self.unacked += 1;
        self.in_flight_max = self.in_flight_max.max(self.unacked);
        if self.fault != Fault::NeverAcks {
            let code = if number.is_some() && number == self.forbidden { 0x87 } else { 0 };
            let [high, low] = id.to_be_bytes();
            self.acks.push([0x40, 3, high, low, code]);
        }
    }

    /// Sends a message to the client, with the flags of PUBLISH.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8], flags: u8) {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        if flags & 0b0110 != 0 {
            body.extend([0, 9]);
        }
        if self.version == Version::V5 {
            body.push(0);
        }
        body.extend(payload);
        self.out.push(0x30 | flags);
        let mut length = body.len();
        while length >= 128 {
            self.out.push(length as u8 & 0x7f | 0x80);
            length /= 128;
        }
        self.out.push(length as u8);
        self.out.extend(body);
    }

    /// The numbers of the devices' messages that have come.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.messages.iter().filter_map(|(_, payload)| number(payload)).collect()
    }

    pub(super) fn payloads(&self, topic: &str) -> Vec<String> {
        let of_topic = self.messages.iter().filter(|(name, _)| name == topic);
        of_topic.map(|(_, payload)| String::from_utf8(payload.clone()).unwrap()).collect()
    }

    pub(super) fn count(&self, topic: &str) -> usize {
        self.payloads(topic).len()
    }
}

/// The number in a device's message.
fn number(payload: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(payload).ok()?["n"].as_u64()
}
