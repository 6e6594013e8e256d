#!/bin/sh
# Runs what scripts/cross.sh built for other machines: under qemu-user, or natively where this machine can.
#
#     scripts/cross.sh --bin pulsegate --tests TARGET…      # first; with --example echo for --echo
#     scripts/cross-test.sh [--echo] [--no-units | --no-end-to-end] [TARGET…]
#
# For each target: every executable in target/cross/TARGET/tests (the library's unit tests: the splitter's stream tables
# at every cut, the timer wheel against its model, and so on), then scripts/end-to-end.py against target/cross/TARGET/pulsegate,
# or with --echo against the example of that name. Without TARGET: the six that cross.sh names. Whatever is absent,
# executable, test or emulator, is a failure and is said. It takes what is there: it does not build.
#
# The emulators come from target/cross/bin (scripts/cross.sh --fetch-qemu), else from PATH (Debian's qemu-user).
#
# qemu-user translates one process and hands its system calls to this machine's kernel. So it shows that the code is
# right for the word size, the byte order, the alignment and the C library. It cannot show the following, for which the
# machine itself is needed. (x86_64 runs natively: there only the points on kernel and networks hold.)
#
# - The target's kernel. Edges of epoll, backlog, socket buffers, time-outs and memory pressure are this kernel's. An old
#   kernel that lacks a system call (64-bit time on 32-bit machines came with Linux 5.1) is not met here.
# - IP_PKTINFO on big-endian machines. qemu 7.2 does not know this control message and copies it unconverted ("Unsupported
#   ancillary data: 0/8" with -d unimp). Addresses are in network order anyway and the interface's number is only handed
#   back, in the same wrong order, so the check holds; the number as a number is never seen.
# - Memory and speed: RSS, /proc/self/status and the daemon's `stats` are the emulator's. No figure from here is one.
# - The least ARMv7. An instruction that the chosen CPU lacks ends the program (armv7 runs without NEON, mips without FPU;
#   QEMU_CPU chooses another), but qemu has no ARMv7 with 16 VFP registers. Rust keeps to 16, zig builds musl for 32: a
#   Tegra 2 or Armada 370 remains untried.
# - Unaligned access and memory order: x86_64 forgives the one and is stricter than the others in the other.
# - Real networks: broadcast, several interfaces, IPv6 between machines. All runs on 127.0.0.0/8.
# - A program that starts itself or another of its kind, for which the kernel would have to know the emulator. So
#   tests/daemon.rs, which starts `pulsegate`, cannot run here; end-to-end.py plays its part from outside.
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
    *[!A-Za-z0-9_-]*) misuse "'$argument' is no target" ;;
    *-linux-musl* | "$(uname -m)"-*-linux-gnu) targets="$targets $argument" ;;
    *) misuse "'$argument' is neither a musl target nor this machine; others need their C library beside the emulator" ;;
    esac
done
[ -n "$units$end_to_end" ] || misuse "--no-units and --no-end-to-end leave nothing to do"
[ -n "$targets" ] || targets="x86_64-unknown-linux-musl armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl
    riscv64gc-unknown-linux-musl mipsel-unknown-linux-musl mips-unknown-linux-musl"
for tool in python3 timeout; do
    command -v "$tool" >/dev/null || { echo "cross-test: $tool is needed and not installed" >&2; exit 1; }
done

faults=0
fault() {
    printf 'cross-test: FAILED  %s\n' "$*" >&2
    faults=$((faults + 1))
}

# qemu's default CPU may do more than a target requires, so unless QEMU_CPU says otherwise it is one that does little more.
cpu=${QEMU_CPU:-}

# Sets `emulator` to what stands before the executable: a command, or nothing for a native one.
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
                *"test result: ok. 0 passed"*) fault "$target: ${test##*/}: it holds no tests" ;;
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
echo "cross-test: all held"
