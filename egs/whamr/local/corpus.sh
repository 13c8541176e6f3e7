#!/usr/bin/env bash
# Stage 0 of whamr: look whether WHAMR is all there; without --whamr, make it in CORPUS/whamr from
# WSJ0, WHAM's noise and the tables of WHAMR's scripts (100 GB for max at 16 kHz, about 2 hours on one
# core for its 28,000 mixtures). For dynamic mixing of reverberant mixtures, make impulse responses in
# CORPUS/rirs (2.2 GB, about an hour on one core for 20,000 rooms). What is there is kept.
# Called by run.sh, which sets the variables.
set -euo pipefail

fail() {
    echo "whamr: $1" >&2
    exit 2
}

speakers=2
[[ ${condition:?} != mix_single_* ]] || speakers=1
[[ ${num_speakers:?} == "$speakers" ]] ||
    fail "--num_speakers is $num_speakers, but $condition has $speakers"
[[ -n ${wsj0?} ]] || fail "--wsj0 is not given (a folder above all discs of LDC93S6A)"

# Without the set tr, whose noise it is, training mixes with WHAM's.
if [[ " ${sets:?} " != *" tr "* && $condition != mix_clean_* ]]; then
    [[ -n ${wham_noise?} ]] ||
        fail "mixtures of $condition have noise to train with, and --sets '$sets' has none (add tr, or give --wham_noise)"
    # shellcheck source=egs/whamr/local/noise.sh
    . egs/whamr/local/noise.sh
    [[ -d $training_noise ]] ||
        fail "there is no $training_noise (--wham_noise is the folder wham_noise, or the one that holds it)"
fi

options=(--fs "${fs:?}" --jobs "${jobs:?}" ${cluster:+--cluster "$cluster"})
if [[ -n ${whamr?} ]]; then
    egs/whamr/local/data.sh --check
elif [[ -n ${wham_noise?} && -n ${whamr_scripts?} ]]; then
    read -ra of_sets <<<"$sets"
    partial=()
    [[ ${allow_partial:?} == false ]] || partial=(--allow-partial)
    sepasr build whamr --scripts "$whamr_scripts" --wsj0 "$wsj0" --noise "$wham_noise" \
        --sets "${of_sets[@]}" --cut "${cut:?}" --conditions "$condition" \
        --out "${corpus:?}/whamr" "${partial[@]}" "${options[@]}"
else
    fail "give --whamr, or to make it --wham_noise and --whamr_scripts (http://wham.whisper.ai)"
fi
# Training hears no other rooms than the mixtures have, or none at all.
[[ ${dynamic_mixing:?} == true && $condition == *_reverb ]] || exit 0
sepasr build rooms ${whamr_scripts:+--scripts "$whamr_scripts"} \
    ${num_rooms:+--num-rooms "$num_rooms"} --out "${corpus:?}/rirs" "${options[@]}"
