#!/bin/sh
# Makes the release packages from the executables that scripts/cross.sh has built:
#
#     scripts/cross.sh --bin pulsegate --bin pulsegate-swarm TARGET…
#     scripts/package.sh TARGET…
#
# The results are in target/packages, or PACKAGES_DIR:
#
#     pulsegate-VERSION-TARGET.tar.gz       executables, manual, units: everything for an installation by hand
#     pulsegate-VERSION-TARGET-ipk.tar.gz   the folder from which OpenWrt's ipkg-build makes a package
#     pulsegate_VERSION_ARCHITECTURE.deb    for x86_64, aarch64 and armv7
#
# Each holds NOTICES, the licences of all that the executable contains. The same executables and commit make the same
# files, bit by bit: every time in them is the commit's, or SOURCE_DATE_EPOCH. The script needs cargo-deb
# (`cargo install cargo-deb --locked`, tried with 3.8.0).
set -eu

fail() { printf 'package: %s\n' "$*" >&2; exit 1; }

case ${1:-} in
'' | -*) echo "usage: scripts/package.sh TARGET… (see its beginning)" >&2; exit 2 ;;
esac

cd "$(dirname "$0")/.."
cross=${CROSS_DIR:-$PWD/target/cross}
packages=${PACKAGES_DIR:-$PWD/target/packages}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
mkdir -p "$packages"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pack() { # FOLDER of $work
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" \
        --format=gnu -cf "$work/tar" "$1"
    gzip -9 -n <"$work/tar" >"$packages/$1.tar.gz"
}

tarball() {
    name=pulsegate-$version-$target
    mkdir "$work/$name" "$work/$name/docs"
    cp "$executables/pulsegate" "$executables/pulsegate-swarm" "$work/$name"
    cp -R man completions packaging pulsegate.toml README.md CHANGELOG.md LICENSE* "$work/$name"
    cp docs/on-a-gateway.md docs/protocol.md "$work/$name/docs"
    scripts/notices.py "$target" >"$work/$name/NOTICES"
    pack "$name"
}

ipk() { # ARCHITECTURE
    name=pulsegate-$version-$target-ipk
    scripts/ipk-folder.sh "$executables/pulsegate" "$1" "$work/$name"
    pack "$name"
}

# cargo-deb takes both files from cargo's build folder.
deb() {
    mkdir -p "$work/build/$target/release"
    cp "$executables/pulsegate" "$work/build/$target/release"
    scripts/notices.py "$target" >"$work/build/$target/release/NOTICES"
    CARGO_TARGET_DIR=$work/build cargo deb --quiet --locked --no-build --no-strip --target "$target" \
        --output "$packages" >/dev/null || fail "$target: cargo deb failed"
}

for target; do
    executables=$cross/$target
    for program in pulsegate pulsegate-swarm; do
        [ -x "$executables/$program" ] ||
            fail "expected the executable $executables/$program, found none: run scripts/cross.sh --bin $program $target"
    done
    tarball
    # OpenWrt's names include the core. The executable runs on every core of its kind, except on 32-bit ARM. There the
    # name must have neon, because other cores lack a complete FPU.
    case $target in
    x86_64-*) ipk x86_64; deb ;;
    aarch64-*) ipk aarch64_generic; deb ;;
    armv7-*) ipk arm_cortex-a7_neon-vfpv4; deb ;;
    riscv64gc-*) ipk riscv64_generic ;;
    mips-*) ipk mips_24kc ;;
    mipsel-*) ipk mipsel_24kc ;;
    *) fail "unknown target '$target': expected x86_64, aarch64, armv7, riscv64gc, mips or mipsel" ;;
    esac
done
