//! How long messages of 200 devices are on their way while one device sends as fast as the kernel carries.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pulsegate::{Context, Device, Handler, Kind, Message, Server};

const OTHERS: usize = 200;
const SECONDS: u32 = 4;
/// The longest that one message in a hundred may take on an idle machine.
const P99_MAX: Duration = Duration::from_millis(20);

struct Timed {
    begun: Instant,
    ways: Vec<Duration>,
    flood_bytes: u64,
}

impl Handler for Timed {
    fn on_message(&mut self, _: &Device, message: &Message<'_>, _: &mut Context<'_>) {
        if message.kind() == Kind::Project {
            self.flood_bytes += message.bytes().len() as u64;
        } else {
            let at = message.member("At").and_then(|at| std::str::from_utf8(at).ok()?.parse().ok());
            let at = at.expect("when it was sent");
            self.ways.push(self.begun.elapsed() - Duration::from_micros(at));
        }
    }
}

fn main() -> ExitCode {
    let small = r#"{"Type":"Project","Name":"Änderung {7}","Values":[1,2.5,-3e2,true,null]}"#.repeat(500);
    let picture = format!(r#"{{"Type":"Project","Picture":"{}"}}"#, "QUJD".repeat(32 << 10));
    let mut code = ExitCode::SUCCESS;
    for (name, flood) in [("small objects", small), ("pictures", picture)] {
        let (bytes, p50, p99) = measure(flood.as_bytes());
        println!(
            "{name}: {} MB flooded in {SECONDS} s, p50 {p50:?}, p99 {p99:?} of at most {P99_MAX:?}",
            bytes / 1_000_000
        );
        if p99 > P99_MAX {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Bytes of the flood that came, and how long the messages of the others were on their way.
fn measure(flood: &[u8]) -> (u64, Duration, Duration) {
    let begun = clock();
    let timed = Timed { begun, ways: Vec::new(), flood_bytes: 0 };
    let mut server = Server::builder().listen(SocketAddr::from(([127, 0, 0, 1], 0))).build(timed).expect("a port");
    let address = server.listen_addresses().next().expect("an address");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = TcpStream::connect(address).expect("a connection");
            while !over.load(Ordering::Relaxed) {
                if stream.write_all(flood).is_err() {
                    break;
                }
            }
        });
        scope.spawn(|| others(address, begun, &over));
        let remote = server.remote();
        scope.spawn(move || {
            sleep(Duration::from_secs(SECONDS.into()));
            remote.stop().expect("the server is there");
        });
        server.run().expect("the server runs");
        over.store(true, Ordering::Relaxed);
    });
    let handler = server.handler_mut();
    handler.ways.sort_unstable();
    assert!(handler.ways.len() > OTHERS * 2, "only {} messages were measured", handler.ways.len());
    let percentile = |percent: usize| handler.ways[handler.ways.len() * percent / 100];
    (handler.flood_bytes, percentile(50), percentile(99))
}

/// 200 devices, each with a message a second, one after the other.
fn others(address: SocketAddr, begun: Instant, over: &AtomicBool) {
    let mut streams: Vec<_> = (0..OTHERS)
        .map(|_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).expect("a connection");
            stream.set_nodelay(true).expect("an option");
            stream
        })
        .collect();
    let pause = Duration::from_secs(1) / OTHERS as u32;
    let mut next = clock();
    while !over.load(Ordering::Relaxed) {
        for stream in &mut streams {
            next += pause;
            sleep(next.saturating_duration_since(clock()));
            let object = format!(r#"{{"Type":"Status","At":{}}}"#, begun.elapsed().as_micros());
            match stream.write_all(object.as_bytes()) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long something takes is measured in real time")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "devices send at a steady rate, in threads of their own")]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
