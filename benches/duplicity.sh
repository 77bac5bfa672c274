#!/usr/bin/env bash
# Our program against stock duplicity: the same data, encryption and volume size. See
# docs/performance.md, and `bash benches/duplicity.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --bin ravelin
exec cargo run --quiet --release -p ravelin-testkit --example bench_duplicity -- "$@"
