//! The keys of `[mqtt]`, which `pulsegate mqtt` reads. A build without the uplink passes over them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::format::{Fault, Format, Input, What, quote, text};
use super::keys::{Key, key};
use super::list::{Entry, List};
use super::load::Loader;
use super::scalar::{Bytes, Count, FilePath, Time, Word, Words};
use crate::mqtt::{Broker, Fixed, Full, Template, Version};

/// The configuration of the uplink. Texts of topics are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mqtt {
    pub(crate) broker: Vec<Broker>,
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) keep_alive: Duration,
    /// The name of the gateway in topics. Empty means the name of the machine.
    pub(crate) gateway: String,
    pub(crate) prefix: String,
    pub(crate) topic: String,
    pub(crate) availability: String,
    pub(crate) command: String,
    pub(crate) result: String,
    /// Where event lines go. Empty means nowhere.
    pub(crate) event: String,
    pub(crate) payload: Payload,
    pub(crate) retain: Vec<String>,
    pub(crate) types: Vec<String>,
    pub(crate) object_bytes_max: usize,
    pub(crate) window: u16,
    /// The folder of the store. None means memory alone.
    pub(crate) path: Option<PathBuf>,
    pub(crate) bytes_max: u64,
    pub(crate) memory: usize,
    pub(crate) spill_after: Duration,
    pub(crate) sync: Duration,
    pub(crate) full: Full,
}

/// The payload of a device's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The object, byte for byte.
    Object,
    /// The line of the event.
    Event,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            broker: vec![Broker { host: "127.0.0.1".into(), port: 1883, tls: false }],
            version: Version::V5,
            client_id: "pulsegate-{gateway}".into(),
            username: String::new(),
            password_file: None,
            keep_alive: Duration::from_secs(30),
            gateway: String::new(),
            prefix: "pulsegate/{gateway}".into(),
            topic: "{prefix}/device/{device}/{type}".into(),
            availability: "{prefix}/device/{device}/availability".into(),
            command: "{prefix}/device/{device}/set".into(),
            result: "{prefix}/device/{device}/result".into(),
            event: String::new(),
            payload: Payload::Object,
            retain: vec!["Status".into()],
            types: Vec::new(),
            object_bytes_max: 256 << 10,
            window: 100,
            path: None,
            bytes_max: 4 << 20,
            memory: 256 << 10,
            spill_after: Duration::from_secs(5),
            sync: Duration::from_secs(1),
            full: Full::DropOldest,
        }
    }
}

/// The sections with their introductions.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    (
        "mqtt",
        "How pulsegate mqtt passes messages to an MQTT broker. Topics are templates. {prefix} stands for the value of \
         prefix, and {gateway} for the name of the gateway. {device} stands for the name of the device, or for its address. \
         {type} stands for the type of the message. In each of them the characters + # / $ become _.",
    ),
    ("mqtt.store", "Where messages wait while no broker acknowledges them."),
];

const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(65_535);
const OBJECT_BYTES: RangeInclusive<usize> = 1 << 10..=16 << 20;
const STORE_BYTES: RangeInclusive<u64> = 256 << 10..=1 << 40;
const STORE_TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const MEMORY: RangeInclusive<usize> = 16 << 10..=1 << 30;
const BROKERS_MAX: usize = 8;

/// The bounds of a key's value, if it has any.
pub(super) fn bound(name: &str) -> Option<&'static str> {
    Some(match name {
        "mqtt.broker" => "have from 1 to 8 entries",
        "mqtt.keep_alive" => "be from 5s to 65535s",
        "mqtt.window" => "be from 1 to 65534",
        "mqtt.object_bytes_max" => "be from 1KiB to 16MiB",
        "mqtt.store.bytes_max" => "be from 256KiB to 1024GiB",
        "mqtt.store.spill_after" | "mqtt.store.sync" => "be from 100ms to 1h",
        "mqtt.store.memory" => "be from 16KiB to 1GiB",
        "mqtt.topic" | "mqtt.result" | "mqtt.event" => "be a topic without + and #",
        "mqtt.prefix" => "be a topic without + and #, and without {prefix}",
        "mqtt.availability" | "mqtt.command" => "be a topic without + and #, with {device} as one of its levels",
        _ => return None,
    })
}

/// Adds the faults of values that are out of bounds.
pub(super) fn check(loader: &mut Loader) {
    let mqtt = &loader.config.mqtt;
    let fixed = Fixed { gateway: "gateway", prefix: &mqtt.prefix.replace("{gateway}", "gateway") };
    let template = |text: &str| Template::parse(text, fixed).ok();
    let subscribable = |text: &str| template(text).is_some_and(|template| template.is_subscribable());
    let checks = [
        ("mqtt.broker", (1..=BROKERS_MAX).contains(&mqtt.broker.len())),
        ("mqtt.keep_alive", KEEP_ALIVE.contains(&mqtt.keep_alive)),
        ("mqtt.window", (1..u16::MAX).contains(&mqtt.window)),
        ("mqtt.object_bytes_max", OBJECT_BYTES.contains(&mqtt.object_bytes_max)),
        ("mqtt.store.memory", MEMORY.contains(&mqtt.memory)),
        ("mqtt.store.bytes_max", STORE_BYTES.contains(&mqtt.bytes_max)),
        ("mqtt.store.spill_after", STORE_TIME.contains(&mqtt.spill_after)),
        ("mqtt.store.sync", STORE_TIME.contains(&mqtt.sync)),
        ("mqtt.prefix", !mqtt.prefix.contains("{prefix}") && template(&mqtt.prefix).is_some()),
        ("mqtt.topic", template(&mqtt.topic).is_some()),
        ("mqtt.result", template(&mqtt.result).is_some()),
        ("mqtt.event", mqtt.event.is_empty() || template(&mqtt.event).is_some()),
        ("mqtt.availability", subscribable(&mqtt.availability)),
        ("mqtt.command", subscribable(&mqtt.command)),
    ];
    for (name, is_good) in checks {
        if !is_good && !loader.faulty.contains(&name) {
            loader.must(name, bound(name).unwrap_or_default());
        }
    }
}

