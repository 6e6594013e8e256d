//! The calls of the simulated kernel. Readiness comes once per edge, as from epoll, and the clock jumps from one event to the
//! next. With [`super::Faults`] any call may fail as the real one may, and readiness may be delayed, duplicate or spurious.
//! The guarantees of [`Kernel`] hold.

use std::cmp::Reverse;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pulsegate::Credentials;
use pulsegate::unstable::endpoint::{PacketInfo, Peer};
use pulsegate::unstable::reactor::{Kernel, Ready};

use super::sim_device::Cut;
use super::sim_kernel::{Call, Event, Fd, Io, LATE, SimKernel, WAITS_IN_A_ROW_MAX};

impl Kernel for SimKernel {
    type Stream = Io;
    type Listener = Fd;
    type Datagrams = Fd;
    type Events = (Vec<Ready>, usize);

    fn events(capacity: usize) -> Self::Events {
        (Vec::new(), capacity)
    }

    fn wait(&mut self, (events, capacity): &mut Self::Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.reap();
        (self.at_limit, self.is_idle) = (false, false);
        self.waits_in_a_row += 1;
        assert!(self.waits_in_a_row < WAITS_IN_A_ROW_MAX, "the event loop spins");
        if self.fails(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let until = timeout.map(|timeout| self.now + timeout);
        let limit = self.limit.map(|limit| limit.max(self.now));
        loop {
            self.deliver_due();
            while events.len() < *capacity
                && let Some(next) = self.next_ready()
            {
                let Some((fd, ready)) = next else { continue };
                if self.fails(self.faults.again) {
                    let later = LATE.mul_f64(self.rng.below(1000) as f64 / 1000.0);
                    self.schedule(self.now + later, Event::Again(ready, fd));
                }
                events.push(ready);
            }
            events.append(&mut self.spurious);
            if !events.is_empty() {
                return Ok(());
            }
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(at) = [next, until, limit].into_iter().flatten().min() else {
                self.is_idle = true;
                return Ok(());
            };
            if at > self.now {
                (self.now, self.waits_in_a_row) = (at, 0);
            }
            if next.is_some_and(|next| next <= at) {
                continue;
            }
            self.at_limit = until.is_none_or(|until| until > at);
            return Ok(());
        }
    }

    fn ready(events: &Self::Events) -> impl Iterator<Item = Ready> {
        events.0.iter().copied()
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn watch_listener(&mut self, listener: &mut Fd, token: usize) -> io::Result<()> {
        self.watch_arrivals(*listener, token)
    }

    fn accept(&mut self, listener: &mut Fd) -> io::Result<(Io, Peer)> {
        self.reap();
        self.fail(Call::Accept, *listener)?;
        let local = *listener == Fd::Local;
        let Some(&link) = self.backlogs[usize::from(local)].front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if self.open >= self.descriptors_max {
            return Err(io::Error::from_raw_os_error(24));
        }
        self.backlogs[usize::from(local)].pop_front();
        self.waits_in_a_row = 0;
        if self.fails(self.faults.reset) {
            (self.links[link].broken, self.links[link].ended) = (true, Some(true));
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.open += 1;
        self.links[link].open = true;
        self.accepted.push_back(link);
        let peer = match local {
            true => Peer::Unix(Credentials { pid: 1, uid: 0, gid: 0 }),
            false => Peer::Tcp(self.links[link].address),
        };
        Ok((Io { link, dropped: Rc::clone(&self.dropped) }, peer))
    }

    fn watch_datagrams(&mut self, socket: &mut Fd, token: usize) -> io::Result<()> {
        self.watch_arrivals(*socket, token)
    }

    fn receive(&mut self, socket: &mut Fd, buffer: &mut [u8]) -> io::Result<(SocketAddr, PacketInfo, usize)> {
        self.fail(Call::Receive, *socket)?;
        if self.fails(self.faults.reset) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (from, via, bytes) = self.datagrams.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        self.waits_in_a_row = 0;
        let n = bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&bytes[..n]);
        Ok((from, via, n))
    }

    fn send(&mut self, socket: &mut Fd, to: SocketAddr, via: PacketInfo, bytes: &[u8]) -> io::Result<()> {
        self.fail(Call::Send, *socket)?;
        self.answers.push((to, via, bytes.to_vec()));
        Ok(())
    }

    fn connect(&mut self, _: Option<IpAddr>, _: SocketAddr) -> io::Result<Io> {
        panic!("a gateway opens no streams");
    }

    fn is_connected(&mut self, _: &Io) -> io::Result<bool> {
        panic!("a gateway opens no streams");
    }

    fn watch(&mut self, stream: &mut Io, token: usize, _: bool) -> io::Result<()> {
        if self.fails(self.faults.exhausted) {
            self.links[stream.link].broken = true;
            return Err(io::Error::from_raw_os_error(28));
        }
        let before = self.links[stream.link].socket.watched.replace((token, false));
        assert_eq!(before, None, "a stream is watched twice");
        self.edge(Fd::Stream(stream.link));
        Ok(())
    }

    fn watch_writable(&mut self, stream: &mut Io, token: usize) -> io::Result<()> {
        let watched = &mut self.links[stream.link].socket.watched;
        assert_eq!(*watched, Some((token, false)), "watched for being writable");
        *watched = Some((token, true));
        // Like epoll, this call makes a writable stream ready at once.
        self.edge(Fd::Stream(stream.link));
        Ok(())
    }

    fn unwatch_writable(&mut self, stream: &mut Io, token: usize) -> io::Result<()> {
        let watched = &mut self.links[stream.link].socket.watched;
        assert_eq!(*watched, Some((token, true)), "no longer watched for being writable");
        *watched = Some((token, false));
        self.edge(Fd::Stream(stream.link));
        Ok(())
    }

    fn read(&mut self, stream: &mut Io, buffer: &mut [u8]) -> io::Result<usize> {
        let link = stream.link;
        self.fail(Call::Read, Fd::Stream(link))?;
        if self.fails(self.faults.reset) && !self.links[link].socket.reset {
            self.links[link].broken = true;
            self.break_stream(link);
        }
        let state = &mut self.links[link];
        let socket = &mut state.socket;
        if socket.received.is_empty() {
            if let Some(error) = socket.error.take() {
                return Err(io::Error::from_raw_os_error(error));
            }
            if socket.ended || socket.reset {
                socket.unread_since = None;
                state.end_delivered |= !socket.reset;
                return Ok(0);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waits_in_a_row = 0;
        let there = socket.received.len();
        let most = match state.cut {
            Cut::Whole => there,
            Cut::Every(n) => n,
            // Also short reads, for any number of received bytes.
            Cut::Anywhere if self.rng.chance(30) => 1 + self.rng.below(8),
            Cut::Anywhere => 1 + self.rng.below(there),
        };
        let n = most.min(there).min(buffer.len());
        let (front, back) = socket.received.as_slices();
        let first = n.min(front.len());
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..n].copy_from_slice(&back[..n - first]);
        socket.received.drain(..n);
        socket.unread_since = socket.is_readable().then_some(self.now);
        state.delivered += n as u64;
        state.delivered_at = self.now;
        self.senders.push(link);
        let cost = state.byte_cost * n as u32;
        if n < buffer.len() && n < there {
            // After a short read the reactor takes the stream for empty, so the rest arrives here. It is not delayed, because
            // a picture in small pieces would take minutes.
            self.list(Fd::Stream(link));
        }
        self.work(cost);
        Ok(n)
    }

    fn write(&mut self, stream: &mut Io, bytes: &[u8]) -> io::Result<usize> {
        let result = self.offer(stream, bytes);
        let state = &mut self.links[stream.link];
        match &result {
            Ok(taken) => {
                if state.blocked {
                    state.unblocked_at = state.taken_at;
                }
                // After a short write the rest waits, just as after `WouldBlock`.
                state.blocked = *taken < bytes.len();
            }
            Err(error) => state.blocked |= error.kind() != io::ErrorKind::Interrupted,
        }
        result
    }

    fn abort(&mut self, stream: &Io) {
        self.links[stream.link].socket.aborted = true;
    }
}

impl SimKernel {
    fn offer(&mut self, stream: &Io, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "a write without bytes");
        let link = stream.link;
        let failed = self.fail(Call::Write, Fd::Stream(link));
        if failed.is_ok() && self.fails(self.faults.reset) && !self.links[link].socket.reset {
            self.links[link].broken = true;
            self.break_stream(link);
        }
        let now = self.now;
        let state = &mut self.links[link];
        if !std::mem::replace(&mut state.waiting, true) {
            state.waiting_since = now;
        }
        (state.waited_at, state.socket.room_since) = (now, now);
        failed?;
        if state.socket.reset {
            return Err(state
                .socket
                .error
                .take()
                .map_or(io::ErrorKind::BrokenPipe.into(), io::Error::from_raw_os_error));
        }
        if !state.socket.is_writable(state.window, now) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waits_in_a_row = 0;
        let mut taken = bytes.len().min(state.window - state.socket.used);
        if state.short_writes && self.rng.chance(40) {
            taken = 1 + self.rng.below(taken);
            let until = now + Duration::from_millis(3);
            state.socket.full_until = Some(until);
            self.schedule(until, Event::Writable(link));
        }
        let state = &mut self.links[link];
        state.take(&bytes[..taken]);
        state.taken_at = now;
        state.waiting = taken < bytes.len();
        let arrival = now + state.latency;
        self.schedule(arrival, Event::Down(link, bytes[..taken].to_vec()));
        Ok(taken)
    }
}
