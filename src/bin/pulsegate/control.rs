//! The control socket: requests and answers as JSON Lines, for the calls of this program and for any
//! other. What a client may cost is bounded: a line, and a buffer of answers that it does not read.

use std::borrow::Cow;

use log::{debug, info};
use nix::unistd::geteuid;
use pulsegate::{ConnectionId, Context, Credentials, Delivery, SendError, StreamEvent, Target};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::events::{Consumer, Filter};
use crate::stats::{self, DaemonStats};

pulsegate::closed_list! {
    /// What a client may ask for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Operation {
        Ping => "ping",
        Devices => "devices",
        Send => "send",
        Remove => "remove",
        Watch => "watch",
        Stats => "stats",
        Config => "config",
        Reload => "reload",
        Stop => "stop",
    }
}

pulsegate::closed_list! {
    /// The word by which an answer says why a request failed. The words of [`SendError`] are used beside these.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum ErrorWord {
        BadRequest => "bad_request",
        UnknownOp => "unknown_op",
        BadDevice => "bad_device",
        Lost => "lost",
        Busy => "busy",
        BadConfiguration => "bad_configuration",
        Failed => "failed",
        TooManyClients => "too_many_clients",
    }
}

/// All clients of the control socket.
#[derive(Default)]
pub(crate) struct Control {
    clients: Vec<Client>,
    /// Commands on their way, whose senders wait.
    sending: Vec<Sending>,
    last_tag: u64,
    /// Connections and requests so far. It tells which client has been idle longest.
    uses: u64,
    reloads: Vec<Option<ReplyTo>>,
    /// Clients that wait for the configuration.
    config_requests: Vec<ReplyTo>,
}

/// Clients at one time.
pub(crate) const CLIENTS_MAX: usize = 64;
/// Commands of one client on their way at one time.
pub(crate) const SENDING_MAX: usize = 256;
/// Places beyond [`CLIENTS_MAX`] for root and the gateway's own user. A client that has one may not watch.
const RESERVED_CLIENTS: usize = 8;
/// Types of one `watch`.
const TYPES_MAX: usize = 64;
/// Bytes of one of these types. No device sends a longer one.
const TYPE_BYTES_MAX: usize = 256;
/// Length of a request in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;

struct Client {
    stream: ConnectionId,
    credentials: Credentials,
    /// The beginning of a request that has not come whole.
    input: Vec<u8>,
    consumer: Option<Consumer>,
    listing: Option<Listing>,
    /// Answers that are yet to come: of a list, of commands on their way, of a reload.
    outstanding: usize,
    /// It asks nothing more, and is closed with the last answer.
    ended: bool,
    /// The value of [`Control::uses`] at its last request.
    last_use: u64,
    /// Whether it has a place beyond [`CLIENTS_MAX`].
    reserved: bool,
}

/// A list of devices that is being told, as far as the client reads it.
struct Listing {
    id: Option<u64>,
    last: Option<ConnectionId>,
    told: usize,
}

struct Sending {
    tag: u64,
    reply_to: ReplyTo,
    to: ConnectionId,
    of: usize,
}

/// Who is to be answered, and under which id.
#[derive(Clone, Copy)]
pub(crate) struct ReplyTo {
    stream: ConnectionId,
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    device: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    types: Vec<String>,
}

/// What is looked for in a request that was not understood.
#[derive(Deserialize)]
struct OnlyId {
    id: Option<u64>,
}

/// A refusal: its word for programs, and a sentence for people.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    word: &'static str,
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(word: ErrorWord, detail: impl Into<String>) -> Self {
        Self { word: word.as_str(), detail: detail.into() }
    }
}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Self {
        Self { word: error.as_str(), detail: error.to_string() }
    }
}

impl Control {
    /// The streams of all clients.
    pub(crate) fn streams(&self) -> impl Iterator<Item = ConnectionId> {
        self.clients.iter().map(|client| client.stream)
    }

    /// The clients that watch.
    pub(crate) fn consumers(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.clients.iter_mut().filter_map(|client| client.consumer.as_mut())
    }

    /// Has the configuration read again; `None` asks by signal and wants no answer.
    pub(crate) fn ask_reload(&mut self, reply_to: Option<ReplyTo>) {
        self.reloads.push(reply_to);
    }

    /// Those who asked for a reload since this was last called.
    pub(crate) fn take_reloads(&mut self) -> Vec<Option<ReplyTo>> {
        std::mem::take(&mut self.reloads)
    }

