//! Five healthy devices, which must not notice the fault. Each sends numbered messages at a steady rate, answers its beats,
//! and gets numbered commands. The test watches their events at the control socket with a filter, so that a flood of
//! others cannot displace these events.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clock;
use crate::devices::connect_from;
use crate::gateway::{Control, PATIENCE, pause};

/// The address of healthy devices. Faulty devices have other addresses.
pub(crate) const ADDRESS: &str = "127.5.5.5";
const DEVICES: usize = 5;
/// The time from one message of a device to the next.
const PERIOD: Duration = Duration::from_millis(50);
/// The time from one round of commands to the next.
const COMMANDS: Duration = Duration::from_millis(200);

pub(crate) struct Healthy {
    stop: Arc<AtomicBool>,
    begun: Instant,
    devices: Vec<JoinHandle<Sent>>,
    seen: Arc<Seen>,
    commands: Arc<AtomicU64>,
    commander: JoinHandle<()>,
}

/// The messages and commands of a device.
struct Sent {
    port: u16,
    messages: u64,
    commands: u64,
    beats: u64,
    /// The faults that the device noticed.
    fault: Option<String>,
    _stream: TcpStream,
}

/// The gateway's events of healthy devices.
#[derive(Default)]
struct Seen {
    ports: Mutex<Vec<(u16, u64)>>,
    messages: AtomicU64,
    connects: AtomicU64,
    /// The longest latency from a device to the event consumer, in microseconds.
    longest: AtomicU64,
    faults: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// The result for the healthy devices.
#[derive(Debug)]
pub(crate) struct Fared {
    pub(crate) messages: u64,
    pub(crate) commands: u64,
    pub(crate) beats: u64,
    pub(crate) longest: Duration,
    pub(crate) faults: Vec<String>,
}

impl Healthy {
    /// Connects the devices, and waits until each has sent a message.
    #[expect(clippy::disallowed_methods, reason = "devices live beside each other")]
    pub(crate) fn join(gateway: SocketAddr, control: &Path) -> Self {
        let seen = Arc::new(Seen::default());
        let begun = clock();
        let mut watch = Control::connect(control);
        assert_eq!(watch.call(json!({ "op": "watch", "device": ADDRESS }))["ok"], true);
        let follower = Arc::clone(&seen);
        std::thread::spawn(move || follower.follow(&mut watch, begun));
        let stop = Arc::new(AtomicBool::new(false));
        let mut addresses = Vec::new();
        let devices = (0..DEVICES).map(|_| {
            let stream = connect_from(ADDRESS, gateway).expect("a healthy device connects");
            addresses.push(stream.local_addr().unwrap());
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || Sent::live(stream, begun, &stop))
        });
        let devices: Vec<_> = devices.collect();
        let commands = Arc::new(AtomicU64::new(0));
        let (control, count, until) = (Control::connect(control), Arc::clone(&commands), Arc::clone(&stop));
        let faults = Arc::clone(&seen);
        let commander = std::thread::spawn(move || command(control, &addresses, &count, &until, &faults));
        let deadline = clock() + PATIENCE;
        while seen.messages.load(Ordering::Relaxed) < 5 * DEVICES as u64 {
            assert!(clock() < deadline, "the healthy devices are not heard");
            pause(Duration::from_millis(10));
        }
        Self { stop, begun, devices, seen, commands, commander }
    }

    /// Excuses the latency of a stopped gateway, which is a part of the fault.
    pub(crate) fn forgive_delay(&self) {
        self.seen.longest.store(0, Ordering::Relaxed);
    }

    /// Ends the devices and compares their messages with the events. If the gateway has ended before, unread messages do not
    /// count.
    pub(crate) fn end(self, gateway_has_ended: bool) -> Fared {
        self.stop.store(true, Ordering::Relaxed);
        self.commander.join().expect("the commander");
        let sent: Vec<Sent> = self.devices.into_iter().map(|device| device.join().expect("a device")).collect();
        let messages: u64 = sent.iter().map(|device| device.messages).sum();
        let deadline = clock() + PATIENCE;
        let over = || self.seen.messages.load(Ordering::Relaxed) >= messages || self.seen.ended.load(Ordering::Relaxed);
        while !over() && clock() < deadline {
            pause(Duration::from_millis(20));
        }
        let mut faults = std::mem::take(&mut *self.seen.faults.lock().unwrap());
        if gateway_has_ended {
            // A gateway that has ended takes no more commands.
            faults.retain(|fault| !fault.starts_with("command "));
        }
        let rounds = self.commands.load(Ordering::Relaxed);
        let ports = self.seen.ports.lock().unwrap();
        for device in &sent {
            let port = device.port;
            let published = ports.iter().find(|(seen, _)| *seen == port).map_or(0, |(_, number)| *number);
            if published != device.messages && !gateway_has_ended {
                faults.push(format!("device {port} sent {} messages, events have {published}", device.messages));
            }
            if let Some(fault) = device.fault.as_ref().filter(|_| !gateway_has_ended) {
                faults.push(format!("device {port}: {fault}"));
            }
            if device.commands < rounds && !gateway_has_ended {
                faults.push(format!("device {port} got {} of {rounds} commands", device.commands));
            }
        }
        if self.seen.connects.load(Ordering::Relaxed) != DEVICES as u64 {
            faults.push(format!("{} connect events", self.seen.connects.load(Ordering::Relaxed)));
        }
        Fared {
            messages,
            commands: sent.iter().map(|device| device.commands).sum(),
            beats: sent.iter().map(|device| device.beats).sum(),
            longest: Duration::from_micros(self.seen.longest.load(Ordering::Relaxed)),
            faults,
        }
    }

