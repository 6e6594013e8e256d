//! The daemon as an application of the library: it turns callbacks into events and sends them to consumers.

use std::net::SocketAddr;
use std::time::Duration;

use log::{error, info, warn};
use pulsegate::{
    CommandReport, ConnectionId, Context, Device, Disconnect, Handler, Message, MessageError, Refusal, StreamEvent,
};

use crate::config::OnClosed;
use crate::control::Control;
use crate::events::{Consumer, EventLine, Subject};
use crate::stats::DaemonStats;
use crate::stdout::Stdout;
use crate::systemd::Manager;

/// The state of the daemon.
#[derive(Default)]
pub(crate) struct App {
    line: EventLine,
    pub(crate) stdout: Stdout,
    /// What the gateway does when standard output ends.
    pub(crate) on_closed: OnClosed,
    /// The error of the process after a stop in order.
    pub(crate) failure: Option<&'static str>,
    /// Work between two turns.
    pub(crate) chores: Chores,
    signals: Option<Signals>,
    pub(crate) manager: Manager,
    dropped: Dropped,
    pub(crate) figures: DaemonStats,
    pub(crate) control: Control,
}

/// Counts dropped events. The log reports them at once and then every 10 minutes.
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

/// The streams that carry signals.
struct Signals {
    stop: ConnectionId,
    reload: ConnectionId,
}

/// Work that a callback cannot do, because it needs the server.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    /// Update the status in the service manager.
    pub(crate) status: bool,
    /// Check the control socket's name.
    pub(crate) control_socket: bool,
}

/// The interval of checks of the control socket's name and of standard output.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl App {
    pub(crate) fn watch_signals(&mut self, stop: ConnectionId, reload: ConnectionId) {
        self.signals = Some(Signals { stop, reload });
    }

    /// Changes the queue limit of each connected consumer and client.
    pub(crate) fn resize(&self, consumer_bytes_max: usize, gateway: &mut Context<'_>) {
        self.stdout
            .stream()
            .into_iter()
            .chain(self.control.streams())
            .for_each(|stream| gateway.set_outbox_max(stream, consumer_bytes_max));
    }

    /// Publishes the `listening` event.
    pub(crate) fn listening(&mut self, tcp: Option<SocketAddr>, udp: Option<SocketAddr>, gateway: &mut Context<'_>) {
        let boot = self.figures.boot;
        self.publish(Subject::default(), gateway, |line| line.listening(boot, tcp, udp));
    }

    /// Numbers an event, and sends it to the consumers that want it. Without such a consumer it formats no line.
    fn publish(
        &mut self,
        subject: Subject<'_>,
        gateway: &mut Context<'_>,
        event: impl for<'a> FnOnce(&'a mut EventLine) -> &'a [u8],
    ) {
        self.figures.events += 1;
        let wants = |consumer: &&mut Consumer| consumer.filter.wants(&subject);
        let stdout = self.stdout.consumer(&mut self.figures.events_missed);
        let mut consumers = stdout.into_iter().chain(self.control.consumers()).filter(wants).peekable();
        if consumers.peek().is_some() {
            let line = event(self.line.numbered(self.figures.events));
            let mut missed = 0;
            for consumer in consumers {
                missed += u64::from(!consumer.put(line, gateway));
            }
            if missed > 0 {
                self.figures.events_missed += missed;
                self.dropped.add(missed, gateway.uptime());
            }
        }
    }
}

fn about(device: &Device) -> Subject<'static> {
    Subject { device: Some((Some(device.id()), device.address())), name: device.name().copied(), message_type: None }
}

/// The key of the timer for watchdog notifications.
const WATCHDOG_TIMER: u64 = 0;
/// The key of the timer for checks of standard output and the control socket.
const MINUTE_TIMER: u64 = 1;

impl Handler for App {
    fn on_start(&mut self, gateway: &mut Context<'_>) {
        self.on_timer(WATCHDOG_TIMER, gateway);
        gateway.set_timer(MINUTE_TIMER, LOOK_EVERY);
    }

    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>) {
        let subject = Subject { message_type: Some(message.type_name()), ..about(device) };
        self.publish(subject, gateway, |line| line.message(device, message));
    }

    fn on_connect(&mut self, device: &Device, gateway: &mut Context<'_>) {
        self.publish(about(device), gateway, |line| line.connect(device));
    }

    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, gateway: &mut Context<'_>) {
        self.publish(about(device), gateway, |line| line.disconnect(device, end));
    }

    fn on_rejected(&mut self, device: &Device, error: &MessageError, gateway: &mut Context<'_>) {
        self.publish(about(device), gateway, |line| line.rejected(device, error));
    }

    fn on_refused(&mut self, from: SocketAddr, refusal: Refusal, gateway: &mut Context<'_>) {
        let subject = Subject { device: Some((None, from)), ..Subject::default() };
        self.publish(subject, gateway, |line| line.refused(from, refusal));
    }

    fn on_identified(&mut self, device: &Device, gateway: &mut Context<'_>) {
        self.publish(about(device), gateway, |line| line.identified(device));
    }

    /// A command that neither waited nor awaited an answer is no event.
    fn on_command(&mut self, report: &CommandReport<'_>, gateway: &mut Context<'_>) {
        if self.control.command_ended(report, gateway) {
            let device = report.device.map(|(id, address)| (Some(id), address));
            let subject = Subject { device, name: report.name, message_type: None };
            self.publish(subject, gateway, |line| line.command(report));
        }
    }

    /// The event loop itself notifies the watchdog, so a hanging loop does not.
    fn on_timer(&mut self, key: u64, gateway: &mut Context<'_>) {
        match (key, self.manager.watchdog) {
            (WATCHDOG_TIMER, Some(interval)) => {
                self.manager.alive();
                gateway.set_timer(WATCHDOG_TIMER, interval);
            }
            (MINUTE_TIMER, _) => {
                gateway.set_timer(MINUTE_TIMER, LOOK_EVERY);
                self.chores.control_socket = true;
                self.chores.status |= self.stdout.warn_again(gateway.uptime());
            }
            _ => {}
        }
    }

    fn on_stream(&mut self, stream: ConnectionId, event: StreamEvent<'_>, gateway: &mut Context<'_>) {
        match &self.signals {
            Some(signals) if signals.stop == stream => {
                if let StreamEvent::Data(_) = event {
                    info!("stopping: asked by a signal");
                    gateway.stop();
                }
            }
            Some(signals) if signals.reload == stream => {
                if let StreamEvent::Data(_) = event {
                    self.control.ask_reload(None);
                }
            }
            _ if self.stdout.stream() == Some(stream) => self.on_stdout(event, gateway),
            _ => {
                self.figures.stdout = self.stdout.figures();
                self.control.on_stream(stream, event, &self.figures, gateway);
            }
        }
    }
}

impl App {
    fn on_stdout(&mut self, event: StreamEvent<'_>, gateway: &mut Context<'_>) {
        match event {
            StreamEvent::Drained => self.stdout.drained(gateway),
            StreamEvent::Closed { end, unsent } => {
                self.figures.events_missed += self.stdout.closed(end, unsent, gateway.uptime());
                self.chores.status = true;
                if self.on_closed == OnClosed::Stop {
                    error!("stopping: standard output is closed, and events.on_closed is \"stop\"");
                    self.failure = Some("standard output was closed");
                    gateway.stop();
                }
            }
            // A service manager half-closes the socket, and a terminal sends a person's input.
            _ => {}
        }
    }
}
