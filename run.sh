#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154 # options are read, and what the stages use is set, in utils/
# From a corpus to a table of word error rates: does fine-tuning a speech separator by the embeddings
# of a frozen ASR encoder (guided PIT, no transcripts) lower the word errors of separated speech
# further than further steps with SI-SDR, each at the rate and length chosen on the dev set?
# Stages: 0 corpus, 1 data directories, 2 starting point, 3 fine-tuning, 4 separation and recognition,
# 5 tables; 6 studies, 7 a page. What is complete is skipped, what was broken off goes on.

# What to run
recipe=mini_whamr  # folder of egs/; its options.sh has more options, and other defaults
stage=0            # first stage to run
stop_stage=        # last stage to run (default: 5, or the first if that is later)
dry_run=false      # only say what there is to do, what it would read and write, and what it takes
# Task
num_speakers=2     # speakers of a mixture
fs=16000           # sampling rate in Hz
cut=max            # max: mixtures as long as the longer source; min: as the shorter, no words then
condition=mix_both_reverb # the corpus's folder of mixtures
reference=anechoic # or reverb: what is to come out
# Training
from_scratch=false # train the starting points, instead of taking those in egs/RECIPE/pretrained
dynamic_mixing=true # mix anew in every step, instead of training on the corpus's own mixtures
separator=mini     # conf/separator/NAME.yaml, for training from scratch
encoders="whisper_tiny_en wav2vec2_mini"  # conf/encoder/NAME.yaml: a system ae_NAME for each
pit_encoders=      # likewise pit_NAME, the permutation chosen by the embeddings, not by SI-SDR
seeds="1"          # of fine-tuning, "1 2 3" for several; every system is trained once with each
train_set=         # name=value ... laid over the YAML of every training, such as fit.steps=50
# Evaluation
recognisers="whisper_tiny_en whisper_base wav2vec2_mini moonshine_tiny pocketsphinx"  # conf/asr/NAME.yaml
asr_source=auto    # where weights of recognisers come from: package (installed), hub, or auto: as its YAML says
test_sets=tt       # data directories of stage 1 to test on, "tt tt_espeak" for two, each with tables of its own
study=             # conf/study/NAME.yaml: the study of stage 6, or several
# Where and on what
exp=               # folder of experiments (default: egs/RECIPE/exp)
results=           # folder of the tables (default: EXP/results)
jobs=0             # processes of what runs in parallel (default: one on each core)
cluster=           # conf/cluster/NAME.yaml, for what runs in parallel to run on other machines
device=            # of stages 4 and 6: cpu, cuda, or auto: cuda where there is a GPU (if empty: cpu; recognisers by their YAML)
ngpu=              # GPUs of each machine that trains, 0 for none (default: one, if there is one)
num_nodes=1        # machines that train together
train_cluster=     # conf/cluster/NAME.yaml, for trainings to be jobs of SLURM: slurm_train

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
Options_of=(recipe egs/ /options.sh)
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=utils/stage.sh
. utils/stage.sh
# shellcheck source=utils/settings.sh
. utils/settings.sh
# shellcheck source=utils/tests.sh
. utils/tests.sh

option_end "$@"
settle # every name in the options is looked up before anything starts
[[ $dry_run == true ]] || tools/install.sh
# shellcheck source=tools/activate.sh
. tools/activate.sh || [[ $dry_run == true ]]

if stage_wanted 0; then
    once "$done/corpus" "the corpus" "${corpus_outputs[@]}" "${task[@]}" -- "$egs/local/corpus.sh"
    make_extra_corpus
fi

if stage_wanted 1; then
    stage_needs 0 "$done/corpus"
    once "$done/data" "data directories" output="$data" "${listing[@]}" "$egs/local/data.sh" "$done/corpus" -- "$egs/local/data.sh"
    make_extra_data
fi

