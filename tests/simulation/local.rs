//! Local processes that are told of every message, as consumers of events are: one that does not read gets whole lines or
//! none, holds no more than its bound, and stands in nobody's way.

use std::time::Duration;

use super::common::{LOCAL_OUTBOX_BYTES_MAX, Network};

/// What was written to each local process.
#[derive(Default)]
pub(super) struct Locals(Vec<Local>);

struct Local {
    link: usize,
    /// What the gateway has taken to be sent.
    written: Vec<u8>,
    /// How many bytes of that are known to have been received.
    compared: usize,
}

impl Locals {
    pub(super) fn add(&mut self, link: usize) {
        self.0.push(Local { link, written: Vec::new(), compared: 0 });
    }

    pub(super) fn link(&self, number: usize) -> Option<usize> {
        self.0.get(number).map(|local| local.link)
    }

    /// Tells all of them the same.
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

    /// What they have received is what was written, and what they can take waits no longer than that.
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
