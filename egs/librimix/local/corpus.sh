#!/usr/bin/env bash
# Stage 0 of librimix: look whether LibriMix and LibriSpeech are there, as LibriMix's own generator,
# https://github.com/JorisCos/LibriMix, makes and downloads them. Nothing is made or written.
# Called by run.sh, which sets the variables.
set -euo pipefail

for name in librimix librispeech; do
    if [[ -z ${!name} ]]; then
        echo "librimix: --$name is not given (https://github.com/JorisCos/LibriMix makes and gets both)" >&2
        exit 2
    fi
done
if [[ ${condition:?} == mix_single ]]; then
    echo "librimix: --condition mix_single has one speaker: nothing to separate (take mix_both or mix_clean)" >&2
    exit 2
fi
egs/librimix/local/data.sh --check
