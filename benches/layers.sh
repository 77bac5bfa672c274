#!/usr/bin/env bash
# What it costs to feed several layers from one reading: files that have not changed, with one layer and
# with three; and one layer fed by the engine against the same repository written by `ravelin borg create`.
# Medians as a table in Markdown, by the clock and of the processors' time.
#
#   bash benches/layers.sh [--files N] [--runs N] [--cold]
#
# Makes N files (default: 100000) of 100 bytes in folders of a hundred, in target/bench/layers. PROGRAM
# names a built program; without it, it is built. With --cold, the system forgets before each run what it
# has read of disks, as it has by the next night.
set -euo pipefail
cd "$(dirname "$0")/.."
files=100000 runs=5 cold=
while [ $# -gt 0 ]; do
  case $1 in
    --files) files=$2 && shift ;;
    --runs) runs=$2 && shift ;;
    --cold) cold=yes ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done
if [ -z "${PROGRAM:-}" ]; then
  cargo build --quiet --release --bin ravelin
  PROGRAM=target/release/ravelin
fi
ravelin=$(realpath "$PROGRAM")
place=$PWD/target/bench/layers
rm -rf "$place"
mkdir -p "$place/data"
python3 - "$place/data" "$files" <<'PY'
import os, random, sys
place, count = sys.argv[1], int(sys.argv[2])
noise = random.Random(7)
for number in range(count):
    folder = f"{place}/{number // 10000:03}/{number // 100:05}"
    if number % 100 == 0:
        os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{number:07}", "wb") as file:
        file.write(noise.randbytes(100))
PY
# Older than what a program would look at twice.
find "$place/data" -exec touch -h -d '2 hours ago' {} +

# A machine of its own with so many layers of each kind.
machine() {
  local name=$1 borg=$2 duplicity=$3 number
  mkdir -p "$place/$name/.config/ravelin"
  printf 'secret\n' >"$place/$name/passphrase"
  chmod 600 "$place/$name/passphrase"
  {
    printf '[[source]]\npaths = ["%s"]\n\n[guard]\ndeleted = "never"\nrenamed = "never"\nscrambled = "never"\n' \
      "$place/data"
    for number in $(seq "$borg"); do
      printf '[layer.borg-%s]\nkind = "borg"\nstore = "~/borg-%s"\n' "$number" "$number"
      printf 'encryption = "repokey-blake2"\npassphrase = { file = "~/passphrase" }\n'
    done
    for number in $(seq "$duplicity"); do
      printf '[layer.duplicity-%s]\nkind = "duplicity"\nstore = "~/duplicity-%s"\n' "$number" "$number"
      printf 'passphrase = { file = "~/passphrase" }\n'
    done
  } >"$place/$name/.config/ravelin/ravelin.toml"
}
machine one-borg 1 0
machine three-borg 3 0
machine one-duplicity 0 1
machine mixed 2 1
machine alone 0 0
ask() {
  HOME=$place/$1 BORG_PASSPHRASE=secret BORG_RELOCATED_REPO_ACCESS_IS_OK=yes XDG_CACHE_HOME='' \
    "$ravelin" "${@:2}" </dev/null
}
timed() {
  sync
  if [ "$cold" ]; then echo 3 >/proc/sys/vm/drop_caches; fi
  TIMEFORMAT='%R %U %S'
  { time ask "${@:3}" >/dev/null 2>"$place/complaints"; } 2>>"$place/$1.$2" ||
    { cat "$place/complaints" >&2; exit 1; }
}
for name in one-borg three-borg one-duplicity mixed; do ask "$name" init; done
first() {
  case $1 in
    alone) timed alone first alone borg create -C lz4 "$place/alone/repo::first" "$place/data" ;;
    *) timed "$1" first "$1" backup ;;
  esac
}
ask alone borg init -e repokey-blake2 "$place/alone/repo"
names="alone one-borg three-borg one-duplicity mixed"
for name in $names; do first "$name"; done
for run in $(seq "$runs"); do
  for name in $names; do
    sleep 1.1
    case $name in
      alone) timed alone again alone borg create -C lz4 "$place/alone/repo::again-$run" "$place/data" ;;
      *) timed "$name" again "$name" backup ;;
    esac
  done
done
middle() { sort -n | sed -n "$(((runs + 1) / 2))p"; }
median() { awk '{ print $1 }' "$place/$1.again" | middle; }
work() { awk '{ print $2 + $3 }' "$place/$1.again" | middle; }
one_borg=$(median one-borg) one_duplicity=$(median one-duplicity)
slowest=$(printf '%s\n' "$one_borg" "$one_duplicity" | sort -n | tail -1)
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
echo "$files files, $runs runs, $(nproc) processors; $("$ravelin" --version)" >&2
echo "| layers | first s | nothing changed s | processors' time s | against |"
echo "|---|--:|--:|--:|---|"
row() { echo "| $1 | $(cut -d' ' -f1 "$place/$2.first") | $(median "$2") | $(work "$2") | $3 |"; }
row "\`ravelin borg create\`" alone "–"
row "1 borg" one-borg "$(ratio "$one_borg" "$(median alone)") × \`borg create\`"
row "3 borg" three-borg "$(ratio "$(median three-borg)" "$one_borg") × 1 borg"
row "1 duplicity" one-duplicity "–"
row "2 borg, 1 duplicity" mixed "$(ratio "$(median mixed)" "$slowest") × the slower of one"
rm -rf "$place"
