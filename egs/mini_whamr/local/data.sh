#!/usr/bin/env bash
# Stage 1 of mini_whamr: data directories, by the code that prepares WHAMR and WSJ0 themselves.
# Called by run.sh, which sets the variables.
set -euo pipefail
# shellcheck source=utils/settings.sh
. utils/settings.sh

name=(--corpus mini_whamr)
words=()
[[ ${cut:?} == max ]] || words=(--no-text) # words that are cut are in no transcript
sepasr prepare whamr "${name[@]}" --whamr "${corpus:?}/whamr" --wsj0 "$corpus/wsj0" --sets cv tt \
    --fs "${fs:?}" --cut "$cut" --condition "${condition:?}" --reference "${reference:?}" \
    --allow-partial "${words[@]}" --out "${data:?}"
for set in tr:si_tr_s cv:si_dt_05; do
    sepasr prepare utterances "${name[@]}" --wsj0 "$corpus/wsj0" --subset "${set#*:}" \
        --similar "$corpus/similar_speakers" \
        --genders "$corpus/speaker_genders" --out "$data/${set%:*}_utterances"
done
sepasr prepare noise "${name[@]}" --noise "$corpus/wham_noise/tr" --out "$data/tr_noise"
sepasr prepare rooms "${name[@]}" --rirs "$corpus/rirs/tr" --out "$data/tr_rooms"
utils/validate_data_dir.sh "$data"/{cv,tt,tr_utterances,cv_utterances,tr_noise,tr_rooms}

# pocketsphinx reads with the grammar of the sentences that stage 0 made.
mkdir -p "${exp:?}/conf/asr"
echo "grammar: $(yaml_path "$corpus/grammar.jsgf")" >"$exp/conf/asr/.pocketsphinx.part.yaml"
mv "$exp/conf/asr/"{.pocketsphinx.part,pocketsphinx}.yaml