find_material
mixtures=(--mixtures "$data/tr")
[[ $dynamic_mixing == false ]] || mixtures=("${material[@]}")
if stage_wanted 2; then
    stage_needs 1 "$done/data"
    from=("${start[@]/#/$egs/pretrained/}")
    if [[ $from_scratch == true ]]; then
        from=("${start[@]/#/$exp/scratch/}") from=("${from[@]/%//final}")
        train_by scratch/separator
        once "$done/scratch/separator" "pretrain the separator $separator" "$done/data" output="${from[0]}" \
            options="${mixing[*]} ${training[*]} ${mixtures[*]}" "${pretrain[@]}" "${new_separator[@]}" \
            -- "${train[@]}" --config "${pretrain[@]}" --set "${mixing[@]}" "${training[@]}" "${mixtures[@]}" \
            --separator "${new_separator[@]}" --separator-set num_speakers="$num_speakers" fs="$fs" \
            --valid "$data/cv" --out "$exp/scratch/separator" --overwrite
        [[ ${#start[@]} -eq 1 ]] || once "$done/scratch/wav2vec2_mini" "train the recogniser wav2vec2_mini" \
            "$done/data" output="${from[1]}" options="${fitting[*]}" "${ctc[@]}" \
            -- sepasr train_ctc --config "${ctc[@]}" --set "${fitting[@]}" "${material[@]}" \
            --valid "$data/cv_utterances" --out "$exp/scratch/wav2vec2_mini" --overwrite
    fi
    files=()
    for name in "${from[@]}"; do files+=("$name"/*); done
    once "$done/start" "start from ${from[*]}" output="$exp/start/separator" "${files[@]}" -- utils/take_start.sh "$exp" "${from[@]}"
fi

if stage_wanted 3; then
    stage_needs 2 "$done/start"
    for folder in "${folders[@]}"; do
        system=${folder%/*} encoder=() options=("${mixing[@]}" fit.seed="${folder#*/seed}" "${training[@]}")
        layers config train/finetune "train/finetune_${system%%_*}" "train/finetune_$system"
        [[ $system == sisdr ]] || layers encoder "encoder/${system#*_}"
        train_by "finetune/$folder"
        once "$done/finetune/$folder" "fine-tune $folder" "$done"/{data,start} output="$exp/finetune/$folder/final" \
            options="${options[*]} ${mixtures[*]}" "${config[@]}" "${encoder[@]}" \
            -- "${train[@]}" --config "${config[@]}" --set "${options[@]}" --encoder "${encoder[@]}" \
            --init "$exp/start/separator" "${mixtures[@]}" --valid "$data/cv" \
            --out "$exp/finetune/$folder" --overwrite
    done
fi

if stage_wanted 4; then
    stage_needs 3 "${folders[@]/#/$done/finetune/}"
    for test in $test_sets; do
        test_place "$test"
        separate_test "$test"
        read_test "$test"
    done
fi

if stage_wanted 5; then
    read -ra names <<<"$recognisers"
    layers config table
    read -ra tests <<<"$test_sets"
    for test in "$data"/tt_*; do # subsets of the test set have tables of their own, too
        if [[ " $test_sets " == *" tt "* ]] && is_subset "$test" "$data/tt"; then tests+=("${test##*/}"); fi
    done
    for test in "${tests[@]}"; do
        test_place "$test"
        out=$results${part:+/$part}
        stage_needs 4 "${names[@]/#/$marks/decode/}"
        once "$out/.done" "score $test" results="$out" output="$out/results.json" "${config[@]}" "${names[@]/#/$marks/decode/}" \
            -- sepasr score --recipe "$recipe" --config "${config[@]}" --data "$data/$test" --exp "$work" \
            --systems mixture clean pretrained "${folders[@]}" --recognisers "${names[@]}" \
            "${parallel[@]}" --out "$out"
        [[ $dry_run == true ]] || sepasr show "$out/results.json"
    done
fi

if stage_wanted 6 && stage_can_tell "the study $study"; then
    stage_needs 2 "$done/start"
    sepasr study "${studies[@]}" ${plan:+--dry_run} --recipe "$recipe" --exp "$exp" --data "$data" --out "$results" \
        --start "$exp/start/separator" --set "${training[@]}" --asr-source "$asr_source" --jobs "$jobs" \
        ${device:+--device "$device"}
fi

if stage_wanted 7 && stage_can_tell "a page of the results"; then
    stage_needs 5 "$results/.done"
    sepasr "${plan[@]}" report --results "$results" --exp "$exp" --data "$data/tt" \
        --studies "$results" --out "$exp/page"
fi
