# shellcheck shell=bash
# Sourced by run.sh: the stages of a recipe, each done once and done again when what it depends on
# has changed.
#
#     if stage_wanted 3; then
#         stage_needs 2 data/.done exp/pretrain/.done
#         if ! stage_is_done exp/finetune/.done lr="$lr" conf/train/finetune.yaml data/.done; then
#             log "fine-tune"
#             ...
#             mark_stage exp/finetune/.done
#         fi
#     fi
#
# A marker is a text file that lists what its stage depended on: the values of options, and the
# SHA-256 of files, among which are the markers of the stages before. It is written last, so that a
# stage which was broken off has none and is taken up again. What the stage has made may be removed
# afterwards: `once` looks for what it is told as output=PATH, which isn't in the marker.
# $stage and $stop_stage are the script's own: the first and the last stage to run. With its
# dry_run=true, `once` says what there is to do instead of doing it, and nothing is touched.

stage_number=  # the stage that is running, for messages
stage_planned=() # markers of what a dry run has found to do

# Print one line of progress.
log() {
    printf '[%s] %s%s\n' "$(date +%H:%M:%S)" "${stage_number:+stage $stage_number: }" "$*"
}

# End the script over a mistake of the user's, told in one line.
fail() {
    printf '%s: %s%s\n' "${0##*/}" "${stage_number:+stage $stage_number: }" "$*" >&2
    exit 2
}

# Print the SHA-256 and the name of each file, a line each; of standard input without files.
sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

# Whether stage $1 is among those to run.
stage_wanted() {
    # shellcheck disable=SC2154
    (((stage <= $1) && ($1 <= stop_stage))) || return 1
    stage_number=$1
}

# End the script unless all of $2..., markers of the stages up to $1, are there.
stage_needs() {
    local marker
    [[ ${dry_run-} != true ]] || return 0
    for marker in "${@:2}"; do
        [[ -f $marker ]] || fail "stages 0-$1 come first (there is no $marker); begin with --stage 0"
    done
}

