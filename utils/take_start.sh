#!/usr/bin/env bash
# Put starting points in place: utils/take_start.sh EXP DIR...
# A folder is named after what it holds, separator or wav2vec2_mini, or is the folder final in one
# of that name.
set -euo pipefail
# shellcheck source=utils/settings.sh
. utils/settings.sh
exp=$1

rm -rf "$exp/start" "$exp"/conf/{encoder,asr}/wav2vec2_mini.yaml
mkdir -p "$exp/start"
for from in "${@:2}"; do
    name=$(basename "${from%/final}")
    cp -r "$from" "$exp/start/$name"
    if [[ $name == wav2vec2_mini ]]; then
        # As a recogniser and as an encoder of the loss, it is this one from here on.
        for kind in encoder asr; do
            mkdir -p "$exp/conf/$kind"
            echo "model: $(yaml_path "$exp/start/$name")" >"$exp/conf/$kind/$name.yaml"
        done
    fi
done
