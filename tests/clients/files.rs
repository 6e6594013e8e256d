//! The gateway's side of files in pieces (docs/protocol.md), played with `pulsegate send` and the events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::executable::Gateway;

/// Returns bytes that differ from piece to piece.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Returns SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn command(op: &str, name: &str, members: Value) -> String {
    let mut object = json!({"Type": "File", "Op": op, "Name": name});
    object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    object.to_string()
}

/// Gives a file to the device. Returns the operation that ends the transfer, and its reason.
pub(crate) fn give(gateway: &mut Gateway, name: &str, bytes: &[u8], hash: &str) -> (Value, Value) {
    gateway.send(&command("offer", name, json!({"Size": bytes.len(), "Sha256": hash})));
    loop {
        let object = gateway.object("File");
        if object["Op"] != "get" {
            assert_eq!(object["Name"], name);
            return (object["Op"].clone(), object["Reason"].clone());
        }
        let (offset, length) = (index(&object["Offset"]), index(&object["Length"]));
        assert!(offset + length <= bytes.len(), "{object}");
        let piece = STANDARD.encode(&bytes[offset..offset + length]);
        gateway.send(&command("data", name, json!({"Offset": offset, "Data": piece})));
    }
}

/// Takes the file that the device offers next. Returns its name and bytes.
pub(crate) fn take(gateway: &mut Gateway) -> (String, Vec<u8>) {
    let offer = gateway.object("File");
    assert_eq!(offer["Op"], "offer");
    let name = offer["Name"].as_str().unwrap().to_owned();
    let mut bytes = Vec::new();
    while bytes.len() < index(&offer["Size"]) {
        // Any device sends as much as it can of a piece that is too long for it.
        gateway.send(&command("get", &name, json!({"Offset": bytes.len(), "Length": 70_000})));
        let data = gateway.object("File");
        assert_eq!((&data["Op"], index(&data["Offset"])), (&json!("data"), bytes.len()));
        bytes.extend(unbase64(&data["Data"]));
    }
    if offer["Sha256"].is_string() {
        assert_eq!(offer["Sha256"], sha256(&bytes));
    }
    gateway.send(&command("done", &name, json!({})));
    (name, bytes)
}

fn index(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("expected a number, saw {value}")) as usize
}

pub(crate) fn unbase64(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().unwrap()).unwrap()
}
