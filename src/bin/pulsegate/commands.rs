//! The command line as one table of commands and options. The help, the list in pulsegate(1) and the shell
//! completions come from this table.

use std::ffi::OsString;
use std::fmt::Write;

use lexopt::Arg;

use crate::config::{nearest, question, single_quoted};

pulsegate::closed_list! {
    /// The commands of the program.
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
        Mqtt => "mqtt",
        Web => "web",
    }
}

/// The row of one command.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) command: Command,
    /// The arguments behind the name, as the usage line shows them.
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [Opt],
}

impl Spec {
    pub(crate) const fn name(&self) -> &'static str {
        self.command.as_str()
    }
}

/// An option. Help shows the name of its value in capitals.
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

const CONTROL: Opt = with("control", "PATH", "use the control socket at PATH");
const JSON: Opt = flag("json", "print JSON for programs");

/// A command without a row, or a row out of order, does not compile.
const _: () = {
    let mut place = 0;
    while place < Command::COUNT {
        assert!(COMMANDS[place].command.index() == place && COMMANDS.len() == Command::COUNT);
        place += 1;
    }
};

/// One row for each command. A command line that names no command runs the first.
pub(crate) const COMMANDS: &[Spec] = &[
    Spec {
        command: Command::Serve,
        arguments: "",
        about: "run the gateway, with events on stdout and the log on stderr",
        options: &[
            with("config", "FILE", "read the configuration from FILE"),
            with("listen", "ADDR:PORT", "listen for devices on this address (default [::]:5556)"),
            with("discovery", "ADDR:PORT|off", "answer probes on this address (default 0.0.0.0:5555)"),
            with("control", "PATH|off", "create the control socket at PATH, or create none"),
            with("events", "-|none", "write events to standard output, or nowhere"),
            with("log-level", "LEVEL", "set the log level: off, error, warn, info, debug or trace"),
            flag("print-config", "print every value with its origin, and exit"),
        ],
    },
    Spec {
        command: Command::Devices,
        arguments: "",
        about: "list the connected devices",
        options: &[flag("all", "list the names that are gone, too"), JSON, CONTROL],
    },
    Spec {
        command: Command::Send,
        arguments: "DEVICE TEXT...",
        about: "send a command to a device",
        options: &[
            with("wait", "SECS", "print the device's answer, or fail after SECS seconds"),
            with("type", "TYPE", "only an object of this Type is the answer"),
            with("match", "MEMBER=VALUE", "only an object with this top-level member is the answer"),
            with("queue", "TIME", "let the command wait for a name that is not connected"),
            CONTROL,
        ],
    },
    Spec { command: Command::Remove, arguments: "DEVICE", about: "close a device's connections", options: &[CONTROL] },
    Spec {
        command: Command::Watch,
        arguments: "",
        about: "show events as they happen, with times in UTC",
        options: &[
            with("type", "TYPE", "show only messages of this Type (repeat it for several)"),
            with("device", "DEVICE", "show only events of this device"),
            flag("reconnect", "wait for the gateway at the start and after a restart"),
            JSON,
            CONTROL,
        ],
    },
    Spec {
        command: Command::Stats,
        arguments: "",
        about: "show counters, memory and uptime",
        options: &[JSON, flag("prometheus", "print the Prometheus text format"), CONTROL],
    },
    Spec {
        command: Command::Config,
        arguments: "",
        about: "show the running gateway's configuration with origins",
        options: &[JSON, CONTROL],
    },
    Spec {
        command: Command::Reload,
        arguments: "",
        about: "make the gateway read its configuration again",
        options: &[CONTROL],
    },
    Spec { command: Command::Stop, arguments: "", about: "stop the gateway", options: &[CONTROL] },
    Spec {
        command: Command::CheckConfig,
        arguments: "[FILE]",
        about: "check a configuration file without running the gateway",
        options: &[flag("defaults", "print a file with every default value")],
    },
    Spec {
        command: Command::Discover,
        arguments: "",
        about: "list the gateways that answer a probe on this machine's networks",
        options: &[
            with("timeout", "SECS", "wait SECS seconds for answers (default 2)"),
            with("port", "PORT", "send the probe to this UDP port (default 5555)"),
        ],
    },
    Spec {
        command: Command::Mqtt,
        arguments: "",
        about: "pass messages to an MQTT broker, and commands back",
        options: &[
            with("broker", "URL", "the broker (default mqtt://127.0.0.1). Several are a list"),
            with("config", "FILE", "read the configuration from FILE"),
            CONTROL,
            with("log-level", "LEVEL", "off, error, warn, info, debug or trace"),
            flag("print-config", "print every value and where it comes from, and end"),
            flag("stats", "show the counters of the uplink that runs, and end"),
            JSON,
        ],
    },
    Spec {
        command: Command::Web,
        arguments: "",
        about: "show the gateway to browsers and Prometheus, beside it",
        options: &[
            with("config", "FILE", "read the configuration from FILE"),
            with("listen", "ADDR:PORT", "listen for browsers there (default 127.0.0.1:5580)"),
            with("log-level", "LEVEL", "off, error, warn, info, debug or trace"),
            CONTROL,
        ],
    },
];

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A command, its options in order, and its arguments.
    Run { command: Command, options: Vec<(&'static str, String)>, arguments: Vec<String> },
    /// `--help`, of one command or of the program.
    Help(Option<Command>),
    /// `--version`
    Version,
}

/// Reads a command line without the program's name. The error is a sentence for people.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut parser = lexopt::Parser::from_args(line);
    let mut spec: Option<&Spec> = None;
    let mut options = Vec::new();
    let mut arguments = Vec::new();
    loop {
        match parser.next().map_err(|e| e.to_string())? {
            None => break,
            Some(Arg::Long("help") | Arg::Short('h')) => {
                return alone(parser, Parsed::Help(spec.map(|spec| spec.command)));
            }
            Some(Arg::Long("version") | Arg::Short('V')) => return alone(parser, Parsed::Version),
            Some(Arg::Value(word)) if spec.is_none() && options.is_empty() => {
                let name = text(word)?;
                let found = COMMANDS.iter().find(|spec| spec.name() == name);
                spec = Some(found.ok_or_else(|| {
                    let near = nearest(&name, Command::WORDS.iter());
                    format!("unknown command {}{}", single_quoted(&name), question(near))
                })?);
            }
            Some(Arg::Value(word)) => {
                let word = text(word)?;
                if spec.is_none_or(|spec| spec.arguments.is_empty()) {
                    return Err(format!("unexpected argument {}", single_quoted(&word)));
                }
                arguments.push(word);
            }
            Some(Arg::Long(name)) => {
                let this = spec.unwrap_or(&COMMANDS[0]);
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
                let hint = spec.map(dash_hint).unwrap_or_default();
                return Err(format!("unknown option {}{hint}", single_quoted(&format!("-{letter}"))));
            }
        }
    }
    Ok(Parsed::Run { command: spec.unwrap_or(&COMMANDS[0]).command, options, arguments })
}

