#!/usr/bin/env bash
# What a repository takes over time, our program against stock Borg: see docs/performance.md.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --bin ravelin
exec cargo run --quiet --release -p ravelin-testkit --example bench_borg_time -- "$@"
