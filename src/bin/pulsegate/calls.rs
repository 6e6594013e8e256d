//! The command line as data: what can be called, with which options. Help, and the tests that hold
//! manual and completions to it, are made from the same table.

use std::ffi::OsString;
use std::fmt::Write;

use lexopt::Arg;

use crate::config::{nearest, question, single_quoted};

pulsegate::closed_list! {
    /// What the program can be called for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Command {
        Serve => "serve",
        Devices => "devices",
        Send => "send",
        Remove => "remove",
        Watch => "watch",
        Stats => "stats",
        Config => "config",
        Reload => "reload",
        Stop => "stop",
        CheckConfig => "check-config",
        Discover => "discover",
    }
}

/// One command of the program.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) command: Command,
    /// What stands behind the name, as shown in its usage line.
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [Opt],
}

impl Call {
    pub(crate) const fn name(&self) -> &'static str {
        self.command.as_str()
    }
}

/// An option; with a value, its name is shown in capitals.
#[derive(Debug)]
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    pub(crate) value: Option<&'static str>,
    pub(crate) about: &'static str,
}

const fn flag(name: &'static str, about: &'static str) -> Opt {
    Opt { name, value: None, about }
}

const fn with(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, value: Some(value), about }
}

const CONTROL: Opt = with("control", "PATH", "the gateway's control socket");
const JSON: Opt = flag("json", "print JSON for programs");

/// Every command has its call, in the order of the list.
const _: () = {
    let mut place = 0;
    while place < Command::COUNT {
        assert!(CALLS[place].command.index() == place && CALLS.len() == Command::COUNT);
        place += 1;
    }
};

/// Every call; the first is what is done without a name.
pub(crate) const CALLS: &[Call] = &[
    Call {
        command: Command::Serve,
        arguments: "",
        about: "run the gateway: events on standard output, log on standard error",
        options: &[
            with("config", "FILE", "read the configuration from FILE"),
            with("listen", "ADDR:PORT", "listen for devices there (default [::]:5556)"),
            with("discovery", "ADDR:PORT|off", "answer probes there (default 0.0.0.0:5555)"),
            with("control", "PATH|off", "the control socket"),
            with("events", "-|none", "write events to standard output, or nowhere"),
            with("log-level", "LEVEL", "off, error, warn, info, debug or trace"),
            flag("print-config", "print every value and where it comes from, and end"),
        ],
    },
    Call { command: Command::Devices, arguments: "", about: "list the connected devices", options: &[JSON, CONTROL] },
    Call {
        command: Command::Send,
        arguments: "DEVICE TEXT...",
        about: "send a command to a device",
        options: &[with("wait", "SECS", "print the next object of the device; fail if none comes in time"), CONTROL],
    },
    Call { command: Command::Remove, arguments: "DEVICE", about: "close a device's connections", options: &[CONTROL] },
    Call {
        command: Command::Watch,
        arguments: "",
        about: "follow events",
        options: &[
            with("type", "TYPE", "only messages of that Type; may be given several times"),
            with("device", "DEVICE", "only events of that device"),
            flag("reconnect", "wait for a gateway that is away, also when it restarts"),
            JSON,
            CONTROL,
        ],
    },
    Call {
        command: Command::Stats,
        arguments: "",
        about: "show counters, memory and uptime",
        options: &[JSON, flag("prometheus", "print the text format of Prometheus"), CONTROL],
    },
    Call {
        command: Command::Config,
        arguments: "",
        about: "show the configuration of the running gateway, with origins",
        options: &[JSON, CONTROL],
    },
    Call {
        command: Command::Reload,
        arguments: "",
        about: "have the gateway read its configuration again",
        options: &[CONTROL],
    },
    Call { command: Command::Stop, arguments: "", about: "stop the gateway", options: &[CONTROL] },
    Call {
        command: Command::CheckConfig,
        arguments: "[FILE]",
        about: "check a configuration without running it",
        options: &[flag("defaults", "print a file with every default, to begin with")],
    },
    Call {
        command: Command::Discover,
        arguments: "",
        about: "list the gateways that answer a probe on this machine's networks",
        options: &[
            with("timeout", "SECS", "how long to wait for answers (default 2)"),
            with("port", "PORT", "the UDP port to ask (default 5555)"),
        ],
    },
];

