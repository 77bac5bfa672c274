#!/usr/bin/env bash
# Our program beside those that docs/comparison.md names and a Debian has: Borg, restic, rclone. The
# same data in the same run, each in turn, and who begins changes; medians as a table in Markdown.
#
#   bash benches/others.sh [--set mixed|small|big] [--scale FACTOR] [--runs N]
#
# Works in target/bench/others. PROGRAM and CORPUS name built programs (`ravelin`, and the example
# `corpus` of the testkit), BORG the stock one; without them they are built, or Borg is looked for in PATH.
# restic and rclone are left out where they are not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=mixed scale=1.0 runs=3
while [ $# -gt 0 ]; do
  case $1 in
    --set) set_name=$2 ;;
    --scale) scale=$2 ;;
    --runs) runs=$2 ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift 2
done
if [ -z "${PROGRAM:-}" ]; then
  cargo build --quiet --release --bin ravelin
  PROGRAM=target/release/ravelin
fi
if [ -z "${CORPUS:-}" ]; then
  cargo build --quiet --release -p ravelin-testkit --example corpus
  CORPUS=target/release/examples/corpus
fi
ravelin=$(realpath "$PROGRAM")
borg=${BORG:-$(command -v borg || true)}
place=$PWD/target/bench/others
rm -rf "$place"
mkdir -p "$place/home"
"$CORPUS" "$set_name" "$place/data" --scale "$scale"
# Older than what a program would look at twice.
find "$place/data" -exec touch -h -d '2 hours ago' {} +
export HOME=$place/home BORG_PASSPHRASE=secret RESTIC_PASSWORD=secret
export BORG_RELOCATED_REPO_ACCESS_IS_OK=yes BORG_DISPLAY_PASSPHRASE=no

# What each program is asked to do: by name and step, in a folder of its own.
ask() {
  local data=$place/data
  case $1-$2 in
    ravelin-create) "$ravelin" borg init -e repokey-blake2 repo ;;
    ravelin-first | ravelin-second) "$ravelin" borg create -C lz4 "repo::$2" "$data" ;;
    ravelin-restore) (cd out && "$ravelin" borg extract ../repo::first) ;;
    ravelin-verify) "$ravelin" borg check --verify-data repo ;;
    borg-create) "$borg" init -e repokey-blake2 repo ;;
    borg-first | borg-second) "$borg" create -C lz4 "repo::$2" "$data" ;;
    borg-restore) (cd out && "$borg" extract ../repo::first) ;;
    borg-verify) "$borg" check --verify-data repo ;;
    restic-create) restic -q -r repo init ;;
    restic-first | restic-second) restic -q -r repo backup "$data" ;;
    restic-restore) restic -q -r repo restore latest --target out ;;
    restic-verify) restic -q -r repo check --read-data ;;
    # A mirror in the clear: there is nothing to create, and nothing to verify but by comparing.
    rclone-create) ;;
    rclone-first | rclone-second) rclone -q --links sync "$data" repo ;;
    rclone-restore) rclone -q --links sync repo out ;;
    rclone-verify) rclone -q --links check "$data" repo ;;
  esac
}

programs=ravelin
[ -z "$borg" ] || programs="$programs borg"
for other in restic rclone; do
  ! command -v "$other" >/dev/null || programs="$programs $other"
done
echo "set $set_name, scale $scale, $runs runs; $("$ravelin" --version)," \
  "$([ -z "$borg" ] || "$borg" --version)," \
  "$(! command -v restic >/dev/null || restic version | cut -d' ' -f1,2)," \
  "$(! command -v rclone >/dev/null || rclone version | head -1)" >&2
order=$programs
for run in $(seq "$runs"); do
  for step in create first second restore verify; do
    for program in $order; do
      mkdir -p "$place/$program/out"
      cd "$place/$program"
      # Read once by another program, so that nobody pays for the disk of the next.
      find "$place/data" repo -type f -exec cat {} + >/dev/null 2>&1 || true
      sync
      TIMEFORMAT='%R %U %S'
      { time ask "$program" "$step" >/dev/null 2>"$place/complaints"; } 2>>"$place/$program.$step" ||
        { cat "$place/complaints" >&2; exit 1; }
    done
  done
  for program in $programs; do
    du -sm "$place/$program/repo" | cut -f1 >>"$place/$program.stored"
    # A backup has the whole path in it, a mirror only what is below.
    back=$place/$program/out$place/data
    [ "$program" != rclone ] || back=$place/$program/out
    diff -r --no-dereference "$place/data" "$back" >&2 || echo "$program: what came back differs" >&2
    rm -rf "${place:?}/$program" "$place/home/.cache"
  done
  order="${order#* } ${order%% *}"
done

# Wall clock, and in brackets what the processors worked.
median() { sort -n | sed -n "$(((runs + 1) / 2))p"; }
echo "| s (CPU s) | first | nothing changed | restore | verify data | MB stored |"
echo "|---|--:|--:|--:|--:|--:|"
for program in $programs; do
  line="| $program |"
  for step in first second restore verify; do
    wall=$(cut -d' ' -f1 "$place/$program.$step" | median)
    work=$(awk '{printf "%.2f\n", $2 + $3}' "$place/$program.$step" | median)
    line="$line $wall ($work) |"
  done
  echo "$line $(median <"$place/$program.stored") |"
done
rm -rf "$place"
