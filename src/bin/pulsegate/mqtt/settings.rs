//! The configuration of `[mqtt]` as the uplink uses it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::codec::{Greeting, Version};
use super::queue::Full;
use super::topics::{Fixed, Template, Topic, level};
use super::url::Broker;
use crate::config::{Mqtt, MqttPayload};

/// Everything that stays the same while the uplink runs.
pub(super) struct Settings {
    pub(super) greeting: Greeting,
    pub(super) brokers: Vec<Broker>,
    pub(super) window: u16,
    /// `online` or `offline`: the gateway and the uplink.
    pub(super) state: Topic,
    pub(super) info: Topic,
    pub(super) missed: Topic,
    pub(super) topic: Template,
    pub(super) availability: Template,
    pub(super) command: Template,
    pub(super) result: Template,
    pub(super) request: Template,
    pub(super) response: Template,
    /// Where all event lines go, if they are wanted.
    pub(super) event: Option<Topic>,
    /// Types of messages that the broker retains.
    pub(super) retain: Vec<String>,
    /// Types of messages that go out. Empty means all.
    pub(super) types: Vec<String>,
    pub(super) payload: MqttPayload,
    pub(super) object_bytes_max: usize,
    pub(super) memory: usize,
    /// The folder of the store.
    pub(super) path: Option<PathBuf>,
    pub(super) bytes_max: u64,
    pub(super) spill_after: Duration,
    pub(super) sync: Duration,
    pub(super) full: Full,
}

impl Settings {
    /// The settings of a configuration, for a gateway whose machine has that name. The error is a sentence for people.
    pub(super) fn new(config: &Mqtt, host: &str) -> Result<Self, String> {
        let gateway = level(if config.gateway.is_empty() { host } else { &config.gateway });
        let prefix = config.prefix.replace("{gateway}", &gateway);
        let fixed = Fixed { gateway: &gateway, prefix: &prefix };
        let template = |text: &str| Template::parse(text, fixed).map_err(|error| format!("topic {text}: {error}"));
        let topic = |name: &str| {
            let topic = Topic::new(format!("{prefix}/{name}"));
            topic.ok_or_else(|| format!("mqtt.prefix {prefix}: expected a topic without + # and NUL"))
        };
        let client_id = config.client_id.replace("{gateway}", &gateway);
        let password = config.password_file.as_ref().map(|path| {
            let text = fs::read(path).map_err(|error| format!("mqtt.password_file {}: {error}", path.display()))?;
            // An editor ends the last line.
            Ok::<_, String>(text.trim_ascii_end().to_vec())
        });
        let event = (!config.event.is_empty()).then(|| template(&config.event)).transpose()?;
        Ok(Self {
            greeting: Greeting {
                version: config.version,
                client_id,
                username: (!config.username.is_empty()).then(|| config.username.clone()),
                password: password.transpose()?,
                keep_alive: u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX),
                will: topic("state")?,
            },
            brokers: config.broker.clone(),
            window: config.window,
            state: topic("state")?,
            info: topic("info")?,
            missed: topic("missed")?,
            topic: template(&config.topic)?,
            availability: template(&config.availability)?,
            command: template(&config.command)?,
            result: template(&config.result)?,
            request: template("{prefix}/request/{op}")?,
            response: template("{prefix}/response/{op}")?,
            event: event.and_then(|event| event.device("")),
            retain: config.retain.clone(),
            types: config.types.clone(),
            payload: config.payload,
            object_bytes_max: config.object_bytes_max,
            memory: config.memory,
            path: config.path.clone(),
            bytes_max: config.bytes_max,
            spill_after: config.spill_after,
            sync: config.sync,
            full: config.full,
        })
    }

    /// Whether version 3.1.1 is spoken, in which a broker acknowledges what it refuses.
    pub(super) fn is_old_version(&self) -> bool {
        self.greeting.version == Version::V3
    }
}
