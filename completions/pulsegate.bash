# Completion of pulsegate(1) for bash. Install it as /usr/share/bash-completion/completions/pulsegate.
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
    local commands="serve devices send remove watch stats config reload stop check-config discover mqtt web"
    case $command in
        serve) options='--config --listen --discovery --control --events --log-level --print-config --help' ;;
        devices) options='--all --json --control --help' ;;
        send) options='--wait --type --match --queue --control --help' device=1 ;;
        remove) options='--control --help' device=1 ;;
        watch) options='--type --device --reconnect --json --control --help' ;;
        stats) options='--json --prometheus --control --help' ;;
        config) options='--json --control --help' ;;
        reload) options='--control --help' ;;
        stop) options='--control --help' ;;
        check-config) options='--defaults --help' files=1 ;;
        discover) options='--timeout --port --help' ;;
        mqtt) options='--broker --config --control --log-level --print-config --stats --json --help' ;;
        web) options='--config --listen --log-level --control --help' ;;
    esac
    case $command:$prev in
        serve:--config) _pulsegate_files; return ;;
        serve:--listen) :; return ;;
        serve:--discovery) _pulsegate_words 'off'; return ;;
        serve:--control) _pulsegate_words 'off'; _pulsegate_files; return ;;
        serve:--events) _pulsegate_words '- none'; return ;;
        serve:--log-level) _pulsegate_words 'off error warn info debug trace'; return ;;
        devices:--control) _pulsegate_files; return ;;
        send:--wait) :; return ;;
        send:--type) _pulsegate_words 'Project Performance Status'; return ;;
        send:--match) :; return ;;
        send:--queue) :; return ;;
        send:--control) _pulsegate_files; return ;;
        remove:--control) _pulsegate_files; return ;;
        watch:--type) _pulsegate_words 'Project Performance Status'; return ;;
        watch:--device) _pulsegate_words "$(_pulsegate_devices)"; return ;;
        watch:--control) _pulsegate_files; return ;;
        stats:--control) _pulsegate_files; return ;;
        config:--control) _pulsegate_files; return ;;
        reload:--control) _pulsegate_files; return ;;
        stop:--control) _pulsegate_files; return ;;
        discover:--timeout) :; return ;;
        discover:--port) :; return ;;
        mqtt:--broker) :; return ;;
        mqtt:--config) _pulsegate_files; return ;;
        mqtt:--control) _pulsegate_files; return ;;
        mqtt:--log-level) _pulsegate_words 'off error warn info debug trace'; return ;;
        web:--config) _pulsegate_files; return ;;
        web:--listen) :; return ;;
        web:--log-level) _pulsegate_words 'off error warn info debug trace'; return ;;
        web:--control) _pulsegate_files; return ;;
    esac
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
