#!/usr/bin/env bash
# Stage 0 of mini_whamr: speech, rooms, noise and mixtures, in the layouts of WSJ0, WHAM and WHAMR.
# Called by run.sh, which sets the variables.
set -euo pipefail

read -ra settings <<<"num_test=${num_test:?} jobs=${jobs:?} ${sizes?}"
sepasr simulate --set "${settings[@]}" --out "${corpus:?}"
