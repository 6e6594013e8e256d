//! MQTT packets as bytes, in version 5 or 3.1.1. The crate mqtt-protocol-core reads and writes them.

use mqtt_protocol_core::mqtt::common::{Arc, Cursor};
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::{
    CorrelationData, GenericPacketTrait, MaximumPacketSize, Properties, Property, Qos, ResponseTopic, SubEntry,
    SubOpts, UserProperty, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::topics::Topic;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// 5.0
    V5,
    /// 3.1.1
    V3,
}

/// The longest packet that the uplink accepts, in bytes.
pub(super) const PACKET_BYTES_MAX: u32 = 320 << 10;

/// A packet from a broker, as far as the uplink uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    Connack(Connack),
    /// The acknowledgement of a message. Reason codes from 0x80 are refusals.
    Puback {
        id: u16,
        code: u8,
    },
    /// The broker's answer to SUBSCRIBE, one code for each filter.
    Suback(Vec<u8>),
    Publish(Received),
    Pingresp,
    Disconnect(u8),
    /// A packet without meaning for the uplink.
    Other,
}

/// The broker's answer to CONNECT: its code and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connack {
    /// 0, or why the broker refuses the connection.
    pub(super) code: u8,
    /// Whether the packet has the form of 3.1.1. Old brokers answer version 5 so.
    pub(super) is_old: bool,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: u32,
    pub(super) qos_max: u8,
    pub(super) retain_available: bool,
    pub(super) keep_alive: Option<u16>,
}

/// The limits of a broker that states none.
impl Default for Connack {
    fn default() -> Self {
        Self {
            code: 0,
            is_old: false,
            receive_maximum: u16::MAX,
            packet_bytes_max: u32::MAX,
            qos_max: 2,
            retain_available: true,
            keep_alive: None,
        }
    }
}

/// A message from a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// The packet identifier, if the broker awaits an acknowledgement.
    pub(super) id: Option<u16>,
    pub(super) retain: bool,
    pub(super) duplicate: bool,
    pub(super) response_topic: Option<String>,
    pub(super) correlation: Option<Vec<u8>>,
}

/// A message to a broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a Topic,
    pub(super) payload: &'a [u8],
    pub(super) retain: bool,
    /// Names and values of user properties. Version 3.1.1 has none.
    pub(super) properties: &'a [(&'static str, &'a str)],
    pub(super) correlation: Option<&'a [u8]>,
}

/// The content of CONNECT.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    pub(super) version: Version,
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    /// Seconds.
    pub(super) keep_alive: u16,
    /// The topic of the will. The broker publishes `offline` there, retained, when the connection breaks.
    pub(super) will: Topic,
}

/// The payload of presence when a device or the uplink is away.
pub(super) const OFFLINE: &str = "offline";

/// Writes packets of one version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder(pub(super) Version);

impl Encoder {
    /// CONNECT with a clean session.
    pub(super) fn connect(greeting: &Greeting, out: &mut Vec<u8>) -> Result<(), MqttError> {
        macro_rules! connect {
            ($builder:expr) => {{
                let mut builder = $builder
                    .client_id(greeting.client_id.as_str())?
                    .clean_start(true)
                    .keep_alive(greeting.keep_alive)
                    .will_message(greeting.will.as_str(), OFFLINE, Qos::AtLeastOnce, true)?;
                if let Some(name) = &greeting.username {
                    builder = builder.user_name(name.as_str())?;
                }
                if let Some(password) = &greeting.password {
                    builder = builder.password(password.clone())?;
                }
                builder
            }};
        }
        match greeting.version {
            Version::V3 => put(&connect!(v3_1_1::Connect::builder()).build()?, out),
            Version::V5 => {
                let props = vec![Property::MaximumPacketSize(MaximumPacketSize::new(PACKET_BYTES_MAX)?)];
                put(&connect!(v5_0::Connect::builder()).props(props).build()?, out);
            }
        }
        Ok(())
    }

    /// PUBLISH, with acknowledgement if it has a packet identifier.
    pub(super) fn publish(self, id: Option<u16>, message: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), MqttError> {
        macro_rules! publish {
            ($builder:expr) => {{
                let builder =
                    $builder.topic_name(message.topic.as_str())?.retain(message.retain).payload(message.payload);
                match id {
                    Some(id) => builder.qos(Qos::AtLeastOnce).packet_id(id),
                    None => builder.qos(Qos::AtMostOnce),
                }
            }};
        }
        match self.0 {
            Version::V3 => put(&publish!(v3_1_1::Publish::builder()).build()?, out),
            Version::V5 => {
                let mut props = Properties::new();
                for (name, value) in message.properties {
                    props.push(Property::UserProperty(UserProperty::new(*name, *value)?));
                }
                if let Some(correlation) = message.correlation {
                    props.push(Property::CorrelationData(CorrelationData::new(correlation.to_vec())?));
                }
                put(&publish!(v5_0::Publish::builder()).props(props).build()?, out);
            }
        }
        Ok(())
    }

    /// SUBSCRIBE, for messages of others alone where the version can say so.
    pub(super) fn subscribe(self, id: u16, filters: &[String], out: &mut Vec<u8>) -> Result<(), MqttError> {
        let options = SubOpts::new().set_qos(Qos::AtLeastOnce).set_nl(self.0 == Version::V5);
        let entries = filters.iter().map(|filter| SubEntry::new(filter.as_str(), options));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        match self.0 {
            Version::V3 => put(&v3_1_1::Subscribe::builder().packet_id(id).entries(entries).build()?, out),
            Version::V5 => put(&v5_0::Subscribe::builder().packet_id(id).entries(entries).build()?, out),
        }
        Ok(())
    }

