#!/usr/bin/env bash
# Stage 0 of mini_whamr for the sets made on request: CORPUS/extra/NAME.
# Called by run.sh, which sets the variables.
set -euo pipefail

read -ra settings <<<"num_test=${num_test:?} ${sizes?}"
read -ra extra <<<"${extra_sets:?}"
sepasr simulate --set "${settings[@]}" --extra "${extra[@]}" --jobs "${jobs:?}" \
    ${cluster:+--cluster "$cluster"} --out "${corpus:?}"
