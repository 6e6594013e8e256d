//! What comes by itself: streams to listeners, and datagrams. Floor 3.

use std::io;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::kernel::{Kernel, is_exhausted};
use super::sockets::Sockets;
use super::stream::Arrivals;
use crate::endpoint::{Endpoint, ListenerId, StreamEnd};

/// The tokens of listeners and datagram sockets count up from here, those of streams from 0.
pub(super) const LISTENERS: usize = usize::MAX / 2;
/// How long a listener is left alone when descriptors have run out, unless a stream ends before.
pub(super) const PARKED: Duration = Duration::from_secs(1);
/// The least time between two log lines about that.
const LOG_PAUSE: Duration = Duration::from_secs(10);

fn listener_token(id: ListenerId) -> usize {
    LISTENERS + id.0 as usize
}

pub(super) fn listener_id(token: usize) -> ListenerId {
    ListenerId((token - LISTENERS) as u32)
}

impl<K: Kernel> Sockets<K> {
    pub(super) fn add_listener(&mut self, id: ListenerId, mut socket: K::Listener) -> io::Result<()> {
        self.kernel.watch_listener(&mut socket, listener_token(id))?;
        self.listeners.push(Arrivals::new(id, socket));
        Ok(())
    }

    pub(super) fn add_datagrams(&mut self, id: ListenerId, mut socket: K::Datagrams) -> io::Result<()> {
        self.kernel.watch_datagrams(&mut socket, listener_token(id))?;
        self.datagrams.push(Arrivals::new(id, socket));
        Ok(())
    }

    pub(super) fn ready_listener(&mut self, id: ListenerId, endpoint: &mut impl Endpoint, now: Instant) {
        if let Some(position) = self.listeners.iter().position(|listener| listener.id == id) {
            self.accept(position, endpoint, now);
        } else if let Some(position) = self.datagrams.iter().position(|datagrams| datagrams.id == id) {
            self.receive(position, endpoint, now);
        }
    }

    /// Gives the listeners and datagram sockets that have more than one turn allows, and those whose
    /// pause is over, their turn.
    pub(super) fn resume_listeners(&mut self, endpoint: &mut impl Endpoint, now: Instant) {
        for position in 0..self.listeners.len() {
            if self.listeners[position].is_due(now) {
                self.accept(position, endpoint, now);
            }
        }
        for position in 0..self.datagrams.len() {
            if self.datagrams[position].is_due(now) {
                self.receive(position, endpoint, now);
            }
        }
    }

    fn accept(&mut self, position: usize, endpoint: &mut impl Endpoint, now: Instant) {
        self.listeners[position].unfinished = false;
        self.listeners[position].parked = None;
        for _ in 0..self.budget.accepts_per_turn_max {
            let listener = &mut self.listeners[position];
            match self.kernel.accept(&mut listener.socket) {
                Ok((io, peer)) => {
                    let id = endpoint.handle_accept(listener.id, peer, now);
                    if let Some((id, Err(error))) = id.map(|id| (id, self.add_stream(id, io, false))) {
                        warn!("a stream could not be registered: {error}");
                        endpoint.handle_close(id, StreamEnd::Failed(error.into()), now);
                    }
                    self.drain(endpoint, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_exhausted(&error) => {
                    listener.parked = Some(now + PARKED);
                    if self.exhausted_logged.is_none_or(|at| now - at >= LOG_PAUSE) {
                        self.exhausted_logged = Some(now);
                        warn!("no connection can be accepted until one ends: {error}");
                    }
                    return;
                }
                // Whatever else accept(2) tells is the fate of that one connection; others may wait.
                Err(_) => {}
            }
        }
        self.listeners[position].unfinished = true;
    }

    fn receive(&mut self, position: usize, endpoint: &mut impl Endpoint, now: Instant) {
        self.datagrams[position].unfinished = false;
        self.datagrams[position].parked = None;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut emptied = false;
        for _ in 0..self.budget.datagrams_per_turn_max {
            let datagrams = &mut self.datagrams[position];
            match self.kernel.receive(&mut datagrams.socket, &mut buffer) {
                Ok((from, via, n)) => {
                    let id = datagrams.id;
                    endpoint.handle_datagram(id, from, via, &buffer[..n], now);
                    self.drain(endpoint, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    emptied = true;
                    break;
                }
                Err(error) if is_exhausted(&error) => {
                    datagrams.parked = Some(now + PARKED);
                    emptied = true;
                    break;
                }
                // An error of an earlier datagram that came back; it is cleared by having been told.
                Err(error) => debug!("discovery socket: {error}"),
            }
        }
        self.datagrams[position].unfinished = !emptied;
        self.buffer = buffer;
    }
}
