#!/bin/sh
# Makes a release of the checked-out commit: executables, packages, and one file of checksums.
#
#     scripts/release.sh [TARGET…]      default: all six targets
#
# The script empties target/packages, or PACKAGES_DIR, and puts the results there. package.sh describes them.
set -eu

all="x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf
    riscv64gc-unknown-linux-musl mipsel-unknown-linux-musl mips-unknown-linux-musl"

fail() { printf 'release: %s\n' "$*" >&2; exit 1; }

cd "$(dirname "$0")/.."
changes=$(git status --porcelain) || fail "expected a git checkout, git status failed"
[ -z "$changes" ] || fail "expected no uncommitted changes, saw: $changes"

# shellcheck disable=SC2086 # words
[ $# -gt 0 ] || set -- $all
PACKAGES_DIR=${PACKAGES_DIR:-$PWD/target/packages}
export PACKAGES_DIR
rm -rf "${PACKAGES_DIR:?}"

scripts/cross.sh --bin pulsegate --bin pulsegate-swarm "$@"
scripts/package.sh "$@"
cd "$PACKAGES_DIR"
LC_ALL=C sha256sum -- * >SHA256SUMS.new
mv SHA256SUMS.new SHA256SUMS
printf 'release: %s, in %s:\n' "$(git -C "$OLDPWD" rev-parse --short HEAD)" "$PACKAGES_DIR" >&2
cat SHA256SUMS
