#!/bin/sh
# Builds static executables for other machines, with no more than the project's usual toolchain, Debian's and
# Python's package registries, and no foreign architecture in apt.
#
#     scripts/cross.sh [--example NAME]… [--bin NAME]… [--tests] [--test NAME]… TARGET… [-- CARGO-OPTION…]
#     scripts/cross.sh --fetch | --fetch-qemu
#
# Without options it builds the executable `pulsegate`; see usage() below. What comes out:
#
#     target/cross/TARGET/pulsegate       and examples under their names
#     target/cross/TARGET/tests/NAME      the library's unit tests are `lib`
#
# How: the standard library is compiled from source for each target (`-Z build-std`), by a compiler of the very same
# version. Debian has such a pair, rustc-web and rust-web-src; they are downloaded and unpacked, not installed. (The
# rustup compiler with that source fails.) Zig brings linker and C library for every target, cargo-zigbuild joins the
# two. musl targets are linked statically; a glibc target is dynamic and gets `.2.28` behind its name unless it brings
# its own version. cargo is the machine's own; RUSTC_BOOTSTRAP=1 lets it and the compiler take unstable options.
#
# Everything lies below target/cross, or CROSS_DIR: the tools (nearly 2 GB) and one build folder for all targets, so a second
# run reuses both. Delete the folder to begin anew. pip checks the hashes below, apt its signatures, cargo Cargo.lock
# (here --locked) and the compiler package the standard library's own. Debian keeps one version of a package, so that one
# cannot be pinned: versions.txt in the folder says which it was.
#
# Tried on Debian 12, x86_64, for the targets of usage(). Not tried: building on aarch64, and other glibc targets.
# Made small, at opt-level s. Speed instead: CARGO_PROFILE_RELEASE_OPT_LEVEL=3 scripts/cross.sh …
set -eu

usage() {
    cat <<'END'
usage: scripts/cross.sh [OPTION]… TARGET… [-- CARGO-OPTION…]
  --bin NAME      build this program (default: pulsegate, if nothing else is asked for)
  --example NAME  build this example
  --tests         build the library's unit tests
  --test NAME     build tests/NAME.rs
  --fetch         fetch the tools that build, and no more
  --fetch-qemu    fetch Debian's qemu-user too, into target/cross/bin, for cross-test.sh
tried: armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl x86_64-unknown-linux-musl
       riscv64gc-unknown-linux-musl mipsel-unknown-linux-musl mips-unknown-linux-musl
       and, dynamic, x86_64-unknown-linux-gnu
END
}

