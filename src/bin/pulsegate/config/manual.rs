//! pulsegate.toml(5), made from the table of keys, so that it says what the code does.

use std::fmt::Write;

use super::Config;
use super::keys::{KEYS, SECTIONS};
use super::load::{FILE, FILE_VARIABLE};
use crate::manual::roff;

/// The page as it stands in the file.
pub(crate) fn page() -> String {
    let defaults = Config::default();
    let mut text = HEAD.replace("FILE_VARIABLE", FILE_VARIABLE).replace("/FILE", FILE);
    let mut section = Some("");
    for key in KEYS {
        let (key_section, name) = key.parts();
        if key_section != section {
            section = key_section;
            let about = SECTIONS.iter().find(|(known, _)| Some(*known) == section);
            match about {
                Some((section, about)) => drop(writeln!(text, ".SS [{section}]\n{}", roff(about))),
                None => text.push_str(".SS Outside of sections\nThese stand first in the file.\n"),
            }
        }
        let bound = key.bound().map(|bound| format!(" It must {bound}.")).unwrap_or_default();
        let _ = writeln!(text, ".TP\n.B {}\n{}", roff(name), roff(&format!("{}{bound}", key.doc)));
        let _ = writeln!(text, "The value is {}.\n.RS\n.PP", roff(key.want));
        let _ = writeln!(text, "Default: \\fB{}\\fR", roff(&(key.show)(&defaults)));
        let option = key.option.map(|option| format!("; option \\fB{}\\fR", roff(option))).unwrap_or_default();
        let _ = writeln!(text, ".br\nEnvironment: \\fB{}\\fR{option}\n.RE", key.variable());
    }
    text.push_str(TAIL);
    text
}

/// Every environment variable that sets a key.
pub(crate) fn environment() -> impl Iterator<Item = String> {
    KEYS.iter().map(super::Key::variable).chain([FILE_VARIABLE.into()])
}

const HEAD: &str = r#".\" Made from the table of keys in src/bin/pulsegate/config/keys.rs: change that, not this.
.TH PULSEGATE.TOML 5 "" pulsegate "File Formats"
.SH NAME
pulsegate.toml \- configuration of the LAN device gateway
.SH DESCRIPTION
.BR pulsegate (1)
reads its configuration from the file that is named by
.BR \-\-config ,
else by the environment variable
.BR FILE_VARIABLE ,
else from
.I /FILE
where it exists.
No file is needed: every value has a default.
.PP
The file is TOML.
Values stand in sections, each begun by its name in brackets on a line of its own.
A name that is not known is an error, and so is a value outside of its bounds:
.B "pulsegate check\-config"
.I FILE
tells the line and column, and
.B "pulsegate serve \-\-print\-config"
every value that holds, with where it comes from.
.B "pulsegate check\-config \-\-defaults"
prints a file with every default, to begin with.
.PP
Every value may also be given by the environment, which comes before the file; options of the command line come
before both.
There, lists are separated by commas, and texts have no quotes and no escapes.
.PP
Durations are written with their unit, such as \(dq500ms\(dq, \(dq2s\(dq or \(dq1m 30s\(dq.
So are bytes: \(dq256KiB\(dq is 262144 of them, \(dq1MiB\(dq 1048576.
Texts are sent as they are; \(dq\en\(dq is a line end, \(dq\eu0000\(dq a NUL.
.PP
A running gateway reads all of this again by
.BR "pulsegate reload" ,
and then changes what has changed and nothing else: devices stay connected, except those whose address
.B [access]
no longer allows.
If anything is wrong, everything stays as it was.
.SH KEYS
"#;

const TAIL: &str = r#".SH EXAMPLES
Devices of one subnet only, at most two connections from each, and none from one that misbehaves:
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