/// A text on one line.
struct Text;

/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

impl Format<String> for Text {
    const WANT: &'static str = "a text in quotes, on one line and of at most 1024 bytes";

    fn read(input: Input<'_>) -> Result<String, Vec<Fault>> {
        let text = text(input)?;
        if text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
            return Err(What::Unlike.into());
        }
        Ok(text.into())
    }

    fn show(value: &String) -> String {
        quote(value)
    }
}

impl Entry for Broker {}
impl Entry for String {}

impl Words for Version {
    const WORDS: &'static [(&'static str, Self)] = &[("5", Self::V5), ("3.1.1", Self::V3)];
    const WANT: &'static str = "\"5\" or \"3.1.1\"";
}

impl Words for Payload {
    const WORDS: &'static [(&'static str, Self)] = &[("object", Self::Object), ("event", Self::Event)];
    const WANT: &'static str = "\"object\" or \"event\"";
}

impl Words for Full {
    const WORDS: &'static [(&'static str, Self)] =
        &[("drop_oldest", Self::DropOldest), ("drop_newest", Self::DropNewest)];
    const WANT: &'static str = "\"drop_oldest\" or \"drop_newest\"";
}

pub(super) const KEYS: [Key; 24] = [
    key!(
        "mqtt.broker",
        List<Vec<Broker>>,
        mqtt.broker,
        Some("--broker"),
        "Addresses of brokers, such as mqtt://broker.example or mqtt://192.0.2.1:1883. If a connection fails, the uplink \
         tries the next one."
    ),
    key!(
        "mqtt.version",
        Word<Version>,
        mqtt.version,
        None,
        "The version of MQTT. In 3.1.1 a broker acknowledges messages that it refuses, and messages have no properties."
    ),
    key!("mqtt.client_id", Text<String>, mqtt.client_id, None, "The client identifier. Each broker knows it once."),
    key!("mqtt.username", Text<String>, mqtt.username, None, "The user name at the broker, or \"\"."),
    key!(
        "mqtt.password_file",
        FilePath<Option<PathBuf>>,
        mqtt.password_file,
        None,
        "A file with the password. Line ends behind it do not count."
    ),
    key!(
        "mqtt.keep_alive",
        Time<Duration>,
        mqtt.keep_alive,
        None,
        "The longest time without a packet to the broker. After one and a half of it the broker says that the gateway is \
         offline."
    ),
    key!(
        "mqtt.gateway",
        Text<String>,
        mqtt.gateway,
        None,
        "The name of the gateway in topics. \"\" is the name of the machine."
    ),
    key!("mqtt.prefix", Text<String>, mqtt.prefix, None, "The beginning of topics. {gateway} may stand in it."),
    key!("mqtt.topic", Text<String>, mqtt.topic, None, "The topic of a device's message."),
    key!(
        "mqtt.availability",
        Text<String>,
        mqtt.availability,
        None,
        "The topic of a device's presence: online or offline, retained."
    ),
    key!("mqtt.command", Text<String>, mqtt.command, None, "The topic that takes commands for a device."),
    key!(
        "mqtt.result",
        Text<String>,
        mqtt.result,
        None,
        "The topic of a command's answer, where the command names no response topic."
    ),
    key!(
        "mqtt.event",
        Text<String>,
        mqtt.event,
        None,
        "The topic of all event lines, such as {prefix}/event. \"\" sends none."
    ),
    key!(
        "mqtt.payload",
        Word<Payload>,
        mqtt.payload,
        None,
        "The payload of a device's message: its object byte for byte, or the line of the event with time and number."
    ),
    key!(
        "mqtt.retain",
        List<Vec<String>>,
        mqtt.retain,
        None,
        "Types of messages that the broker keeps for later readers."
    ),
    key!("mqtt.types", List<Vec<String>>, mqtt.types, None, "Types of messages that go out. An empty list means all."),
    key!(
        "mqtt.object_bytes_max",
        Bytes<usize>,
        mqtt.object_bytes_max,
        None,
        "Length of an object. Longer ones do not go out, and are counted."
    ),
    key!(
        "mqtt.window",
        Count<u16>,
        mqtt.window,
        None,
        "Messages without acknowledgement at one time, if the broker takes as many."
    ),
    key!(
        "mqtt.store.path",
        FilePath<Option<PathBuf>>,
        mqtt.path,
        None,
        "A folder for messages while no broker takes them. \"\" keeps them in memory alone, and a restart loses them."
    ),
    key!(
        "mqtt.store.bytes_max",
        Bytes<u64>,
        mqtt.bytes_max,
        None,
        "Bytes of the store. A segment of 128KiB goes at a time."
    ),
    key!(
        "mqtt.store.memory",
        Bytes<usize>,
        mqtt.memory,
        None,
        "Memory for messages that wait. There is room for one message in any case."
    ),
    key!(
        "mqtt.store.spill_after",
        Time<Duration>,
        mqtt.spill_after,
        None,
        "How long messages wait in memory for a broker that is away, before they go to the store."
    ),
    key!(
        "mqtt.store.sync",
        Time<Duration>,
        mqtt.sync,
        None,
        "The shortest time between two syncs of the store. A power cut costs at most spill_after and this time of messages."
    ),
    key!(
        "mqtt.store.full",
        Word<Full>,
        mqtt.full,
        None,
        "Which messages go when there is no room. A message to {prefix}/missed has their number."
    ),
];