    /// The clients that have asked for the configuration since the last call.
    pub(crate) fn take_config_requests(&mut self) -> Vec<ReplyTo> {
        std::mem::take(&mut self.config_requests)
    }

    /// Answers `config`.
    pub(crate) fn configured(&mut self, reply_to: ReplyTo, config: &Value, gateway: &mut Context<'_>) {
        accept(gateway, reply_to, json!({ "config": config }));
        self.answered(reply_to.stream, gateway);
    }

    /// Tells an reply_to how a reload has come out.
    pub(crate) fn reloaded(
        &mut self,
        reply_to: ReplyTo,
        result: &Result<Vec<&'static str>, Refused>,
        gateway: &mut Context<'_>,
    ) {
        match result {
            Ok(changed) => accept(gateway, reply_to, json!({ "changed": changed })),
            Err(refused) => refuse(gateway, reply_to, refused.clone()),
        }
        self.answered(reply_to.stream, gateway);
    }

    /// Something happened on a control stream.
    pub(crate) fn on_stream(
        &mut self,
        stream: ConnectionId,
        event: StreamEvent<'_>,
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) {
        match event {
            StreamEvent::Opened(_, credentials) => self.open(stream, credentials, gateway),
            StreamEvent::Data(bytes) => self.read(stream, bytes, figures, gateway),
            StreamEvent::Drained => {
                if let Some(client) = self.client(stream) {
                    client.resume(gateway);
                }
            }
            StreamEvent::End => self.end(stream, figures, gateway),
            _ => self.clients.retain(|client| client.stream != stream),
        }
    }

    /// What became of a command.
    pub(crate) fn sent(&mut self, tag: u64, delivery: Delivery, gateway: &mut Context<'_>) {
        let Some(at) = self.sending.iter().position(|sending| sending.tag == tag) else { return };
        let Sending { reply_to, to, of, .. } = self.sending.remove(at);
        match delivery {
            Delivery::Sent => accept(gateway, reply_to, json!({ "conn": to.get(), "of": of })),
            Delivery::Lost(reason) => {
                let detail = format!("the device was gone before it took the command: {reason}");
                refuse(gateway, reply_to, Refused::new(ErrorWord::Lost, detail));
            }
        }
        self.answered(reply_to.stream, gateway);
    }

    /// An answer that a client was outstanding has been given.
    fn answered(&mut self, stream: ConnectionId, gateway: &mut Context<'_>) {
        if let Some(client) = self.client(stream) {
            client.answered(gateway);
        }
    }

