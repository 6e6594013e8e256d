//! The gateway, the kernel and the devices of a seed. Most seeds are harmless in most respects, so that each respect is also
//! tested alone.

use std::time::Duration;

use pulsegate::{Cidr, Settings, Takeover, TurnLimits};

use super::action::{OBJECT_BYTES_MAX, Reload};
use super::common::{Faults, Rng};

/// The constants of a seed.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) settings: Settings,
    pub(crate) budget: TurnLimits,
    pub(crate) faults: Faults,
    /// Whether the budget is small.
    pub(crate) tight: bool,
    /// Whether there are thousands of devices with few actions instead of hundreds.
    pub(crate) crowd: bool,
    /// Whether all checks run after every step, which takes thirty times as long. Otherwise they run from time to time.
    pub(crate) closely: bool,
}

impl Stage {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5ca1_ab1e);
        let mut settings = Settings::default();
        settings.limits.object_bytes_max = OBJECT_BYTES_MAX as u32;
        settings.limits.outbox_bytes_max = *rng.pick(&[3_000, 256 << 10]);
        settings.limits.connections_max = *rng.pick(&[100, 16_384, 16_384, 16_384, 16_384]);
        settings.access.connections_per_ip_max = *rng.pick(&[3, 16_384, 16_384, 16_384]);
        settings.command_gap = Duration::from_millis(*rng.pick(&[0, 0, 0, 200, 1_000]));
        if rng.chance(60) {
            settings.identity.member = "Id".into();
            settings.identity.takeover = *rng.pick(&[Takeover::Newest, Takeover::Newest, Takeover::Oldest]);
            settings.identity.takeovers_per_minute_max = *rng.pick(&[2, 10]);
            settings.identity.remembered_max = *rng.pick(&[0, 3, 1_000]);
            settings.identity.queued_bytes_max = *rng.pick(&[500, 16 << 10]);
        }
        let (tight, crowd) = (rng.chance(25), rng.chance(12));
        if tight {
            settings.limits.memory_budget = *rng.pick(&[64 << 10, 200 << 10, 800 << 10]);
            settings.limits.outbox_bytes_max = 3_000;
        }
        let mut budget = TurnLimits::default();
        if rng.chance(60) {
            budget = TurnLimits {
                time: Duration::from_millis(12),
                read_bytes_per_turn_max: *rng.pick(&[1, 500, 5_000, 256 << 10]),
                accepts_per_turn_max: *rng.pick(&[1, 7, 256]),
                datagrams_per_turn_max: *rng.pick(&[1, 5, 64]),
                read_buffer_bytes: *rng.pick(&[100, 1_448, 4_096, 64 << 10]),
                events_per_turn_max: *rng.pick(&[1, 16, 1_024]),
            };
        }
        // In 10,000 calls.
        let mut often = |rates: &[usize]| if rng.chance(50) { *rng.pick(rates) } else { 0 };
        let faults = Faults {
            interrupted: often(&[10, 100, 1_000]),
            would_block: often(&[10, 100, 1_000]),
            exhausted: often(&[1, 10, 30]),
            reset: often(&[1, 1, 5]),
            late: often(&[100, 3_000]),
            again: often(&[100, 3_000]),
        };
        let closely = !crowd && rng.chance(10);
        Self { settings, budget, faults, tight, crowd, closely }
    }
}

/// Returns the settings with the changes of a reload.
pub(crate) fn reloaded(stage: &Stage, reload: &Reload) -> Settings {
    let mut settings = stage.settings.clone();
    settings.heartbeat.interval = Duration::from_millis(reload.interval_ms);
    settings.heartbeat.credit = reload.credit;
    settings.command_gap = Duration::from_millis(reload.gap_ms);
    if let Some(max) = reload.connections_max {
        settings.limits.connections_max = max;
    }
    if let (true, Some(bytes)) = (stage.tight, reload.memory_budget) {
        settings.limits.memory_budget = bytes;
    }
    if reload.oldest {
        settings.identity.takeover = Takeover::Oldest;
    }
    if let Some(block) = reload.denied {
        let block = format!("10.0.0.{}/29", block * 8);
        settings.access.deny = vec![block.parse::<Cidr>().expect("a block")];
    }
    settings
}
