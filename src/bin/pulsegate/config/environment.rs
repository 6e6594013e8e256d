//! Environment variables whose names begin with `PULSEGATE_`. Not all of them belong to this program.

use std::ffi::{OsStr, OsString};

use super::keys::{FOREIGN_SECTIONS, KEYS, Key, PREFIX, sections};
use super::suggest::{brief, nearest, question};

/// The meaning of a variable.
pub(super) enum Meaning {
    /// The variable sets this key.
    Key(&'static Key),
    /// Kubernetes or Docker set it for a service whose name begins with "pulsegate", or it sets a key of a service that
    /// this build lacks.
    Foreign,
    /// No key has this variable. The text is a warning.
    Unknown(String),
    /// No key has this variable, but one has a similar name. The text is an error.
    Misspelt(String),
}

/// Returns the variables that begin with the prefix.
pub(super) fn variables(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(String, OsString)> {
    let ours = |(variable, value): (OsString, OsString)| {
        let variable = variable.into_string().ok().filter(|variable| variable.starts_with(PREFIX))?;
        Some((variable, value))
    };
    environment.into_iter().filter_map(ours).collect()
}

pub(super) fn meaning(variable: &str, value: &OsStr) -> Meaning {
    if is_service_link(variable, value) {
        return Meaning::Foreign;
    }
    if let Some(key) = KEYS.iter().find(|key| key.variable() == variable) {
        return Meaning::Key(key);
    }
    let name = variable.strip_prefix(PREFIX).unwrap_or_default().to_ascii_lowercase();
    if FOREIGN_SECTIONS.iter().any(|section| name.starts_with(&format!("{section}_"))) {
        return Meaning::Foreign;
    }
    let near = nearest(variable, KEYS.iter().map(Key::variable));
    let is_in_section = sections().any(|(section, _)| name.starts_with(&format!("{section}_")));
    match near.is_some() || is_in_section {
        true => Meaning::Misspelt(format!("no key has this variable{}", question(near))),
        false => Meaning::Unknown("ignored: no key has this variable".into()),
    }
}

/// Whether a variable has the form of a service link. Kubernetes and Docker set those for every service, such as
/// `PULSEGATE_SERVICE_HOST`, `PULSEGATE_PORT=tcp://…` and `PULSEGATE_WEB_PORT_5580_TCP_ADDR`.
fn is_service_link(variable: &str, value: &OsStr) -> bool {
    let is_url =
        || value.to_str().is_some_and(|url| ["tcp://", "udp://", "sctp://"].iter().any(|p| url.starts_with(p)));
    let behind = |mark: &str| variable.rfind(mark).map(|at| &variable[at + mark.len()..]);
    let is_host = variable.ends_with("_SERVICE_HOST");
    let is_port = behind("_SERVICE_PORT").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    let is_protocol = behind("_PORT_").is_some_and(|rest| {
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    });
    is_host || is_port || is_protocol || variable.ends_with("_PORT") && is_url()
}

/// Returns a variable's name on one line, with control characters escaped.
pub(super) fn shown(variable: &str) -> String {
    brief(variable)
}
