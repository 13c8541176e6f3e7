#!/usr/bin/env bash
# Put a starting point in place: utils/take_start.sh EXP WAV2VEC2_MINI SEPARATOR
set -euo pipefail
exp=$1

rm -rf "$exp/start"
mkdir -p "$exp/start"
cp -r "$2" "$exp/start/wav2vec2_mini"
cp -r "$3" "$exp/start/separator"
# As a recogniser and as an encoder of the loss, wav2vec2_mini is this one from here on.
for kind in encoder asr; do
    mkdir -p "$exp/conf/$kind"
    echo "model: $exp/start/wav2vec2_mini" >"$exp/conf/$kind/wav2vec2_mini.yaml"
done