say() { printf 'cross: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
misuse() { say "$* (--help shows how)"; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${CROSS_DIR:=$root/target/cross}"
CROSS_DIR=$(cd "$CROSS_DIR" && pwd)

need() {
    for tool; do
        command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
    done
}

# Downloads Debian packages with what they depend on, as far as this machine lacks it, and unpacks them into a folder.
debian() { # NAME PACKAGE…
    name=$1
    shift
    [ ! -e "$CROSS_DIR/$name/complete" ] || return 0
    need apt-get dpkg
    say "fetching $* (Debian)"
    rm -rf "${CROSS_DIR:?}/$name" "${CROSS_DIR:?}/$name.part"
    mkdir -p "$CROSS_DIR/$name.debs/partial" "$CROSS_DIR/$name.part"
    # Nothing is installed, so neither root nor the lock is needed; only the package lists must be there.
    apt-get install --download-only --yes --no-install-recommends -qq -o Debug::NoLocking=1 -o APT::Sandbox::User= \
        -o Dir::Cache::Archives="$CROSS_DIR/$name.debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@" >&2 ||
        fail "Debian's packages $* could not be fetched: \`apt-get update\` must have been run, once and as root"
    for package; do
        [ -n "$(find "$CROSS_DIR/$name.debs" -name "${package}_*.deb")" ] ||
            fail "$package is installed on this machine, so apt does not fetch it: remove it, or build elsewhere"
    done
    for package in "$CROSS_DIR/$name.debs"/*.deb; do
        dpkg -x "$package" "$CROSS_DIR/$name.part"
        basename "$package" .deb >>"$CROSS_DIR/$name.part/complete"
    done
    rm -r "$CROSS_DIR/$name.debs"
    mv "$CROSS_DIR/$name.part" "$CROSS_DIR/$name"
}

# A command that finds the libraries that were unpacked beside it.
wrap() { # NAME COMMAND
    mkdir -p "$CROSS_DIR/bin"
    libraries=$(echo "$CROSS_DIR/$1"/usr/lib/*-linux-gnu)
    wrapper=$CROSS_DIR/bin/$2
    [ ! -e "$wrapper" ] || return 0 # a newer one would have cargo build everything again
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$CROSS_DIR/$1/usr/bin/$2" >"$wrapper.new"
    chmod +x "$wrapper.new"
    mv "$wrapper.new" "$wrapper"
}

fetch_rust() {
    debian tool rustc-web rust-web-src
    wrap tool rustc
}

fetch_qemu() {
    debian qemu qemu-user
    for emulator in arm aarch64 riscv64 mips mipsel; do
        wrap qemu "qemu-$emulator"
    done
}

fetch_zig() {
    [ ! -e "$CROSS_DIR/venv/complete" ] || return 0
    need python3
    say "fetching ziglang and cargo-zigbuild (pip)"
    rm -rf "$CROSS_DIR/venv"
    python3 -m venv "$CROSS_DIR/venv" || fail "python3 cannot make a venv: Debian's package python3-venv is needed"
    # Wheels for Linux on x86_64 and aarch64.
    cat >"$CROSS_DIR/venv/requirements.txt" <<'END'
ziglang==0.15.2 \
    --hash=sha256:806316453d1ede7174ed3fefb8e5348154629089c3bb5fe812dfd0e172fac130 \
    --hash=sha256:edc0aa60ec964a4cf462d40f68d7de242ddf37fd9a80f2afaee6397059463230
cargo-zigbuild==0.24.0 \
    --hash=sha256:484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957 \
    --hash=sha256:6942e4320f7b05d8fb29e0a8ce5670bcbb3d254275100b85b5b7c86552f9a744
END
    "$CROSS_DIR/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        --no-deps -r "$CROSS_DIR/venv/requirements.txt" || fail "ziglang and cargo-zigbuild could not be fetched"
    echo ziglang 0.15.2, cargo-zigbuild 0.24.0 >"$CROSS_DIR/venv/complete"
}

# Runs cargo-zigbuild for $target.
cross_cargo() { # SUBCOMMAND OPTION…
    subcommand=$1
    shift
    # Programs abort when they panic, and say where; a trace through an executable without symbols would tell nothing.
    # So the tables for unwinding and all that reads them are left out. Tests unwind.
    case $subcommand in
    test) flags='' ;;
    *) flags='-C force-unwind-tables=no' ;;
    esac
    case $target in
    *musl*) flags="$flags -C link-self-contained=no -C target-feature=+crt-static" versioned=$target ;;
    *gnu*.*) versioned=$target ;;
    *gnu*) versioned=$target.2.28 ;;
    esac
    (
        cd "$root"
        unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER
        export RUSTFLAGS="$flags" RUSTC="$CROSS_DIR/bin/rustc" RUSTC_BOOTSTRAP=1 PATH="$CROSS_DIR/venv/bin:$PATH"
        export CARGO_TARGET_DIR="$CROSS_DIR/build" CARGO_ZIGBUILD_CACHE_DIR="$CROSS_DIR/zigcache"
        export ZIG_GLOBAL_CACHE_DIR="$CROSS_DIR/zig-cache" ZIG_LOCAL_CACHE_DIR="$CROSS_DIR/zig-cache"
        # The tests' profile: with checked arithmetic, which matters where usize is 32 bits; quick to build, that is only
        # our own code optimized.
        export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0
        CARGO_PROFILE_RELEASE_OPT_LEVEL=${CARGO_PROFILE_RELEASE_OPT_LEVEL:-s} nice cargo-zigbuild "$subcommand" --locked --target "$versioned" -Z build-std=std,panic_abort \
            -Z build-std-features=optimize_for_size \
            --config profile.dev.package.pulsegate.opt-level=1 "$@"
    )
}

# From cargo's messages, one "name path" for each test executable. Stops at nothing else: cargo has reported errors.
test_executables() {
    python3 -c '
import json, sys
for line in sys.stdin:
    artifact = json.loads(line) if line.startswith("{") else {}
    if artifact.get("executable") and artifact["profile"]["test"]:
        library = "lib" in artifact["target"]["kind"]
        print("lib" if library else artifact["target"]["name"], artifact["executable"])'
}

deliver() { # FROM TO
    case $target in
    *musl*) ! readelf -lW "$1" | grep -q INTERP || fail "$1 is not static" ;;
    esac
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    mv "$2.new" "$2"
    printf '%s: %s bytes\n' "${2#"$root"/}" "$(($(wc -c <"$2")))"
}

programs='' tests='' targets='' fetch='' qemu=''
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --bin | --example | --test)
        [ $# -ge 2 ] || misuse "$1 needs a value"
        case $2 in *[!A-Za-z0-9_-]* | '' | -*) misuse "$1 takes a name, not '$2'" ;; esac
        case $1 in
        --bin | --example) programs="$programs $1 $2" ;;
        --test) tests="$tests $1 $2" ;;
        esac
        shift
        ;;
    --fetch) fetch=yes ;;
    --fetch-qemu) qemu=yes ;;
    --tests) tests="$tests --lib" ;;
    --) shift; break ;;
    -*) misuse "unknown option $1" ;;
    *-linux-musl* | *-linux-gnu*)
        case $1 in *[!A-Za-z0-9_.-]*) misuse "'$1' is no target" ;; esac
        targets="$targets $1"
        ;;
    *) misuse "'$1' is no Linux target such as armv7-unknown-linux-musleabihf" ;;
    esac
    shift
done

[ -n "$targets$fetch$qemu" ] || misuse "which target?"
[ -z "$qemu" ] || fetch_qemu
[ -n "$targets$fetch" ] || exit 0
[ -n "$programs$tests" ] || programs="--bin pulsegate"

need cargo python3 nice readelf
command -v cc >/dev/null || fail "cc is needed to link build scripts: Debian's packages gcc and libc6-dev"
fetch_rust
fetch_zig
[ -n "$targets" ] || exit 0
{
    cat "$CROSS_DIR/tool/complete" "$CROSS_DIR/venv/complete"
    "$CROSS_DIR/bin/rustc" --version && cargo --version
} >"$CROSS_DIR/versions.txt" || fail "the compiler that was fetched does not run"

for target in $targets; do
    folder=${target%%-gnu*}
    [ "$folder" = "$target" ] || folder=${target%%.*} # without glibc's version
    if [ -n "$programs" ]; then
        say "$target:$programs"
        # shellcheck disable=SC2086 # words, checked above
        cross_cargo zigbuild --release $programs "$@" || fail "$target: the build failed"
        set -f
        for word in $programs; do
            case $word in
            --bin) from=$CROSS_DIR/build/$folder/release ;;
            --example) from=$CROSS_DIR/build/$folder/release/examples ;;
            *) deliver "$from/$word" "$CROSS_DIR/$folder/$word" ;;
            esac
        done
        set +f
    fi
    if [ -n "$tests" ]; then
        say "$target: tests$tests"
        # shellcheck disable=SC2086 # words, checked above
        cross_cargo test --no-run $tests --message-format json-render-diagnostics "$@" >"$CROSS_DIR/messages.json" ||
            fail "$target: the tests do not build"
        test_executables <"$CROSS_DIR/messages.json" >"$CROSS_DIR/executables.txt"
        [ -s "$CROSS_DIR/executables.txt" ] || fail "$target: cargo built no test"
        while read -r name path; do
            deliver "$path" "$CROSS_DIR/$folder/tests/$name"
        done <"$CROSS_DIR/executables.txt"
    fi
done
