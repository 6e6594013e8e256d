//! The keys of `[web]`, which `pulsegate web` reads. A build without the page ignores them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::format::{Fault, Format, Input, What, type_of};
use super::keys::{Key, key};
use super::list::{Entry, List};
use super::load::Loader;
use super::scalar::FilePath;

/// The port of the page.
const WEB_PORT: u16 = 5580;

/// The configuration of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebSettings {
    /// Addresses for browsers.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether the page may change something.
    pub(crate) commands: bool,
    /// The file that holds the token.
    pub(crate) token_file: Option<PathBuf>,
    /// Names under which the page may be asked for.
    pub(crate) hosts: Vec<HostName>,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::LOCALHOST, WEB_PORT).into()],
            commands: false,
            token_file: None,
            hosts: Vec::new(),
        }
    }
}

/// Yes or no.
pub(super) struct Switch;

impl Format<bool> for Switch {
    const WANT: &'static str = "true or false";

    fn read(input: Input<'_>) -> Result<bool, Vec<Fault>> {
        match input {
            Input::Toml(value) => {
                value.get_ref().as_bool().ok_or_else(|| What::OfType(type_of(value.get_ref())).into())
            }
            Input::Text("true") => Ok(true),
            Input::Text("false") => Ok(false),
            Input::Text(_) => Err(What::Unlike.into()),
        }
    }

    fn show(value: &bool) -> String {
        value.to_string()
    }
}

/// The name of a host (RFC 1123 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostName(pub(crate) String);

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(allowed)
        };
        match text.len() <= 253 && text.split('.').all(is_label) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err("expected the name of a host without a port, such as gateway.example"),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Entry for HostName {}

/// The sections with their introductions.
pub(super) const SECTIONS: &[(&str, &str)] = &[("web", "The page and the metrics, for pulsegate web.")];

/// Adds the faults of values that are out of bounds.
pub(super) fn check(loader: &mut Loader) {
    if loader.config.web.listen.is_empty() {
        loader.must("web.listen", "have at least one address");
    }
    loader.check_addresses("web.listen", &loader.config.web.listen.clone());
}

pub(super) const KEYS: [Key; 4] = [
    key!(
        "web.listen",
        List<Vec<SocketAddr>>,
        web.listen,
        None,
        "TCP addresses and ports on which browsers and Prometheus connect. The page has no encryption: put a reverse proxy \
         with TLS before it on networks that you do not trust."
    ),
    key!(
        "web.hosts",
        List<Vec<HostName>>,
        web.hosts,
        None,
        "Names under which browsers may ask for the page, besides localhost and the addresses of web.listen. Requests for \
         other names are refused, because another site can let its own name lead to this address."
    ),
    key!(
        "web.commands",
        Switch<bool>,
        web.commands,
        None,
        "Whether the page may send commands and close connections, after a sign-in with the token of web.token_file."
    ),
    key!(
        "web.token_file",
        FilePath<Option<PathBuf>>,
        web.token_file,
        None,
        "The path of a file of mode 0600 that holds the token, at least 16 bytes."
    ),
];
