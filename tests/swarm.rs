//! The real simulator against a gateway in this process. The counts of both sides must agree.

#[path = "common/environment.rs"]
mod environment;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use pulsegate::{Context, Device, Disconnect, Handler, Kind, Message, MessageError, Server, Settings};
use serde::Deserialize;
use serde_json::Value;

/// The counts of the gateway's application, which answers echoes as `examples/echo.rs` does.
#[derive(Default)]
struct Counter {
    connects: u64,
    messages: u64,
    by_type: BTreeMap<String, u64>,
    rejected: u64,
    ends: BTreeMap<&'static str, u64>,
    sources: std::collections::BTreeSet<std::net::IpAddr>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "Echo")]
    echo: Option<String>,
}

impl Handler for Counter {
    fn on_connect(&mut self, device: &Device, _: &mut Context<'_>) {
        self.connects += 1;
        self.sources.insert(device.ip());
    }

    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>) {
        self.messages += 1;
        *self.by_type.entry(message.type_name().to_owned()).or_default() += 1;
        if message.kind() == Kind::Status
            && let Ok(Status { echo: Some(text) }) = message.deserialize()
        {
            gateway.send(device.id(), format!("echo {text}"));
        }
    }

    fn on_rejected(&mut self, _: &Device, _: &MessageError, _: &mut Context<'_>) {
        self.rejected += 1;
    }

    fn on_disconnect(&mut self, _: &Device, end: &Disconnect, _: &mut Context<'_>) {
        *self.ends.entry(end.reason.as_str()).or_default() += 1;
    }
}

fn swarm() -> Command {
    environment::program(env!("CARGO_BIN_EXE_pulsegate-swarm"))
}