    fn client(&mut self, stream: ConnectionId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.stream == stream)
    }

    fn open(&mut self, stream: ConnectionId, credentials: Credentials, gateway: &mut Context<'_>) {
        let privileged = is_privileged(credentials);
        if self.clients.len() >= CLIENTS_MAX {
            self.close_idle(privileged, gateway);
        }
        let places = if privileged { CLIENTS_MAX + RESERVED_CLIENTS } else { CLIENTS_MAX };
        if self.clients.len() >= places {
            refuse_client(stream, gateway);
            return;
        }
        self.uses += 1;
        debug!("control client: uid {}, pid {}", credentials.uid, credentials.pid);
        self.clients.push(Client {
            stream,
            credentials,
            input: Vec::new(),
            consumer: None,
            listing: None,
            outstanding: 0,
            ended: false,
            last_use: self.uses,
            reserved: self.clients.len() >= CLIENTS_MAX,
        });
    }

    /// Closes the client that has been idle longest, watches nothing and awaits no answer. Only a privileged client
    /// takes the place of another.
    fn close_idle(&mut self, privileged: bool, gateway: &mut Context<'_>) {
        let idle = self.clients.iter().filter(|client| {
            client.consumer.is_none() && client.outstanding == 0 && (privileged || !is_privileged(client.credentials))
        });
        if let Some(stream) = idle.min_by_key(|client| client.last_use).map(|client| client.stream) {
            self.clients.retain(|client| client.stream != stream);
            refuse_client(stream, gateway);
        }
    }

    /// A client sends no more. Its last request may lack the line end.
    fn end(&mut self, stream: ConnectionId, figures: &DaemonStats, gateway: &mut Context<'_>) {
        let Some(client) = self.client(stream) else { return gateway.close(stream) };
        let last = std::mem::take(&mut client.input);
        self.request(stream, &last, figures, gateway);
        match self.client(stream) {
            Some(client) if client.outstanding > 0 => client.ended = true,
            _ => gateway.close(stream),
        }
    }

    fn read(&mut self, stream: ConnectionId, bytes: &[u8], figures: &DaemonStats, gateway: &mut Context<'_>) {
        self.uses += 1;
        let uses = self.uses;
        let Some(client) = self.client(stream) else { return };
        client.last_use = uses;
        let mut input = std::mem::take(&mut client.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some(end) = memchr::memchr(b'\n', rest).filter(|&end| end <= REQUEST_BYTES_MAX) {
            // A client that lets its answers wait is closed, see [`reply`]. What it asks then would be in vain, and
            // thousands of questions keep the devices waiting. Nor is there room for an answer where other readers
            // have taken of what was left for this one.
            if !gateway.write(stream, b"") {
                gateway.close(stream);
                return;
            }
            self.request(stream, &rest[..end], figures, gateway);
            rest = &rest[end + 1..];
        }
        if rest.len() > REQUEST_BYTES_MAX {
            let why = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
            refuse(gateway, ReplyTo { stream, id: None }, Refused::new(ErrorWord::BadRequest, why));
            self.clients.retain(|client| client.stream != stream);
            gateway.close(stream);
        } else if let Some(client) = self.client(stream) {
            client.input = rest.to_vec();
        }
    }

    fn request(&mut self, stream: ConnectionId, line: &[u8], figures: &DaemonStats, gateway: &mut Context<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        // Serde would take an array for an object's values in order.
        let request = match line.trim_ascii_start().starts_with(b"{") {
            true => serde_json::from_slice::<Request<'_>>(line),
            false => Err(serde::de::Error::custom("it is no object")),
        };
        match request {
            Ok(request) => {
                let reply_to = ReplyTo { stream, id: request.id };
                if let Err(refused) = self.dispatch(reply_to, &request, figures, gateway) {
                    refuse(gateway, reply_to, refused);
                }
            }
            Err(error) => {
                // Who has asked several things must know which of them it was.
                let id = serde_json::from_slice::<OnlyId>(line).map_or(None, |request| request.id);
                let why = format!("the request was not understood: {error}");
                refuse(gateway, ReplyTo { stream, id }, Refused::new(ErrorWord::BadRequest, why));
            }
        }
    }

    fn dispatch(
        &mut self,
        reply_to: ReplyTo,
        request: &Request<'_>,
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        let Some(client) = self.clients.iter_mut().find(|client| client.stream == reply_to.stream) else {
            return Ok(());
        };
        let Credentials { pid, uid, .. } = client.credentials;
        let operation = Operation::find(&request.op)
            .ok_or_else(|| Refused::new(ErrorWord::UnknownOp, format!("there is no operation {:?}", request.op)))?;
        match operation {
            Operation::Ping => accept(gateway, reply_to, json!({ "version": env!("CARGO_PKG_VERSION") })),
            Operation::Devices => {
                if client.listing.is_some() {
                    return Err(Refused::new(ErrorWord::Busy, "a list of devices is being told already"));
                }
                client.listing = Some(Listing { id: reply_to.id, last: None, told: 0 });
                client.outstanding += 1;
                client.resume(gateway);
            }
            Operation::Watch => {
                let device = request.device.as_deref().map(target).transpose()?;
                if client.reserved {
                    let detail = format!("{CLIENTS_MAX} control clients are connected already: no other may watch");
                    return Err(Refused::new(ErrorWord::TooManyClients, detail));
                }
                check_types(&request.types)?;
                let filter = Filter { types: request.types.clone(), device };
                match &mut client.consumer {
                    Some(consumer) => {
                        // What has been left out belongs before the answer, as the events in its place would have been.
                        consumer.catch_up(gateway);
                        consumer.filter = filter;
                    }
                    none => *none = Some(Consumer::new(reply_to.stream, filter)),
                }
                accept(gateway, reply_to, json!({ "boot": figures.boot.to_string(), "seq": figures.events }));
            }
            Operation::Stats => accept(gateway, reply_to, json!({ "stats": stats::collect(gateway, figures) })),
            Operation::Config => {
                client.outstanding += 1;
                self.config_requests.push(reply_to);
            }
            Operation::Send => {
                let to = target(needed(request.device.as_deref(), "device")?)?;
                let text = needed(request.text.as_deref(), "text")?;
                let waiting = self.sending.iter().filter(|sending| sending.reply_to.stream == reply_to.stream);
                if waiting.count() >= SENDING_MAX {
                    return Err(Refused::new(
                        ErrorWord::Busy,
                        format!("{SENDING_MAX} commands are on their way already"),
                    ));
                }
                self.last_tag += 1;
                let tag = self.last_tag;
                let queued = gateway.send_tagged(to, text, tag)?;
                client.outstanding += 1;
                info!("command of {} bytes to device {}: asked by uid {uid}, pid {pid}", text.len(), queued.id);
                self.sending.push(Sending { tag, reply_to, to: queued.id, of: queued.of });
            }
            Operation::Remove => {
                let name = needed(request.device.as_deref(), "device")?;
                let removed = gateway.remove(target(name)?);
                info!("{removed} connections of {name} removed: asked by uid {uid}, pid {pid}");
                if removed == 0 {
                    return Err(SendError::NoSuchDevice.into());
                }
                accept(gateway, reply_to, json!({ "removed": removed }));
            }
            Operation::Reload => {
                info!("reload: asked by uid {uid}, pid {pid}");
                client.outstanding += 1;
                self.ask_reload(Some(reply_to));
            }
            Operation::Stop => {
                info!("stopping: asked by uid {uid}, pid {pid}");
                accept(gateway, reply_to, json!({}));
                gateway.stop();
            }
        }
        Ok(())
    }
}

