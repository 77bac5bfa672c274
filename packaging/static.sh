#!/usr/bin/env bash
# Builds a program that is linked with nothing: it runs on every Linux of this processor, however old.
#
#   bash packaging/static.sh
#
# Prints its path. Needs `musl-gcc` (Debian: musl-tools) and the target of the toolchain, which
# `rustup target add` brings. Names of users and groups come from /etc/passwd and /etc/group alone: who
# has them elsewhere (LDAP, systemd-homed) takes the usual program.
set -euo pipefail
cd "$(dirname "$0")/.."

machine=$(uname -m)
target=$machine-unknown-linux-musl
if ! rustup target list --installed | grep -qx "$target"; then
  rustup target add "$target" >&2
fi
export "CC_${target//-/_}=musl-gcc"
cargo build --release --locked --package ravelin --target "$target" >&2
program=${CARGO_TARGET_DIR:-target}/$target/release/ravelin
if ldd "$program" 2>/dev/null | grep -q '=>'; then
  echo "packaging/static.sh: $program is linked with libraries" >&2
  exit 1
fi
echo "$program"
