#!/bin/sh
# Duplicity's own functional tests, run against this program in the place of duplicity.
#
#   judges/duplicity-suite.sh [PROGRAM] [more arguments of the runner]
#
# PROGRAM is `ravelin`, built; without it: target/debug/ravelin. The runner is another program, which
# gets `--json FILE` and, last, a link named `duplicity` to PROGRAM; into FILE it writes an object
# whose `outcomes` tell the outcome of each test by its name. DUPLICITY_SUITE says where it is.
# Fails when a test that judges/duplicity-suite/passing.txt names was run and did not pass, and, where
# no more arguments choose tests, when one was not run.
#
#   DUPLICITY_SUITE=…/duplicity-suite judges/duplicity-suite.sh target/debug/ravelin
#   DUPLICITY_SUITE=…/duplicity-suite judges/duplicity-suite.sh target/debug/ravelin --only log
set -eu
cd "$(dirname "$0")/.."
program=$(realpath "${1:-target/debug/ravelin}")
[ $# -eq 0 ] || shift
if [ -z "${DUPLICITY_SUITE:-}" ]; then
    echo "judges/duplicity-suite.sh: DUPLICITY_SUITE does not say where the runner is" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ln -s "$program" "$folder/duplicity"
# Tests that are not in the list may fail. A session of its own, so that nothing that a test leaves
# behind outlives the run.
setsid -w "$DUPLICITY_SUITE" --json "$folder/outcomes.json" "$@" "$folder/duplicity" || true
python3 - "$folder/outcomes.json" judges/duplicity-suite/passing.txt $# <<'END'
import json, sys
outcomes = json.load(open(sys.argv[1]))["outcomes"]
listed = set(open(sys.argv[2]).read().split())
is_part = sys.argv[3] != "0"
passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
for name in sorted(passed - listed):
    print("passes, and is not in the list:", name)
lost = sorted(name for name in listed - passed if name in outcomes or not is_part)
for name in lost:
    print("is in the list, and does not pass:", name)
print(f"{len(passed)} passed, {len(listed)} in the list")
sys.exit(bool(lost))
END
