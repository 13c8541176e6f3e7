#!/usr/bin/env bash
# Stage 0 of mini_whamr: speech, rooms, noise and mixtures, in the layouts of WSJ0, WHAM and WHAMR:
# 0.3 GB and two to three minutes on two cores for the default sizes.
# Called by run.sh, which sets the variables.
set -euo pipefail

read -ra settings <<<"num_test=${num_test:?} ${sizes?}"
sepasr simulate --set "${settings[@]}" --jobs "${jobs:?}" ${cluster:+--cluster "$cluster"} --out "${corpus:?}"