impl Client {
    fn answered(&mut self, gateway: &mut Context<'_>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if self.ended && self.outstanding == 0 {
            gateway.close(self.stream);
        }
    }

    /// Goes on telling what did not fit the client's buffer before.
    fn resume(&mut self, gateway: &mut Context<'_>) {
        if let Some(consumer) = &mut self.consumer {
            consumer.catch_up(gateway);
        }
        while let Some(listing) = &mut self.listing {
            let next = gateway.devices_after(listing.last).next();
            let line = match &next {
                Some(device) => json!({ "id": listing.id, "device": stats::device(device) }),
                None => json!({ "id": listing.id, "ok": true, "devices": listing.told }),
            };
            if !gateway.write(self.stream, format!("{line}\n").as_bytes()) {
                return;
            }
            let Some(device) = next else {
                self.listing = None;
                self.answered(gateway);
                return;
            };
            listing.last = Some(device.id());
            listing.told += 1;
        }
    }
}

/// Whether the places beyond [`CLIENTS_MAX`] are for a client.
fn is_privileged(credentials: Credentials) -> bool {
    credentials.uid == 0 || credentials.uid == geteuid().as_raw()
}

/// Closes a client that has no place.
fn refuse_client(stream: ConnectionId, gateway: &mut Context<'_>) {
    let why = format!("{CLIENTS_MAX} control clients are connected already");
    refuse(gateway, ReplyTo { stream, id: None }, Refused::new(ErrorWord::TooManyClients, why));
    gateway.close(stream);
}

/// Each message is compared with every type, and the gateway keeps them all.
fn check_types(types: &[String]) -> Result<(), Refused> {
    let detail = if types.len() > TYPES_MAX {
        format!("a watch has at most {TYPES_MAX} types")
    } else if types.iter().any(|word| word.len() > TYPE_BYTES_MAX) {
        format!("a type has at most {TYPE_BYTES_MAX} bytes")
    } else {
        return Ok(());
    };
    Err(Refused::new(ErrorWord::BadRequest, detail))
}

fn needed<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Refused> {
    value.ok_or_else(|| Refused::new(ErrorWord::BadRequest, format!("the request needs {name:?}")))
}

fn target(text: &str) -> Result<Target, Refused> {
    text.parse().map_err(|e: pulsegate::TargetError| Refused::new(ErrorWord::BadDevice, e.to_string()))
}

/// Answers that a request was carried out, with what is to be told of it.
fn accept(gateway: &mut Context<'_>, reply_to: ReplyTo, mut answer: Value) {
    answer["id"] = json!(reply_to.id);
    answer["ok"] = json!(true);
    reply(gateway, reply_to, &answer);
}

fn refuse(gateway: &mut Context<'_>, reply_to: ReplyTo, refused: Refused) {
    let Refused { word, detail } = refused;
    reply(gateway, reply_to, &json!({ "id": reply_to.id, "ok": false, "error": word, "detail": detail }));
}

/// A client that lets a whole buffer of answers wait unread is not waited for.
fn reply(gateway: &mut Context<'_>, reply_to: ReplyTo, answer: &Value) {
    if !gateway.write(reply_to.stream, format!("{answer}\n").as_bytes()) {
        gateway.close(reply_to.stream);
    }
}

#[cfg(test)]
mod tests;
