# shellcheck shell=bash disable=SC2034
Sets="cv tt" # of mixtures that local/data.sh makes; training has dynamic mixing alone
# Corpus
corpus=egs/mini_whamr/corpus # its folder
sizes="num_train_hibari=900 num_train_joe=400 num_train_espeak=400"  # of its parts, less than sepasr/simulate/corpus.py has; "" for those
num_test=8         # test mixtures; more of them narrow the intervals
extra_sets=        # sets to make beside the corpus's own: "3speakers 4speakers long espeak", see docs/mini_whamr.md

made_in_stage_0() { # prints what there is after it, a path a line
    printf '%s\n' "$corpus"/{wsj0,wham_noise,rirs,whamr}
}
