# shellcheck shell=bash disable=SC2034
condition=mix_both # or mix_clean (without noise)
from_scratch=true  # there are no pretrained starting points
separator=xl
encoders="wav2vec2_base whisper_small_en"
recognisers="wav2vec2_base_960h whisper_small_en"
device=auto        # cuda where there is a GPU
# Corpus
librimix=          # folder that holds Libri2Mix or Libri3Mix, as github.com/JorisCos/LibriMix makes them
librispeech=       # LibriSpeech, or the folder that holds it: for transcripts and dynamic mixing
train_subset=train-100 # or train-360
allow_partial=false # take what there is of the corpus, where it isn't all
num_valid=         # mixtures of cv, spread over it, for a try (default: all)
num_test=          # likewise of tt

Paths="librimix librispeech" # of these options
Of_stage_1="num_valid num_test" # these, too: stage 0 makes the same

made_in_stage_0() { # prints what there is after it, a path a line
    echo "$librimix"
}
