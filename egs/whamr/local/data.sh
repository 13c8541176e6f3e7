#!/usr/bin/env bash
# Stage 1 of whamr: the mixtures of the training, dev and test set, subsets of the latter by style,
# and, for dynamic mixing, WSJ0's utterances, WHAM's noise and the rooms. Every file's header is read,
# and a few mixtures of each set are heard.
# Called by run.sh, which sets the variables.
set -euo pipefail

read -ra of_sets <<<"${sets:?}"
read -ra of_styles <<<"${styles?}"
options=(--jobs "${jobs:?}" ${cluster:+--cluster "$cluster"})
[[ ${allow_partial:?} == false ]] || options+=(--allow-partial)
[[ -z ${num_valid-} ]] || options+=(--few "cv=$num_valid")
[[ -z ${num_test-} ]] || options+=(--few "tt=$num_test")
[[ ${cut:?} == max ]] || options+=(--no-text) # words that are cut are in no transcript
[[ ${dynamic_mixing:?} == false ]] || options+=(--training --rirs "${corpus:?}/rirs")
# shellcheck source=egs/whamr/local/noise.sh
. egs/whamr/local/noise.sh
sepasr prepare whamr --corpus whamr --whamr "${whamr:-${corpus:?}/whamr}" --wsj0 "${wsj0:?}" \
    --sets "${of_sets[@]}" --styles "${of_styles[@]}" --fs "${fs:?}" --cut "$cut" \
    --condition "${condition:?}" --reference "${reference:?}" \
    ${training_noise:+--noise "$training_noise"} --out "${data:?}" \
    "${options[@]}" "$@"
