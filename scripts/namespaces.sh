#!/bin/sh
# Tests that need a network between two machines: two network namespaces joined by veth, the gateway in one, devices in
# the other. The script needs root, ip and tc (Debian: iproute2), python3, and for the loss netem or TUN devices in the
# kernel. It names a tool that is missing. It touches nothing outside the namespaces and removes them when it ends.
#
#     scripts/namespaces.sh [discovery] [cable] [loss]      default: all three
#
#   discovery  The gateway has two interfaces, one with an alias in a network of its own. Devices probe by broadcast and
#              each address. The answer comes from the probed address, or from the interface's for a broadcast.
#   cable      More than 1 MiB waits for a device, and its cable is pulled. The gateway closes the device as stalled or
#              silent and frees everything it held. A device on the other interface notices nothing.
#   loss       Each direction loses 20 % of all packets and delays each by 200 ms, for LOSS_SECONDS (180). The script
#              counts how many of LOSS_DEVICES (20) faultless devices the gateway closes, at credit 5 and 10.
#
# The script builds the executable, unless NAMESPACES_BIN names a directory that has it.
set -eu

die() { echo "namespaces: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "NOT RUN: expected root, user id is $(id -u)"
for tool in ip tc python3; do
    command -v $tool >/dev/null || die "NOT RUN: $tool is not installed"
done
root=$(cd "$(dirname "$0")/.." && pwd)
parts=${*:-discovery cable loss}
for part in $parts; do
    case $part in discovery | cable | loss) ;; *) die "invalid part '$part': expected discovery, cable or loss" ;; esac
done
if [ -z "${NAMESPACES_BIN:-}" ]; then
    (cd "$root" && cargo build --locked --release --bin pulsegate) || die "the executable cannot be built"
    NAMESPACES_BIN=${CARGO_TARGET_DIR:-$root/target}/release
fi
gateway=$NAMESPACES_BIN/pulsegate
[ -x "$gateway" ] || die "expected an executable $gateway, found none"

work=$(mktemp -d)
here=pgate-$$ there=pdev-$$ pids=''
clean_up() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    ip netns del $here 2>/dev/null || true
    ip netns del $there 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

ip netns add $here || die "NOT RUN: network namespaces cannot be made here"
ip netns add $there
for n in 1 2; do
    ip link add "g$n" netns $here type veth peer name "d$n" netns $there
    ip -n $here address add "10.77.$n.1/24" broadcast "10.77.$n.255" dev "g$n"
    ip -n $there address add "10.77.$n.2/24" broadcast "10.77.$n.255" dev "d$n"
    ip -n $here link set "g$n" up
    ip -n $there link set "d$n" up
done
ip -n $here address add 10.77.3.1/24 broadcast 10.77.3.255 dev g1 label g1:alias
ip -n $there address add 10.77.3.2/24 broadcast 10.77.3.255 dev d1
ip -n $here link set lo up
ip -n $there link set lo up

start() { # VARIABLE=VALUE…: a gateway with these variables
    rm -f "$work/control.sock"
    ip netns exec $here env "$@" "$gateway" --listen '[::]:5556' --discovery 0.0.0.0:5555 \
        --control "$work/control.sock" >"$work/events" 2>"$work/log" &
    gateway_pid=$!
    pids="$pids $gateway_pid"
    for _ in $(seq 100); do
        "$gateway" stats --control "$work/control.sock" >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$work/log" >&2
    die "expected the gateway to answer 'stats' within 10 s, its log is above"
}

stop() {
    kill -TERM $gateway_pid
    wait $gateway_pid || die "expected exit code 0 after SIGTERM, saw $?"
    tail -n 3 "$work/log" | sed 's/^/    log: /'
}

device() { ip netns exec $there python3 "$root/scripts/namespaces.py" "$@"; }
failed=''

for part in $parts; do
    echo "== $part"
    case $part in
    discovery)
        start
        device discovery || failed="$failed discovery"
        stop
        # The gateway answers probes on one interface, by its name.
        start PULSEGATE_DISCOVERY_INTERFACES_ALLOW=g2
        device only 10.77.2 || failed="$failed interfaces_allow"
        stop
        ;;
    cable)
        # The write timeout is shorter than the liveness timeout in the first run, and longer in the second.
        for setting in PULSEGATE_LIMITS_WRITE_TIMEOUT=5s PULSEGATE_LIMITS_WRITE_TIMEOUT=30s; do
            start "$setting" PULSEGATE_LIMITS_OUTBOX_BYTES_MAX=8MiB
            echo "  $setting"
            python3 "$root/scripts/namespaces.py" cable "$here" "$there" "$gateway" "$work/control.sock" "$gateway_pid" \
                "$work/events" || failed="$failed cable"
            ip -n $there link set d1 up
            stop
        done
        ;;
    loss)
        to=10.77.1.1 seed=${LOSS_SEED:-1}
        if ip netns exec $here tc qdisc add dev g1 root netem delay 200ms loss 20% 2>/dev/null; then
            ip netns exec $there tc qdisc add dev d1 root netem delay 200ms loss 20%
            echo "  by netem"
        elif [ -c /dev/net/tun ]; then
            : >"$work/link"
            python3 "$root/scripts/namespaces.py" link $here $there "$seed" >"$work/link" &
            pids="$pids $!"
            for _ in $(seq 50); do grep -q up "$work/link" && break; sleep 0.1; done
            to=10.77.4.1
            echo "  this kernel has no netem: by a pair of TUN devices, seed $seed"
        else
            die "NOT RUN: the kernel has neither netem (module sch_netem) nor TUN devices"
        fi
        ip netns exec $there ping -c 20 -i 0.2 -q $to 2>/dev/null | sed -n '/packets\|rtt/s/^/    /p' || true
        for setting in PULSEGATE_HEARTBEAT_CREDIT=5 PULSEGATE_HEARTBEAT_CREDIT=10; do
            start "$setting"
            echo "  $setting"
            device loss $to "${LOSS_DEVICES:-20}" "${LOSS_SECONDS:-180}" || failed="$failed loss"
            "$gateway" stats --control "$work/control.sock" | sed -n '/^connections/,/^[^ ]/p;/^beats/,/^commands/p' | sed 's/^/    /'
            stop
        done
        for end in "$here g1" "$there d1"; do
            # shellcheck disable=SC2086
            ip netns exec ${end% *} tc qdisc del dev ${end#* } root 2>/dev/null || true
        done
        ;;
    esac
done
[ -z "$failed" ] || die "FAILED:$failed"
echo "namespaces: passed: $parts"
