#!/bin/sh
# Borg's own tests, run against this program in the place of Borg.
#
#   judges/borg-suite.sh [PROGRAM] [more arguments of the runner]
#
# PROGRAM is `ravelin`, built; without it: target/debug/ravelin. The runner is another program, which
# gets a link named `borg` to PROGRAM, `-s SUITES` and `--must-pass FILE`; BORG_SUITE says where it
# is. It must fail when one of the tests that passing.txt names does not pass.
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
links=$(mktemp -d)
trap 'rm -rf "$links"' EXIT
ln -s "$program" "$links/borg"
# A session of its own, so that nothing that a test leaves behind outlives the run.
setsid -w "$BORG_SUITE" "$links/borg" -s "${SUITES:-binary,more,rpc}" \
    --must-pass "$PWD/judges/borg-suite/passing.txt" "$@"
