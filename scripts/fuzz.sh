#!/usr/bin/env bash
# Fuzzes every parser of outside input, one target after another. fuzz/artifacts keeps each input that fails. The fix
# turns that input into a test.
#
#     scripts/fuzz.sh [SECONDS] [TARGET…]     # 60 seconds each, all targets c
#
# The target c compares clients/c/pulsegate.h with the gateway. It needs C compilers instead of the tools below, and prints
# the seed of a round that fails.
#
# A run begins with fuzz/seeds and adds inputs that cover more code to fuzz/corpus, which is not in git. The next run
# continues from there. The script needs a nightly toolchain for its sanitizers, a C++ compiler, and cargo-fuzz. It
# installs cargo-fuzz, which takes five minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
case ${1-} in
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
    [0-9]*) seconds=$1; shift ;;
esac
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(splitter gateway control config discovery c)
for target in "${targets[@]}"; do
    [ "$target" = c ] || [ -f "fuzz/fuzz_targets/$target.rs" ] ||
        { echo "fuzz: unknown target '$target': expected splitter, gateway, control, config, discovery or c" >&2; exit 2; }
done
if [ "${targets[*]}" = c ]; then
    exec env PULSEGATE_C_SECONDS="$seconds" cargo test --test c_client random
fi

missing=
command -v cargo >/dev/null || missing+=$'\n  cargo: install Rust by rustup'
cargo +nightly --version >/dev/null 2>&1 || missing+=$'\n  a nightly toolchain: rustup toolchain install nightly --profile minimal'
command -v c++ >/dev/null || missing+=$'\n  a C++ compiler: apt-get install g++'
[ -z "$missing" ] || { echo "fuzz: MISSING, nothing was fuzzed:$missing" >&2; exit 1; }
if ! command -v cargo-fuzz >/dev/null; then
    echo "== installing cargo-fuzz"
    cargo install --locked cargo-fuzz || { echo "fuzz: MISSING: cargo-fuzz could not be installed" >&2; exit 1; }
fi

echo "== building"
cargo +nightly fuzz build
failed=()
for target in "${targets[@]}"; do
    if [ "$target" = c ]; then
        PULSEGATE_C_SECONDS=$seconds cargo test --test c_client random || failed+=(c)
        continue
    fi
    printf '\n== %s, %s s\n' "$target" "$seconds"
    dictionary=fuzz/json.dict length=4096
    case $target in
        splitter) length=16384 ;;
        config) dictionary=fuzz/config.dict length=16384 ;;
    esac
    mkdir -p "fuzz/corpus/$target"
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len="$length" -dict="$dictionary" -timeout=10 -print_final_stats=1 -verbosity=0 ||
        failed+=("$target")
done
echo
[ ${#failed[@]} -eq 0 ] || { echo "fuzz: FAILED: expected no crash, saw one in ${failed[*]}: see fuzz/artifacts" >&2; exit 1; }
echo "fuzz: nothing found in ${targets[*]}"