# End the script if an option that was given says otherwise than what stage $1, of marker $2, was done
# with, and stages from $1 on don't run again: $3... are name=value. One that is left at its default goes
# on with what there is.
stage_agrees() {
    local pair name was
    ((stage > $1)) && [[ -f $2 ]] || return 0
    for pair in "${@:3}"; do
        name=${pair%%=*}
        [[ ${pair#*=} != "$(option_default "$name")" ]] || continue
        was=$(grep -m 1 "^$name=" "$2") || was=$name= # what is empty may not be listed
        [[ $was == "$pair" || ${was#*=} -ef ${pair#*=} ]] ||
            fail "--$name was '${was#*=}' in stage $1, and is '${pair#*=}' now (begin with --stage $1, or leave it out)"
    done
}

# Print what the keys stand for, a line each: `name=value` as it is, a file as `name SHA-256`.
stage_keys() {
    local key sum
    for key in "$@"; do
        if [[ $key =~ ^[A-Za-z_][A-Za-z0-9_]*= ]]; then
            printf '%s\n' "${key//$'\n'/ }"
        elif [[ ! -f $key && ${dry_run-} == true ]]; then
            printf '%s (missing)\n' "$key"
        else
            [[ -f $key ]] || fail "there is no file $key, on which the stage depends"
            sum=$(sha256 "$key")
            printf '%s %s\n' "$key" "${sum%% *}"
        fi
    done
}

# Print the name in the line $1 of a key: `name=value`, or a path, which may hold = and spaces.
stage_key_name() {
    local name=${1%%[= ]*}
    [[ $name != */* ]] || name=${1% *}
    echo "$name"
}

# Say in which key the lines $2 differ from the lines $1, which were there before.
stage_change() {
    local line name was
    if line=$(grep -Fxv -m 1 -f <(printf '%s\n' "$1") <<<"$2"); then
        name=$(stage_key_name "$line")
        if ! was=$(grep -m 1 "^${name}[= ]" <<<"$1"); then
            echo "it depends on $name now"
        elif [[ $line == "$name="* ]]; then
            echo "$name was '${was#*=}' and is '${line#*=}'"
        else
            echo "$name has changed"
        fi
    elif line=$(grep -Fxv -m 1 -f <(printf '%s\n' "$2") <<<"$1"); then
        echo "it no longer depends on $(stage_key_name "$line")"
    else
        echo "its keys stand in another order"
    fi
}

# Whether the stage of marker $1 is complete with the keys $2...: `name=value`, or a file's name.
# If not, the keys are kept for mark_stage as they are now, and a marker that no longer holds is
# removed, with a line that says which key changed.
stage_is_done() {
    local marker=$1 keys before
    keys=$(stage_keys "${@:2}") || exit
    if [[ -f $marker ]]; then
        before=$(<"$marker")
        if [[ $before == "$keys" ]]; then
            log "complete ($marker)"
            return 0
        fi
        log "runs again: $(stage_change "$before" "$keys")"
        rm -f "$marker"
    fi
    printf -v "stage_keys_${marker//[!A-Za-z0-9]/_}" '%s' "$keys"
    return 1
}

# Write the marker $1 with the keys that stage_is_done was given for it.
mark_stage() {
    local kept="stage_keys_${1//[!A-Za-z0-9]/_}"
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "${!kept}" >"$1.part"
    mv -f "$1.part" "$1"
}

# Run the command after `--` unless the stage of marker $1 is complete with the keys that stand
# before it, and each output=PATH among them is there; $2 tells what the command does.
#     once exp/.done/finetune "fine-tune" lr="$lr" output=exp/final conf/train/finetune.yaml -- sepasr train ...
once() {
    local marker=$1 what=$2 keys=() missing=
    shift 2
    while [[ $1 != -- ]]; do
        if [[ $1 != output=* ]]; then
            keys+=("$1")
        elif [[ ! -e ${1#output=} ]]; then
            missing=${1#output=}
        fi
        shift
    done
    shift
    if [[ ${dry_run-} == true ]]; then
        stage_plan "$marker" "$what" "$(stage_keys "${keys[@]}")" "$missing" "$@"
        return
    fi
    if [[ -n $missing && -f $marker ]]; then
        log "runs again: there is no $missing"
        rm -f "$marker"
    fi
    if ! stage_is_done "$marker" "${keys[@]}"; then
        log "$what"
        "$@" || exit # set -e is off where this is called in a condition
        mark_stage "$marker"
    fi
}

# Whether there is a sepasr, which a dry run does without: it says only that there is $1 to do then.
stage_can_tell() {
    [[ ${dry_run-} != true ]] || command -v sepasr >/dev/null || { log "to do: $1" && return 1; }
}

# Say what `once` would do: whether the marker $1 holds with the keys $3 and without its output $4,
# which is missing if it is not empty; and what the command $5... would read, write and need. A
# `sepasr` command tells that itself, a script in its first comment (whose line on who calls it is
# left out).
stage_plan() {
    local before='' earlier
    [[ ! -f $1 ]] || before=$(<"$1")
    earlier=$(grep -Fom 1 "${stage_planned[@]/#/-e}" <<<"$3" 2>/dev/null) || true
    if [[ -z $before ]]; then
        log "to do: $2"
    elif [[ $before != "$3" ]]; then
        log "to do again, for $(stage_change "$before" "$3"): $2"
    elif [[ -n $earlier ]]; then
        log "to do again, for $earlier will change: $2"
    elif [[ -n $4 ]]; then
        log "to do again, for there is no $4: $2"
    else
        log "complete: $2"
        return
    fi
    stage_planned+=("$1")
    if [[ $5 != sepasr ]]; then
        sed -n '2,${/^#/!q; /^# Called by/d; s/^# /    /p;}' "$5"
    elif command -v sepasr >/dev/null; then
        sepasr plan "${@:6}" || exit
    fi
}
