//! What a server is to be like, and how it is made. Floor 4.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv6Addr, SocketAddr};

use super::{Error, Server};
use crate::gateway::{Gateway, Handler, Settings};
use crate::reactor::{Reactor, TurnLimits, clock, interface_name};

/// The TCP port that devices connect to by default.
pub const TCP_PORT: u16 = 5556;

/// What a [`Server`] is to be like.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    listen: Vec<SocketAddr>,
    discovery: Vec<SocketAddr>,
    settings: Settings,
    turn_limits: TurnLimits,
}

impl Builder {
    /// Listens for devices on one more TCP address, see [`Server::listen`]. Without any, it is
    /// `[::]:5556`.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// Answers probes on one more UDP address. Without any, devices must know the gateway's address.
    #[must_use]
    pub fn discovery(mut self, address: SocketAddr) -> Self {
        self.discovery.push(address);
        self
    }

    /// Every limit and timing.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// What one turn of the event loop may do.
    #[must_use]
    pub fn turn_limits(mut self, turn_limits: TurnLimits) -> Self {
        self.turn_limits = turn_limits;
        self
    }

    /// Opens the sockets.
    ///
    /// # Errors
    /// If a setting is out of its bounds, or an address cannot be had.
    pub fn build<H: Handler>(mut self, handler: H) -> Result<Server<H>, Error> {
        if self.listen.is_empty() {
            self.listen.push((Ipv6Addr::UNSPECIFIED, TCP_PORT).into());
        }
        let (listen, discovery) = (std::mem::take(&mut self.listen), std::mem::take(&mut self.discovery));
        let mut server = self.build_unbound(handler)?;
        for address in listen {
            server.listen(address)?;
        }
        for address in discovery {
            server.listen_udp(address)?;
        }
        Ok(server)
    }

    /// As [`Self::build`], but opens no socket: [`Server::listen`] and [`Server::listen_udp`] do.
    ///
    /// # Errors
    /// If a setting is out of its bounds.
    pub fn build_unbound<H: Handler>(self, handler: H) -> Result<Server<H>, Error> {
        self.settings.check().map_err(Error::Settings)?;
        let reactor = Reactor::new(self.turn_limits).map_err(Error::Loop)?;
        let seed = RandomState::new().hash_one(0);
        let mut server = Server {
            gateway: Gateway::new(handler, self.settings, clock(), seed),
            reactor,
            listeners: Vec::new(),
            discovery: Vec::new(),
            local: Vec::new(),
            next_listener: 0,
            started: false,
        };
        server.gateway.name_interfaces(interface_name);
        Ok(server)
    }
}
