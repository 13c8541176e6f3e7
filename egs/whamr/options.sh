# shellcheck shell=bash disable=SC2034
from_scratch=true  # there are no pretrained starting points
separator=xl
encoders="wav2vec2_base whisper_small_en"
recognisers="wav2vec2_base_960h whisper_small_en"
device=auto        # cuda where there is a GPU
# Corpus
wsj0=              # folder above all discs of WSJ0 (LDC93S6A), in any release's layout
whamr=             # WHAMR, the folder of wav16k and wav8k (default: it is made in CORPUS/whamr)
wham_noise=        # WHAM's noise, to make WHAMR with, or to train with where --sets has no tr:
                   # wham_noise.zip of http://wham.whisper.ai
whamr_scripts=     # WHAMR's scripts, for their tables: whamr_scripts.tar.gz of the same place
corpus=egs/whamr/corpus # folder of what is made
sets="tr cv tt"    # of WHAMR; without tr there is only dynamic mixing to train with
allow_partial=false # take what there is of the corpus, where it isn't all
num_valid=         # mixtures of cv, spread over it, for a try (default: all)
num_test=          # likewise of tt
styles="nvp"       # subsets of the test set, scored too: nvp without, vp with spoken punctuation
num_rooms=         # rooms of dynamic mixing (default: WHAMR's training rooms, or 5000 drawn)

Paths="wsj0 whamr wham_noise whamr_scripts" # of these options
Of_stage_1="num_valid num_test" # these, too: stage 0 makes the same

made_in_stage_0() { # prints what there is after it, a path a line
    echo "${whamr:-$corpus/whamr}"
    if [[ ${condition-} == *_reverb && ${dynamic_mixing-} == true ]]; then echo "$corpus/rirs"; fi
}
