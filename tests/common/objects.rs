//! Objects and addresses of devices.

use std::net::SocketAddr;

use pulsegate::Reason;

/// Returns a `Status` that differs for each number.
pub(crate) fn object(number: u64) -> Vec<u8> {
    format!(r#"{{"Type":"Status","Number":{number},"Text":"a \"quoted\" }} brace"}}"#).into_bytes()
}

/// Returns an object of exactly `bytes` bytes (at least 64), most of them a base64 picture.
pub(crate) fn object_of(bytes: usize, number: u64) -> Vec<u8> {
    let mut object = format!(r#"{{"Type":"Project","Number":{number},"Picture":""#).into_bytes();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let picture = bytes.checked_sub(object.len() + 2).expect("room for the members");
    object.extend((0..picture).map(|i| alphabet[(i ^ (i >> 6) ^ number as usize) % alphabet.len()]));
    object.extend_from_slice(br#""}"#);
    object
}

/// Returns one object for each reason to reject it.
pub(crate) fn rejected_samples() -> Vec<(Reason, Vec<u8>)> {
    let deep = [b"{\"Type\":\"Status\",\"a\":".to_vec(), vec![b'['; 127], vec![b']'; 127], b"}".to_vec()].concat();
    vec![
        (Reason::InvalidUtf8, b"{\"Type\":\"Status\",\"a\":\"\xff\"}".to_vec()),
        (Reason::TooDeep, deep),
        (Reason::InvalidJson, br#"{"Type":"Status","a":[}"#.to_vec()),
        (Reason::DuplicateType, br#"{"Type":"Status","Type":"Status"}"#.to_vec()),
        (Reason::TypeNotString, br#"{"Type":7}"#.to_vec()),
        (Reason::TypeTooLong, format!(r#"{{"Type":"{}"}}"#, "x".repeat(257)).into_bytes()),
        (Reason::NoType, br#"{"type":"Status","a":{"Type":"Status"}}"#.to_vec()),
    ]
}

/// Returns the address of device `number`. Each device has its own IP.
pub(crate) fn device_address(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 40_000 + (number % 20_000) as u16))
}

/// `192.0.2.host:port`.
pub(crate) fn v4(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}
