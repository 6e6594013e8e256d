//! Generates the completions for bash and zsh from the table of commands.

use std::fmt::Write;

use log::LevelFilter;

use crate::commands::{COMMANDS, Opt};

/// The completions of an option's value.
enum Values {
    /// No completion.
    Any,
    /// Names of files.
    Files,
    /// Connected devices.
    Devices,
    /// One of these words. With `true`, names of files too.
    Words(Vec<String>, bool),
}

fn values(of: &str) -> Values {
    let words = |words: &[&str], files| Values::Words(words.iter().map(ToString::to_string).collect(), files);
    match of {
        "SECS" | "TIME" | "MEMBER=VALUE" | "PORT" | "ADDR:PORT" | "URL" => Values::Any,
        "FILE" | "PATH" => Values::Files,
        "PATH|off" => words(&["off"], true),
        "ADDR:PORT|off" => words(&["off"], false),
        "-|none" => words(&["-", "none"], false),
        "LEVEL" => Values::Words(LevelFilter::iter().map(|level| level.to_string().to_lowercase()).collect(), false),
        "TYPE" => words(&["Project", "Performance", "Status"], false),
        "DEVICE" => Values::Devices,
        other => panic!("no completion for {other}: add it here"),
    }
}

/// completions/pulsegate.bash
pub(super) fn bash() -> String {
    let mut text = BASH_HEAD.to_owned();
    let names: Vec<_> = COMMANDS.iter().map(|spec| spec.name()).collect();
    let _ = writeln!(text, "    local commands={:?}", names.join(" "));
    text.push_str("    case $command in\n");
    for spec in COMMANDS {
        let options: String = spec.options.iter().map(|option| format!("--{} ", option.name)).collect();
        let device = if spec.arguments.starts_with("DEVICE") { " device=1" } else { "" };
        let file = if spec.arguments.contains("FILE") { " files=1" } else { "" };
        let _ = writeln!(text, "        {}) options='{options}--help'{device}{file} ;;", spec.name());
    }
    text.push_str("    esac\n    case $command:$prev in\n");
    for spec in COMMANDS {
        for Opt { name, value, .. } in spec.options {
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
            let _ = writeln!(text, "        {}:--{name}) {does}; return ;;", spec.name());
        }
    }
    text.push_str(BASH_TAIL);
    text
}

/// completions/_pulsegate
pub(super) fn zsh() -> String {
    let mut text = ZSH_HEAD.to_owned();
    for spec in COMMANDS {
        let _ = writeln!(text, "        '{}:{}'", spec.name(), quote(spec.about));
    }
    text.push_str(ZSH_MIDDLE);
    for spec in COMMANDS {
        let _ = writeln!(text, "        {})\n            _arguments \\", spec.name());
        for Opt { name, value, about } in spec.options {
            // `watch` takes several `--type` options, `mqtt` several `--broker` options.
            let many = if matches!(*name, "type" | "broker") { "*" } else { "" };
            let about = quote(about).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
            let _ = match value {
                None => writeln!(text, "                '{many}--{name}[{about}]' \\"),
                Some(value) => {
                    let shown = value.replace(':', "\\:");
                    writeln!(text, "                '{many}--{name}=[{about}]:{shown}:{}' \\", zsh_action(value))
                }
            };
        }
        match spec.arguments {
            "" => {}
            "DEVICE" => text.push_str("                '1:DEVICE:_pulsegate_devices' \\\n"),
            "DEVICE TEXT..." => {
                text.push_str("                '1:DEVICE:_pulsegate_devices' \\\n                '*:TEXT: ' \\\n");
            }
            "[FILE]" => text.push_str("                '1:FILE:_files' \\\n"),
            other => panic!("no completion for {other}: add it here"),
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

const BASH_HEAD: &str = r#"# Completion of pulsegate(1) for bash. Install it as /usr/share/bash-completion/completions/pulsegate.
# Generated from src/bin/pulsegate/commands.rs. Edit that file.

# The addresses of the connected devices.
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
    # bash splits --name=value into three words.
    if [[ $cur == = ]]; then
        cur=""
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    local command=${COMP_WORDS[1]} options="" device="" files=""
    [[ $command == -* ]] && command=serve
"#;

const BASH_TAIL: &str = r#"    esac
    if [[ $cur == -* ]]; then
        _pulsegate_words "$options"
        [[ $COMP_CWORD == 1 ]] && _pulsegate_words --version
    elif [[ $COMP_CWORD == 1 ]]; then
        _pulsegate_words "$commands"
    elif [[ $COMP_CWORD == 2 && -n $device ]]; then
        _pulsegate_words "$(_pulsegate_devices)"
    elif [[ -n $files ]]; then
        _pulsegate_files
    fi
}

complete -F _pulsegate pulsegate
"#;

const ZSH_HEAD: &str = r#"#compdef pulsegate
# Completion of pulsegate(1) for zsh. Install it in a directory of $fpath, such as /usr/share/zsh/vendor-completions.
# Generated from src/bin/pulsegate/commands.rs. Edit that file.

# The addresses of the connected devices.
_pulsegate_devices() {
    local -a found
    found=(${(f)"$(timeout 2 pulsegate devices --json 2>/dev/null | sed -n 's/.*"ip":"\([0-9.]*\)".*/\1/p' | sort -u)"})
    compadd -a found
}

_pulsegate() {
    local -a commands
    commands=(
"#;

const ZSH_MIDDLE: &str = r#"    )
    local command=serve
    if [[ $words[2] != -* ]]; then
        if (( CURRENT == 2 )); then
            _describe command commands
            return
        fi
        command=$words[2]
        shift words
        (( CURRENT-- ))
    fi
    case $command in
"#;
