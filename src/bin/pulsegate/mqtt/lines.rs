//! The lines of the gateway's control socket, as far as the uplink uses them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event or an answer of the gateway, as far as the uplink uses it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) boot: Cow<'a, str>,
    pub(super) seq: Option<u64>,
    pub(super) conn: Option<u64>,
    #[serde(borrow)]
    pub(super) ip: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    /// The object of a device, byte for byte.
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    /// Of `missed`: the number of dropped events.
    pub(super) events: u64,
    pub(super) id: Option<u64>,
    /// Of an answer: whether the request succeeded.
    pub(super) ok: Option<bool>,
    #[serde(borrow)]
    pub(super) error: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) detail: Cow<'a, str>,
    /// One row of a list of devices.
    pub(super) device: Option<Row<'a>>,
}

/// A connected device in a list.
#[derive(Debug, Deserialize)]
pub(super) struct Row<'a> {
    pub(super) conn: u64,
    #[serde(borrow)]
    pub(super) ip: Cow<'a, str>,
    /// Null for a device without name.
    #[serde(borrow, default)]
    pub(super) name: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    /// Reads a line. An unknown member means nothing.
    pub(super) fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_bytes() {
        let line = br#"{"event":"message","time":"t","seq":7,"conn":1,"ip":"192.0.2.7","port":1,"type":"S\u0074","data":{"Type" : "St", "a":[1.50,"\u00e9"]}}"#;
        let line = Line::parse(line).unwrap();
        assert_eq!(line.data.unwrap().get(), r#"{"Type" : "St", "a":[1.50,"\u00e9"]}"#);
        assert_eq!((&*line.kind, line.seq), ("St", Some(7)));
        let row = Line::parse(br#"{"id":2,"device":{"conn":7,"ip":"192.0.2.7","name":null}}"#).unwrap();
        assert!(row.device.is_some_and(|row| row.conn == 7 && row.name.is_none()));
        let answer = Line::parse(br#"{"id":3,"ok":false,"error":"no_such_device","detail":"d"}"#).unwrap();
        assert_eq!((answer.id, answer.ok, &*answer.error), (Some(3), Some(false), "no_such_device"));
    }
}
