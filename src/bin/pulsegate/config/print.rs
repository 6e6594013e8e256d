//! The configuration as text: every value with its origin, and the shipped file.

use std::fmt::Write as _;

use super::Config;
use super::error::clean;
use super::keys::{KEYS, SECTIONS};
use super::load::FILE;

impl Config {
    /// The file that the program has read, in words.
    pub(crate) fn source(&self) -> String {
        let none = || format!("no configuration file ({FILE} does not exist)");
        self.file.as_deref().map_or_else(none, clean)
    }

    /// Every value and where it comes from, as TOML that means the same.
    pub(crate) fn print(&self) -> String {
        let shown: Vec<_> = KEYS.iter().map(|key| format!("{} = {}", key.parts().1, (key.show)(self))).collect();
        let width = shown.iter().map(|line| line.chars().count()).filter(|&width| width <= 48).max().unwrap_or(0);
        let file = self.file.as_deref().map_or("no file was read".into(), |path| format!("{} was read", clean(path)));
        let mut text = format!("# pulsegate {}: {file}.\n", env!("CARGO_PKG_VERSION"));
        let mut section = None;
        for (key, line) in KEYS.iter().zip(shown) {
            if key.parts().0 != section {
                section = key.parts().0;
                let _ = writeln!(text, "\n[{}]", section.unwrap_or_default());
            }
            let _ = writeln!(text, "{line:width$}  # from: {}", self.origin(key.name));
        }
        text
    }

    /// The text of the `pulsegate.toml` that is shipped: every key, what it does, and its default.
    pub(crate) fn defaults_file() -> String {
        let defaults = Self::default();
        let mut text = String::new();
        for paragraph in PREFACE {
            comment(&mut text, paragraph);
            text.push_str(if paragraph.is_empty() { "#\n" } else { "" });
        }
        let mut section = None;
        for key in KEYS {
            text.push('\n');
            let (key_section, name) = key.parts();
            if key_section != section {
                section = key_section;
                let (section, about) = SECTIONS.iter().find(|(known, _)| Some(*known) == section).unwrap_or(&("", ""));
                comment(&mut text, about);
                let _ = writeln!(text, "[{section}]\n");
            }
            let bound = key.bound().map(|bound| format!(" It must {bound}."));
            comment(&mut text, &format!("{}{}", key.doc, bound.unwrap_or_default()));
            let _ = writeln!(text, "{name} = {}", (key.show)(&defaults));
        }
        text
    }
}

const PREFACE: &[&str] = &[
    "The configuration of pulsegate. Every value in this file is the default: what is left out means the same.",
    "",
    "A value may also be given by the environment: interval in [heartbeat] by PULSEGATE_HEARTBEAT_INTERVAL, with lists \
     separated by commas. The environment comes before this file, and options of the command line before both. Which \
     value holds, and where it comes from, is told by: pulsegate --print-config",
    "",
    "Durations are written with their unit, such as \"500ms\", \"2s\" or \"1m 30s\". So are bytes: \"256KiB\" is 262144 of \
     them, \"1MiB\" 1048576. Texts are sent as they are; \"\\n\" is a line end, \"\\u0000\" a NUL.",
];

/// Writes `text` as a comment of short lines.
fn comment(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length <= 98 {
            text.push(' ');
            width += 1 + length;
        } else {
            text.push_str(if width == 0 { "# " } else { "\n# " });
            width = 2 + length;
        }
        text.push_str(word);
    }
    if width > 0 {
        text.push('\n');
    }
}
