//! The clients of the control socket: their places, what they read and write.

use log::debug;
use nix::unistd::geteuid;
use pulsegate::{ConnectionId, Context, Credentials};
use serde_json::json;

use super::Control;
use super::reply::{ErrorWord, Refused, ReplyTo};
use super::request::{REQUEST_BYTES_MAX, too_long};
use crate::events::Consumer;
use crate::stats::{self, DaemonStats};

/// Clients at one time.
pub(crate) const CLIENTS_MAX: usize = 64;
/// Places beyond [`CLIENTS_MAX`] for root and the gateway's own user. A client that has one may not watch.
pub(super) const RESERVED_CLIENTS: usize = 8;

pub(super) struct Client {
    stream: ConnectionId,
    pub(super) credentials: Credentials,
    /// The beginning of a request without its end.
    input: Vec<u8>,
    pub(super) consumer: Option<Consumer>,
    listing: Option<Listing>,
    /// The number of answers that are not written: of a list, of queued commands, of a reload.
    pub(super) outstanding: usize,
    /// The client has half-closed. The gateway closes it after the last answer.
    ended: bool,
    /// The value of [`Control::uses`] at its last request.
    last_use: u64,
    /// Whether it has a place beyond [`CLIENTS_MAX`].
    pub(super) reserved: bool,
}

/// A list of devices. The gateway writes as much of it as the client reads.
struct Listing {
    id: Option<u64>,
    last: Option<ConnectionId>,
    written: usize,
    /// The number of the last listed missing name, if missing names follow.
    missing: Option<u64>,
}

impl Control {
    pub(super) fn open(&mut self, stream: ConnectionId, credentials: Credentials, gateway: &mut Context<'_>) {
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
            self.forget(stream);
            refuse_client(stream, gateway);
        }
    }

    /// Handles a half-close. The last request may lack the line end.
    pub(super) fn end(&mut self, stream: ConnectionId, figures: &DaemonStats, gateway: &mut Context<'_>) {
        let Some(client) = self.client(stream) else { return gateway.close(stream) };
        let last = std::mem::take(&mut client.input);
        self.request(stream, &last, figures, gateway);
        match self.client(stream) {
            Some(client) if client.outstanding > 0 => client.ended = true,
            _ => gateway.close(stream),
        }
    }

    pub(super) fn read(
        &mut self,
        stream: ConnectionId,
        bytes: &[u8],
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) {
        self.uses += 1;
        let uses = self.uses;
        let Some(client) = self.client(stream) else { return };
        client.last_use = uses;
        let mut input = std::mem::take(&mut client.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some(end) = memchr::memchr(b'\n', rest).filter(|&end| end <= REQUEST_BYTES_MAX) {
            // A client that has no room for an answer is closed with its next request. Requests whose answers have no
            // room would keep devices waiting for nothing.
            if !gateway.write_answer(stream, b"") {
                gateway.close(stream);
                return;
            }
            self.request(stream, &rest[..end], figures, gateway);
            rest = &rest[end + 1..];
        }
        if rest.len() > REQUEST_BYTES_MAX {
            ReplyTo { stream, id: None }.refuse(gateway, &too_long());
            self.forget(stream);
            gateway.close(stream);
        } else if let Some(client) = self.client(stream) {
            client.input = rest.to_vec();
        }
    }
}

impl Client {
    pub(super) fn stream(&self) -> ConnectionId {
        self.stream
    }

    /// Returns its event consumer, if it watches.
    pub(super) fn consumer(&mut self) -> Option<&mut Consumer> {
        self.consumer.as_mut()
    }

    /// Counts one of its outstanding answers as written.
    pub(super) fn answered(&mut self, gateway: &mut Context<'_>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if self.ended && self.outstanding == 0 {
            gateway.close(self.stream);
        }
    }

    /// Begins a list of devices.
    pub(super) fn list_devices(
        &mut self,
        reply_to: ReplyTo,
        all: bool,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        if self.listing.is_some() {
            return Err(Refused::new(ErrorWord::Busy, "the client already receives a list of devices"));
        }
        self.listing = Some(Listing { id: reply_to.id, last: None, written: 0, missing: all.then_some(0) });
        self.outstanding += 1;
        self.resume(gateway);
        Ok(())
    }

    /// Writes the lines that had no room in the client's send queue.
    pub(super) fn resume(&mut self, gateway: &mut Context<'_>) {
        if let Some(consumer) = &mut self.consumer {
            consumer.catch_up(gateway);
        }
        while let Some(listing) = &mut self.listing {
            let next = gateway.devices_after(listing.last).next();
            let gone = match (&next, listing.missing) {
                (None, Some(last)) => gateway.missing_after(last).next(),
                _ => None,
            };
            let number = gone.as_ref().map(|gone| gone.number);
            let line = match (&next, &gone) {
                (Some(device), _) => json!({ "id": listing.id, "device": stats::device(device) }),
                (None, Some(gone)) => json!({ "id": listing.id, "missing": stats::missing(gone) }),
                (None, None) => json!({ "id": listing.id, "ok": true, "devices": listing.written }),
            };
            if !gateway.write_answer(self.stream, format!("{line}\n").as_bytes()) {
                return;
            }
            match (next, number) {
                (Some(device), _) => {
                    listing.last = Some(device.id());
                    listing.written += 1;
                }
                (None, Some(_)) => listing.missing = number,
                (None, None) => {
                    self.listing = None;
                    self.answered(gateway);
                    return;
                }
            }
        }
    }
}

/// Whether a client may use the places beyond [`CLIENTS_MAX`].
pub(super) fn is_privileged(credentials: Credentials) -> bool {
    credentials.uid == 0 || credentials.uid == geteuid().as_raw()
}

/// Closes a client that has no place.
fn refuse_client(stream: ConnectionId, gateway: &mut Context<'_>) {
    let why = format!("{CLIENTS_MAX} control clients are connected already");
    ReplyTo { stream, id: None }.refuse(gateway, &Refused::new(ErrorWord::TooManyClients, why));
    gateway.close(stream);
}
