#!/bin/sh
# Runs the gateway under pulsegate-swarm's mixed profile with faults for a given time. Fails when the gateway ends, when
# its memory or descriptors grow, or when descriptors stay open after the devices have left.
#
#     scripts/soak.sh TIME [DIRECTORY]     TIME such as 90s, 30m, 8h. DIRECTORY keeps figures and logs
#
# SOAK_DEVICES (400) devices connect. The share SOAK_FAULTY (10%) of them misbehaves in every way that the swarm knows.
# Every SOAK_CHURN seconds (60), SOAK_VISITORS (200) more devices connect for a few seconds and leave all at once.
# The script builds the executables, unless SOAK_BIN names a directory that has them. SOAK_SEED (1) is the swarm's.
#
# The script takes a figure every 5 s. The first 20 % of the time, at most 10 minutes, warm up and do not count. The
# memory grows when two measures both exceed SOAK_GROWTH_KIB (1024) plus 5 %: the least-squares slope of the RSS, and the
# difference between the medians of the last and the first third. One measure alone may be a picture in transit.
set -eu

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; }
fail() { echo "soak: FAILED: $*" >&2; failed=yes; }
die() { echo "soak: $*" >&2; exit 1; }

case $# in 1 | 2) ;; *) usage >&2; exit 2 ;; esac
case $1 in
-h | --help) usage; exit 0 ;;
*[!0-9smh]* | [smh]* | '') usage >&2; exit 2 ;;
*h) seconds=$((${1%h} * 3600)) ;;
*m) seconds=$((${1%m} * 60)) ;;
*) seconds=${1%s} ;;
esac
[ "$seconds" -ge 60 ] || die "expected a time of at least 60s, got $1"
root=$(cd "$(dirname "$0")/.." && pwd)
out=${2:-$(mktemp -d)}
mkdir -p "$out"
if [ -z "${SOAK_BIN:-}" ]; then
    (cd "$root" && cargo build --locked --release --bins) || die "the executables cannot be built"
    SOAK_BIN=${CARGO_TARGET_DIR:-$root/target}/release
fi
# The gateway takes every variable that begins with PULSEGATE_ for its own.
gateway=$SOAK_BIN/pulsegate swarm=$SOAK_BIN/pulsegate-swarm
for program in "$gateway" "$swarm"; do
    [ -x "$program" ] || die "expected an executable $program, found none"
done
devices=${SOAK_DEVICES:-400} faulty=${SOAK_FAULTY:-10%} seed=${SOAK_SEED:-1}
churn=${SOAK_CHURN:-60} visitors=${SOAK_VISITORS:-200} growth=${SOAK_GROWTH_KIB:-1024}
failed='' pid='' swarm_pid='' visitors_pid=''
clean_up() {
    for child in $visitors_pid $swarm_pid $pid; do kill "$child" 2>/dev/null || true; done
    rm -f "$out/events"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# wc reads and counts the events, like an event consumer.
rm -f "$out/events"
mkfifo "$out/events"
wc -l <"$out/events" >"$out/event-lines" &
port=${SOAK_PORT:-25660}
"$gateway" --listen "127.0.0.1:$port" --discovery "127.0.0.1:$((port - 1))" --control "$out/control.sock" \
    --log-level warn >"$out/events" 2>"$out/gateway.log" &
pid=$!
for _ in $(seq 50); do
    "$gateway" stats --control "$out/control.sock" >/dev/null 2>&1 && break
    sleep 0.2
done
kill -0 $pid 2>/dev/null || { cat "$out/gateway.log" >&2; die "expected the gateway to answer within 10 s, it has ended: its log is above"; }

# Prints: seconds since the start, RSS and its peak in KiB, descriptors, CPU seconds.
begun=$(date +%s) hertz=$(getconf CLK_TCK)
figures() {
    now=$(($(date +%s) - begun))
    rss=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status)
    peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status)
    descriptors=$(find /proc/$pid/fd -mindepth 1 | wc -l)
    cpu=$(sed 's/.*) //' /proc/$pid/stat | awk -v hertz="$hertz" '{ printf "%.2f", ($12 + $13) / hertz }')
    echo "$now $rss $peak $descriptors $cpu"
}
before=$(figures)
echo "soak: $devices devices, $faulty of them faulty, seed $seed, ${seconds}s; figures in $out/figures"
echo "soak: before: $(echo "$before" | awk '{ print $2 " KiB, " $4 " descriptors" }')"

