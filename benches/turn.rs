//! One message from each of many devices, over real sockets. It measures the turns of the server, and for comparison a bare
//! `read` of every socket, which is the kernel's part.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::{Context, Device, Handler, Message, Server};

const OBJECT: &[u8] = br#"{"Type":"Status","Door":"open","Locked":false,"Uptime":86400}"#;

#[derive(Default)]
struct Counter {
    devices: usize,
    messages: usize,
}

impl Handler for Counter {
    fn on_connect(&mut self, _: &Device, _: &mut Context<'_>) {
        self.devices += 1;
    }

    fn on_message(&mut self, _: &Device, message: &Message<'_>, _: &mut Context<'_>) {
        assert_eq!(message.bytes(), OBJECT);
        self.messages += 1;
    }
}

fn main() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit on descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(10_000), hard).expect("as much as is allowed");
    let mut criterion = common::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for number in [1, 100, 1000] {
        group.throughput(Throughput::Elements(number as u64));
        group.bench_function(BenchmarkId::new("server", number), |b| {
            let (mut server, mut clients) = connect(number);
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        say(&mut clients);
                        server.handler_mut().messages = 0;
                        let before = clock();
                        while server.handler().messages < number {
                            server.turn().expect("a turn");
                        }
                        before.elapsed()
                    })
                    .sum::<Duration>()
            });
        });
        group.bench_function(BenchmarkId::new("bare_read", number), |b| {
            let (mut accepted, mut clients) = connect_bare(number);
            let mut buffer = vec![0; 64 << 10];
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        say(&mut clients);
                        let before = clock();
                        for stream in &mut accepted {
                            assert_eq!(stream.read(&mut buffer).expect("an object"), OBJECT.len());
                        }
                        before.elapsed()
                    })
                    .sum::<Duration>()
            });
        });
    }
}

fn connect(number: usize) -> (Server<Counter>, Vec<TcpStream>) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut server = Server::builder().listen(address).build(Counter::default()).expect("a free port");
    let address = server.listen_addresses().next().expect("an address");
    let clients = (1..=number).map(|devices| {
        let client = TcpStream::connect(address).expect("the server listens");
        client.set_nodelay(true).expect("a TCP socket");
        while server.handler().devices < devices {
            server.turn().expect("a turn");
        }
        client
    });
    let clients = clients.collect();
    (server, clients)
}

fn connect_bare(number: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    let pairs = (0..number).map(|_| {
        let client = TcpStream::connect(address).expect("it listens");
        client.set_nodelay(true).expect("a TCP socket");
        (listener.accept().expect("a connection").0, client)
    });
    pairs.unzip()
}

fn say(clients: &mut [TcpStream]) {
    for client in clients {
        client.write_all(OBJECT).expect("room for an object");
    }
}

#[expect(clippy::disallowed_methods, reason = "real sockets take real time")]
fn clock() -> Instant {
    Instant::now()
}
