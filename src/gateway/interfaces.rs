//! Rules for the names of network interfaces on which the gateway answers probes. The driver of the gateway looks up the
//! names.

use std::fmt;
use std::str::FromStr;

use crate::tick::Tick;

/// The interfaces on which the gateway answers probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceRule {
    /// Names of interfaces with answers. Without a name the gateway answers no probe. Default: `*`, which matches all names.
    pub allow: Vec<Glob>,
    /// Names of interfaces without answers, even if `allow` contains them. Default: none.
    pub deny: Vec<Glob>,
}

impl Default for InterfaceRule {
    fn default() -> Self {
        Self { allow: vec![Glob("*".into())], deny: Vec::new() }
    }
}

impl InterfaceRule {
    /// Whether the gateway answers probes on the interface `name`. If the name is unknown, only a rule that allows every
    /// name returns true.
    pub fn allows(&self, name: Option<&str>) -> bool {
        match name {
            _ if self.allows_all() => true,
            Some(name) => {
                let fits = |glob: &Glob| glob.matches(name);
                self.allow.iter().any(fits) && !self.deny.iter().any(fits)
            }
            None => false,
        }
    }

    fn allows_all(&self) -> bool {
        self.deny.is_empty() && self.allow.iter().any(|glob| glob.0 == "*")
    }
}

/// A pattern for names. `*` matches any number of characters, and `?` matches one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The longest pattern, in bytes. Linux allows names of 15.
    const BYTES_MAX: usize = 64;

    /// Whether the pattern matches the whole `name`.
    pub fn matches(&self, name: &str) -> bool {
        let (glob, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut g, mut n) = (0, 0);
        // After a mismatch the last star takes one byte more. Earlier stars need no second try, so the work is at most the
        // product of the two lengths.
        let mut star = None;
        while n < name.len() {
            match glob.get(g) {
                Some(b'*') => {
                    star = Some((g + 1, n));
                    g += 1;
                }
                Some(&byte) if byte == b'?' || byte == name[n] => (g, n) = (g + 1, n + 1),
                _ => match star {
                    Some((after, from)) => {
                        star = Some((after, from + 1));
                        (g, n) = (after, from + 1);
                    }
                    None => return false,
                },
            }
        }
        glob[g..].iter().all(|&byte| byte == b'*')
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        // The kernel allows neither slashes nor whitespace in a name.
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if fits && clean { Ok(Self(text.into())) } else { Err(GlobError) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error of a text that can match no interface's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobError;

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected a name or a pattern with * and ?, such as eth0 or br-*, in at most 64 characters of ASCII \
             without spaces and slashes",
        )
    }
}

impl std::error::Error for GlobError {}

/// Looks up the name of an interface by its index. Returns `None` if there is no such interface.
pub type InterfaceName = fn(u32) -> Option<String>;

/// A cache of the rule's verdicts on interfaces. The lookup of a name takes system calls, and a flood of probes would cause
/// many of them.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Vec<(u32, Tick, bool)>);

impl Verdicts {
    /// Ticks for which a verdict is valid (one second), because the system may rename interfaces and reuse indices.
    const TICKS: u32 = 10;
    /// The maximum of cached interfaces.
    const LEN_MAX: usize = 16;

    /// Whether `rule` allows the interface `index`.
    pub(super) fn ask(&mut self, rule: &InterfaceRule, index: u32, name: Option<InterfaceName>, now: Tick) -> bool {
        if rule.allows_all() {
            return true;
        }
        self.0.retain(|&(_, at, _)| now.since(at) < Self::TICKS);
        if let Some(&(.., verdict)) = self.0.iter().find(|&&(known, ..)| known == index) {
            return verdict;
        }
        let verdict = rule.allows(name.and_then(|name| name(index)).as_deref());
        if self.0.len() == Self::LEN_MAX {
            self.0.remove(0);
        }
        self.0.push((index, now, verdict));
        verdict
    }

    /// Clears the cache after a change of the rule.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn globs() {
        let check = |glob: &str, fitting: &[&str], others: &[&str]| {
            let parsed: Glob = glob.parse().unwrap();
            for (names, expected) in [(fitting, true), (others, false)] {
                for name in names {
                    assert_eq!(parsed.matches(name), expected, "{glob} on {name}");
                }
            }
        };
        check("eth0", &["eth0"], &["eth", "eth00", "xeth0", "ETH0", ""]);
        check("*", &["", "lo", "wlp3s0"], &[]);
        check("eth*", &["eth", "eth0", "eth0.12"], &["veth0", "et"]);
        check("*.12", &["eth0.12", ".12"], &["eth0.121", "eth0.1"]);
        check("eth?", &["eth0"], &["eth", "eth10"]);
        check("*a*b", &["ab", "xaxb", "aabb", "abab"], &["a", "ba", "aba"]);
        check("e*0*1", &["e01", "e0101", "eth0.1"], &["eth0.10", "e10"]);
        check("?*?", &["ab", "abc"], &["a", ""]);
        let worst: Glob = "*a*a*a*a*a*a*a*a*a*a*b".parse().unwrap();
        assert!(!worst.matches(&"a".repeat(10_000)));
        for text in ["", "eth 0", "eth/0", "é", "\0", &"x".repeat(65)] {
            assert_eq!(text.parse::<Glob>(), Err(GlobError), "{text}");
        }
    }

    #[test]
    fn rules() {
        let globs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Glob>>();
        let check = |allow: &[&str], deny: &[&str], expected: [bool; 4]| {
            let rule = InterfaceRule { allow: globs(allow), deny: globs(deny) };
            let got = [Some("eth0"), Some("eth1"), Some("lo"), None].map(|name| rule.allows(name));
            assert_eq!(got, expected, "{allow:?} {deny:?}");
        };
        assert!(InterfaceRule::default().allows(None));
        check(&["*"], &[], [true; 4]);
        check(&[], &[], [false; 4]);
        check(&["eth*"], &[], [true, true, false, false]);
        check(&["*"], &["lo"], [true, true, false, false]);
        check(&["eth*"], &["eth1"], [true, false, false, false]);
        check(&["eth0"], &["*"], [false; 4]);
    }

    #[test]
    fn a_name_is_asked_for_once_a_second() {
        thread_local!(static ASKED: Cell<u32> = const { Cell::new(0) });
        let name: InterfaceName = |index| {
            ASKED.set(ASKED.get() + 1);
            (index < 100).then(|| format!("eth{index}"))
        };
        let rule = InterfaceRule { allow: vec!["eth1*".parse().unwrap()], deny: Vec::new() };
        let mut verdicts = Verdicts::default();
        for (tick, index, expected, asked) in [
            (0, 1, true, 1),
            (9, 1, true, 1),
            (9, 2, false, 2),
            (10, 1, true, 3),
            (10, 2, false, 3),
            (10, 100, false, 4),
        ] {
            assert_eq!(verdicts.ask(&rule, index, Some(name), Tick::new(tick)), expected, "{index} at {tick}");
            assert_eq!(ASKED.get(), asked, "{index} at {tick}");
        }
        for index in 0..1000 {
            verdicts.ask(&rule, index, Some(name), Tick::new(20));
        }
        assert_eq!(verdicts.0.len(), Verdicts::LEN_MAX);
        verdicts.clear();
        assert!(!verdicts.ask(&rule, 1, None, Tick::new(20)));
        let all = InterfaceRule::default();
        assert!(verdicts.ask(&all, 7, None, Tick::new(20)));
    }
}
