//! Completions for shells, made from the table of calls.

use std::fmt::Write;

use log::LevelFilter;

use crate::calls::{CALLS, Opt};

/// What a value can be completed to.
enum Values {
    /// Nothing is known of it.
    Any,
    /// Names of files.
    Files,
    /// Devices that are connected.
    Devices,
    /// One of these; files as well, if so.
    Words(Vec<String>, bool),
}

fn values(of: &str) -> Values {
    let words = |words: &[&str], files| Values::Words(words.iter().map(ToString::to_string).collect(), files);
    match of {
        "SECS" | "PORT" | "ADDR:PORT" => Values::Any,
        "FILE" | "PATH" => Values::Files,
        "PATH|off" => words(&["off"], true),
        "ADDR:PORT|off" => words(&["off"], false),
        "-|none" => words(&["-", "none"], false),
        "LEVEL" => Values::Words(LevelFilter::iter().map(|level| level.to_string().to_lowercase()).collect(), false),
        "TYPE" => words(&["Project", "Performance", "Status"], false),
        "DEVICE" => Values::Devices,
        other => panic!("say here how {other} is completed"),
    }
}

/// completions/pulsegate.bash
pub(super) fn bash() -> String {
    let mut text = BASH_HEAD.to_owned();
    let names: Vec<_> = CALLS.iter().map(|call| call.name()).collect();
    let _ = writeln!(text, "    local calls={:?}", names.join(" "));
    text.push_str("    case $call in\n");
    for call in CALLS {
        let options: String = call.options.iter().map(|option| format!("--{} ", option.name)).collect();
        let device = if call.arguments.starts_with("DEVICE") { " device=1" } else { "" };
        let file = if call.arguments.contains("FILE") { " files=1" } else { "" };
        let _ = writeln!(text, "        {}) options='{options}--help'{device}{file} ;;", call.name());
    }
    text.push_str("    esac\n    case $call:$prev in\n");
    for call in CALLS {
        for Opt { name, value, .. } in call.options {
            let Some(value) = value else { continue };
            let does = match values(value) {
                Values::Any => ":".into(),
                Values::Files => "_pulsegate_files".into(),
                Values::Devices => "_pulsegate_words \"$(_pulsegate_devices)\"".into(),
                Values::Words(words, files) => {
                    let and_files = if files { "; _pulsegate_files" } else { "" };
                    format!("_pulsegate_words '{}'{and_files}", words.join(" "))
                }
            };
            let _ = writeln!(text, "        {}:--{name}) {does}; return ;;", call.name());
        }
    }
    text.push_str(BASH_TAIL);
    text
}

/// completions/_pulsegate
pub(super) fn zsh() -> String {
    let mut text = ZSH_HEAD.to_owned();
    for call in CALLS {
        let _ = writeln!(text, "        '{}:{}'", call.name(), quote(call.about));
    }
    text.push_str(ZSH_MIDDLE);
    for call in CALLS {
        let _ = writeln!(text, "        {})\n            _arguments \\", call.name());
        for Opt { name, value, about } in call.options {
            // The type of a message may be given several times.
            let many = if *name == "type" { "*" } else { "" };
            let about = quote(about).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
            let _ = match value {
                None => writeln!(text, "                '{many}--{name}[{about}]' \\"),
                Some(value) => {
                    let shown = value.replace(':', "\\:");
                    writeln!(text, "                '{many}--{name}=[{about}]:{shown}:{}' \\", zsh_action(value))
                }
            };
        }
        match call.arguments {
            "" => {}
            "DEVICE" => text.push_str("                '1:DEVICE:_pulsegate_devices' \\\n"),
            "DEVICE TEXT..." => {
                text.push_str("                '1:DEVICE:_pulsegate_devices' \\\n                '*:TEXT: ' \\\n");
            }
            "[FILE]" => text.push_str("                '1:FILE:_files' \\\n"),
            other => panic!("say here how {other} is completed"),
        }
        text.push_str("                '(-h --help)'{-h,--help}'[help]'\n            ;;\n");
    }
    text.push_str("    esac\n}\n\n_pulsegate \"$@\"\n");
    text
}

fn zsh_action(value: &str) -> String {
    match values(value) {
        Values::Any => " ".into(),
        Values::Files => "_files".into(),
        Values::Devices => "_pulsegate_devices".into(),
        Values::Words(words, true) => {
            format!("_alternative \"words\\:word\\:({})\" \"files\\:file\\:_files\"", words.join(" "))
        }
        Values::Words(words, false) => format!("({})", words.join(" ")),
    }
}

fn quote(text: &str) -> String {
    text.replace('\'', "'\\''")
}

const BASH_HEAD: &str = r#"# Completion of pulsegate(1) for bash, to be put in /usr/share/bash-completion/completions/pulsegate.
# Made from the table of calls in src/bin/pulsegate/calls.rs: change that, not this.

# The addresses of the devices that are connected.
_pulsegate_devices() {
    timeout 2 pulsegate devices --json 2>/dev/null | sed -n 's/.*"ip":"\([0-9.]*\)".*/\1/p' | sort -u
}

_pulsegate_words() {
    local word
    while read -r word; do
        COMPREPLY+=("$word")
    done < <(compgen -W "$1" -- "$cur")
}

_pulsegate_files() {
    local file
    compopt -o filenames 2>/dev/null
    while read -r file; do
        COMPREPLY+=("$file")
    done < <(compgen -f -- "$cur")
}

_pulsegate() {
    COMPREPLY=()
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    # bash makes three words of --name=value.
    if [[ $cur == = ]]; then
        cur=""
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    local call=${COMP_WORDS[1]} options="" device="" files=""
    [[ $call == -* ]] && call=serve
"#;

const BASH_TAIL: &str = r#"    esac
    if [[ $cur == -* ]]; then
        _pulsegate_words "$options"
        [[ $COMP_CWORD == 1 ]] && _pulsegate_words --version
    elif [[ $COMP_CWORD == 1 ]]; then
        _pulsegate_words "$calls"
    elif [[ $COMP_CWORD == 2 && -n $device ]]; then
        _pulsegate_words "$(_pulsegate_devices)"
    elif [[ -n $files ]]; then
        _pulsegate_files
    fi
}

complete -F _pulsegate pulsegate
"#;

const ZSH_HEAD: &str = r#"#compdef pulsegate
# Completion of pulsegate(1) for zsh, to be put in a directory of $fpath, such as
# /usr/share/zsh/vendor-completions. Made from the table of calls in src/bin/pulsegate/calls.rs:
# change that, not this.

# The addresses of the devices that are connected.
_pulsegate_devices() {
    local -a found
    found=(${(f)"$(timeout 2 pulsegate devices --json 2>/dev/null | sed -n 's/.*"ip":"\([0-9.]*\)".*/\1/p' | sort -u)"})
    compadd -a found
}

_pulsegate() {
    local -a calls
    calls=(
"#;

const ZSH_MIDDLE: &str = r#"    )
    local call=serve
    if [[ $words[2] != -* ]]; then
        if (( CURRENT == 2 )); then
            _describe call calls
            return
        fi
        call=$words[2]
        shift words
        (( CURRENT-- ))
    fi
    case $call in
"#;
