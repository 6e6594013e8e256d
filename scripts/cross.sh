#!/bin/sh
# Builds static executables for other machines. It needs the project's usual toolchain, Debian's and Python's package
# registries, no root, and no foreign architecture in apt.
#
#     scripts/cross.sh [--full] [--example NAME]… [--bin NAME]… [--tests] [--test NAME]… TARGET… [-- CARGO-OPTION…]
#     scripts/cross.sh --fetch | --fetch-qemu
#
# Without options it builds the executable `pulsegate` for gateways, without the services beside it. --full adds them.
# --help lists all options. The results:
#
#     target/cross/TARGET/pulsegate       examples beside it, under their names
#     target/cross/TARGET/tests/NAME      the library's unit tests are `lib`
#
# The script compiles the standard library from source for each target (`-Z build-std`), with a compiler of the same
# version. Debian has such a pair, rustc-web and rust-web-src. The script unpacks both and installs nothing. The rustup
# compiler fails with that source. Zig is linker and C library for every target, and cargo-zigbuild joins Zig and cargo.
# musl targets are static. A glibc target is dynamic and gets `.2.28` behind its name unless it has a version. cargo is
# the machine's own. RUSTC_BOOTSTRAP=1 lets cargo and the compiler take unstable options.
#
# Everything lies below target/cross, or CROSS_DIR: tools (nearly 2 GB), package lists, one build folder for all targets.
# A second run reuses them. A run fetches a tool again when its version is too old. Delete the folder to begin anew.
# pip checks the hashes below, apt its signatures, cargo Cargo.lock, and the compiler package pins the library source.
# Debian keeps one version of a package, so this script cannot pin the compiler: versions.txt in the folder names it.
#
# Tried on Debian 12, x86_64, for the targets of usage(). Not tried: building on aarch64, and other glibc targets.
# The default is small code, at opt-level s. For speed: CARGO_PROFILE_RELEASE_OPT_LEVEL=3 scripts/cross.sh …
set -eu

usage() {
    cat <<'END'
usage: scripts/cross.sh [OPTION]… TARGET… [-- CARGO-OPTION…]
  --full          add the services beside the gateway
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
        command -v "$tool" >/dev/null || fail "$tool is not installed: install it and run this again"
    done
}

# apt with package lists of our own, so that neither root nor the lock of the system's lists is needed.
apt() {
    mkdir -p "$CROSS_DIR/apt/lists/partial"
    apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User= -o Dir::State::Lists="$CROSS_DIR/apt/lists" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@" >&2
}

