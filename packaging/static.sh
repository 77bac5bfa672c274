#!/usr/bin/env bash
# Builds a program that is linked with nothing: it runs on every Linux of this processor, however old.
#
#   bash packaging/static.sh
#
# Prints its path, after the program has backed up and restored in a folder that it shares with nothing:
# as root, in a system of its own that consists of it. Needs `musl-gcc` (Debian: musl-tools) and the target of the toolchain, which
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

root=$(realpath "$(mktemp -d "$(dirname "$program")/root.XXXXXX")")
trap 'rm -rf "$root"' EXIT
mkdir "$root/home" "$root/home/Documents" "$root/tmp"
ln "$program" "$root/ravelin"
echo 'Dear Ada' >"$root/home/Documents/letter"
# `/`, or the folder itself for those who may not make it their root.
if [ "$(id -u)" = 0 ]; then
  call=(chroot "$root" /ravelin) inside=
else
  call=("$root/ravelin") inside=$root
fi
alone() {
  env -i PATH="$PATH" HOME="$inside/home" TMPDIR="$inside/tmp" "${call[@]}" "$@" >&2
}
alone quickstart "$inside/home/Documents"
alone verify --data
alone restore latest "$inside/home/Documents" --to "$inside/back"
diff -r "$root/home/Documents" "$root/back/Documents" >&2
echo "$program"
