//! Generates pulsegate.toml(5) from the table of keys.

use std::fmt::Write;

use super::Config;
use super::keys::{KEYS, sections};
use super::load::{FILE, FILE_VARIABLE};
use crate::manual::roff;

/// Returns the page as roff.
pub(crate) fn page() -> String {
    let defaults = Config::default();
    let mut text = HEAD.replace("FILE_VARIABLE", FILE_VARIABLE).replace("/FILE", FILE);
    let mut section = Some("");
    for key in KEYS {
        let (key_section, name) = key.parts();
        if key_section != section {
            section = key_section;
            let about = sections().find(|(known, _)| Some(*known) == section);
            match about {
                Some((section, about)) => drop(writeln!(text, ".SS [{section}]\n{}", roff(about))),
                None => text.push_str(".SS Keys without a section\nThese keys come first in the file.\n"),
            }
        }
        let bound = key.bound().map(|bound| format!(" It must {bound}.")).unwrap_or_default();
        let _ = writeln!(text, ".TP\n.B {}\n{}", roff(name), roff(&format!("{}{bound}", key.doc)));
        let _ = writeln!(text, "The value is {}.\n.RS\n.PP", roff(key.want));
        let _ = writeln!(text, "Default: \\fB{}\\fR", roff(&(key.show)(&defaults)));
        let _ = writeln!(text, ".br\nEnvironment: \\fB{}\\fR", key.variable());
        if let Some(option) = key.option {
            let _ = writeln!(text, ".br\nOption: \\fB{}\\fR", roff(option));
        }
        text.push_str(".RE\n");
    }
    text.push_str(TAIL);
    text
}

/// Returns every environment variable that the configuration reads.
pub(crate) fn environment() -> impl Iterator<Item = String> {
    KEYS.iter().map(super::Key::variable).chain([FILE_VARIABLE.into()])
}

const HEAD: &str = r#".\" Generated from src/bin/pulsegate/config/keys.rs. Edit that file.
.TH PULSEGATE.TOML 5 "" pulsegate "File Formats"
.SH NAME
pulsegate.toml \- configuration of the LAN device gateway
.SH DESCRIPTION
The option
.B \-\-config
names the configuration file of
.BR pulsegate (1).
Without the option, the environment variable
.B FILE_VARIABLE
names the file.
Without both, the gateway reads
.I /FILE
if it exists.
The gateway runs without a file, because every key has a default.
.PP
The file is TOML.
A section begins with its name in brackets on a line of its own.
An unknown name is an error, and so is a value outside its bounds.
.B "pulsegate check\-config"
.I FILE
prints the line and column of each error.
.B "pulsegate serve \-\-print\-config"
prints every value with its origin.
.B "pulsegate check\-config \-\-defaults"
prints a file with every default value.
.PP
Environment variables override the file, and command-line options override both.
In variables and options, commas separate the entries of a list, and texts have neither quotes nor escapes.
.PP
Durations have a unit, such as \(dq500ms\(dq, \(dq2s\(dq or \(dq1m 30s\(dq.
Sizes may have one: \(dq256KiB\(dq is 262144 bytes, and \(dq1MiB\(dq is 1048576 bytes.
A text may contain the escapes of TOML: \(dq\en\(dq is a line end, and \(dq\eu0000\(dq is a NUL.
.PP
After
.BR "pulsegate reload" ,
a running gateway reads its configuration again and applies the keys that differ.
Devices stay connected, except devices whose address
.B [access]
forbids after the reload.
If the new configuration has an error, the gateway keeps the old one.
.SH KEYS
"#;

const TAIL: &str = r#".SH EXAMPLES
Allow the devices of one subnet, with at most two connections from each address, and deny one address:
.PP
.nf
.RS 4
[access]
allow = ["192.0.2.0/24"]
deny = ["192.0.2.66"]
connections_per_ip_max = 2
.RE
.fi
.PP
A gateway with 64 MB of memory and at most 200 devices:
.PP
.nf
.RS 4
[limits]
connections_max = 200
object_bytes_max = "256KiB"
memory_budget = "4MiB"
.RE
.fi
.SH SEE ALSO
.BR pulsegate (1),
.BR pulsegate\-control (7)
"#;
