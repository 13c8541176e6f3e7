#!/usr/bin/env bash
# Every check of the project: ruff, types, shellcheck, then the tests. All of them run, whichever
# fails; the status is that of the first that failed.
#
#     tests/run.sh [--fast] [argument of pytest]...
#
# --fast leaves out the tests that are marked slow.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
pytest_arguments=(--numprocesses 2)
if [[ ${1:-} == --fast ]]; then
    pytest_arguments+=(-m "not slow")
    shift
fi

tools/install.sh --extras mini,demo,espnet,onnx,test || exit
# shellcheck source=tools/activate.sh
. tools/activate.sh
# The processes of pytest share the cores already.
export OMP_NUM_THREADS=1

status=0
summary=()
part() { # name, command...
    local started=$SECONDS outcome=ok failed
    printf '\n== %s\n' "$1"
    "${@:2}"
    failed=$?
    if [[ $failed -ne 0 ]]; then
        outcome=FAILED
        [[ $status -ne 0 ]] || status=$failed
    fi
    summary+=("$(printf '%-12s %-6s %4d s' "$1" "$outcome" $((SECONDS - started)))")
}

# shellcheck disable=SC2329  # it is called by part
tests() {
    pytest "${pytest_arguments[@]}" "$@" | tee "$closing"
}

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
closing=$(mktemp)
trap 'rm -f "$closing"' EXIT

part "ruff" ruff check
part "format" ruff format --check
part "types" mypy
part "shellcheck" shellcheck --external-sources "${scripts[@]}"
part "tests" tests "$@"

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
tail -n 1 "$closing"
exit "$status"
