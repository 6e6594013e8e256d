//! The right to send commands from the page: one token, and the sessions that it opened.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::single_quoted;

/// Bytes of a token, at least.
const TOKEN_BYTES_MIN: usize = 16;
/// Bytes of a token, at most.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Sessions at one time. One more ends the oldest.
const SESSIONS_MAX: usize = 32;
/// How long a session lasts.
pub(super) const SESSION_TIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Addresses whose failures are remembered. One more replaces the failure whose pause ends first.
const FAILURES_MAX: usize = 64;
/// The longest pause after failures in a row.
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// The token and the sessions.
#[derive(Debug)]
pub(super) struct SignIn {
    token: Vec<u8>,
    sessions: Vec<(String, Instant)>,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Failure {
    from: IpAddr,
    pause: Duration,
    until: Instant,
}

/// The reason for a refused sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is another token.
    WrongToken,
    /// The last failure is too short a time ago. The number is seconds to wait.
    TooSoon(u64),
}

impl SignIn {
    /// Reads the token.
    ///
    /// # Errors
    /// A sentence, if the file cannot be read, if others than its owner may read it, or if the token is short.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let name = single_quoted(&path.to_string_lossy());
        let unreadable = |error| format!("web.token_file {name} cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("web.token_file {name} has the mode {mode:04o}: expected 0600, run chmod 600 on it"));
        }
        let mut token = Vec::new();
        file.take(TOKEN_BYTES_MAX).read_to_end(&mut token).map_err(unreadable)?;
        Self::new(token.trim_ascii()).ok_or_else(|| {
            format!("web.token_file {name} holds less than {TOKEN_BYTES_MIN} bytes: expected a longer token")
        })
    }

    fn new(token: &[u8]) -> Option<Self> {
        let token = (token.len() >= TOKEN_BYTES_MIN).then(|| token.to_vec())?;
        Some(Self { token, sessions: Vec::new(), failures: Vec::new() })
    }

    /// Whether `token` is the token. The time of the comparison depends on the length alone.
    pub(super) fn is_token(&self, token: &[u8]) -> bool {
        is_same(&self.token, token)
    }

    /// Checks a token. Each failure in a row of one address doubles its pause.
    pub(super) fn check(&mut self, token: &[u8], from: IpAddr, now: Instant) -> Result<(), Refused> {
        let known = self.failures.iter().position(|failure| failure.from == from);
        if let Some(failure) = known.map(|place| &self.failures[place]).filter(|failure| failure.until > now) {
            return Err(Refused::TooSoon((failure.until - now).as_secs() + 1));
        }
        let before = known.map(|place| self.failures.swap_remove(place).pause);
        if self.is_token(token) {
            return Ok(());
        }
        let pause = before.map_or(Duration::from_secs(1), |pause| (pause * 2).min(PAUSE_MAX));
        if self.failures.len() >= FAILURES_MAX {
            let first = (0..self.failures.len()).min_by_key(|&place| self.failures[place].until);
            first.map(|place| self.failures.swap_remove(place));
        }
        self.failures.push(Failure { from, pause, until: now + pause });
        Err(Refused::WrongToken)
    }

    /// Opens a session and gives the word for its cookie.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(super) fn open(&mut self, now: Instant) -> std::io::Result<String> {
        let mut random = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let word: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.remove(0);
        }
        self.sessions.push((word.clone(), now + SESSION_TIME));
        Ok(word)
    }

    /// Whether a session is open.
    pub(super) fn is_open(&self, word: &str, now: Instant) -> bool {
        // Every session is compared, so that the time does not depend on the matching one.
        let same = |(known, until): &(String, Instant)| is_same(known.as_bytes(), word.as_bytes()) && *until > now;
        self.sessions.iter().filter(|session| same(session)).count() > 0
    }

    /// Ends a session.
    pub(super) fn close(&mut self, word: &str) {
        self.sessions.retain(|(known, _)| !is_same(known.as_bytes(), word.as_bytes()));
    }
}

/// Compares in a time that depends on the lengths alone.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test begins somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn failures_of_one_address_slow_it_down_and_no_other() {
        let (mut sign_in, now) = (SignIn::new(b"0123456789abcdef").unwrap(), start());
        let [bad, good] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(sign_in.check(b"wrong", bad, now), Err(Refused::WrongToken));
        assert_eq!(sign_in.check(b"0123456789abcdef", bad, now), Err(Refused::TooSoon(2)));
        assert_eq!(sign_in.check(b"0123456789abcdef", good, now), Ok(()));
        let later = now + Duration::from_secs(1);
        assert_eq!(sign_in.check(b"wrong", bad, later), Err(Refused::WrongToken));
        assert_eq!(sign_in.check(b"0123456789abcdef", bad, later + Duration::from_secs(1)), Err(Refused::TooSoon(2)));
        assert_eq!(sign_in.check(b"0123456789abcdef", bad, later + Duration::from_secs(2)), Ok(()));
        for last in 0..=255 {
            let _ = sign_in.check(b"wrong", IpAddr::from([192, 0, 2, last]), later);
        }
        assert!(sign_in.failures.len() <= FAILURES_MAX);
    }

    #[test]
    fn sessions_end_and_are_few() {
        let (mut sign_in, now) = (SignIn::new(b"0123456789abcdef").unwrap(), start());
        assert!(SignIn::new(b"short").is_none());
        let first = sign_in.open(now).unwrap();
        assert!(sign_in.is_open(&first, now) && !sign_in.is_open("", now));
        assert!(!sign_in.is_open(&first, now + SESSION_TIME));
        let second = sign_in.open(now).unwrap();
        sign_in.close(&second);
        assert!(!sign_in.is_open(&second, now));
        (0..SESSIONS_MAX).for_each(|_| drop(sign_in.open(now).unwrap()));
        assert!(!sign_in.is_open(&first, now), "the oldest gave its place");
    }
}
