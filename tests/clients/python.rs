//! `examples/device.py`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::json;

use crate::executable::{Gateway, Process};
use crate::files::{content, give, sha256, take};
use crate::folder::Folder;
use crate::life::{FAST, FILE_BYTES, await_beats, state_after};

fn start(gateway: &Gateway, arguments: &[&str]) -> (Process, BufReader<ChildStdout>) {
    let mut program = Command::new("python3");
    program.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/device.py"));
    program.args(["--port", &gateway.tcp.port().to_string(), "--udp-port", &gateway.udp.port().to_string()]);
    program.args(["--terminator", r"\n", "--interval", "600"]).args(arguments);
    let process = program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = process.expect("python3 is not installed: install Debian's package python3");
    let output = BufReader::new(process.stdout.take().unwrap());
    (Process(process), output)
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

#[test]
fn the_python_device_has_a_name_and_moves_files() {
    let folder = Folder::new("python");
    let (bytes, firmware) = (content(FILE_BYTES), content(FILE_BYTES + 1));
    fs::write(folder.file("log.bin"), &bytes).unwrap();
    let taken = folder.file("taken");
    fs::create_dir(&taken).unwrap();
    let mut gateway = Gateway::start("python", "127.0.0.1:0", "127.0.0.1:0", &FAST);
    let files = ["--offer", folder.file("log.bin").to_str().unwrap(), "--directory", taken.to_str().unwrap()]
        .map(str::to_owned);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (_process, mut output) = start(&gateway, &[&files[..], &["--name", "pump-7"]].concat());
    assert_eq!(gateway.object("Project")["Id"], "pump-7");

    let (name, received) = take(&mut gateway);
    assert_eq!(name, "log.bin");
    assert!(received == bytes, "log.bin arrived with other bytes");
    assert_eq!(line(&mut output).trim(), "sent: log.bin");
    await_beats(&gateway);
    assert_eq!(state_after(&gateway, "open the door"), "did open the door");
    assert_eq!(line(&mut output), "open the door\n");

    assert_eq!(give(&mut gateway, "fw.bin", &firmware, &sha256(b"other")), (json!("failed"), json!("sha256")));
    assert_eq!(give(&mut gateway, "../fw.bin", &firmware, &sha256(&firmware)), (json!("refuse"), json!("name")));
    // The device continues a partial file.
    fs::write(taken.join("fw.bin.part"), &firmware[..100_000]).unwrap();
    assert_eq!(give(&mut gateway, "fw.bin", &firmware, &sha256(&firmware)).0, "done");
    assert!(fs::read(taken.join("fw.bin")).unwrap() == firmware, "fw.bin arrived with other bytes");
    assert_eq!(give(&mut gateway, "fw.bin", &firmware, &sha256(&firmware)).0, "done", "the device has the file");
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1, "no partial file remains");
}

#[test]
fn the_python_device_survives_broken_commands_of_files() {
    let folder = Folder::new("broken");
    fs::write(folder.file("log.bin"), b"log").unwrap();
    let mut gateway = Gateway::start("broken", "127.0.0.1:0", "127.0.0.1:0", &FAST);
    let (_process, _output) = start(
        &gateway,
        &["--offer", folder.file("log.bin").to_str().unwrap(), "--directory", folder.path().to_str().unwrap()],
    );
    gateway.object("File");
    for broken in [
        json!({"Type":"File"}),
        json!({"Type":"File","Op":"x","Name":"log.bin"}),
        json!({"Type":"File","Op":"get","Name":"log.bin","Offset":-1,"Length":5}),
        json!({"Type":"File","Op":"get","Name":"log.bin","Offset":"0","Length":5}),
        json!({"Type":"File","Op":"offer","Name":7,"Size":5}),
        json!({"Type":"File","Op":"offer","Name":"a","Size":"five"}),
        json!({"Type":"File","Op":"data","Name":"a","Offset":0,"Data":"?"}),
        json!([1]),
    ] {
        gateway.send(&broken.to_string());
    }
    gateway.send(&"[".repeat(10_000));
    gateway.send(r#"{"Type":"File","Op":"offer","Name":"a","Size":1e999}"#);
    gateway.send(&format!(r#"{{"Type":"File","Op":"get","Name":"log.bin","Offset":{},"Length":5}}"#, "9".repeat(30)));
    let (name, bytes) = take_again(&mut gateway);
    assert_eq!((name.as_str(), &bytes[..]), ("log.bin", &b"log"[..]));
}

/// Asks for the file without a new offer.
fn take_again(gateway: &mut Gateway) -> (String, Vec<u8>) {
    gateway.send(&json!({"Type":"File","Op":"get","Name":"log.bin","Offset":0,"Length":3}).to_string());
    let data = gateway.object("File");
    (data["Name"].as_str().unwrap().to_owned(), crate::files::unbase64(&data["Data"]))
}
