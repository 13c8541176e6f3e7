#!/usr/bin/env bash
# From a corpus to a table of word error rates: does fine-tuning a speech separator by the embeddings
# of a frozen ASR encoder (guided PIT, no transcripts) lower the word errors of separated speech
# further than the same number of further steps with SI-SDR?
#
# Stages: 0 corpus, 1 data directories, 2 starting point, 3 fine-tuning, 4 separation and
# recognition, 5 tables. What is complete is skipped, what was broken off goes on.

# What to run
recipe=mini_whamr  # folder of egs/ with the corpus's conf/ and local/
stage=0            # first stage to run
stop_stage=5       # last stage to run
# Corpus
num_dev=32         # development mixtures of the embedded corpus
num_test=24        # test mixtures of the embedded corpus; more of them narrow the intervals
corpus=            # folder of the corpus (default: egs/RECIPE/corpus)
wsj0=              # folder of WSJ0, where the corpus needs it
# Training
from_scratch=false # train the starting points, instead of taking those in egs/RECIPE/pretrained
separator=mini     # conf/separator/NAME.yaml, for training from scratch
encoders="whisper_tiny_en wav2vec2_mini"  # conf/encoder/NAME.yaml: a system for each
seeds="1"          # of fine-tuning; every system is trained once with each
steps=             # optimiser steps of fine-tuning (default: what conf/ says of the system)
lr=                # learning rate of fine-tuning (default: what conf/ says of the system)
# Evaluation
recognisers="whisper_tiny_en whisper_base wav2vec2_mini pocketsphinx"  # conf/asr/NAME.yaml
asr_source=package # where weights of recognisers come from: package (installed) or hub
results=           # folder of the tables (default: egs/RECIPE/exp/results)
jobs=0             # processes of what runs in parallel (default: one on each core)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=utils/stage.sh
. utils/stage.sh

egs=egs/$recipe
[[ -d $egs ]] || fail "no recipe '$recipe' (there are: $(cd egs && echo *))"
tools/install.sh
# shellcheck source=tools/activate.sh
. tools/activate.sh
: "${corpus:=$egs/corpus}" "${results:=$egs/exp/results}"
[[ $jobs -gt 0 ]] || jobs=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
data=$egs/data exp=$egs/exp
export recipe corpus wsj0 data num_dev num_test jobs

