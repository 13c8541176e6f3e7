#!/usr/bin/env bash
# From a corpus to a table of word error rates: does fine-tuning a speech separator by the embeddings
# of a frozen ASR encoder (guided PIT, no transcripts) lower the word errors of separated speech
# further than the same number of further steps with SI-SDR?
# Stages: 0 corpus, 1 data directories, 2 starting point, 3 fine-tuning, 4 separation and
# recognition, 5 tables. What is complete is skipped, what was broken off goes on.

# What to run
recipe=mini_whamr  # folder of egs/ with the corpus's conf/ and local/
stage=0            # first stage to run
stop_stage=5       # last stage to run
# Corpus
corpus=            # its folder (default: egs/RECIPE/corpus)
sizes=             # of an embedded corpus, as name=value ...; see sepasr/simulate/corpus.py
num_test=24        # test mixtures of an embedded corpus; more of them narrow the intervals
# Training
from_scratch=false # train the starting points, instead of taking those in egs/RECIPE/pretrained
separator=mini     # conf/separator/NAME.yaml, for training from scratch
encoders="whisper_tiny_en wav2vec2_mini"  # conf/encoder/NAME.yaml: a system for each
seeds="1"          # of fine-tuning, "1 2 3" for several; every system is trained once with each
train_set=         # name=value ... laid over the YAML of every training, such as fit.steps=50
# Evaluation
recognisers="whisper_tiny_en whisper_base wav2vec2_mini pocketsphinx"  # conf/asr/NAME.yaml
asr_source=package # where weights of recognisers come from: package (installed) or hub
exp=               # folder of experiments (default: egs/RECIPE/exp)
results=           # folder of the tables (default: EXP/results)
jobs=0             # processes of what runs in parallel (default: one on each core)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=utils/stage.sh
. utils/stage.sh
# shellcheck source=utils/layers.sh
. utils/layers.sh

[[ $# -eq 0 ]] || fail "unexpected '$1' (options are --name value, see --help)"
egs=egs/$recipe
[[ -d $egs/local ]] || fail "unknown recipe '$recipe' (there are: $(cd egs && echo *))"
: "${corpus:=$egs/corpus}" "${exp:=$egs/exp}" "${results:=$exp/results}"
[[ $jobs -gt 0 ]] || jobs=$(getconf _NPROCESSORS_ONLN)
data=$exp/data done=$exp/.done
export corpus sizes num_test data exp jobs
new_separator=() pretrain=() ctc=() config=()
read -ra train_settings <<<"$train_set"

# Every name is looked up before anything starts.
layers new_separator "separator/$separator"
layers pretrain train/pretrain
layers ctc train/wav2vec2_ctc
systems=(sisdr)
for name in $encoders; do
    layers config "encoder/$name"
    systems+=("ae_$name")
done
for name in $recognisers; do layers config "asr/$name"; done
folders=() # of the trained systems, below exp/finetune, exp/separate and exp/decode
for system in "${systems[@]}"; do
    for seed in $seeds; do folders+=("$system/seed$seed"); done
done
tools/install.sh
# shellcheck source=tools/activate.sh
. tools/activate.sh

if stage_wanted 0; then
    once "$done/corpus" "corpus in $corpus" corpus="$corpus" sizes="$sizes" num_test="$num_test" \
        -- "$egs/local/corpus.sh"
fi

if stage_wanted 1; then
    stage_needs 0 "$done/corpus"
    once "$done/data" "data directories in $data" "$egs/local/data.sh" "$done/corpus" \
        -- "$egs/local/data.sh"
fi

material=(--utterances "$data/tr_utterances" --noise "$data/tr_noise" --rooms "$data/tr_rooms")
if stage_wanted 2; then
    stage_needs 1 "$done/data"
    from=("$egs"/pretrained/{wav2vec2_mini,separator})
    if [[ $from_scratch == true ]]; then
        from=("$exp"/scratch/{wav2vec2_mini,separator}/final)
        once "$done/scratch/wav2vec2_mini" "train the recogniser wav2vec2_mini" \
            train_set="$train_set" "${ctc[@]}" "$done/data" \
            -- sepasr train_ctc --config "${ctc[@]}" --set "${train_settings[@]}" "${material[@]}" \
            --valid "$data/cv_utterances" --out "${from[0]%/final}" --overwrite
        once "$done/scratch/separator" "pretrain the separator $separator" \
            train_set="$train_set" "${pretrain[@]}" "${new_separator[@]}" "$done/data" \
            -- sepasr train --config "${pretrain[@]}" --set "${train_settings[@]}" "${material[@]}" \
            --separator "${new_separator[@]}" --valid "$data/cv" --out "${from[1]%/final}" --overwrite
    fi
    once "$done/start" "start from ${from[*]}" "${from[0]}"/* "${from[1]}"/* \
        -- utils/take_start.sh "$exp" "${from[@]}"
fi

if stage_wanted 3; then
    stage_needs 2 "$done/start"
    for folder in "${folders[@]}"; do
        system=${folder%/*} encoder=() options=(fit.seed="${folder#*/seed}" "${train_settings[@]}")
        layers config train/finetune "train/finetune_$system"
        if [[ $system == sisdr ]]; then options+=(loss.kind=signal); else layers encoder "encoder/${system#ae_}"; fi
        once "$done/finetune/$folder" "fine-tune $folder" \
            options="${options[*]}" "${config[@]}" "${encoder[@]}" "$done"/{data,start} \
            -- sepasr train --config "${config[@]}" --set "${options[@]}" --encoder "${encoder[@]}" \
            --init "$exp/start/separator" "${material[@]}" --valid "$data/cv" \
            --out "$exp/finetune/$folder" --overwrite
    done
fi

if stage_wanted 4; then
    stage_needs 3 "${folders[@]/#/$done/finetune/}"
    once "$done/separate/pretrained" "separate with the starting point" "$done"/{data,start} \
        -- sepasr separate "$data/tt" --model "$exp/start/separator" --out "$exp/separate/pretrained"
    for folder in "${folders[@]}"; do
        once "$done/separate/$folder" "separate with $folder" "$done"/{data,"finetune/$folder"} \
            -- sepasr separate "$data/tt" --model "$exp/finetune/$folder/final" --out "$exp/separate/$folder"
    done
    for name in $recognisers; do
        layers config "asr/$name"
        once "$done/decode/$name" "read everything with $name" asr_source="$asr_source" \
            "${config[@]}" "$done"/start "$done"/separate/pretrained "${folders[@]/#/$done/separate/}" \
            -- sepasr recognise --recogniser "${config[@]}" --asr-source "$asr_source" \
            --data "$data/tt" --exp "$exp" --systems mixture clean pretrained "${folders[@]}"
    done
fi

if stage_wanted 5; then
    read -ra names <<<"$recognisers"
    stage_needs 4 "${names[@]/#/$done/decode/}"
    layers config table
    once "$results/.done" "score" results="$results" "${config[@]}" "${names[@]/#/$done/decode/}" \
        -- sepasr score --recipe "$recipe" --config "${config[@]}" --data "$data/tt" --exp "$exp" \
        --systems mixture clean pretrained "${folders[@]}" --recognisers "${names[@]}" \
        --jobs "$jobs" --out "$results"
    sepasr show "$results/results.json"
fi
