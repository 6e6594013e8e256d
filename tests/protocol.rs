//! `docs/protocol.md` is true: its device in C compiles and runs, and the gateway answers its ten mistakes as it says.

#[path = "common/executable.rs"]
mod executable;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use executable::{Gateway, Process};

const PAGE: &str = include_str!("../docs/protocol.md");

/// A time that only a broken program exceeds: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The rows of the table below this heading, as cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let part = PAGE.split_once(heading).unwrap_or_else(|| panic!("the page has no {heading:?}")).1;
    let rows = part.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

/// The bytes of a cell, in which `\xNN`, `\r` and `\n` are escapes.
fn bytes(cell: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = cell;
    while let Some(letter) = rest.chars().next() {
        let (byte, length) = match rest.as_bytes() {
            [b'\\', b'x', ..] => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b'n', ..] => (b'\n', 2),
            [byte, ..] if letter.is_ascii() => (*byte, 1),
            _ => panic!("expected ASCII and escapes in {cell:?}"),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

/// The program of the page, compiled.
fn device() -> PathBuf {
    let program = PAGE.split_once("```c\n").and_then(|(_, rest)| rest.split_once("```")).expect("a program in C").0;
    assert!(program.lines().count() <= 60, "expected at most 60 lines, the page has {}", program.lines().count());
    let folder = std::env::temp_dir().join(format!("pulsegate-protocol-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("device.c"), program).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-o"]);
    let output = compiler.arg(folder.join("device")).arg(folder.join("device.c")).output();
    let output = output.expect("cc is not installed: install gcc or clang");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("device")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test waits for the process under test")]
fn the_device_of_the_page_lives_obeys_and_returns() {
    let fast = [("PULSEGATE_HEARTBEAT_INTERVAL", "200ms"), ("PULSEGATE_TERMINATOR", "\n")];
    let mut gateway = Gateway::start("device", "127.0.0.1:0", "127.0.0.1:0", &fast);
    let (tcp, udp) = (gateway.tcp, gateway.udp);
    let mut program = Command::new(device());
    program.args(["127.0.0.1".to_owned(), udp.port().to_string(), tcp.port().to_string()]).stdout(Stdio::piped());
    let mut process = Process(program.spawn().unwrap());
    let mut commands = BufReader::new(process.0.stdout.take().unwrap());

    assert_eq!(gateway.event("message")["type"], "Project");
    // Longer than the credit of 5 lasts: the device answers its beats.
    while gateway.answered_beats() < 8 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = gateway.run(&["send", "127.0.0.1", "reboot now", "--wait", "20"]);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert!(String::from_utf8_lossy(&sent.stdout).contains(r#""State":"done""#), "{sent:?}");
    let mut line = String::new();
    commands.read_line(&mut line).unwrap();
    assert_eq!(line, "command: reboot now\n");

    drop(gateway);
    let mut gateway = Gateway::start("device", &tcp.to_string(), &udp.to_string(), &fast);
    assert_eq!(gateway.event("message")["type"], "Project", "the device finds a gateway that was restarted");
}

#[test]
fn the_gateway_answers_the_ten_mistakes_as_the_page_says() {
    let variables = [
        ("PULSEGATE_HEARTBEAT_INTERVAL", "200ms"),
        ("PULSEGATE_HEARTBEAT_CREDIT", "1"),
        ("PULSEGATE_LIMITS_OBJECT_TIMEOUT", "200ms"),
    ];
    let mut gateway = Gateway::start("mistakes", "127.0.0.1:0", "127.0.0.1:0", &variables);
    let mistakes = table("## Ten mistakes");
    assert_eq!(mistakes.len(), 10);
    for row in mistakes {
        let [mistake, example, event, reason] = row[..] else { panic!("four cells: {row:?}") };
        let sent = if example == "(nothing)" { Vec::new() } else { bytes(example) };
        let mut device = TcpStream::connect(gateway.tcp).unwrap();
        device.set_read_timeout(Some(TIMEOUT)).unwrap();
        device.write_all(&sent).unwrap();
        assert_eq!(gateway.event(event)["reason"], reason, "{mistake}");
        let _ = device.shutdown(Shutdown::Both);
        if event != "disconnect" {
            gateway.event("disconnect");
        }
    }
}

#[test]
fn the_bytes_of_the_page_may_stand_between_objects() {
    let mut gateway = Gateway::start("between", "127.0.0.1:0", "127.0.0.1:0", &[]);
    let mut device = TcpStream::connect(gateway.tcp).unwrap();
    let codes: Vec<&str> =
        table("These bytes may stand between objects").iter().flat_map(|row| row[1].split(", ")).collect();
    assert!(codes.len() >= 5, "{codes:?}");
    for code in &codes {
        let between = code.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        device.write_all(b"{\"Type\":\"Status\"}").unwrap();
        device.write_all(&between.collect::<Vec<u8>>()).unwrap();
    }
    device.write_all(b"{\"Type\":\"Last\"}").unwrap();
    device.shutdown(Shutdown::Write).unwrap();
    let mut sent_by_gateway = Vec::new();
    device.read_to_end(&mut sent_by_gateway).unwrap();
    let mut types = Vec::new();
    while types.last().is_none_or(|kind| kind != "Last") {
        types.push(gateway.event("message")["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types.len(), codes.len() + 1, "{codes:?}");
}
