//! Local processes that get every message, like event consumers. One that does not read gets complete lines or none, stays
//! within its bound, and blocks no other.

use std::time::Duration;

use super::common::{LOCAL_OUTBOX_BYTES_MAX, Network};

/// The bytes that the application wrote to each local process.
#[derive(Default)]
pub(super) struct Locals(Vec<Local>);

struct Local {
    link: usize,
    /// The bytes that the gateway queued.
    written: Vec<u8>,
    /// The number of them that the process has received.
    compared: usize,
}

impl Locals {
    pub(super) fn add(&mut self, link: usize) {
        self.0.push(Local { link, written: Vec::new(), compared: 0 });
    }

    pub(super) fn link(&self, number: usize) -> Option<usize> {
        self.0.get(number).map(|local| local.link)
    }

    /// Writes the same bytes to all of them.
    pub(super) fn write(&mut self, network: &mut Network, lines: &[String], tight: bool) {
        for local in &mut self.0 {
            let Some(id) = network.links[local.link].id.filter(|_| network.links[local.link].open) else { continue };
            for line in lines {
                let waits = local.written.len() - network.links[local.link].text_taken as usize;
                let fits = waits + line.len() <= LOCAL_OUTBOX_BYTES_MAX;
                let written = network.write_local(id, line.as_bytes());
                assert!(!written || fits, "{waits} bytes wait for a local process, and more is taken");
                assert!(written || !fits || tight, "{waits} bytes wait for a local process, and no more is taken");
                if written {
                    local.written.extend_from_slice(line.as_bytes());
                }
            }
        }
    }

    /// Asserts that they received the written bytes, and that no byte waits although there is room.
    pub(super) fn audit(&mut self, network: &Network, neglect: Duration) {
        for local in &mut self.0 {
            let text = &network.links[local.link].text;
            let agrees = local.written.get(local.compared..text.len()) == Some(&text[local.compared..]);
            assert!(agrees, "local process {} got other lines than were written", local.link);
            local.compared = text.len();
            let unsent = network.unsent_for(local.link);
            assert!(unsent <= neglect, "local process {} could have taken bytes for {unsent:?}", local.link);
        }
    }
}
