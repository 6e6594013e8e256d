//! The daemon as an application of the library: turns what happens into events for those who
//! follow them.

use std::net::SocketAddr;
use std::time::Duration;

use log::{info, warn};
use pulsegate::{
    Commands, ConnectionId, Delivery, Device, Disconnect, Handler, Local, Message, MessageError, Refusal, StreamEnd,
};

use crate::control::Control;
use crate::events::{EventLine, Follower};
use crate::stats::Figures;
use crate::systemd::Manager;

/// Everything that the daemon keeps between two events.
#[derive(Default)]
pub(crate) struct App {
    line: EventLine,
    stdout: Option<Follower>,
    /// Standard output stays open while no events are to be written to it: of what waits for a slow reader, a second
    /// descriptor would know nothing and write into the middle of a line.
    mute: bool,
    signals: Option<Signals>,
    pub(crate) manager: Manager,
    dropped: Dropped,
    pub(crate) figures: Figures,
    pub(crate) control: Control,
}

/// Dropped events, which the log names at once and then every 10 minutes.
#[derive(Default)]
struct Dropped {
    events: u64,
    logged: Option<Duration>,
}

impl Dropped {
    /// Counts events that were dropped at the gateway's uptime `now`.
    fn add(&mut self, events: u64, now: Duration) {
        self.events += events;
        if self.logged.is_none_or(|at| now.saturating_sub(at) >= REPEAT_AFTER) {
            self.logged = Some(now);
            warn!("dropped events: {}, because their consumers were too slow", std::mem::take(&mut self.events));
        }
    }
}

const REPEAT_AFTER: Duration = Duration::from_secs(600);

/// The streams by which signals come.
struct Signals {
    stop: ConnectionId,
    reload: ConnectionId,
}

impl App {
    pub(crate) fn watch_signals(&mut self, stop: ConnectionId, reload: ConnectionId) {
        self.signals = Some(Signals { stop, reload });
    }

    /// From now on writes events to that follower of standard output.
    pub(crate) fn follow_stdout(&mut self, follower: Follower) {
        self.stdout = Some(follower);
    }

    /// Whether standard output is open.
    pub(crate) fn has_stdout(&self) -> bool {
        self.stdout.is_some()
    }

    /// Whether events are to be written to standard output, if it is open.
    pub(crate) fn mute_stdout(&mut self, mute: bool) {
        self.mute = mute;
    }

    /// Changes how much may wait for each reader of events and answers that is there.
    pub(crate) fn resize(&self, consumer_bytes_max: usize, gateway: &mut Commands<'_>) {
        let stdout = self.stdout.iter().map(|stdout| stdout.stream);
        stdout.chain(self.control.streams()).for_each(|stream| gateway.set_outbox_max(stream, consumer_bytes_max));
    }

    /// The `listening` event.
    pub(crate) fn listening(&mut self, tcp: Option<SocketAddr>, udp: Option<SocketAddr>, gateway: &mut Commands<'_>) {
        if let Some(stdout) = &mut self.stdout {
            stdout.put(self.line.listening(tcp, udp), gateway);
        }
    }

    /// Shows an event about a device to those who want it. It is not even made where nobody does.
    fn publish(
        &mut self,
        (id, address): (Option<ConnectionId>, SocketAddr),
        message_type: Option<&str>,
        gateway: &mut Commands<'_>,
        event: impl for<'a> FnOnce(&'a mut EventLine) -> &'a [u8],
    ) {
        let wants = |follower: &&mut Follower| follower.filter.wants(id, address, message_type);
        let stdout = self.stdout.iter_mut().filter(|_| !self.mute);
        let mut followers = stdout.chain(self.control.followers()).filter(wants).peekable();
        if followers.peek().is_some() {
            let line = event(&mut self.line);
            let mut missed = 0;
            for follower in followers {
                missed += u64::from(!follower.put(line, gateway));
            }
            if missed > 0 {
                self.figures.events_missed += missed;
                self.dropped.add(missed, gateway.uptime());
            }
        }
    }
}

fn who(device: &Device) -> (Option<ConnectionId>, SocketAddr) {
    (Some(device.id()), device.address())
}

/// The key of the timer by which the service manager hears that the event loop turns.
const WATCHDOG_TIMER: u64 = 0;

impl Handler for App {
    fn on_start(&mut self, gateway: &mut Commands<'_>) {
        self.on_timer(WATCHDOG_TIMER, gateway);
    }

    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Commands<'_>) {
        self.publish(who(device), Some(message.type_name()), gateway, |line| line.message(device, message));
    }

    fn on_connect(&mut self, device: &Device, gateway: &mut Commands<'_>) {
        self.publish(who(device), None, gateway, |line| line.connect(device));
    }

    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, gateway: &mut Commands<'_>) {
        self.publish(who(device), None, gateway, |line| line.disconnect(device, end));
    }

    fn on_rejected(&mut self, device: &Device, error: &MessageError, gateway: &mut Commands<'_>) {
        self.publish(who(device), None, gateway, |line| line.rejected(device, error));
    }

    fn on_refused(&mut self, from: SocketAddr, refusal: Refusal, gateway: &mut Commands<'_>) {
        self.publish((None, from), None, gateway, |line| line.refused(from, refusal));
    }

    fn on_sent(&mut self, tag: u64, delivery: Delivery, gateway: &mut Commands<'_>) {
        self.control.sent(tag, delivery, gateway);
    }

    /// The service manager hears of the loop by the loop's own turn: from one that hangs it hears nothing.
    fn on_timer(&mut self, key: u64, gateway: &mut Commands<'_>) {
        if let (WATCHDOG_TIMER, Some(interval)) = (key, self.manager.watchdog) {
            self.manager.alive();
            gateway.set_timer(WATCHDOG_TIMER, interval);
        }
    }

    fn on_local(&mut self, stream: ConnectionId, event: Local<'_>, gateway: &mut Commands<'_>) {
        match &self.signals {
            Some(signals) if signals.stop == stream => {
                if let Local::Data(_) = event {
                    info!("stopping: asked by a signal");
                    gateway.stop();
                }
            }
            Some(signals) if signals.reload == stream => {
                if let Local::Data(_) = event {
                    self.control.ask_reload(None);
                }
            }
            _ if self.stdout.as_ref().is_some_and(|stdout| stdout.stream == stream) => {
                self.on_stdout(event, gateway);
            }
            _ => self.control.on_local(stream, event, &self.figures, gateway),
        }
    }
}

impl App {
    fn on_stdout(&mut self, event: Local<'_>, gateway: &mut Commands<'_>) {
        match (event, &mut self.stdout) {
            (Local::Drained, Some(stdout)) => {
                stdout.catch_up(gateway);
            }
            (Local::Closed(end), _) => {
                let why = match end {
                    StreamEnd::Failed(error) => error.to_string(),
                    StreamEnd::Closed => "closed".into(),
                };
                warn!("no more events are written to standard output: {why}");
                self.stdout = None;
            }
            // A service manager ends its half of the socket, and a terminal's input is not ours.
            _ => {}
        }
    }
}
