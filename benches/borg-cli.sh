#!/usr/bin/env bash
# How long small calls take, our program against stock Borg: see docs/borg-command-line.md.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --bin ravelin
exec cargo run --quiet --release -p ravelin-testkit --example bench_borg_cli -- "$@"
