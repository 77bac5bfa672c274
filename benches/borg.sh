#!/usr/bin/env bash
# Our program against stock Borg: the same data, mode and compression. See docs/performance.md,
# and `bash benches/borg.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --bin ravelin
exec cargo run --quiet --release -p ravelin-testkit --example bench_borg -- "$@"
