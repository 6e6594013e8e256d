#!/usr/bin/env bash
# Measures pulsegate against its limits in .ci/budgets: the size of the executable, and its memory without devices and
# with 18,000 idle devices. Fails with a sentence for each limit that it exceeds.
#
#     scripts/budgets.sh                  # builds both executables and measures them
#     scripts/budgets.sh KIND EXECUTABLE  # measures one executable, KIND is static or dynamic
#
# Memory is the RSS without the clean pages of shared libraries. pulsegate-swarm simulates the devices. If the tools for the
# static executable cannot be fetched, the script measures the dynamic one only, says so, and exits with 3.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
built=${CARGO_TARGET_DIR:-$root/target}/release
devices=18000 over=0
work=$(mktemp -d)
pid='' swarm=''
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    for child in $swarm $pid; do kill "$child" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
die() { echo "budgets: $*" >&2; exit 1; }

within() { # NAME MEASURED
    limit=$(awk -v name="$1" '$1 == name { print $2 }' "$root/.ci/budgets")
    [ -n "$limit" ] || die ".ci/budgets has no limit for $1"
    if [ "$2" -le "$limit" ]; then
        echo "$1: $2 of $limit"
    else
        echo "budgets: $1: expected at most $limit, saw $2" >&2
        over=1
    fi
}

# The clean pages of shared libraries do not count: how many of them are resident depends on the other processes.
memory() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / { library = $6 ~ /\.so/ }
        $1 == (library ? "Private_Dirty:" : "Rss:") { sum += $2 }
        END { print sum }' "/proc/$pid/smaps"
}

connected() {
    "$gateway" stats --json --control "$work/control" 2>/dev/null |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["connections"]["now"])' 2>/dev/null || echo 0
}

measure() { # KIND EXECUTABLE
    gateway=$2
    [ -x "$gateway" ] || die "expected an executable $gateway, found none"
    within "$1_bytes" "$(($(wc -c <"$gateway")))"
    "$gateway" --listen 127.0.0.1:25756 --discovery 127.0.0.1:25755 --control "$work/control" --events none \
        --log-level error 2>"$work/log" &
    pid=$!
    for _ in $(seq 50); do
        [ ! -S "$work/control" ] || break
        sleep 0.1
    done
    [ -S "$work/control" ] || die "expected a control socket within 5 s, the log says: $(cat "$work/log")"
    sleep 1
    within "$1_idle_kb" "$(memory)"
    "$built/pulsegate-swarm" --gateway 127.0.0.1:25756 --profile idle --devices $devices --rate 4000 \
        --sources 127.1.0.0/16 --duration 40s --quiet >"$work/swarm" 2>&1 &
    swarm=$!
    for _ in $(seq 30); do
        sleep 1
        now=$(connected)
        [ "$now" -lt $devices ] || break
    done
    [ "$now" -eq $devices ] || die "expected $devices devices within 30 s, saw $now: $(tail -n 3 "$work/swarm" "$work/log")"
    sleep 3 # longer than one heartbeat interval
    within "$1_${devices}_kb" "$(memory)"
    kill "$swarm" "$pid"
    wait "$swarm" "$pid" 2>/dev/null || true
    swarm='' pid=''
    rm -f "$work/control"
}

# Each process holds a descriptor for each device.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt 18500 ] ||
    die "expected an open file limit of 18500 for $devices devices, saw $(ulimit -n): raise ulimit -n"
build() { (cd "$root" && cargo build --quiet --locked --release --bins) || die "the executables cannot be built"; }

case $# in
2)
    [ -x "$built/pulsegate-swarm" ] || build
    measure "$1" "$2"
    exit $over
    ;;
0) build ;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2 ;;
esac
measure dynamic "$built/pulsegate"
if "$root/scripts/cross.sh" --fetch; then
    "$root/scripts/cross.sh" x86_64-unknown-linux-musl || die "the static executable cannot be built"
    measure static "${CROSS_DIR:-$root/target/cross}/x86_64-unknown-linux-musl/pulsegate"
elif [ $over -eq 0 ]; then
    echo "budgets: NOT CHECKED: the static executable, because its tools could not be fetched" >&2
    exit 3
fi
exit $over
