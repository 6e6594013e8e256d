//! The control socket on a gateway without a kernel. The test decides how many bytes each stream takes.

use std::collections::HashMap;
use std::time::Instant;

use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, Peer};
use pulsegate::{ConnectionId, Credentials, ListenerId, Settings, StreamEnd};
use serde_json::Value;

use super::client::{CLIENTS_MAX, RESERVED_CLIENTS};
use super::operations::SENDING_MAX;
use super::request::REQUEST_BYTES_MAX;
use crate::app::App;

const CONTROL: ListenerId = ListenerId(2);

struct World {
    gateway: Gateway<App>,
    device: ConnectionId,
    streams: HashMap<ConnectionId, Stream>,
    now: Instant,
}

struct Stream {
    /// The number of bytes that it takes.
    window: usize,
    closed: bool,
    taken: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        Self { window: usize::MAX, closed: false, taken: Vec::new() }
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn new() -> Self {
        let now = Instant::now();
        let mut settings = Settings::default();
        settings.limits.memory_budget = 8 << 20;
        let mut gateway = Gateway::new(App::default(), settings, now, 1);
        gateway.add_unix(CONTROL, 1 << 20);
        let from = ([192, 0, 2, 7], 40_000).into();
        let device = gateway.handle_accept(ListenerId(1), Peer::Tcp(from), now).unwrap();
        Self { gateway, device, streams: HashMap::from([(device, Stream::new())]), now }
    }

    fn client(&mut self) -> ConnectionId {
        self.client_of(0)
    }

    fn client_of(&mut self, uid: u32) -> ConnectionId {
        let credentials = Credentials { pid: 1, uid, gid: 0 };
        let client = self.gateway.handle_accept(CONTROL, Peer::Unix(credentials), self.now).unwrap();
        self.streams.insert(client, Stream::new());
        self.drain();
        client
    }

    fn stream(&mut self, id: ConnectionId) -> &mut Stream {
        self.streams.get_mut(&id).unwrap()
    }