"$swarm" --gateway "127.0.0.1:$port" --sources 127.6.0.0/16 --devices "$devices" --duration "${seconds}s" \
    --profile mixed --faulty "$faulty" --seed "$seed" --pid "$pid" --quiet --json \
    >"$out/swarm.json" 2>"$out/swarm.txt" &
swarm_pid=$!
: >"$out/figures"
next_churn=$churn
while kill -0 $swarm_pid 2>/dev/null; do
    sleep 5
    line=$(figures 2>/dev/null) || { fail "expected the gateway to run for ${seconds}s, it has ended"; tail "$out/gateway.log" >&2; exit 1; }
    # Figures after the end of the run do not count.
    [ "${line%% *}" -ge "$seconds" ] || echo "$line" >>"$out/figures"
    if [ "${line%% *}" -ge "$next_churn" ] && [ $((${line%% *} + 20)) -lt "$seconds" ]; then
        next_churn=$((${line%% *} + churn))
        # The visitors connect at once, send a burst and leave.
        "$swarm" --gateway "127.0.0.1:$port" --sources 127.7.0.0/16 --devices "$visitors" --duration 4s --rate 5000 \
            --profile burst --faulty 20% --seed "$next_churn" --quiet >/dev/null 2>>"$out/visitors.log" &
        visitors_pid=$!
    fi
done
wait $swarm_pid || { fail "expected exit code 0 of the swarm, saw $?: its last lines follow"; tail "$out/swarm.txt" >&2; }
swarm_pid=''
[ -z "$visitors_pid" ] || wait "$visitors_pid" || true
visitors_pid=''
"$gateway" stats --json --control "$out/control.sock" >"$out/stats.json" || fail "expected an answer to stats, saw exit code $?"
# The gateway closes silent and stalled devices up to write_timeout later.
for _ in $(seq 60); do
    after=$(figures 2>/dev/null) || { fail "expected the gateway to run, it has ended"; exit 1; }
    [ "$(echo "$after" | cut -d' ' -f4)" -gt "$(echo "$before" | cut -d' ' -f4)" ] || break
    sleep 1
done
echo "soak: after:  $(echo "$after" | awk '{ print $2 " KiB (peak " $3 "), " $4 " descriptors, " $5 " s of CPU" }')"
[ "$(echo "$after" | cut -d' ' -f4)" -le "$(echo "$before" | cut -d' ' -f4)" ] ||
    fail "expected at most $(echo "$before" | cut -d' ' -f4) descriptors, saw $(echo "$after" | cut -d' ' -f4)"

warm=$((seconds / 5 < 600 ? seconds / 5 : 600))
# shellcheck disable=SC2016
sort -n "$out/figures" | awk -v warm="$warm" -v growth="$growth" '
function median(column, from, to,   n, i, j, v, t) {
    n = 0
    for (i = from; i <= to; i++) v[++n] = at[i, column]
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function slope(column,   i, x, y, xx, xy) {
    for (i = 1; i <= n; i++) { x += at[i, 1]; y += at[i, column]; xx += at[i, 1] ^ 2; xy += at[i, 1] * at[i, column] }
    return (n * xy - x * y) / (n * xx - x * x)
}
function judge(name, unit, column, allowed,   line, first, last, grown) {
    line = slope(column) * (at[n, 1] - at[1, 1])
    first = median(column, 1, third); last = median(column, n - third + 1, n); grown = last - first
    allowed += first / 20
    bad = line > allowed && grown > allowed
    printf "soak: %s: median of the first third %d %s, of the last %d; slope %.1f %s/h (allowed in this time: %d)%s\n",
        name, first, unit, last, slope(column) * 3600, unit, allowed, bad ? "  GROWS" : ""
    return bad
}
$1 >= warm { n++; for (i = 1; i <= 5; i++) at[n, i] = $i }
END {
    if (n < 6) { print "soak: expected at least 6 figures, saw " n + 0; exit 1 }
    third = int(n / 3)
    printf "soak: %d figures from %d s to %d s; %.1f %% of a CPU\n", n, at[1, 1], at[n, 1], 100 * slope(5)
    bad = judge("RSS", "KiB", 2, growth) + judge("descriptors", "", 4, 10)
    exit bad > 0
}' || fail "expected no growth, a line above says GROWS"

kill -TERM $pid
wait $pid && code=0 || code=$?
pid=''
[ "$code" = 0 ] || fail "expected exit code 0 after SIGTERM, saw $code"
echo "soak: $(wc -l <"$out/gateway.log") log lines at level warn; the swarm's table is in $out/swarm.txt"
[ -z "$failed" ] || exit 1
echo "soak: passed"