/// What was given on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A call, its options in order, and its arguments.
    Call { command: Command, options: Vec<(&'static str, String)>, arguments: Vec<String> },
    /// `--help`, of that call or of all.
    Help(Option<Command>),
    /// `--version`
    Version,
}

/// Reads a command line without the program's name. The error is a sentence for people.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut parser = lexopt::Parser::from_args(line);
    let mut call: Option<&Call> = None;
    let mut options = Vec::new();
    let mut arguments = Vec::new();
    loop {
        match parser.next().map_err(|e| e.to_string())? {
            None => break,
            Some(Arg::Long("help") | Arg::Short('h')) => {
                return alone(parser, Parsed::Help(call.map(|call| call.command)));
            }
            Some(Arg::Long("version") | Arg::Short('V')) => return alone(parser, Parsed::Version),
            Some(Arg::Value(word)) if call.is_none() && options.is_empty() => {
                let name = text(word)?;
                let found = CALLS.iter().find(|call| call.name() == name);
                call = Some(found.ok_or_else(|| {
                    let near = nearest(&name, Command::WORDS.iter());
                    format!("unknown command {}{}", single_quoted(&name), question(near))
                })?);
            }
            Some(Arg::Value(word)) => {
                let word = text(word)?;
                if call.is_none_or(|call| call.arguments.is_empty()) {
                    return Err(format!("unexpected argument {}", single_quoted(&word)));
                }
                arguments.push(word);
            }
            Some(Arg::Long(name)) => {
                let this = call.unwrap_or(&CALLS[0]);
                let found = this.options.iter().find(|option| option.name == name);
                let option = found.ok_or_else(|| {
                    let near = nearest(name, this.options.iter().map(|option| option.name));
                    let near = question(near.map(|near| format!("--{near}")));
                    let hint = if near.is_empty() { dash_hint(this) } else { near };
                    format!("unknown option {} of {}{hint}", single_quoted(&format!("--{name}")), this.name())
                })?;
                let value = match option.value {
                    Some(_) => text(parser.value().map_err(|e| e.to_string())?)?,
                    None => String::new(),
                };
                options.push((option.name, value));
            }
            Some(Arg::Short(letter)) => {
                let hint = call.map(dash_hint).unwrap_or_default();
                return Err(format!("unknown option {}{hint}", single_quoted(&format!("-{letter}"))));
            }
        }
    }
    Ok(Parsed::Call { command: call.unwrap_or(&CALLS[0]).command, options, arguments })
}

/// What to do about a text that looks like an option, for commands that take text.
fn dash_hint(call: &Call) -> String {
    let hint = ": TEXT that begins with - stands behind --, as in: send '#7' -- -1";
    if call.arguments.contains("TEXT") { hint.into() } else { String::new() }
}

/// What an option without a value means, unless it was given one.
fn alone(mut parser: lexopt::Parser, given: Parsed) -> Result<Parsed, String> {
    parser.optional_value().map_or(Ok(given), |value| {
        Err(format!("unexpected value {}: the option takes none", single_quoted(&value.to_string_lossy())))
    })
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string()
        .map_err(|word| format!("invalid argument {}: expected UTF-8", single_quoted(&word.to_string_lossy())))
}

