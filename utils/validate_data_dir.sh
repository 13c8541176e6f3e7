#!/usr/bin/env bash
# Check data directories: utils/validate_data_dir.sh [--samples] DIR...
# Names file and line of each problem; exit code 1 if there is one. --samples finds NaN as well.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${SEPASR_VENV:-$root/.venv}/bin/python
[ -x "$python" ] || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m sepasr.data.validate "$@"
