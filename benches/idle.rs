//! The memory of an idle device in this process (`Pss`): in a gateway alone, and in a server with real sockets, without the
//! kernel's memory. For comparison it measures a thread for each device, which waits in a read with a buffer of 8 KiB. It
//! prints figures without statistics.

use std::fs;
use std::io::{BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Peer};
use pulsegate::{Context, Device, Handler, ListenerId, Message, Server, Settings};

/// Counts who connects.
#[derive(Default)]
struct Counter(usize);

impl Handler for Counter {
    fn on_connect(&mut self, _: &Device, _: &mut Context<'_>) {
        self.0 += 1;
    }

    fn on_message(&mut self, _: &Device, _: &Message<'_>, _: &mut Context<'_>) {}
}

const DEVICES: usize = 10_000;
const THREADS: usize = 500;

fn main() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit on descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("as much as is allowed");
    gateway();
    // Two descriptors a device, and some for everything else.
    server(DEVICES.min((hard.saturating_sub(100) / 2) as usize));
    threads();
}

fn gateway() {
    let now = clock();
    let mut gateway = Gateway::new(Counter::default(), Settings::default(), now, 1);
    let before = pss();
    for number in 0..DEVICES {
        let [_, _, high, low] = (number as u32).to_be_bytes();
        let from = SocketAddr::from(([10, 0, high, low], 40_000));
        gateway.handle_accept(ListenerId(1), Peer::Tcp(from), now).expect("room for a device");
        assert_eq!(gateway.poll_output(), None);
    }
    tell("gateway", DEVICES, before);
}

fn server(devices: usize) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut server = Server::builder().listen(address).build(Counter::default()).expect("a free port");
    let address = server.listen_addresses().next().expect("an address");
    let mut clients = Vec::with_capacity(devices);
    let before = pss();
    while clients.len() < devices {
        clients.push(TcpStream::connect(address).expect("the server listens"));
        while server.handler().0 < clients.len() {
            server.turn().expect("a turn");
        }
    }
    tell("server", devices, before);
}

#[expect(clippy::disallowed_methods, reason = "threads are what is compared with")]
fn threads() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    let before = pss();
    let mut running = Vec::new();
    for _ in 0..THREADS {
        let client = TcpStream::connect(address).expect("it listens");
        let (stream, _) = listener.accept().expect("a connection");
        let wait = move || BufReader::new(stream).read(&mut [0]).map(drop);
        running.push((client, std::thread::spawn(wait)));
    }
    tell("thread_per_device", THREADS, before);
    for (client, thread) in running {
        drop(client);
        // It may have ended by a reset.
        let _ = thread.join();
    }
}

fn tell(name: &str, devices: usize, before: u64) {
    let bytes = pss().saturating_sub(before);
    println!("idle/{name:<20} {:>8} bytes per device ({devices} of them)", bytes / devices as u64);
}

/// This process's memory in bytes, its share of what it shares included.
fn pss() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux 4.14 or later");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line with Pss");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
}

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be had otherwise")]
fn clock() -> Instant {
    Instant::now()
}
