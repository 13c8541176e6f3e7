#!/usr/bin/env bash
# Stage 1 of mini_whamr for the sets made on request: DATA/SET_NAME, such as tt_3speakers.
# Called by run.sh, which sets the variables.
set -euo pipefail

name=(--corpus mini_whamr)
for extra in ${extra_sets?}; do
    from=${corpus:?}/extra/$extra
    if [[ $extra != long ]]; then
        for set in "$from"/*/; do
            sepasr prepare mixtures "${name[@]}" --mixtures "$set" --condition "${condition:?}" \
                --reference "${reference:?}" --out "${data:?}/$(basename "$set")_$extra"
        done
        continue
    fi
    for set in cv:si_dt_05 tt:si_et_05; do
        count=$(wc -l <"$data/${set%:*}/wav.scp")
        parts=$from/data/${set%:*}
        sepasr prepare utterances "${name[@]}" --wsj0 "$from/wsj0" --subset "${set#*:}" \
            --similar "$from/similar_speakers" --genders "$corpus/speaker_genders" \
            --out "${parts}_utterances"
        sepasr prepare noise "${name[@]}" --noise "$corpus/wham_noise/${set%:*}" --out "${parts}_noise"
        sepasr prepare rooms "${name[@]}" --rirs "$from/rirs/${set%:*}" --out "${parts}_rooms"
        sepasr lengthen "${name[@]}" --utterances "${parts}_utterances" --noise "${parts}_noise" \
            --rooms "${parts}_rooms" --set utterances=3 "snr_db=[8,20]" "speed_percent=[100,100]" \
            same_gender=0.5 "reference=${reference:?}" --count "$((count < 100 ? count : 100))" --jobs "${jobs:?}" \
            --audio "$from/${set%:*}" --out "$data/${set%:*}_long"
    done
done

for extra in $extra_sets; do
    utils/validate_data_dir.sh "$data"/??_"$extra"/
done