    /// PUBACK of a received message.
    pub(super) fn puback(self, id: u16, out: &mut Vec<u8>) -> Result<(), MqttError> {
        match self.0 {
            Version::V3 => put(&v3_1_1::Puback::builder().packet_id(id).build()?, out),
            Version::V5 => put(&v5_0::Puback::builder().packet_id(id).build()?, out),
        }
        Ok(())
    }

    pub(super) fn pingreq(self, out: &mut Vec<u8>) -> Result<(), MqttError> {
        put(&v3_1_1::Pingreq::builder().build()?, out);
        Ok(())
    }

    /// DISCONNECT, with which the broker discards the will.
    pub(super) fn disconnect(self, out: &mut Vec<u8>) -> Result<(), MqttError> {
        put(&v3_1_1::Disconnect::builder().build()?, out);
        Ok(())
    }
}

fn put(packet: &impl GenericPacketTrait, out: &mut Vec<u8>) {
    out.reserve(packet.size());
    packet.to_buffers().iter().for_each(|part| out.extend_from_slice(part));
}

/// Cuts packets out of a broker's bytes.
pub(super) struct Decoder {
    builder: PacketBuilder,
    version: Version,
}

impl Decoder {
    pub(super) fn new(version: Version) -> Self {
        Self { builder: PacketBuilder::with_maximum_packet_size(PACKET_BYTES_MAX), version }
    }

    /// The next packet of `bytes`, which then begin behind it. An error makes every later byte meaningless.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Incoming>, MqttError> {
        // One call takes the header, the next one the body.
        while !bytes.is_empty() {
            let mut cursor = Cursor::new(*bytes);
            let result = self.builder.feed(&mut cursor);
            *bytes = &bytes[usize::try_from(cursor.position()).unwrap_or(bytes.len())..];
            match result {
                PacketBuildResult::Complete(packet) => return self.parse(&packet).map(Some),
                PacketBuildResult::Incomplete => {}
                PacketBuildResult::Error(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn parse(&self, packet: &RawPacket) -> Result<Incoming, MqttError> {
        let body = packet.data_as_slice();
        Ok(match packet.packet_type() {
            2 => Incoming::Connack(self.connack(packet)?),
            3 => Incoming::Publish(self.publish(packet)?),
            // The crate refuses codes that the standard lists for other packets, and the identifier would be lost.
            4 => match *body {
                [high, low, ref rest @ ..] => {
                    Incoming::Puback { id: u16::from_be_bytes([high, low]), code: rest.first().copied().unwrap_or(0) }
                }
                _ => return Err(MqttError::MalformedPacket),
            },
            9 => Incoming::Suback(match self.version {
                Version::V3 => {
                    packet.parse_exact(v3_1_1::Suback::parse)?.return_codes().iter().map(|&c| c as u8).collect()
                }
                Version::V5 => {
                    packet.parse_exact(v5_0::Suback::parse)?.reason_codes().iter().map(|&c| c as u8).collect()
                }
            }),
            13 => Incoming::Pingresp,
            14 => Incoming::Disconnect(body.first().copied().unwrap_or(0)),
            _ => Incoming::Other,
        })
    }

    fn connack(&self, packet: &RawPacket) -> Result<Connack, MqttError> {
        let body = packet.data_as_slice();
        let is_old = body.len() == 2;
        let mut connack =
            Connack { code: body.get(1).copied().ok_or(MqttError::MalformedPacket)?, is_old, ..Connack::default() };
        if is_old || self.version == Version::V3 {
            return Ok(connack);
        }
        for property in &packet.parse_exact(v5_0::Connack::parse)?.props {
            match property {
                Property::ReceiveMaximum(value) => connack.receive_maximum = value.val(),
                Property::MaximumPacketSize(value) => connack.packet_bytes_max = value.val(),
                Property::MaximumQos(value) => connack.qos_max = value.val(),
                Property::RetainAvailable(value) => connack.retain_available = value.val() != 0,
                Property::ServerKeepAlive(value) => connack.keep_alive = Some(value.val()),
                _ => {}
            }
        }
        Ok(connack)
    }

    fn publish(&self, packet: &RawPacket) -> Result<Received, MqttError> {
        macro_rules! received {
            ($publish:expr) => {{
                let (publish, _) = $publish;
                let received = Received {
                    topic: publish.topic_name().to_owned(),
                    payload: publish.payload().as_slice().to_vec(),
                    id: publish.packet_id(),
                    retain: publish.retain(),
                    duplicate: publish.dup(),
                    ..Received::default()
                };
                (publish, received)
            }};
        }
        let body: Arc<[u8]> = packet.data_as_slice().into();
        if self.version == Version::V3 {
            return Ok(received!(v3_1_1::Publish::parse(packet.flags(), body)?).1);
        }
        let (publish, mut received) = received!(v5_0::Publish::parse(packet.flags(), body)?);
        for property in &publish.props {
            match property {
                Property::ResponseTopic(topic) => received.response_topic = Some(ResponseTopic::val(topic).to_owned()),
                Property::CorrelationData(data) => received.correlation = Some(data.val().to_vec()),
                _ => {}
            }
        }
        Ok(received)
    }
}