    /// Connects a client that watches and then takes no byte.
    fn stuck_watcher(&mut self) -> ConnectionId {
        let client = self.client();
        assert_eq!(self.ask(client, r#"{"op":"watch"}"#)["ok"], true);
        self.stream(client).window = 0;
        client
    }

    /// Sends `count` objects of `bytes` bytes of the device.
    fn send(&mut self, objects: usize, bytes: usize) {
        let object = format!(r#"{{"Type":"Status","Fill":"{}"}}"#, "x".repeat(bytes));
        for _ in 0..objects {
            self.data(self.device, object.as_bytes());
        }
    }

    fn data(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.gateway.handle_data(id, bytes, self.now);
        self.drain();
    }

    /// Sends a request of a client. Returns the answer, which is the last line that the client takes.
    fn ask(&mut self, client: ConnectionId, line: &str) -> Value {
        self.data(client, format!("{line}\n").as_bytes());
        self.lines(client).pop().expect("an answer")
    }

    /// Lets a client take a number of queued bytes.
    fn take(&mut self, client: ConnectionId, bytes: usize) {
        self.stream(client).window = bytes;
        self.gateway.handle_writable(client, self.now);
        self.drain();
    }

    /// Lets a client take all queued bytes. Returns their lines.
    fn lines(&mut self, client: ConnectionId) -> Vec<Value> {
        self.take(client, usize::MAX);
        let taken = std::mem::take(&mut self.stream(client).taken);
        taken.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Send { id, bytes } => {
                    let stream = self.streams.get_mut(&id).unwrap();
                    let taken = bytes.len().min(stream.window);
                    stream.taken.extend_from_slice(&bytes[..taken]);
                    stream.window -= taken;
                    self.gateway.handle_sent(id, taken, self.now);
                }
                Output::Close { id, .. } => {
                    self.stream(id).closed = true;
                    self.gateway.handle_close(id, StreamEnd::Closed, self.now);
                }
                _ => {}
            }
        }
    }
}

/// Returns the sum of the `missed` events of a client.
fn missed(lines: &[Value]) -> u64 {
    lines.iter().filter(|line| line["event"] == "missed").filter_map(|line| line["events"].as_u64()).sum()
}

#[test]
fn a_client_whose_room_others_have_taken_is_closed_and_not_left_without_an_answer() {
    let mut world = World::new();
    let first = world.stuck_watcher();
    world.send(60, 10_000);
    for _ in 0..5 {
        world.stuck_watcher();
    }
    world.send(60, 10_000);
    world.data(first, b"{\"id\":1,\"op\":\"ping\"}\n");
    let lines = world.lines(first);
    assert!(lines.iter().filter(|line| line["event"] == "message").count() < 120, "its room was used up");
    assert!(world.stream(first).closed || lines.iter().any(|line| line["id"] == 1), "it waits for ever");
}

#[test]
fn events_that_were_missed_before_another_watch_are_told_before_its_answer() {
    let mut world = World::new();
    let client = world.stuck_watcher();
    world.send(60, 10_000);
    // The client has taken some queued bytes before its request.
    world.take(client, 100_000);
    world.data(client, b"{\"id\":1,\"op\":\"watch\"}\n");
    let lines = world.lines(client);
    let answered = lines.iter().position(|line| line["id"] == 1).expect("an answer");
    let messages = lines.iter().filter(|line| line["event"] == "message").count() as u64;
    assert_eq!(messages + missed(&lines[..answered]), 60);
}

/// A `missed` event is short, and fits where another event does not.
#[test]
fn events_that_are_missed_in_a_row_are_told_in_one_line() {
    let mut world = World::new();
    let client = world.stuck_watcher();
    world.send(20, 100_000);
    let lines = world.lines(client);
    let seen = lines.iter().filter(|line| line["event"] == "message").count() as u64;
    assert_eq!(lines.iter().filter(|line| line["event"] == "missed").count(), 1);
    assert_eq!(seen + missed(&lines), 20);
    // The next event comes behind it.
    world.stream(client).window = 0;
    world.send(20, 100_000);
    world.take(client, 100_200);
    world.send(1, 10);
    let lines = world.lines(client);
    assert_eq!(lines.last().unwrap()["data"]["Fill"], "x".repeat(10));
    let seen = lines.iter().filter(|line| line["event"] == "message").count() as u64;
    assert_eq!(seen + missed(&lines), 21);
}

#[test]
fn a_client_that_ends_its_half_has_its_answers_first() {
    let mut world = World::new();
    let device = world.device;
    world.stream(device).window = 0;
    let client = world.client();
    world.data(
        client,
        b"{\"id\":1,\"op\":\"ping\"}\n{\"id\":2,\"op\":\"send\",\"device\":\"192.0.2.7\",\"text\":\"x\"}\n",
    );
    world.gateway.handle_end(client, world.now);
    world.drain();
    assert_eq!(world.lines(client).len(), 1);
    assert!(!world.stream(client).closed, "an answer is outstanding");
    world.take(device, 1);
    assert_eq!(world.lines(client)[0]["id"], 2);
    assert!(world.stream(client).closed);
    // A client without a request is closed at once.
    let other = world.client();
    world.gateway.handle_end(other, world.now);
    world.drain();
    assert!(world.stream(other).closed);
}

#[test]
fn a_last_request_without_a_line_end_is_answered() {
    let mut world = World::new();
    let client = world.client();
    world.data(client, br#"{"id":3,"op":"ping"}"#);
    world.gateway.handle_end(client, world.now);
    world.drain();
    assert_eq!(world.lines(client)[0]["id"], 3);
    assert!(world.stream(client).closed);
}

/// The uid of an ordinary user.
const STRANGER: u32 = 4_294_967_290;

#[test]
fn the_client_that_has_been_idle_longest_gives_its_place_to_a_new_one() {
    let mut world = World::new();
    let clients: Vec<_> = (0..CLIENTS_MAX).map(|_| world.client_of(STRANGER)).collect();
    assert_eq!(world.ask(clients[0], r#"{"op":"ping"}"#)["ok"], true);
    assert_eq!(world.ask(clients[1], r#"{"op":"watch"}"#)["ok"], true);
    let newcomer = world.client_of(STRANGER);
    assert_eq!(world.lines(clients[2])[0]["error"], "too_many_clients");
    let closed: Vec<_> = clients.iter().filter(|&&client| world.streams[&client].closed).collect();
    assert_eq!(closed, [&clients[2]]);
    assert_eq!(world.ask(newcomer, r#"{"op":"ping"}"#)["ok"], true);
}

#[test]
fn root_is_answered_while_watchers_have_all_places() {
    let mut world = World::new();
    for _ in 0..CLIENTS_MAX {
        world.stuck_watcher();
    }
    let stranger = world.client_of(STRANGER);
    assert!(world.stream(stranger).closed);
    // Idle clients of root do not block the reserved places.
    for _ in 0..2 * RESERVED_CLIENTS {
        let root = world.client();
        assert!(!world.stream(root).closed);
        assert_eq!(world.ask(root, r#"{"op":"watch"}"#)["error"], "too_many_clients");
        assert_eq!(world.ask(root, r#"{"op":"stats"}"#)["ok"], true);
    }
}

#[test]
fn a_watch_has_a_bounded_number_of_types_of_bounded_length() {
    let mut world = World::new();
    let client = world.client();
    let ask = |world: &mut World, types: usize, bytes: usize| {
        let types = vec!["t".repeat(bytes); types];
        world.ask(client, &serde_json::json!({ "op": "watch", "types": types }).to_string())["ok"] == true
    };
    assert!(ask(&mut world, 64, 256) && !ask(&mut world, 65, 1) && !ask(&mut world, 1, 257));
}

#[test]
fn a_client_may_have_a_bounded_number_of_commands_on_their_way() {
    let mut world = World::new();
    let device = world.device;
    world.stream(device).window = 0;
    let client = world.client();
    let send = "{\"op\":\"send\",\"device\":\"192.0.2.7\",\"text\":\"x\"}\n";
    world.data(client, send.repeat(SENDING_MAX).as_bytes());
    assert_eq!(world.lines(client), [Value::Null; 0]);
    assert_eq!(world.ask(client, send.trim_end())["error"], "busy");
    world.take(device, usize::MAX);
    assert_eq!(world.lines(client).iter().filter(|answer| answer["ok"] == true).count(), SENDING_MAX);
}

#[test]
fn a_request_that_is_too_long_ends_the_connection_however_it_comes() {
    let request = |bytes: usize| {
        let empty = r#"{"op":"ping","text":""}"#;
        format!("{}{}\"}}\n", &empty[..empty.len() - 2], "y".repeat(bytes - empty.len())).into_bytes()
    };
    let check = |bytes: usize, read: usize, error: Value| {
        let mut world = World::new();
        let client = world.client();
        request(bytes).chunks(read).for_each(|piece| world.data(client, piece));
        let lines = world.lines(client);
        assert_eq!((lines.len(), &lines[0]["error"]), (1, &error), "{bytes} bytes, read by {read}");
        assert_eq!(world.stream(client).closed, !error.is_null(), "{bytes} bytes, read by {read}");
    };
    for read in [1 << 20, 30_000, REQUEST_BYTES_MAX + 1] {
        check(REQUEST_BYTES_MAX, read, Value::Null);
        check(REQUEST_BYTES_MAX + 1, read, "bad_request".into());
        check(150_000, read, "bad_request".into());
    }
}

#[test]
fn an_answer_has_the_id_of_a_request_that_was_not_understood() {
    let check = |line: &str, id: Value| {
        let mut world = World::new();
        let client = world.client();
        let answer = world.ask(client, line);
        assert_eq!((&answer["error"], &answer["id"]), (&"bad_request".into(), &id), "{line}");
    };
    check(r#"{"id":3,"op":"ping","x":1}"#, 3.into());
    check(r#"{"id":4}"#, 4.into());
    check(r#"{"op":"watch","types":"Status","id":5}"#, 5.into());
    check(r#"{"op":"ping","x":1}"#, Value::Null);
    check(r#"[8,"ping",null,null,[]]"#, Value::Null);
    check(r#"{"id":"six","op":"ping"}"#, Value::Null);
    check(r#"{"id":7,"op":"ping""#, Value::Null);
}

#[test]
fn a_list_of_devices_comes_to_its_end_wherever_the_buffer_is_full() {
    for outbox_bytes_max in 250..700 {
        let mut world = World::new();
        world.gateway.set_outbox_max(CONTROL, outbox_bytes_max);
        for port in 1..=2 {
            let from = ([192, 0, 2, 7], port).into();
            let device = world.gateway.handle_accept(ListenerId(1), Peer::Tcp(from), world.now).unwrap();
            world.streams.insert(device, Stream::new());
        }
        let client = world.client();
        world.stream(client).window = 0;
        world.data(client, b"{\"id\":5,\"op\":\"devices\"}\n");
        let lines = world.lines(client);
        assert_eq!(lines.len(), 4, "a buffer of {outbox_bytes_max} bytes: {lines:?}");
        assert_eq!(lines[3].to_string(), r#"{"devices":3,"id":5,"ok":true}"#);
    }
}
