//! The bytes at a fault, for people, and the protocols that begin with them.

use std::fmt;

/// At most 32 bytes of a stream from a wrong byte on. Bytes that are not printable ASCII show as `\xNN`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Near {
    bytes: [u8; BYTES_MAX],
    len: u8,
}

const BYTES_MAX: usize = 32;

impl Near {
    /// Returns the first 32 bytes of `first` and `second` together.
    pub(super) fn of(first: &[u8], second: &[u8]) -> Self {
        let mut near = Self::default();
        for (to, from) in near.bytes.iter_mut().zip(first.iter().chain(second)) {
            *to = *from;
            near.len += 1;
        }
        near
    }

    /// Returns the bytes as received.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Returns the description of a fault `at` bytes into an object: `detail`, or a better one from these bytes. UTF-16 text
    /// without a byte order mark shows its encoding behind the first brace only.
    pub(super) fn explain(&self, at: usize, detail: &'static str) -> &'static str {
        match self.bytes() {
            [0, b' '..=b'~', 0, ..] if at == 1 => "expected UTF-8, found UTF-16 text",
            _ => detail,
        }
    }

    /// Returns the protocol or encoding that begins with these bytes, as a noun phrase.
    pub(super) fn protocol(&self) -> Option<&'static str> {
        let bytes = self.bytes();
        let http = [
            &b"GET "[..],
            b"POST ",
            b"PUT ",
            b"HEAD ",
            b"DELETE ",
            b"OPTIONS ",
            b"PATCH ",
            b"CONNECT ",
            b"TRACE ",
            b"PRI * HTTP/",
            b"HTTP/",
        ];
        match bytes {
            _ if http.iter().any(|method| bytes.starts_with(method)) => Some("HTTP"),
            [0x16, 0x03, 0..=4, ..] => Some("a TLS handshake"),
            [b'S', b'S', b'H', b'-', ..] => Some("an SSH greeting"),
            // The signature of version 2 begins with line ends and a NUL, which are whitespace between objects.
            [b'P', b'R', b'O', b'X', b'Y', b' ', ..] | [b'Q', b'U', b'I', b'T', b'\n', ..] => {
                Some("a PROXY protocol header")
            }
            [0x10, packet @ ..] if is_mqtt_connect(packet) => Some("an MQTT connect packet"),
            [0xFE, 0xFF, ..] | [0xFF, 0xFE] | [0xFF, 0xFE, b' '..=0xFF, 0, ..] => Some("UTF-16 text"),
            // SB, WILL, WON'T, DO and DON'T after IAC (RFC 854).
            [0xFF, 0xFA..=0xFE, ..] => Some("telnet options"),
            _ => None,
        }
    }
}

/// Whether a remaining length of up to four bytes and the name of the protocol follow the packet's type.
fn is_mqtt_connect(packet: &[u8]) -> bool {
    let length = packet.iter().take(3).take_while(|byte| **byte >= 0x80).count() + 1;
    let name = packet.get(length..).unwrap_or_default();
    name.starts_with(b"\0\x04MQTT") || name.starts_with(b"\0\x06MQIsdp")
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().iter().try_for_each(|&byte| match byte {
            b' '..=b'~' => write!(f, "{}", char::from(byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_printable_ascii_show_as_hexadecimal() {
        let near = |first: &[u8], second: &[u8]| Near::of(first, second).to_string();
        assert_eq!(near(b"a\\\"~ \x7f\r\n\0", "é".as_bytes()), r#"a\"~ \x7f\x0d\x0a\x00\xc3\xa9"#);
        assert_eq!(near(b"", b""), "");
        assert_eq!(near(&[b'a'; 31], b"bc"), "a".repeat(31) + "b");
        assert_eq!(near(&[0xFF; 40], b"bc"), r"\xff".repeat(32));
    }

    #[test]
    fn utf_16_text_is_recognised_behind_the_first_brace() {
        for (near, at, utf16) in [(&b"\0\"\0T\0"[..], 1, true), (b"\0\"\0T\0", 2, false), (b"\0\0\0", 1, false)] {
            let detail = Near::of(near, b"").explain(at, "expected a key");
            assert_eq!(detail != "expected a key", utf16, "{near:?}");
        }
    }

    #[test]
    fn protocols_are_recognised_by_their_first_bytes() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            assert_eq!(Near::of(bytes, b"").protocol(), expected, "{}", String::from_utf8_lossy(bytes));
        };
        let (telnet, utf16, mqtt) = (Some("telnet options"), Some("UTF-16 text"), Some("an MQTT connect packet"));
        for http in ["GET / HTTP/1.1\r\n", "POST /x", "HTTP/1.1 400 Bad Request", "PRI * HTTP/2.0"] {
            check(http.as_bytes(), Some("HTTP"));
        }
        check(b"\x16\x03\x01\x00\xc0\x01", Some("a TLS handshake"));
        check(b"SSH-2.0-OpenSSH_9.6\r\n", Some("an SSH greeting"));
        check(b"PROXY TCP4 192.0.2.9 ", Some("a PROXY protocol header"));
        check(b"QUIT\n\x21\x11\x00\x0c", Some("a PROXY protocol header"));
        check(b"\x10\x1a\0\x04MQTT\x04\x02", mqtt);
        check(b"\x10\xff\xff\xff\x7f\0\x06MQIsdp\x03", mqtt);
        check(b"\x10\xff\xff\xff\xff\xff\0\x04MQTT", None);
        check(b"\xff\xfb\x1f\xff\xfb\x20{", telnet);
        check(b"\xff\xfe\x01\xff\xfe\x03", telnet);
        check(b"\xff\xfe{\0\"\0", utf16);
        check(b"\xff\xfe", utf16);
        check(b"\xfe\xff\0{", utf16);
        for other in [&b"GETAWAY"[..], b"rst cause:2, boot mode", b"\x16", b"\xff", b"\0\0\0", b"", b"\x10", b"[{}"] {
            check(other, None);
        }
    }
}
