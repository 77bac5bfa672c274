#!/usr/bin/env bash
# The fuzzer of LLVM on one parser, or on all of them one after the other.
#
#   bash crates/fuzz/fuzz.sh NAME|all [SECONDS]
#
# Each parser gets SECONDS (60). Needs a C++ compiler; the usual stable toolchain will do. New inputs that
# lead to new code are kept in target/fuzz/NAME, one that does harm in target/fuzz/harm-NAME-…: mend the
# parser, and add it to crates/fuzz/corpus/NAME. The rest of the parsers still get their turn; the exit
# code is 1 if any did harm.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?which parser? all, or a folder of crates/fuzz/corpus}
seconds=${2:-60}
if [ "$name" = all ]; then
  names=$(ls crates/fuzz/corpus)
elif [ -d "crates/fuzz/corpus/$name" ]; then
  names=$name
else
  echo "fuzz: no parser is named \`$name\`; \`ls crates/fuzz/corpus\` shows them all" >&2
  exit 2
fi

# What the compiler has to put in, so that the fuzzer sees where an input leads.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Cdebug-assertions"
target=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked -p ravelin-fuzz --features libfuzzer --bin fuzz \
  --target "$target" --target-dir target/fuzz-build --config 'profile.release.lto=false' >&2

# Ctrl-C ends all, not only the parser whose turn it is.
trap 'exit 130' INT
harmful=()
for name in $names; do
  mkdir -p "target/fuzz/$name"
  PARSER=$name "target/fuzz-build/$target/release/fuzz" "target/fuzz/$name" "crates/fuzz/corpus/$name" \
    -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix="target/fuzz/harm-$name-" || harmful+=("$name")
done
if [ ${#harmful[@]} -gt 0 ]; then
  echo "fuzz: harm was done in ${harmful[*]}; the inputs are target/fuzz/harm-*" >&2
  exit 1
fi
