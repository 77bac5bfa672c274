#!/usr/bin/env bash
# Builds a Debian package of this tree: program, manual pages, completions, units of systemd, documents.
#
#   bash packaging/deb.sh [PROGRAM]
#
# PROGRAM is packed as it is; without one, a release is built first. Writes
# target/package/ravelin_VERSION_ARCHITECTURE.deb and prints its path. Needs `dpkg-deb`.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-}
if [ -z "$program" ]; then
  cargo build --release --locked --package ravelin >&2
  program=${CARGO_TARGET_DIR:-target}/release/ravelin
fi
version=$("$program" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
out=target/package
mkdir -p "$out"
root=$(mktemp -d "$out/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

install -D -m 755 "$program" "$root/usr/bin/ravelin"
strip --strip-unneeded "$root/usr/bin/ravelin"

# The stock command lines are offered to who puts this folder into PATH, and forced on nobody: the
# programs of these names, if they are installed, stay where they are.
mkdir -p "$root/usr/lib/ravelin/bin"
for name in borg duplicity; do
  ln -s ../../../bin/ravelin "$root/usr/lib/ravelin/bin/$name"
done

"$program" man --to "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
completions() {
  mkdir -p "$root/$(dirname "$2")"
  "$program" completions "$1" >"$root/$2"
}
completions bash usr/share/bash-completion/completions/ravelin
completions zsh usr/share/zsh/vendor-completions/_ravelin
completions fish usr/share/fish/vendor_completions.d/ravelin.fish

# Timers for each user and for the system, enabled by nobody but who wants them.
"$program" schedule units --to "$root/usr/lib/systemd"

doc="$root/usr/share/doc/ravelin"
mkdir -p "$doc"
cp README.md "$doc"
cp -R docs "$doc/docs"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
cat LICENSE-APACHE LICENSE-MIT >"$doc/copyright"

# What the program is linked with decides on which systems it runs.
libc=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2)
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: ravelin
Version: $version
Architecture: $architecture
Maintainer: The Ravelin developers <ravelin@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Depends: libc6 (>= $libc), libgcc-s1
Recommends: ca-certificates, openssh-client, gnupg, fuse3
Suggests: borgbackup, duplicity, rclone
Description: backups in several independent layers
 One configuration and one read of the files feed several layers, each of which
 is in a format that a well-known program restores without this one: Borg
 repositories, duplicity archives, plain files with their history.
 .
 "ravelin quickstart FOLDER" protects a folder, "ravelin schedule install" lets
 systemd or cron do the rest. /usr/lib/ravelin/bin holds links by the names of
 borg and duplicity for programs that call those.
CONTROL

# systemd, where it runs, hears of units that come and go. A timer of the system that has lost its
# program would fail four times an hour.
for script in postinst prerm postrm; do
  {
    echo '#!/bin/sh'
    echo 'set -e'
    echo '[ -d /run/systemd/system ] || exit 0'
    if [ "$script" = prerm ]; then
      echo '[ "$1" = remove ] || exit 0'
      echo 'systemctl disable --now ravelin.timer ravelin-notify.timer >/dev/null 2>&1 || true'
    else
      echo 'systemctl daemon-reload || true'
    fi
  } >"$root/DEBIAN/$script"
done

find "$root" -type d -exec chmod 755 {} +
find "$root/usr/share" "$root/usr/lib/systemd" -type f -exec chmod 644 {} +
chmod 755 "$root"/DEBIAN/p*
package="$out/ravelin_${version}_$architecture.deb"
dpkg-deb --root-owner-group -Zxz -z3 --build "$root" "$package" >/dev/null
echo "$package"
