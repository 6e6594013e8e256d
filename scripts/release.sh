#!/bin/sh
# Makes everything that a release consists of, from a clean checkout, in target/release-VERSION, or DIRECTORY:
#
#     scripts/release.sh [DIRECTORY [TARGET…]]     # without TARGET, all six of scripts/cross.sh
#
#     pulsegate-VERSION-TARGET.tar.gz    executable, manual, completions, configuration, units, licence
#     pulsegate_VERSION_ARCH.deb         for amd64, arm64 and armhf (needs cargo-deb: cargo install cargo-deb --locked)
#     pulsegate-VERSION-TARGET.ipk.tar   CONTROL/ and files, unpacked what `ipkg-build` or `opkg-build` takes
#     SHA256SUMS
#
# The same commit and tools give the same archives: names are sorted, owners are 0, times are the commit's.
set -eu

fail() { echo "release: $*" >&2; exit 1; }
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
case ${1:-} in -*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2 ;; esac
changed=$(git status --porcelain) || fail "this is no git checkout"
[ -z "$changed" ] || fail "the tree has changes that are not committed: commit or stash them first"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
out=${1:-$root/target/release-$version}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf \
    riscv64gc-unknown-linux-musl mipsel-unknown-linux-musl mips-unknown-linux-musl
cross=${CROSS_DIR:-$root/target/cross}
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ -z "$(ls "$out")" ] || fail "$out is not empty"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

archive() { # FOLDER-OF-WORK: as tar on standard output
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --mode=u=rwX,go=rX --format=gnu -cf - "$1"
}

scripts/cross.sh "$@" || fail "not every target could be built"
for target; do
    name=pulsegate-$version-$target
    mkdir -p "$work/$name"
    cp -R "$cross/$target/pulsegate" pulsegate.toml man completions packaging docs README.md CHANGELOG.md LICENSE* \
        "$work/$name/"
    archive "$name" | gzip -n9 >"$out/$name.tar.gz"
    scripts/ipk-folder.sh "$target" "$cross/$target/pulsegate" "$work/$name.ipk"
    archive "$name.ipk" >"$out/$name.ipk.tar"
    case $target in
    x86_64-* | aarch64-* | armv7-*)
        # cargo-deb looks for the executable where cargo would have built it.
        CARGO_TARGET_DIR=$cross/build cargo deb --quiet --no-build --no-strip --target "$target" \
            --output "$out/" || fail "$target: no Debian package: is cargo-deb installed?"
        ;;
    esac
done
(cd "$out" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
ls -l "$out"