/// The text of `--help`.
pub(crate) fn help(command: Option<Command>) -> String {
    let mut text = String::new();
    let Some(call) = command.map(|command| &CALLS[command.index()]) else {
        text.push_str("pulsegate - a gateway for the devices of a LAN\n\n");
        text.push_str("Usage: pulsegate [serve] [OPTIONS]    run the gateway\n");
        text.push_str("       pulsegate CALL [OPTIONS]       ask the gateway that runs\n\nCalls:\n");
        for call in CALLS {
            entry(&mut text, &format!("{} {}", call.name(), call.arguments), call.about);
        }
        text.push_str("\nOptions of serve:\n");
        options(&mut text, CALLS[0].options);
        entry(&mut text, "-h, --help", "this text; behind a call, more of that call");
        entry(&mut text, "-V, --version", "the version");
        text.push_str("\nDEVICE is #ID, IP:PORT or IP, for example '#7', 192.0.2.7:40112 or 192.0.2.7.\n");
        text.push_str(EXIT_CODES);
        return text;
    };
    let arguments = if call.arguments.is_empty() { String::new() } else { format!(" {}", call.arguments) };
    let _ = writeln!(text, "Usage: pulsegate {}{arguments} [OPTIONS]\n\n{}.\n\nOptions:", call.name(), call.about);
    options(&mut text, call.options);
    if arguments.contains("TEXT") {
        text.push_str("\nTEXT that begins with - stands behind --, as in: send '#7' -- -v\n");
    }
    if arguments.contains("DEVICE") {
        text.push_str("\nDEVICE is #ID, IP:PORT or IP, for example '#7', 192.0.2.7:40112 or 192.0.2.7.\n");
    }
    text.push_str(EXIT_CODES);
    text
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 it failed, 2 wrong usage, 69 no gateway answers, 78 bad configuration.\n";

fn options(text: &mut String, options: &[Opt]) {
    for option in options {
        entry(text, &format!("--{} {}", option.name, option.value.unwrap_or("")), option.about);
    }
}

fn entry(text: &mut String, name: &str, about: &str) {
    let _ = writeln!(text, "  {:<28} {about}", name.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call's name, its options, its arguments.
    type Parts<'a> = (&'static str, &'a [(&'static str, &'a str)], &'a [&'a str]);

    fn check(line: &str, expected: Result<Parts<'_>, &str>) {
        let given = parse(line.split_whitespace().map(OsString::from));
        let expected = expected.map_err(str::to_owned).map(|(name, options, arguments)| Parsed::Call {
            command: Command::find(name).unwrap(),
            options: options.iter().map(|&(name, value)| (name, value.to_owned())).collect(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        });
        assert_eq!(given, expected, "{line}");
    }

    #[test]
    fn command_lines() {
        check("", Ok(("serve", &[], &[])));
        check("--events=none", Ok(("serve", &[("events", "none")], &[])));
        check("serve --listen [::1]:0", Ok(("serve", &[("listen", "[::1]:0")], &[])));
        check("send #7 echo --wait 3", Ok(("send", &[("wait", "3")], &["#7", "echo"])));
        check("send #7 -- --wait 3", Ok(("send", &[], &["#7", "--wait", "3"])));
        check("send --wait 3 #7 echo hi", Ok(("send", &[("wait", "3")], &["#7", "echo", "hi"])));
        check("watch --json --type A --type B", Ok(("watch", &[("json", ""), ("type", "A"), ("type", "B")], &[])));
        check("devces", Err("unknown command 'devces', did you mean devices?"));
        check("frobnicate", Err("unknown command 'frobnicate'"));
        check("devices all", Err("unexpected argument 'all'"));
        check("stats --wait 1", Err("unknown option '--wait' of stats"));
        check("--lisen x", Err("unknown option '--lisen' of serve, did you mean --listen?"));
        check("-x", Err("unknown option '-x'"));
        let hint = "TEXT that begins with - stands behind --, as in: send '#7' -- -1";
        check("send #7 -1", Err(&format!("unknown option '-1': {hint}")));
        check("send #7 --volume", Err(&format!("unknown option '--volume' of send: {hint}")));
        check("--help=1", Err("unexpected value '1': the option takes none"));
        check("stats --version=2", Err("unexpected value '2': the option takes none"));
        check("serve --listen", Err("missing argument for option '--listen'"));
    }

    #[test]
    fn help_names_the_default_ports() {
        let help = help(None);
        assert!(help.contains(&format!("(default [::]:{})", pulsegate::TCP_PORT)), "{help}");
        assert!(help.contains(&format!("(default 0.0.0.0:{})", pulsegate::DISCOVERY_PORT)), "{help}");
    }

    #[test]
    fn help_fits_a_terminal() {
        for call in CALLS.iter().map(|call| Some(call.command)).chain([None]) {
            for line in help(call).lines() {
                assert!(line.len() <= 96, "{line}");
            }
        }
    }
}