# Set the array $1 to the YAML files that make up each of $2...: conf/ first, the recipe's over it.
layers() {
    local -n list=$1
    local name file
    list=()
    for name in "${@:2}"; do
        for file in {conf,"$egs"/conf}/"$name.yaml"; do
            [[ ! -f $file ]] || list+=("$file")
        done
    done
    ((${#list[@]})) || fail "unknown ${2%%/*} '${2#*/}' (there are: $(cd "conf/${2%%/*}" && echo *.yaml))"
}
# Every name is looked up before anything starts.
layers new_separator "separator/$separator"
layers pretrain train/pretrain
layers ctc train/wav2vec2_ctc
systems=(sisdr)
for name in $encoders; do layers _ "encoder/$name" && systems+=("ae_$name"); done
for name in $recognisers; do layers _ "asr/$name"; done

if stage_wanted 0; then
    keys=(corpus="$corpus" num_dev="$num_dev" num_test="$num_test" "$egs/local/corpus.sh")
    if ! stage_is_done "$exp/.done/corpus" "${keys[@]}"; then
        log "corpus in $corpus"
        "$egs/local/corpus.sh"
        mark_stage "$exp/.done/corpus"
    fi
fi

if stage_wanted 1; then
    stage_needs 0 "$exp/.done/corpus"
    if ! stage_is_done "$exp/.done/data" "$egs/local/data.sh" "$exp/.done/corpus"; then
        log "data directories in $data"
        "$egs/local/data.sh"
        mark_stage "$exp/.done/data"
    fi
fi

material=(--utterances "$data/tr_utterances" --noise "$data/tr_noise" --rooms "$data/tr_rooms")
if stage_wanted 2; then
    stage_needs 1 "$exp/.done/data"
    keys=(from_scratch="$from_scratch")
    if [[ $from_scratch == true ]]; then
        keys+=("$exp/.done/data" "${new_separator[@]}" "${pretrain[@]}" "${ctc[@]}")
    else
        keys+=("$egs"/pretrained/*/*)
    fi
    if ! stage_is_done "$exp/.done/start" "${keys[@]}"; then
        from=("$egs"/pretrained/{wav2vec2_mini,separator})
        if [[ $from_scratch == true ]]; then
            from=("$exp"/scratch/{wav2vec2_mini,separator}/final)
            log "train the recogniser wav2vec2_mini"
            sepasr train_ctc --config "${ctc[@]}" "${material[@]}" --valid "$data/cv_utterances" \
                --out "$exp/scratch/wav2vec2_mini" --overwrite
            log "pretrain the separator $separator"
            sepasr train --config "${pretrain[@]}" --separator "${new_separator[@]}" "${material[@]}" \
                --valid "$data/cv" --out "$exp/scratch/separator" --overwrite
        fi
        log "start from ${from[*]}"
        rm -rf "$exp/start" && mkdir -p "$exp/start"
        cp -r "${from[0]}" "$exp/start/wav2vec2_mini"
        cp -r "${from[1]}" "$exp/start/separator"
        mark_stage "$exp/.done/start"
    fi
fi

folders=()  # of trained systems, below exp/finetune, exp/separate and exp/decode
for system in "${systems[@]}"; do
    for seed in $seeds; do folders+=("$system/seed$seed"); done
done
if stage_wanted 3; then
    stage_needs 2 "$exp/.done/start"
    for folder in "${folders[@]}"; do
        system=${folder%/*} options=(--set fit.seed="${folder#*/seed}")
        layers config train/finetune "train/finetune_$system"
        encoder=()
        [[ $system == sisdr ]] || layers encoder "encoder/${system#ae_}"
        [[ -z $steps ]] || options+=(fit.steps="$steps")
        [[ -z $lr ]] || options+=(fit.optimizer.lr="$lr")
        keys=(options="${options[*]}" "${config[@]}" "${encoder[@]}" "$exp"/.done/{data,start})
        if ! stage_is_done "$exp/.done/finetune/$folder" "${keys[@]}"; then
            log "fine-tune $folder"
            sepasr train --config "${config[@]}" "${encoder[@]/#/--encoder=}" "${options[@]}" \
                --init "$exp/start/separator" "${material[@]}" --valid "$data/cv" \
                --out "$exp/finetune/$folder" --overwrite
            mark_stage "$exp/.done/finetune/$folder"
        fi
    done
fi

if stage_wanted 4; then
    stage_needs 3 "${folders[@]/#/$exp/.done/finetune/}"
    for folder in pretrained "${folders[@]}"; do
        model=$exp/finetune/$folder/final key=$exp/.done/finetune/$folder
        [[ $folder != pretrained ]] || model=$exp/start/separator key=$exp/.done/start
        if ! stage_is_done "$exp/.done/separate/$folder" "$key" "$exp/.done/data"; then
            log "separate with $folder"
            sepasr separate "$data/tt" --model "$model" --out "$exp/separate/$folder" --overwrite
            mark_stage "$exp/.done/separate/$folder"
        fi
    done
    for name in $recognisers; do
        layers config "asr/$name"
        keys=(asr_source="$asr_source" systems="${folders[*]}" "${config[@]}")
        if ! stage_is_done "$exp/.done/decode/$name" "${keys[@]}" "$exp"/.done/separate/{pretrained,"${folders[@]}"}; then
            log "read everything with $name"
            sepasr recognise --recogniser "${config[@]}" --asr-source "$asr_source" --data "$data/tt" \
                --exp "$exp" --systems mixture clean pretrained "${folders[@]}"
            mark_stage "$exp/.done/decode/$name"
        fi
    done
fi

if stage_wanted 5; then
    read -ra names <<<"$recognisers"
    stage_needs 4 "${names[@]/#/$exp/.done/decode/}"
    if ! stage_is_done "$exp/.done/score" results="$results" "${names[@]/#/$exp/.done/decode/}"; then
        log "score"
        sepasr score --recipe "$recipe" --data "$data/tt" --exp "$exp" --recognisers "${names[@]}" \
            --systems mixture clean pretrained "${folders[@]}" --jobs "$jobs" --out "$results"
        mark_stage "$exp/.done/score"
    fi
    cat "$results/table.txt"
fi
