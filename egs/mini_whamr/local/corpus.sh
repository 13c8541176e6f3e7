#!/usr/bin/env bash
# Stage 0 of mini_whamr: speech, rooms, noise and mixtures, in the layouts of WSJ0, WHAM and WHAMR.
# Called by run.sh, which sets the variables.
set -euo pipefail

sepasr simulate --set num_dev="${num_dev:?}" --set num_test="${num_test:?}" --set jobs="${jobs:?}" \
    --out "${corpus:?}"
