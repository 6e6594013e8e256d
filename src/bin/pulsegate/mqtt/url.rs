//! Addresses of brokers, such as `mqtt://broker.example:1883`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the connection is encrypted (`mqtts://`).
    pub(crate) tls: bool,
}

/// The ports that IANA has registered for MQTT, without and with TLS.
const PORTS: [u16; 2] = [1883, 8883];
/// The longest name of a host (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

impl Broker {
    /// The address, where the host is one already and no name.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Broker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("expected mqtt://HOST, mqtt://HOST:PORT or mqtts://HOST".into()),
        };
        if rest.contains('@') {
            return Err("expected no user name in it: see mqtt.username and mqtt.password_file".into());
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(port))),
            None => rest.split_once(':').map_or((rest, Some("")), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some("") => Some(PORTS[usize::from(tls)]),
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => None,
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_host = host.parse::<IpAddr>().is_ok() || host.bytes().all(is_name) && !host.starts_with('-');
        if host.is_empty() || host.len() > HOST_BYTES_MAX || !is_host {
            return Err("expected the name or the address of a host, as in mqtt://broker.example".into());
        }
        let port = port.ok_or("expected a port from 1 to 65535")?;
        Ok(Self { host: host.into(), port, tls })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        let brackets = if self.host.contains(':') { ["[", "]"] } else { ["", ""] };
        write!(f, "{scheme}://{}{}{}:{}", brackets[0], self.host, brackets[1], self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_brokers() {
        let check = |text: &str, expected: &str| {
            let broker = text.parse::<Broker>().map(|broker| broker.to_string());
            assert_eq!(broker.as_deref(), Ok(expected), "{text}");
            assert_eq!(expected.parse::<Broker>(), text.parse::<Broker>(), "{text}");
        };
        check("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883");
        check("mqtts://broker.example/", "mqtts://broker.example:8883");
        check("mqtt://[2001:db8::7]:1884", "mqtt://[2001:db8::7]:1884");
        check("mqtt://[2001:db8::7]", "mqtt://[2001:db8::7]:1883");
        for text in [
            "",
            "127.0.0.1",
            "http://a",
            "mqtt://",
            "mqtt://a:0",
            "mqtt://a:x",
            "mqtt://a:65536",
            "mqtt://u:p@a",
            "mqtt://a/b",
            "mqtt://2001:db8::7",
            "mqtt://[::1]x",
            "mqtt://-a",
            "mqtt://a b",
        ] {
            assert!(text.parse::<Broker>().is_err(), "{text}");
        }
    }
}
