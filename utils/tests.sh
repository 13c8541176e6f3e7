# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by run.sh: the sets that systems are tested on. Of the set tt everything lies in EXP, of
# another one, tt_NAME, in EXP/NAME; a subset of tt is scored from what was read of tt.

# Whether all mixtures of the data directory $1 are in $2 as well. Of what isn't there, none is.
is_subset() {
    [[ -f $1/wav.scp && -f $2/wav.scp ]] && ! grep -Fvxqf "$2/wav.scp" "$1/wav.scp"
}

# Set for the test set $1:
#   part   NAME of tt_NAME, empty for tt
#   work   folder of its streams and transcripts
#   marks  folder of their stages' markers
#   listed marker of the stage that has written its data directory
test_place() {
    part=${1#tt} part=${part#_} work=$exp marks=$done listed=$done/data
    if [[ -n $part && " $test_sets " == *" $1 "* ]]; then
        work=$exp/$part marks=$done/$part
        [[ ! -f $done/extra_data ]] || listed=$done/extra_data
    fi
}

# Stages 0 and 1 of the sets that a recipe makes on request, its option extra_sets.
make_extra_corpus() {
    local outputs
    # shellcheck disable=SC2206 # names of sets have no spaces
    outputs=(${extra_sets-})
    [[ -z ${extra_sets-} ]] || once "$done/extra_corpus" "extra sets: $extra_sets" "$done/corpus" \
        extra_sets="$extra_sets" "${outputs[@]/#/output=${corpus-}/extra/}" "$egs/local/extra_corpus.sh" \
        -- "$egs/local/extra_corpus.sh"
}
make_extra_data() {
    local outputs
    # shellcheck disable=SC2206
    outputs=(${extra_sets-})
    [[ -z ${extra_sets-} ]] || once "$done/extra_data" "data directories of extra sets" \
        "${outputs[@]/#/output=$data/tt_}" "$done/extra_corpus" "$egs/local/extra_data.sh" \
        -- "$egs/local/extra_data.sh"
}

# Print a digest of the audio of eight mixtures, spread over the wav.scp $1: of a corpus that was made
# anew the names may be the same. Of what isn't there it is empty.
mixtures_digest() {
    local files file
    [[ -f $1 ]] || return 0
    mapfile -t files < <(cut -d ' ' -f 2- "$1" |
        awk '{ all[NR] = $0 } END { c = NR < 8 ? NR : 8; for (n = 0; n < c; n++) print all[int(n * NR / c) + 1] }')
    for file in "${files[@]}"; do
        if [[ -f $file ]]; then sha256 "$file"; fi
    done | cut -d ' ' -f 1 | sha256 | cut -c 1-16
}

# Separate the test set $1, of which test_place was told, with every system.
separate_test() {
    local folder model made audio
    audio=$(mixtures_digest "$data/$1/wav.scp")
    for folder in pretrained "${folders[@]}"; do
        model=$exp/finetune/$folder/final made=finetune/$folder
        [[ $folder != pretrained ]] || model=$exp/start/separator made=start
        # A model that was trained again by the same settings is another one.
        once "$marks/separate/$folder" "separate ${part:+$1 }with $folder" "$listed" "$done/$made" \
            "$model/model.safetensors" audio="$audio" output="$work/separate/$folder" \
            -- sepasr separate "$data/$1" --model "$model" --out "$work/separate/$folder" \
            ${device:+--device "$device"} "${models[@]}"
    done
}

# Read every system's streams of the test set $1 with every recogniser.
read_test() {
    local name outputs
    for name in $recognisers; do
        outputs=("${folders[@]/%//$name}")
        layers config "asr/$name"
        once "$marks/decode/$name" "read everything ${part:+of $1 }with $name" \
            asr_source="$asr_source" "${config[@]}" "$done"/start "$marks"/separate/pretrained \
            "${folders[@]/#/$marks/separate/}" "${outputs[@]/#/output=$work/decode/}" \
            -- sepasr recognise --recogniser "${config[@]}" --asr-source "$asr_source" \
            --data "$data/$1" --exp "$work" --systems mixture clean pretrained "${folders[@]}" \
            ${device:+--device "$device"} "${models[@]}"
    done
}