/// Runs the simulator against a gateway of its own. Returns its report and the gateway's counts.
#[expect(clippy::disallowed_methods, reason = "the gateway runs on this thread while another waits for the swarm")]
fn run(
    settings: Settings,
    arguments: &str,
    address: impl Fn(&mut Command, SocketAddr, SocketAddr),
) -> (Value, Counter) {
    let any = || "127.0.0.1:0".parse().unwrap();
    let mut server =
        Server::builder().listen(any()).discovery(any()).settings(settings).build(Counter::default()).unwrap();
    let (tcp, udp) = (server.listen_addresses().next().unwrap(), server.discovery_addresses().next().unwrap());
    let remote = server.remote();
    let mut command = swarm();
    address(&mut command, tcp, udp);
    command.args(arguments.split_whitespace()).arg("--json");
    let swarm = std::thread::spawn(move || {
        let output = command.output();
        remote.stop().unwrap();
        output.unwrap()
    });
    server.run().unwrap();
    let output = swarm.join().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (report, std::mem::take(server.handler_mut()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn by_address(command: &mut Command, tcp: SocketAddr, _: SocketAddr) {
    command.arg("--gateway").arg(tcp.to_string());
}

/// Returns settings with short timeouts, so that faults show in a run of a few seconds.
fn quick() -> Settings {
    let mut settings = Settings::default();
    settings.heartbeat.interval = Duration::from_millis(300);
    settings.limits.object_timeout = Duration::from_secs(1);
    settings
}

#[test]
fn both_sides_have_the_same_counts() {
    let load = "--devices 200 --duration 3s --rate 500 --sources 127.1.0.0/16 --echo --beat-interval 300ms
                --performance-every 200ms --status-every 300ms --picture-every 1s --picture-bytes 32KiB";
    let (report, gateway) = run(quick(), load, by_address);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}"));
    assert_eq!(number("/connects/connected"), 200);
    assert_eq!(gateway.connects, 200);
    assert_eq!(gateway.sources.len(), 200);
    assert_eq!(number("/connects/up_at_end"), 200);
    assert_eq!(number("/cuts/healthy"), 0);
    assert!(gateway.messages > 200 * 2, "{}", gateway.messages);
    assert_eq!(number("/sent/messages"), gateway.messages);
    assert_eq!(number("/sent/by_kind/performance"), gateway.by_type["Performance"]);
    assert_eq!(number("/sent/by_kind/status"), gateway.by_type["Status"]);
    assert_eq!(number("/sent/by_kind/project") + number("/sent/by_kind/picture"), gateway.by_type["Project"]);
    assert_eq!(gateway.rejected, 0);
    assert_eq!(number("/beats/answered"), number("/beats/received"));
    assert!(number("/beats/received") > 200);
    assert_eq!(number("/echo/asked"), number("/echo/answered"));
    assert_eq!(number("/echo/round_trip_us/count"), number("/echo/answered"));
    assert!(number("/echo/round_trip_us/p50") > 0);
    assert_eq!(number("/gateway/pid"), u64::from(std::process::id()), "found by its port");
    assert!(number("/gateway/rss_full_bytes") > 0);
    assert!(!report["samples"].as_array().unwrap().is_empty());
}

#[test]
fn split_and_coalesced_objects_have_the_same_counts_on_both_sides() {
    let load = "--devices 30 --duration 2s --faulty 100% --faults split,coalesce --performance-every 300ms";
    let (report, gateway) = run(Settings::default(), load, by_address);
    assert_eq!(report["cuts"]["faulty"], 0);
    assert_eq!(report["sent"]["messages"], gateway.messages);
    assert_eq!(gateway.rejected, 0);
}

#[test]
fn only_faulty_devices_are_cut() {
    let load = "--devices 80 --duration 4s --faulty 50% --performance-every 250ms --beat-interval 300ms";
    let (report, gateway) = run(quick(), load, by_address);
    assert_eq!(report["cuts"]["healthy"], 0, "{report:#}");
    for fault in report["faults"].as_array().unwrap() {
        assert_eq!(fault["devices"], 5);
        let cut = fault["cuts"].as_u64().unwrap() > 0;
        match fault["fault"].as_str().unwrap() {
            word @ ("silent" | "slow" | "garbage") => assert!(cut, "{word} was not cut"),
            word @ ("split" | "coalesce" | "spam" | "never-read" | "reset") => assert!(!cut, "{word} was cut"),
            word => panic!("{word}"),
        }
    }
    let resets = report["cuts"]["own_resets"].as_u64().unwrap();
    assert!(resets > 0, "{report:#}");
    assert_eq!(
        report["faults"].as_array().unwrap().iter().map(|f| f["own_resets"].as_u64().unwrap()).sum::<u64>(),
        resets
    );
    for word in ["silent", "framing", "reset"] {
        assert!(gateway.ends.contains_key(word), "{:?}", gateway.ends);
    }
    assert!(gateway.rejected > 0);
    assert!(report["connects"]["reconnects"].as_u64().unwrap() > 0);
}

#[test]
fn discovery_finds_a_gateway_and_the_page_is_complete() {
    let page = std::env::temp_dir().join(format!("pulsegate-swarm-{}.html", std::process::id()));
    let (report, gateway) = run(Settings::default(), "--devices 5 --duration 1s", |command, tcp, udp| {
        command.arg(format!("--discovery={udp}")).arg(format!("--port={}", tcp.port()));
        command.arg("--html").arg(&page);
    });
    assert_eq!(report["connects"]["connected"], 5);
    assert_eq!(gateway.connects, 5);
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    // The page loads nothing. Its only address is the XML namespace of SVG.
    assert_eq!(html.matches("http").count(), html.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn errors_have_exit_codes() {
    let check = |arguments: &[&str], code, expected: &str| {
        let output = swarm().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
    };
    check(&["--help"], 0, "--faulty SHARE");
    check(&["--version"], 0, "pulsegate-swarm 0.");
    check(&["--devices", "many"], 2, "pulsegate-swarm: --devices: invalid number 'many': expected 1 to 18000");
    check(&["--gateway"], 2, "--gateway");
    check(&["127.0.0.1"], 2, "unexpected argument");
    check(&["--pid=4294967295", "--gateway=127.0.0.1:1"], 1, "of process 4294967295");
    // No gateway answers probes at this address.
    check(&["--discovery=127.0.0.1:1"], 1, "no gateway answers the probes");
    // A run whose dials all fail is complete, and has a report.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    check(&["--gateway", &nobody, "--devices=2", "--duration=300ms"], 0, "refused");
}

#[test]
fn missing_measurements_are_null() {
    let none = swarm().args(["--gateway=127.0.0.1:1", "--devices=1", "--duration=300ms", "--json"]).output().unwrap();
    let none: Value = serde_json::from_slice(&none.stdout).unwrap();
    let times = &none["connects"]["time_us"];
    assert_eq!((&times["count"], &times["mean"], &times["p99"]), (&0.into(), &Value::Null, &Value::Null), "{none:#}");
    assert!(none["beats"]["spacing_error_us"]["max"].is_null(), "{none:#}");
}
