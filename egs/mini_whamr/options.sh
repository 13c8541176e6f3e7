# shellcheck shell=bash disable=SC2034
# Corpus
corpus=egs/mini_whamr/corpus # its folder
sizes=             # of its parts, as name=value ...; see sepasr/simulate/corpus.py
num_test=8         # test mixtures; more of them narrow the intervals
