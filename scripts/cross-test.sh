#!/bin/sh
# Tests the executables of scripts/cross.sh for other machines: under qemu-user, or natively if possible.
#
#     scripts/cross.sh --bin pulsegate --tests TARGET…      # first, with --example echo for --echo
#     scripts/cross-test.sh [--echo] [--no-units | --no-end-to-end] [TARGET…]
#
# For each target the script runs every executable in target/cross/TARGET/tests, which are the library's unit tests. Then it
# runs scripts/end-to-end.py against target/cross/TARGET/pulsegate, or with --echo against the example echo. Without TARGET
# it takes the six targets that cross.sh names. It builds nothing. A missing executable, test or emulator is a failure.
#
# The emulators come from target/cross/bin (scripts/cross.sh --fetch-qemu), else from PATH (Debian's qemu-user).
#
# qemu-user translates one process and passes its system calls to this machine's kernel. So it tests word size, byte order,
# alignment and C library. It cannot test the following points, which need the machine itself. x86_64 runs natively, so
# only the points on kernel and networks apply to it.
#
# - The target's kernel. Epoll, accept queue, socket buffers, timeouts and memory pressure are those of this kernel. An
#   old kernel may lack a system call: 32-bit machines have 64-bit time since Linux 5.1.
# - IP_PKTINFO on big-endian machines. qemu 7.2 does not know this control message and copies it unconverted ("Unsupported
#   ancillary data: 0/8" with -d unimp). The test passes, because addresses are in network order and the gateway only
#   returns the interface number, in the same wrong order. So the test does not check the number itself.
# - Memory and speed. RSS, /proc/self/status and the daemon's `stats` are those of the emulator.
# - The smallest ARMv7. A program ends at an instruction that the chosen CPU lacks: armv7 runs without NEON, mips without
#   FPU, and QEMU_CPU chooses another. But qemu has no ARMv7 with 16 VFP registers. Rust uses 16 of them, and zig builds
#   musl for 32, so a Tegra 2 or an Armada 370 is untested.
# - Unaligned access and memory order. x86_64 allows unaligned access, and its memory order is stricter.
# - Real networks: broadcast, several interfaces, IPv6 between machines. Everything runs on 127.0.0.0/8.
# - A program that starts an executable of its own kind, because this kernel cannot run it without the emulator.
#   tests/daemon.rs starts `pulsegate`, so end-to-end.py takes its place.
set -eu

usage() {
    echo 'usage: scripts/cross-test.sh [--echo] [--no-units | --no-end-to-end] [TARGET…]'
}

misuse() { printf 'cross-test: %s (--help shows how)\n' "$*" >&2; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
CROSS_DIR=${CROSS_DIR:-$root/target/cross}
targets='' kind=daemon units=yes end_to_end=yes
for argument; do
    case $argument in
    --help | -h) usage; exit 0 ;;
    --echo) kind='echo' ;;
    --no-units) units='' ;;
    --no-end-to-end) end_to_end='' ;;
    -*) misuse "unknown option $argument" ;;
    *[!A-Za-z0-9_-]*) misuse "invalid target '$argument'" ;;
    *-linux-musl* | "$(uname -m)"-*-linux-gnu) targets="$targets $argument" ;;
    *) misuse "invalid target '$argument': expected a musl target or this machine" ;;
    esac
done
[ -n "$units$end_to_end" ] || misuse "--no-units and --no-end-to-end exclude every test"
[ -n "$targets" ] || targets="x86_64-unknown-linux-musl armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl
    riscv64gc-unknown-linux-musl mipsel-unknown-linux-musl mips-unknown-linux-musl"
for tool in python3 timeout; do
    command -v "$tool" >/dev/null || { echo "cross-test: $tool is not installed" >&2; exit 1; }
done

faults=0
fault() {
    printf 'cross-test: FAILED  %s\n' "$*" >&2
    faults=$((faults + 1))
}

# qemu's default CPU has more instructions than a target requires. Without QEMU_CPU the script chooses a smaller one.
cpu=${QEMU_CPU:-}

# Sets `emulator` to the command before the executable, or to nothing for a native one.
choose_emulator() { # TARGET
    case $1 in
    "$(uname -m)"-*) emulator='' how=natively; return ;;
    armv7*) emulator=qemu-arm least=cortex-a7,neon=off ;;
    aarch64*) emulator=qemu-aarch64 least=cortex-a53 ;;
    riscv64*) emulator=qemu-riscv64 least=rv64 ;;
    mips-* | mipsel-*) emulator=qemu-${1%%-*} least=24Kc ;;
    *) emulator=qemu-${1%%-*} least=max ;;
    esac
    export QEMU_CPU="${cpu:-$least}"
    how="under $emulator as $QEMU_CPU"
    if [ -x "$CROSS_DIR/bin/$emulator" ]; then
        emulator=$CROSS_DIR/bin/$emulator
    else
        command -v "$emulator" >/dev/null
    fi
}

for target in $targets; do
    folder=$CROSS_DIR/$target
    if ! choose_emulator "$target"; then
        fault "$target: no $emulator: run scripts/cross.sh --fetch-qemu, or install Debian's package qemu-user"
        continue
    fi
    echo "cross-test: $target, $how"
    if [ -n "$units" ]; then
        ran=0
        for test in "$folder"/tests/*; do
            [ -x "$test" ] || continue
            ran=$((ran + 1))
            if result=$(timeout 1800 ${emulator:+"$emulator"} "$test" 2>&1); then
                case $result in
                *"test result: ok. 0 passed"*) fault "$target: ${test##*/} has no tests" ;;
                *) echo "  ok      ${test##*/}: $(echo "$result" | sed -n 's/^test result: ok. //p')" ;;
                esac
            else
                fault "$target: ${test##*/}, exit code $?"
                echo "$result" | grep -v '^test .* ok$' | tail -n 60 >&2
            fi
        done
        [ "$ran" -gt 0 ] || fault "$target: no tests in $folder/tests: run scripts/cross.sh --tests $target"
    fi
    if [ -n "$end_to_end" ]; then
        name=pulsegate option=''
        [ "$kind" = daemon ] || name=echo option='--example echo '
        if [ ! -x "$folder/$name" ]; then
            fault "$target: no $folder/$name: run scripts/cross.sh $option$target"
            continue
        fi
        timeout 600 python3 "$root/scripts/end-to-end.py" --kind "$kind" -- ${emulator:+"$emulator"} "$folder/$name" ||
            fault "$target: end to end"
    fi
done
[ "$faults" -eq 0 ] || { echo "cross-test: $faults failed" >&2; exit 1; }
echo "cross-test: all passed"
