# shellcheck shell=bash disable=SC2034
# Sourced by the stages of whamr: sets training_noise to the folder of WHAM's training noise in
# --wham_noise, which is the folder wham_noise or the one that holds it; to nothing where there is none.
training_noise=
for folder in ${wham_noise:+"$wham_noise/wham_noise" "$wham_noise"}; do
    training_noise=$folder/tr
    [[ ! -d $training_noise ]] || break
done
