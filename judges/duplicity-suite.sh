#!/usr/bin/env bash
# Runs duplicity's own functional tests on our program in its place, and fails when a test that
# judges/duplicity-suite/passing.txt lists does not pass any more.
#
#   judges/duplicity-suite.sh RUNNER [--update] [-- further words for the runner]
#
# RUNNER (or the variable DUPLICITY_SUITE) is a program that runs these tests on the executable
# that is its last argument, and with `--json FILE` writes an object whose `outcomes` tell the outcome
# of each by its id. Without one the script says so and ends with 0: nobody has to have it.
# With --update the list is written anew; look at what is lost before you commit it.
set -euo pipefail
cd "$(dirname "$0")/.."
list=judges/duplicity-suite/passing.txt
runner=${DUPLICITY_SUITE:-}
update=no
while [ $# -gt 0 ]; do
    case $1 in
        --update) update=yes ;;
        --) shift; break ;;
        *) runner=$1 ;;
    esac
    shift
done
if [ -z "$runner" ]; then
    echo "duplicity-suite: no runner is named (DUPLICITY_SUITE), nothing is judged"
    exit 0
fi
cargo build --package ravelin
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ln -s "$PWD/target/debug/ravelin" "$folder/duplicity"
setsid --wait "$runner" --json "$folder/outcome.json" "$@" "$folder/duplicity" || true
python3 - "$folder/outcome.json" > "$folder/passed" <<'END'
import json, sys
tests = json.load(open(sys.argv[1]))["outcomes"]
items = tests.items()
for name in sorted(name for name, outcome in items if outcome == "passed"):
    print(name)
END
if [ "$update" = yes ]; then
    mkdir -p "$(dirname "$list")"
    cp "$folder/passed" "$list"
fi
lost=$(LC_ALL=C comm -23 <(LC_ALL=C sort "$list") <(LC_ALL=C sort "$folder/passed"))
gained=$(LC_ALL=C comm -13 <(LC_ALL=C sort "$list") <(LC_ALL=C sort "$folder/passed"))
echo "duplicity-suite: $(wc -l < "$folder/passed") passed, $(wc -l < "$list") listed"
[ -z "$gained" ] || printf 'passes now and is not listed:\n%s\n' "$gained"
if [ -n "$lost" ]; then
    printf 'passes no more:\n%s\n' "$lost"
    exit 1
fi