# Downloads Debian packages and their missing dependencies, and unpacks them into a folder.
debian() { # NAME PACKAGE…
    name=$1
    shift
    [ ! -e "$CROSS_DIR/$name/complete" ] || return 0
    need apt-get dpkg
    say "fetching $* (Debian)"
    rm -rf "${CROSS_DIR:?}/$name" "${CROSS_DIR:?}/$name.part" "${CROSS_DIR:?}/$name.debs"
    mkdir -p "$CROSS_DIR/$name.debs/partial" "$CROSS_DIR/$name.part"
    apt update || say "some package lists could not be fetched: see above"
    apt install --download-only --yes --no-install-recommends -o Dir::Cache::Archives="$CROSS_DIR/$name.debs" "$@" ||
        fail "Debian's packages $* could not be fetched: check the network, and that /etc/apt has a Debian source"
    for package; do
        [ -n "$(find "$CROSS_DIR/$name.debs" -name "${package}_*.deb")" ] ||
            fail "$package is installed here, so apt does not fetch it: remove it, or build on another machine"
    done
    for package in "$CROSS_DIR/$name.debs"/*.deb; do
        dpkg -x "$package" "$CROSS_DIR/$name.part"
        basename "$package" .deb >>"$CROSS_DIR/$name.part/complete"
    done
    rm -r "$CROSS_DIR/$name.debs"
    mv "$CROSS_DIR/$name.part" "$CROSS_DIR/$name"
}

# Writes a command that starts an unpacked program with the libraries that were unpacked beside it.
wrap() { # NAME COMMAND
    mkdir -p "$CROSS_DIR/bin"
    libraries=$(echo "$CROSS_DIR/$1"/usr/lib/*-linux-gnu)
    wrapper=$CROSS_DIR/bin/$2
    [ ! -e "$wrapper" ] || return 0 # a newer file makes cargo build everything again
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$CROSS_DIR/$1/usr/bin/$2" >"$wrapper.new"
    chmod +x "$wrapper.new"
    mv "$wrapper.new" "$wrapper"
}

# Succeeds where version $1 is at least version $2.
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# Prints the version of the compiler in CROSS_DIR, or nothing where it does not run.
rust_version() { "$CROSS_DIR/bin/rustc" --version 2>/dev/null | cut -d' ' -f2; }

fetch_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    debian tool rustc-web rust-web-src
    wrap tool rustc
    at_least "$(rust_version)" "$wanted" && return
    say "the compiler in $CROSS_DIR is '$(rust_version)', and Cargo.toml asks for $wanted: fetching it anew"
    rm -rf "${CROSS_DIR:?}/tool"
    debian tool rustc-web rust-web-src
    at_least "$(rust_version)" "$wanted" ||
        fail "expected rustc-web $wanted or later, Debian's is '$(rust_version)': add bookworm-security to /etc/apt/sources.list"
}

fetch_qemu() {
    if command -v qemu-arm >/dev/null && command -v qemu-mipsel >/dev/null; then
        say "qemu-user is installed here: cross-test.sh finds it"
        return
    fi
    debian qemu qemu-user
    for emulator in arm aarch64 riscv64 mips mipsel; do
        wrap qemu "qemu-$emulator"
    done
}

fetch_zig() {
    wheels='ziglang 0.15.2, cargo-zigbuild 0.24.0'
    [ "$(cat "$CROSS_DIR/venv/complete" 2>/dev/null)" != "$wheels" ] || return 0
    need python3
    say "fetching $wheels (pip)"
    rm -rf "$CROSS_DIR/venv"
    python3 -m venv "$CROSS_DIR/venv" || fail "python3 cannot make a venv: install Debian's package python3-venv"
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
        --no-deps -r "$CROSS_DIR/venv/requirements.txt" ||
        fail "pip could not fetch $wheels: check the network and pip's index"
    echo "$wheels" >"$CROSS_DIR/venv/complete"
}

# Runs cargo-zigbuild for $target.
cross_cargo() { # SUBCOMMAND OPTION…
    subcommand=$1
    shift
    # Programs abort on a panic and print its place. They have no symbols, so unwind tables would be of no use. Tests
    # unwind.
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
        # Tests check arithmetic, which matters where usize has 32 bits. Only our own code is optimized, to build fast.
        export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0
        export CARGO_PROFILE_RELEASE_OPT_LEVEL="${CARGO_PROFILE_RELEASE_OPT_LEVEL:-s}"
        nice cargo-zigbuild "$subcommand" --locked --no-default-features --features "$features" --target "$versioned" \
            -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size \
            --config profile.dev.package.pulsegate.opt-level=1 "$@"
    )
}

# Reads cargo's messages and prints "name path" for each test executable. cargo itself has reported errors.
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
    *musl*) ! readelf -lW "$1" | grep -q INTERP || fail "expected a static executable, $1 has an interpreter" ;;
    esac
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    mv "$2.new" "$2"
    printf '%s: %s bytes\n' "${2#"$root"/}" "$(($(wc -c <"$2")))"
}

programs='' tests='' targets='' fetch='' qemu='' features=daemon,swarm
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
    --full) features=daemon,mqtt,swarm,web ;;
    --fetch) fetch=yes ;;
    --fetch-qemu) qemu=yes ;;
    --tests) tests="$tests --lib" ;;
    --) shift; break ;;
    -*) misuse "unknown option $1" ;;
    *-linux-musl* | *-linux-gnu*)
        case $1 in *[!A-Za-z0-9_.-]*) misuse "'$1' is no target" ;; esac
        targets="$targets $1"
        ;;
    *) misuse "invalid target '$1': expected a Linux target such as armv7-unknown-linux-musleabihf" ;;
    esac
    shift
done

[ -n "$targets$fetch$qemu" ] || misuse "expected a target"
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
} >"$CROSS_DIR/versions.txt" || fail "the fetched compiler does not run: delete $CROSS_DIR/tool and run this again"

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