    /// Returns the time since the devices connected.
    pub(crate) fn age(&self) -> Duration {
        clock() - self.begun
    }
}

impl Sent {
    fn live(mut stream: TcpStream, begun: Instant, stop: &AtomicBool) -> Self {
        let port = stream.local_addr().unwrap().port();
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut sent = Self {
            port,
            messages: 0,
            commands: 0,
            beats: 0,
            fault: None,
            _stream: stream.try_clone().expect("a second handle"),
        };
        let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
        let mut next = clock();
        // At the end the last commands are in flight.
        let mut linger = None;
        while sent.fault.is_none() {
            let now = clock();
            if stop.load(Ordering::Relaxed) && now >= *linger.get_or_insert(now + Duration::from_millis(500)) {
                break;
            }
            if now >= next && linger.is_none() {
                next += PERIOD;
                sent.messages += 1;
                let at = (now - begun).as_micros();
                let object = format!(r#"{{"Type":"Status","Number":{},"At":{at}}}"#, sent.messages);
                if let Err(error) = stream.write_all(object.as_bytes()) {
                    sent.fault = Some(format!("cannot send: {error}"));
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) => sent.fault = Some("the gateway closed the connection".into()),
                Ok(bytes) => {
                    input.extend_from_slice(&buffer[..bytes]);
                    sent.take(&mut input, &mut stream);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => sent.fault = Some(format!("cannot read: {error}")),
            }
        }
        sent
    }

    /// Parses beats and commands such as `<7>` from the input, which must contain nothing else.
    fn take(&mut self, input: &mut Vec<u8>, stream: &mut TcpStream) {
        loop {
            if input.starts_with(b"heartbeat") {
                self.beats += 1;
                input.drain(..9);
                if let Err(error) = stream.write_all(br#"{"Type":"Heartbeat"}"#) {
                    self.fault = Some(format!("cannot answer a beat: {error}"));
                }
            } else if let Some(end) = input.iter().position(|byte| *byte == b'>').filter(|_| input[0] == b'<') {
                self.commands += 1;
                let number = input.drain(..=end).collect::<Vec<_>>();
                if number != format!("<{}>", self.commands).as_bytes() {
                    self.fault = Some(format!("{} instead of command {}", number.escape_ascii(), self.commands));
                }
            } else {
                if !(b"heartbeat".starts_with(&input[..]) || input.starts_with(b"<") && input.len() < 20) {
                    self.fault = Some(format!("neither beat nor command: {}", input.escape_ascii()));
                }
                return;
            }
        }
    }
}

impl Seen {
    fn follow(&self, watch: &mut Control, begun: Instant) {
        // A stopped gateway may send no line for a long time.
        watch.set_patience(Duration::from_secs(120));
        while let Some(event) = watch.line() {
            let port = event["port"].as_u64().unwrap_or(0) as u16;
            match event["event"].as_str() {
                Some("message") => {
                    let at = event["data"]["At"].as_u64().expect("a time");
                    let now = (clock() - begun).as_micros() as u64;
                    self.longest.fetch_max(now.saturating_sub(at), Ordering::Relaxed);
                    self.messages.fetch_add(1, Ordering::Relaxed);
                    let number = event["data"]["Number"].as_u64().expect("a number");
                    let mut ports = self.ports.lock().unwrap();
                    let at = ports.iter().position(|(seen, _)| *seen == port);
                    let at = at.unwrap_or_else(|| {
                        ports.push((port, 0));
                        ports.len() - 1
                    });
                    if number != ports[at].1 + 1 {
                        self.fault(format!("device {port}: message {number} came after {}", ports[at].1));
                    }
                    ports[at].1 = number;
                }
                Some("connect") => drop(self.connects.fetch_add(1, Ordering::Relaxed)),
                Some("disconnect") if event["reason"] == "shutdown" => {}
                _ => self.fault(format!("the gateway tells: {event}")),
            }
        }
        self.ended.store(true, Ordering::Relaxed);
    }

    fn fault(&self, fault: String) {
        let mut faults = self.faults.lock().unwrap();
        if faults.len() < 20 {
            faults.push(fault);
        }
    }
}

/// Sends numbered commands to each device, and counts the rounds that the gateway took.
fn command(mut control: Control, devices: &[SocketAddr], rounds: &AtomicU64, stop: &AtomicBool, seen: &Seen) {
    control.set_patience(Duration::from_secs(120));
    while !stop.load(Ordering::Relaxed) {
        let number = rounds.load(Ordering::Relaxed) + 1;
        for device in devices {
            let text = format!("<{number}>");
            let request = json!({ "op": "send", "device": device.to_string(), "text": text });
            match control.try_call(request) {
                Some(answer) if answer["ok"] == true => {}
                // The gateway may be stopped, which the devices notice.
                None => return,
                Some(answer) => return seen.fault(format!("command {number} to {device}: {answer}")),
            }
        }
        rounds.store(number, Ordering::Relaxed);
        pause(COMMANDS);
    }
}
