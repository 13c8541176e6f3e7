#!/usr/bin/env bash
# Choose each system's learning rate and steps on the development set, from one grid for all of
# them, by the mean cpWER over families of recognisers. Stages 0-2 of the recipe come first. The
# choice goes to CHOICES/finetune_SYSTEM.yaml, the whole grid to EXP/tune/SYSTEM/grid.csv.

recipe=mini_whamr   # its options.sh has other defaults; of its own options none is heeded here
systems=            # sisdr, ae_ENCODER, pit_ENCODER (default: sisdr, and ae_ of all encoders)
encoders="whisper_tiny_en wav2vec2_mini"  # as for run.sh
num_speakers=2      # as for run.sh
reference=anechoic  # as for run.sh
lr="3e-5 1e-4"      # learning rates to try
steps="100 300"     # numbers of steps to try
seed=0              # of the trainings; the table's are other ones
recognisers="whisper_tiny_en wav2vec2_mini moonshine_tiny"  # conf/asr/NAME.yaml, one of each family
asr_source=auto  # as for run.sh
train_set=          # as for run.sh
device=             # of separators and recognisers, as for run.sh
num_valid=          # mixtures of the dev set to choose by (default: all)
exp=                # as for run.sh
choices=            # folder of the choices (default: egs/RECIPE/conf/train)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
Options_of=(recipe egs/ /options.sh)
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
choose_device
: "${choices:=$egs/conf/train}"
# shellcheck disable=SC2128,SC2178 # in run.sh it is an array
if [[ -z $systems ]]; then
    systems=sisdr
    for name in $encoders; do systems+=" ae_$name"; done
fi
# shellcheck disable=SC2128
for system in $systems; do # before the hours that the first takes
    [[ $system =~ ^(sisdr|(ae|pit)_.+)$ ]] ||
        fail "unknown system '$system' (there are: sisdr, ae_ENCODER, pit_ENCODER)"
    [[ $system == sisdr ]] || layers encoder "encoder/${system#*_}"
done
stage=0 stop_stage=2 stage_needs 2 "$done/start"

read -ra training <<<"fit.seed=$seed $train_set"
training=("mixing.num_speakers=$num_speakers" "mixing.reference=$reference" "${training[@]}")
read -ra rates <<<"$lr"
read -ra lengths <<<"$steps"
find_material
readers=()
for name in $recognisers; do
    layers config "asr/$name"
    readers+=(--recogniser "${config[@]}")
done
# shellcheck disable=SC2128 # in run.sh it is an array
for system in $systems; do
    encoder=()
    [[ $system == sisdr ]] || layers encoder "encoder/${system#*_}"
    # With what was chosen before: of that the grid replaces rate and steps, and all else stays.
    layers config train/finetune "train/finetune_${system%%_*}" "train/finetune_$system"
    log "tune $system: lr $lr, steps $steps"
    mkdir -p "$choices"
    sepasr tune --config "${config[@]}" --set "${training[@]}" --encoder "${encoder[@]}" \
        "${material[@]}" --init "$exp/start/separator" --valid "$data/cv" \
        --lr "${rates[@]}" --steps "${lengths[@]}" "${readers[@]}" --asr-source "$asr_source" \
        ${device:+--device "$device"} ${num_valid:+--num-valid "$num_valid"} \
        --out "$exp/tune/$system" --choice "$choices/finetune_$system.yaml" --overwrite
done