/// Advice for a command that takes text, where the text looks like an option.
fn dash_hint(spec: &Spec) -> String {
    let hint = ": put -- before a TEXT that begins with -, as in: send '#7' -- -1";
    if spec.arguments.contains("TEXT") { hint.into() } else { String::new() }
}

/// `given`, or an error where the option has a value.
fn alone(mut parser: lexopt::Parser, given: Parsed) -> Result<Parsed, String> {
    parser.optional_value().map_or(Ok(given), |value| {
        Err(format!("unexpected value {}: the option takes no value", single_quoted(&value.to_string_lossy())))
    })
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string()
        .map_err(|word| format!("invalid argument {}: expected UTF-8", single_quoted(&word.to_string_lossy())))
}

/// The text of `--help`.
pub(crate) fn help(command: Option<Command>) -> String {
    let mut text = String::new();
    let Some(spec) = command.map(|command| &COMMANDS[command.index()]) else {
        text.push_str("pulsegate - a gateway for the devices of a LAN\n\n");
        text.push_str("Usage: pulsegate [serve] [OPTIONS]    run the gateway\n");
        text.push_str("       pulsegate COMMAND [OPTIONS]    use the running gateway\n\nCommands:\n");
        for spec in COMMANDS {
            entry(&mut text, &format!("{} {}", spec.name(), spec.arguments), spec.about);
        }
        text.push_str("\nOptions of serve:\n");
        options(&mut text, COMMANDS[0].options);
        entry(&mut text, "-h, --help", "print this help, or the help of the command before it");
        entry(&mut text, "-V, --version", "print the version");
        text.push_str("\nDEVICE is #ID, @NAME, IP:PORT or IP, for example '#7', @pump-7 or 192.0.2.7.\n");
        text.push_str(EXIT_CODES);
        return text;
    };
    let arguments = if spec.arguments.is_empty() { String::new() } else { format!(" {}", spec.arguments) };
    let _ = writeln!(text, "Usage: pulsegate {}{arguments} [OPTIONS]\n\n{}.\n\nOptions:", spec.name(), spec.about);
    options(&mut text, spec.options);
    if arguments.contains("TEXT") {
        text.push_str("\nPut -- before a TEXT that begins with -, as in: send '#7' -- -v\n");
    }
    if arguments.contains("DEVICE") {
        text.push_str("\nDEVICE is #ID, @NAME, IP:PORT or IP, for example '#7', @pump-7 or 192.0.2.7.\n");
    }
    text.push_str(EXIT_CODES);
    text
}

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 wrong usage, 69 no gateway answers, 78 bad configuration.\n";

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

    /// A command's name, its options and its arguments.
    type Parts<'a> = (&'static str, &'a [(&'static str, &'a str)], &'a [&'a str]);

    fn check(line: &str, expected: Result<Parts<'_>, &str>) {
        let given = parse(line.split_whitespace().map(OsString::from));
        let expected = expected.map_err(str::to_owned).map(|(name, options, arguments)| Parsed::Run {
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
        let hint = "put -- before a TEXT that begins with -, as in: send '#7' -- -1";
        check("send #7 -1", Err(&format!("unknown option '-1': {hint}")));
        check("send #7 --volume", Err(&format!("unknown option '--volume' of send: {hint}")));
        check("--help=1", Err("unexpected value '1': the option takes no value"));
        check("stats --version=2", Err("unexpected value '2': the option takes no value"));
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
        for command in COMMANDS.iter().map(|spec| Some(spec.command)).chain([None]) {
            for line in help(command).lines() {
                assert!(line.len() <= 96, "{line}");
            }
        }
    }
}
