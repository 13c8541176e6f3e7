# shellcheck shell=bash
# Sourced by a script right after the block of its options. An option is any variable that the
# script sets at the start of a line above the line that sources this file:
#
#     # What the script does, printed by --help.
#
#     # Heading
#     stage=0              # first stage to run
#     from_scratch=false   # train the starting points as well
#     seeds="1 2"          # quoted, so any text will do
#                          # (an indented comment continues the one above)
#     . utils/parse_options.sh
#
# Then `--stage 3`, `--stage=3`, `--from-scratch true` and `--help` work; a name that begins with a
# capital is not an option. Where the default is true or false only these are taken, where it is an
# unquoted integer only integers. The lines of a value are joined by spaces. What follows the options,
# or `--`, stays in "$@".
#
# One option may name a file with further options, and with other defaults for those of the script:
#
#     recipe=mini          # its options are in egs/RECIPE/options.sh
#     Options_of=(recipe egs/ /options.sh)
#
# A mistake of the user's is one line on stderr and ends the script with status 2.

# Every name here is a long one, because a short one could be an option of the script's.
option_script=${BASH_SOURCE[1]}
option_folder=${OLDPWD-} # where a script that has changed folder was called
[[ -f $option_script ]] || option_script=$option_folder/$option_script
option_assignment='^([a-z][A-Za-z0-9_]*)=(.*)$'
option_comment='^([[:space:]]*)#[[:space:]]?(.*)$'
option_names=()
option_kinds=()    # of each name: text, integer or boolean
option_defaults=() # of each name
option_more=       # the file of further options
option_names_own=()  # the names without those that only that file has
option_names_more=() # and these

option_fail() {
    printf '%s: %s\n' "${option_script##*/}" "$1" >&2
    exit 2
}

