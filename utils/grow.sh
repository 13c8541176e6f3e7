#!/usr/bin/env bash
# Train starting points for more speakers from the one for two, whose weights they begin with: the
# mask layer's rows are repeated. Stages 0-2 of the recipe come first, with
# `--extra_sets "3speakers 4speakers"`. They go to EXP/start_Nspeakers/separator, where the study
# `speakers` takes them from. What was broken off goes on.

recipe=mini_whamr
num_speakers="3 4"  # one starting point for each
reference=anechoic  # as for run.sh
train_set=          # name=value ... laid over the YAML, such as fit.steps=500
exp=                # as for run.sh

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=utils/stage.sh
. utils/stage.sh
# shellcheck source=utils/settings.sh
. utils/settings.sh
# shellcheck source=tools/activate.sh
. tools/activate.sh

option_end "$@"
find_folders
stage=0 stop_stage=2 stage_needs 2 "$done/start"

read -ra settings <<<"mixing.reference=$reference $train_set"
layers config train/pretrain train/grow
find_material
# shellcheck disable=SC2128 # in run.sh it is an array
for count in $num_speakers; do
    valid=$data/cv_${count}speakers work=$exp/grow/${count}speakers to=$exp/start_${count}speakers
    [[ -d $valid ]] || fail "there is no $valid (run stages 0-1 with --extra_sets ${count}speakers)"
    once "$done/grow_${count}speakers" "train a separator of $count speakers" "$done"/{data,start} \
        output="$work/final" options="${settings[*]}" "${config[@]}" \
        -- sepasr train --config "${config[@]}" --set "mixing.num_speakers=$count" "${settings[@]}" \
        --init "$exp/start/separator" --grow-speakers "${material[@]}" --valid "$valid" \
        --out "$work" --overwrite
    rm -rf "$to.part"
    mkdir "$to.part"
    cp -r "$work/final" "$to.part/separator"
    rm -rf "$to"
    mv "$to.part" "$to"
done
