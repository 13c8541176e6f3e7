# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by run.sh: what its options come to. The options themselves are run.sh's own variables.

# Set the array $1 to the YAML files of $2...: those in conf/, the recipe's laid over them, and over
# these what the stages themselves have written. $egs and $exp are the script's own.
layers() {
    local -n list=$1
    local name file
    list=()
    for name in "${@:2}"; do
        # shellcheck disable=SC2154
        for file in {conf,"$egs/conf","$exp/conf"}/"$name.yaml"; do
            # A name may come twice: what holds for a kind of systems is what holds for its only one.
            [[ ! -f $file || " ${list[*]-} " == *" $file "* ]] || list+=("$file")
        done
    done
    if ((${#list[@]} == 0)); then
        for file in {conf,"$egs/conf","$exp/conf"}/"${2%%/*}"/*.yaml; do
            [[ ! -f $file ]] || list+=("$(basename "$file" .yaml)")
        done
        fail "unknown ${2%%/*} '${2#*/}' (there are: $(printf '%s\n' "${list[@]}" | sort -u | paste -sd ' ' -))"
    fi
}

# End if the recogniser or encoder of the files in `config` calls itself something else than $1: its
# name is that of folders and tables.
check_name() {
    local own
    own=$(sed -n "s/^name: *['\"]\{0,1\}\([^'\" #]*\).*/\1/p" "${config[@]}" | tail -n 1)
    [[ -z $own || $own == "$1" ]] ||
        fail "${config[0]} calls itself '$own' (write name: $1, or take the file's name from it)"
}

# Print a path as a value of YAML.
yaml_path() {
    local quote="'"
    printf "'%s'\n" "${1//$quote/$quote$quote}"
}

# Make paths that were given absolute: a script of a recipe has left the folder that they were given in.
# Defaults are of the repository. Which options of a recipe are paths, its options.sh says: Paths="NAME ...".
resolve_paths() {
    local name words word
    [[ -n ${option_folder-} && ! $option_folder -ef $PWD ]] || return 0
    for name in exp results choices corpus ${Paths-}; do
        [[ -z ${!name-} || ${!name} == /* || ${!name} == "$(option_default "$name")" ]] ||
            printf -v "$name" '%s' "$option_folder/${!name}"
    done
    words=()
    for word in ${study-}; do # names, or files
        [[ $word != *.yaml || $word == /* || ! -f $option_folder/$word ]] || word=$option_folder/$word
        words+=("$word")
    done
    [[ -z ${study-} ]] || study=${words[*]}
}

# Set the folders, in all scripts of a recipe: egs, the recipe's; exp, of experiments; data, of data
# directories; done, of the stages' markers.
find_folders() {
    resolve_paths
    egs=egs/$recipe
    : "${exp:=$egs/exp}"
    [[ $exp == /* || $exp != *=* ]] || exp=./$exp # or a file in it would be a key name=value
    data=$exp/data done=$exp/.done
}

# Set what the stages use, and refuse names that nothing is known by. The folders of find_folders, and
#   task             name=value, what the corpus is asked for
#   listing          name=value, what of it is listed, by the options in Of_stage_1 of options.sh
#   corpus_outputs   output=PATH of stage 0, as the recipe's options.sh names them
#   parallel         options of commands that do things in parallel
#   models           of those whose workers hold a model each, which is for other machines only
#   plan             what makes a command of sepasr say what it would do: "plan" in a dry run
#   training         name=value for trainings of separators, after mixing; fitting: for recognisers
#   start            the starting points: separator, and wav2vec2_mini where it is used
#   systems          sisdr, the control, and ae_ENCODER and pit_ENCODER for the encoders of each kind
#   studies          the YAML files of the studies
#   folders          SYSTEM/seedN of all that is trained, below exp/finetune, exp/separate, exp/decode
settle() {
    local config # what is looked up for its name alone
    find_folders
    settle_stages
    settle_task
    settle_training
    settle_systems
    settle_starts
    settle_readers
    settle_studies
    stage_agrees 0 "$done/corpus" "${task[@]}"
    stage_agrees 1 "$done/data" "${listing[@]}"
}

# Which stages run, and where the results go.
settle_stages() {
    : "${stop_stage:=$((stage > 5 ? stage : 5))}"
    [[ $stop_stage =~ ^[0-9]+$ ]] || fail "--stop_stage wants an integer, not '$stop_stage'"
    ((stage <= 7)) || fail "there is no stage $stage (the last is 7)"
    ((stage <= stop_stage)) || fail "--stop_stage $stop_stage is before --stage $stage"
    : "${results:=$exp/results}"
    plan=()
    [[ $dry_run == false ]] || plan=(plan)
}

# Whether a stage from $1 to $2 is among those that run.
any_stage_runs() {
    ((stage <= $2 && stop_stage >= $1))
}

# What the corpus is asked for, and on what it is worked.
settle_task() {
    local name
    # nproc counts the cores that this process may use, or as many as OpenMP is told to.
    [[ $jobs -gt 0 ]] || jobs=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
    export data "${option_names[@]}"
    task=() listing=()
    for name in num_speakers fs cut condition reference "${option_names_more[@]}"; do
        if [[ " ${Of_stage_1-} " == *" $name "* ]]; then
            [[ -z ${!name} ]] || listing+=("$name=${!name}")
        elif [[ $name != extra_sets ]]; then # made apart: one more leaves all that is done as it is
            task+=("$name=${!name}")
        fi
    done
    corpus_outputs=()
    if declare -F made_in_stage_0 >/dev/null; then
        mapfile -t corpus_outputs < <(made_in_stage_0)
        corpus_outputs=("${corpus_outputs[@]/#/output=}")
    fi
    parallel=(--jobs "$jobs") models=()
    if [[ -n $cluster ]]; then
        layers config "cluster/$cluster"
        cluster=${config[-1]} # for the recipe's scripts, too
        parallel+=(--cluster "$cluster") models=(--cluster "$cluster" --jobs "$jobs")
    fi
    [[ $cut != min || $stop_stage -lt 4 ]] ||
        fail "--cut min cuts words off, so none can be counted (take --cut max, or --stop_stage 3)"
    choose_device
}

# What all trainings are given, and from which sets.
settle_training() {
    local name made
    read -ra training <<<"fit.num_nodes=$num_nodes $train_set"
    case $ngpu in
        '') ;;
        *[!0-9]*) fail "--ngpu is a number of GPUs, not '$ngpu'" ;;
        0) training+=(fit.accelerator=cpu) ;;
        *) training+=(fit.accelerator=gpu "fit.devices=$ngpu") ;;
    esac
    [[ $num_nodes == 1 || $dry_run == true || -n $train_cluster${SLURM_JOB_ID-}${MASTER_ADDR-} ]] || ! any_stage_runs 2 3 ||
        fail "--num_nodes $num_nodes is for jobs of several machines (add --train_cluster, or run it in such a job)"
    [[ $((${ngpu:-1} * num_nodes)) -le 1 || " $train_set" == *" fit.batch="* ]] || ! any_stage_runs 2 3 ||
        log "each GPU takes fit.batch mixtures: for their total to be the YAML's, give fit.batch in --train_set" >&2
    fitting=()
    for name in "${training[@]}"; do [[ $name != fit.* ]] || fitting+=("$name"); done
    mixing=("mixing.num_speakers=$num_speakers" "mixing.reference=$reference")
    layers new_separator "separator/$separator"
    [[ $from_scratch == true || $stage -gt 2 || $separator == "$(option_default separator)" ]] ||
        fail "--separator is for training from scratch (add --from_scratch true)"
    [[ $stage -le 2 || $separator == "$(option_default separator)" || ! -f $done/start ]] ||
        grep -qF "separator/$separator.yaml " "$done/scratch/separator" 2>/dev/null ||
        fail "--separator $separator is not what stage 2 has trained (begin with --stage 2, or leave it out)"
    made=" ${Sets-${sets-tr cv tt}} "
    [[ $dynamic_mixing == true || $made == *" tr "* ]] ||
        fail "--dynamic_mixing false trains on the set tr, which is not made here (leave it out)"
    [[ $made == *" cv "* ]] || ! any_stage_runs 2 3 ||
        fail "stages 2 and 3 validate on the set cv, which is not in --sets (add it, or take --stop_stage 1)"
    [[ $made == *" tt "* ]] || ! any_stage_runs 4 4 ||
        fail "stage 4 separates the set tt, which is not in --sets (add it, or take --stop_stage 3)"
    layers pretrain train/pretrain
    [[ $dynamic_mixing == true ]] || layers pretrain train/pretrain train/pretrain_fixed "train/pretrain_fixed_$separator"
    layers ctc train/wav2vec2_ctc
    if [[ -n $train_cluster ]]; then
        layers config "cluster/$train_cluster"
        train_cluster=${config[-1]}
    fi
}

# The systems that are fine-tuned, and their folders.
settle_systems() {
    local name system seed
    systems=(sisdr)
    for name in $encoders; do systems+=("ae_$name"); done
    for name in $pit_encoders; do systems+=("pit_$name"); done
    for name in $encoders $pit_encoders; do
        layers config "encoder/$name"
        check_name "$name"
    done
    folders=()
    for system in "${systems[@]}"; do
        for seed in $seeds; do
            [[ $seed =~ ^[0-9]+$ ]] || fail "--seeds are integers, not '$seed'"
            folders+=("$system/seed$seed")
        done
    done
}

# The starting points.
settle_starts() {
    local name
    start=(separator)
    [[ " $encoders $pit_encoders $recognisers " != *" wav2vec2_mini "* ]] || start+=(wav2vec2_mini)
    for name in "${start[@]}"; do
        [[ $from_scratch == true || -d $egs/pretrained/$name ]] || ! any_stage_runs 2 2 ||
            fail "there is no $egs/pretrained/$name to start from (add --from_scratch true)"
    done
}

# Who reads, and what.
settle_readers() {
    local name
    for name in $recognisers; do
        layers config "asr/$name"
        check_name "$name"
    done
    [[ $asr_source =~ ^(auto|package|hub)$ ]] || fail "--asr_source is auto, package or hub, not '$asr_source'"
    for name in $test_sets; do
        [[ $name == tt || -d $data/$name || " ${extra_sets-} ${styles-} " == *" ${name#tt_} "* ]] || ! any_stage_runs 4 5 ||
            fail "unknown test set '$name' (there is no $data/$name; sets beside tt are made by --extra_sets)"
    done
    [[ -n ${recognisers// /} ]] || ! any_stage_runs 4 5 ||
        fail "--recognisers is empty (name one of conf/asr, or take --stop_stage 3)"
}

# The studies of stage 6.
settle_studies() {
    local name
    studies=()
    for name in $study; do
        config=("$name")
        [[ $name == *.yaml && -f $name ]] || layers config "study/$name"
        studies+=("${config[-1]}") # the recipe's or experiment's in place of that in conf/
    done
    any_stage_runs 6 6 || return 0
    [[ -n ${study// /} ]] || fail "stage 6 runs a study, and --study names none (see conf/study)"
    [[ $dynamic_mixing == true ]] || fail "studies mix dynamically, so not with --dynamic_mixing false"
    [[ -z $cluster ]] || fail "studies run on this machine, not by --cluster (run stage 6 without it)"
}

# Set `device` to what is there where it is left open, empty for the defaults of commands and YAML. What
# other machines have isn't known here, and what is not installed yet will be what tools/install.sh
# chooses.
choose_device() {
    local python=${SEPASR_VENV:-.venv}/bin/python
    [[ $device =~ ^(|auto|cpu|cuda)$ ]] || fail "--device is cpu, cuda or auto, not '$device'"
    [[ $device == auto ]] || return 0
    device=
    [[ -z ${cluster-} && $(nvidia-smi -L 2>/dev/null) == *GPU* ]] || return 0
    if [[ ! -x $python ]] || "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        device=cuda
    fi
}

# Set `material` to the options that name what is mixed for training: speech, and noise and rooms
# where the corpus has them. Before stage 1 it is taken to have both. Refuse to mix without what the
# mixtures to validate on have.
find_material() {
    local name condition=
    material=(--utterances "$data/tr_utterances")
    [[ ! -f $data/cv/info.yaml ]] || condition=$(sed -n 's/^condition: *//p' "$data/cv/info.yaml")
    for name in noise rooms; do
        if [[ ${dynamic_mixing-true} == false || ! -d $data || -d $data/tr_$name ]]; then
            material+=("--$name" "$data/tr_$name")
        elif [[ $name == noise && -n $condition && $condition != *clean* ]] ||
            [[ $name == rooms && $condition == *_reverb ]]; then
            fail "there is no $data/tr_$name, and $condition is to be separated (run stages 0-1 with what they need for it)"
        fi
    done
}

# Set `train` to the command that trains what is in $exp/$1: here, or as a job of SLURM.
train_by() {
    train=(sepasr train)
    if [[ -n $train_cluster ]]; then
        train=(sepasr submit --cluster "$train_cluster" --set "nodes=$num_nodes"
            ${ngpu:+"gpus=$ngpu"} --script "$exp/slurm/${1//\//_}.sh" -- train)
    fi
}
