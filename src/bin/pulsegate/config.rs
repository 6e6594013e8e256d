//! What the daemon is to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use log::LevelFilter;
use pulsegate::Settings;

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) discovery: Vec<SocketAddr>,
    pub(crate) events: Events,
    pub(crate) events_buffer: usize,
    pub(crate) control: ControlPath,
    pub(crate) control_mode: u32,
    pub(crate) log_level: LevelFilter,
}

/// Where events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    Stdout,
    None,
}

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlPath {
    Default,
    Off,
    At(PathBuf),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            listen: Vec::new(),
            discovery: vec![([0, 0, 0, 0], 5555).into()],
            events: Events::Stdout,
            events_buffer: 1 << 20,
            control: ControlPath::Default,
            control_mode: 0o660,
            log_level: LevelFilter::Info,
        }
    }
}
