//! Values of the services beside the gateway. The gateway reads and checks them, so that one file serves all.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::format::{Fault, Format, Input, What, quote, text, type_of};
use super::list::Entry;

/// The port of the page.
const WEB_PORT: u16 = 5580;

/// What `pulsegate web` keeps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebSettings {
    /// Where browsers connect.
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

/// The path of a file; an empty one is none.
pub(super) struct FilePath;

impl Format<Option<PathBuf>> for FilePath {
    const WANT: &'static str = "the path of a file, or \"\"";

    fn read(input: Input<'_>) -> Result<Option<PathBuf>, Vec<Fault>> {
        match text(input)? {
            "" => Ok(None),
            path if path.len() < 4096 && !path.contains('\0') => Ok(Some(path.into())),
            _ => Err(What::Unlike.into()),
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        quote(&value.as_deref().map(|path| path.to_string_lossy()).unwrap_or_default())
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