# Before, an empty array is an unbound variable.
((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) ||
    option_fail "bash $BASH_VERSION is too old (install 4.4 or later, and have it first on PATH)"
shopt -u patsub_replacement 2>/dev/null || true # bash 5.2: a & in a value isn't the text it replaces

# Print the lines of the script above the one that sources this file.
option_block() {
    sed -E '/^(\.|source) .*parse_options\.sh/,$d; /^# shellcheck/d; /^#!/d' "$option_script"
}

# Print the lines of the file of further options, but not other defaults for the script's own.
option_block_more() {
    local option_line
    [[ -n $option_more ]] || return 0
    while IFS= read -r option_line; do
        [[ $option_line =~ $option_assignment && " ${option_names_own[*]-} " == *" ${BASH_REMATCH[1]} "* ]] ||
            printf '%s\n' "$option_line"
    done < <(sed '/^# shellcheck/d; /^#!/d' "$option_more")
}

# Take the options and defaults of the file that an option names.
option_take_more() { # the script's arguments
    local option_name=${Options_of[0]} option_others
    while [[ $# -gt 0 && $1 != -- ]]; do
        case $1 in
            "--$option_name") printf -v "$option_name" '%s' "${2-}" ;;
            "--$option_name="*) printf -v "$option_name" '%s' "${1#*=}" ;;
        esac
        shift
    done
    option_more=${Options_of[1]}${!option_name}${Options_of[2]}
    if [[ ! -f $option_more ]]; then
        option_others=$(compgen -G "${Options_of[1]}*${Options_of[2]}" || true)
        option_others=${option_others//"${Options_of[1]}"/}
        option_others=${option_others//"${Options_of[2]}"/}
        option_fail "unknown $option_name '${!option_name}' (there are: ${option_others//$'\n'/ })"
    fi
    # shellcheck source=/dev/null
    . "$option_more"
}

option_read() { # the lines are on standard input
    local option_line option_name option_text option_kind
    while IFS= read -r option_line; do
        [[ $option_line =~ $option_assignment ]] || continue
        option_name=${BASH_REMATCH[1]} option_text=${BASH_REMATCH[2]%% *} option_kind=text
        [[ $option_text =~ ^-?[0-9]+$ ]] && option_kind=integer
        [[ ${!option_name} == true || ${!option_name} == false ]] && option_kind=boolean
        option_names+=("$option_name")
        option_kinds+=("$option_kind")
        option_defaults+=("${!option_name}")
    done
}

# Print the default of option $1.
option_default() {
    local option_index
    for option_index in "${!option_names[@]}"; do
        [[ ${option_names[option_index]} != "$1" ]] || printf '%s' "${option_defaults[option_index]}"
    done
}

# Print the comment at the top of the script, then its options with their defaults.
option_help() {
    local option_line option_value option_text option_index=0 option_part=top
    printf 'Usage: %s [--name value]...\n\n' "$0"
    while IFS= read -r option_line; do
        if [[ $option_line =~ $option_assignment ]]; then
            option_value=${option_defaults[option_index]}
            [[ $option_value =~ ^[^[:space:]]+$ ]] || option_value="\"$option_value\""
            option_text=
            [[ $option_line == *" # "* ]] && option_text=${option_line#* \# }
            option_value="--${option_names[option_index]} $option_value"
            if [[ -n $option_text ]]; then
                printf '  %-36s  %s\n' "$option_value" "$option_text"
            else
                printf '  %s\n' "$option_value"
            fi
            option_index=$((option_index + 1))
        elif [[ ! $option_line =~ $option_comment ]]; then
            if [[ $option_part == top ]]; then printf '\nOptions and their defaults:\n'; fi
            option_part=options
        elif [[ $option_part == top ]]; then
            printf '%s\n' "${BASH_REMATCH[2]}"
        elif [[ -n ${BASH_REMATCH[1]} ]]; then
            printf '  %-36s  %s\n' "" "${BASH_REMATCH[2]}"
        else
            printf '\n %s:\n' "${BASH_REMATCH[2]}"
        fi
    done < <(option_block && option_block_more)
}

# Print how many letters must be changed, added or removed to make $2 of $1.
option_distance() {
    local i j least
    local -a above row
    for ((j = 0; j <= ${#2}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#1}; i++)); do
        above=("${row[@]}")
        row[0]=$i
        for ((j = 1; j <= ${#2}; j++)); do
            least=$((above[j - 1] + 1))
            [[ ${1:i-1:1} == "${2:j-1:1}" ]] && least=${above[j - 1]}
            ((above[j] + 1 < least)) && least=$((above[j] + 1))
            ((row[j - 1] + 1 < least)) && least=$((row[j - 1] + 1))
            row[j]=$least
        done
    done
    echo "${row[${#2}]}"
}

# Refuse the option --$1 and name the nearest one, where one is near.
option_unknown() {
    local option_name option_changes option_nearest='' option_limit=$(((${#1} + 1) / 3))
    for option_name in ${option_names[@]+"${option_names[@]}"}; do
        option_changes=$(option_distance "$1" "$option_name")
        if ((option_changes <= option_limit)); then
            option_nearest=$option_name option_limit=$((option_changes - 1))
        fi
    done
    option_fail "unknown option --$1 (${option_nearest:+did you mean --$option_nearest? }see --help)"
}

# Set the variable of option $1 (written with its dashes) to $2; without $2, say what is wrong.
option_set() {
    local option_name=${1#--} option_index option_kind=
    option_name=${option_name//-/_}
    for option_index in ${option_names[@]+"${!option_names[@]}"}; do
        [[ ${option_names[option_index]} == "$option_name" ]] && option_kind=${option_kinds[option_index]}
    done
    [[ -n $option_kind ]] || option_unknown "$option_name"
    [[ $# -gt 1 ]] || option_fail "--$option_name needs a value (now '${!option_name}')"
    case $option_kind in
        boolean) [[ $2 == true || $2 == false ]] || option_fail "--$option_name is true or false, not '$2'" ;;
        integer) [[ $2 =~ ^-?[0-9]+$ ]] || option_fail "--$option_name is an integer, not '$2'" ;;
    esac
    printf -v "$option_name" '%s' "${2//$'\n'/ }"
}

# End if anything is left of the command line, for scripts that take nothing but options.
option_end() {
    [[ $# -eq 0 ]] || option_fail "unexpected '$1' (options are --name value, a list in quotes; see --help)"
}

[[ -z ${Options_of-} ]] || option_take_more "$@"
option_read < <(option_block)
option_names_own=(${option_names[@]+"${option_names[@]}"})
option_read < <(option_block_more)
# shellcheck disable=SC2034 # for the script
option_names_more=("${option_names[@]:${#option_names_own[@]}}")
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help)
            option_help
            exit 0
            ;;
        --)
            shift
            break
            ;;
        --*=*)
            option_set "${1%%=*}" "${1#*=}"
            shift
            ;;
        --*)
            # The next option is not the value of this one; `--name=--text` gives such a text.
            [[ $# -gt 1 && $2 != --* ]] || option_set "$1"
            option_set "$1" "$2"
            shift 2
            ;;
        -?*) option_fail "unknown option $1 (options begin with two dashes, see --help)" ;;
        *) break ;;
    esac
done
