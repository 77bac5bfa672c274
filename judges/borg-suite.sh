#!/bin/sh
# Borg's own tests, run against this program in the place of Borg.
#
#   judges/borg-suite.sh [PROGRAM] [more arguments of the runner]
#
# PROGRAM is `ravelin`, built; without it: target/debug/ravelin. The runner is another program, which
# gets a link named `borg` to PROGRAM, `-s SUITE` and `--must-pass LIST`; BORG_SUITE says where it
# is. It must fail when one of the tests that LIST names does not pass. Each suite has a list of its own
# in judges/borg-suite/. SUITES says which are run: all of them, unless it says something else.
# With more arguments, which choose tests, nothing is compared with the lists.
#
#   BORG_SUITE=…/borg-suite judges/borg-suite.sh target/debug/ravelin
#   BORG_SUITE=…/borg-suite SUITES=remote-both judges/borg-suite.sh target/debug/ravelin -g create
set -eu
cd "$(dirname "$0")/.."
program=$(realpath "${1:-target/debug/ravelin}")
[ $# -eq 0 ] || shift
if [ -z "${BORG_SUITE:-}" ]; then
    echo "judges/borg-suite.sh: BORG_SUITE does not say where the runner is" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ln -s "$program" "$folder/borg"
lists=$PWD/judges/borg-suite
failed=
for suite in ${SUITES:-binary more rpc remote-client remote-server remote-both}; do
    echo "=== $suite"
    list=
    [ $# -gt 0 ] || list=$lists/$suite.txt
    # A session of its own, so that nothing that a test leaves behind outlives the run.
    setsid -w "$BORG_SUITE" "$folder/borg" -s "$suite" --json "$folder/$suite.json" \
        ${list:+--must-pass "$list"} "$@" || failed="$failed $suite"
done
if [ -n "$failed" ]; then
    echo "not as it should be:$failed" >&2
    exit 1
fi
