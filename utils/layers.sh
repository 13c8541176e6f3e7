# shellcheck shell=bash
# Sourced by run.sh: which YAML files make up a configuration.

# Set the array $1 to the YAML files of $2...: those in conf/, the recipe's laid over them, and over
# these what the stages themselves have written. $egs and $exp are the script's own.
layers() {
    local -n list=$1
    local name file
    list=()
    for name in "${@:2}"; do
        # shellcheck disable=SC2154
        for file in {conf,"$egs/conf","$exp/conf"}/"$name.yaml"; do
            [[ ! -f $file ]] || list+=("$file")
        done
    done
    if ((${#list[@]} == 0)); then
        fail "unknown ${2%%/*} '${2#*/}' (there are: $(cd "conf/${2%%/*}" && echo *.yaml))"
    fi
}
