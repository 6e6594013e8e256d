//! Signs that a device lives and obeys.

use serde_json::Value;

use crate::executable::Gateway;

/// A short heartbeat, a credit for 5 s in which a busy disk syncs a file, and the terminator that most clients need.
pub(crate) const FAST: [(&str, &str); 3] =
    [("PULSEGATE_HEARTBEAT_INTERVAL", "200ms"), ("PULSEGATE_HEARTBEAT_CREDIT", "25"), ("PULSEGATE_TERMINATOR", "\n")];

const BEATS: u64 = 8;

/// Longer than a command of 64 KiB carries, and no multiple of any piece.
pub(crate) const FILE_BYTES: usize = 200_003;

/// Waits until the device has answered some beats.
#[expect(clippy::disallowed_methods, reason = "a test waits for the process under test")]
pub(crate) fn await_beats(gateway: &Gateway) {
    let before = gateway.answered_beats();
    while gateway.answered_beats() < before + BEATS {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Returns the state that the device reports after a command.
pub(crate) fn state_after(gateway: &Gateway, text: &str) -> Value {
    let sent = gateway.run(&["send", "127.0.0.1", text, "--wait", "20"]);
    assert!(sent.status.success(), "{text}: {}", String::from_utf8_lossy(&sent.stderr));
    serde_json::from_slice::<Value>(&sent.stdout).unwrap()["State"].take()
}
