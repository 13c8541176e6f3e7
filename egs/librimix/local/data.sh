#!/usr/bin/env bash
# Stage 1 of librimix: the mixtures of the training, dev and test set, and LibriSpeech's utterances
# and LibriMix's noise for dynamic mixing. Every file's header is read.
# Called by run.sh, which sets the variables.
set -euo pipefail

options=(--jobs "${jobs:?}" ${cluster:+--cluster "$cluster"})
[[ ${allow_partial:?} == false ]] || options+=(--allow-partial)
[[ -z ${num_valid-} ]] || options+=(--few "cv=$num_valid")
[[ -z ${num_test-} ]] || options+=(--few "tt=$num_test")
sepasr prepare_librimix --librimix "${librimix:?}" --librispeech "${librispeech:?}" \
    --train "${train_subset:?}" --num-speakers "${num_speakers:?}" --fs "${fs:?}" --cut "${cut:?}" \
    --condition "${condition:?}" --reference "${reference:?}" --out "${data:?}" "${options[@]}" "$@"
