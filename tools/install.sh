#!/usr/bin/env bash
# Make a Python environment with everything that sepasr needs; root is not needed.
# A second call does nothing, and one that was broken off is taken up again.
#
# Plain pip can't do this. espnet's metadata refuse the setuptools that torch asks for, and pip
# then replaces torch by an old one, with 5 GB of CUDA. So torch comes first and is pinned for all
# the rest, and espnet and espnet-s3prl come last, without what their metadata ask for: setup.py
# lists what they import.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd -P)

python=auto  # the Python to make it with: a name or a path; auto looks for 3.11, 3.12, 3.10
venv="${SEPASR_VENV:-$ROOT/.venv}"  # where to make it (default: SEPASR_VENV where that is set, for activate.sh too)
extras="mini"  # of setup.py, with commas between: mini (embedded recipe), demo, dnsmos, espnet, onnx, test; cuda comes with its torch
torch=auto  # build of torch: cpu, cuda, or auto (cuda where nvidia-smi finds a GPU)
# shellcheck source=utils/parse_options.sh
. "$ROOT/utils/parse_options.sh"
# shellcheck source=utils/stage.sh
. "$ROOT/utils/stage.sh"
option_end "$@"

CONSTRAINTS=$ROOT/tools/constraints.txt
EXTRAS="cuda mini demo dnsmos espnet onnx test"
# The others belong to extras: they ask for more than is imported, or for an older omegaconf.
WITHOUT_DEPENDENCIES=(espnet espnet-s3prl torchaudio espnet-tts-frontend hydra-core speechmos)
# Only a model's files are read of it, so any machine takes the wheel that is for this platform.
DATA_ONLY=moonshine-voice
DATA_PLATFORM=manylinux_2_34_x86_64
CPU_INDEX=https://download.pytorch.org/whl/cpu
STAMP=$venv/installed
LOG=$venv/install.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off

# The stamp says of what the environment was made: the digest of the inputs, torch's build, extras.
# While it is being made there is no digest yet.
stamp() { # digest
    printf 'digest %s\ntorch %s\nextras %s\n' "$1" "$torch" "$extras" >"$STAMP.part"
    mv "$STAMP.part" "$STAMP"
}

stamped() { # field
    if [[ -f $STAMP ]]; then sed -n "s/^$1 //p" "$STAMP"; fi
}

digest() {
    (echo "$ROOT" && cat "$ROOT/setup.py" "$CONSTRAINTS" "${BASH_SOURCE[0]}") | sha256 | cut -d " " -f 1
}

is_installed() {
    local extra
    [[ -x $venv/bin/python && $(stamped digest) == "$(digest)" ]] || return 1
    [[ $torch == auto || $torch == "$(stamped torch)" ]] || return 1
    for extra in ${extras//,/ }; do
        [[ ",$(stamped extras)," == *",$extra,"* ]] || return 1
    done
}

python_fits() { # python
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

python_version() { # python
    "$1" -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>/dev/null
}

# End where another Python is asked for than that of the environment which is there.
check_python() {
    local wanted made
    [[ $python != auto ]] && made=$(python_version "$venv/bin/python") || return 0
    wanted=$(python_version "$python") || fail "--python $python: there is no such Python"
    [[ $wanted == "$made" ]] ||
        fail "$venv is an environment of Python $made, not $wanted (remove it, or give another --venv)"
}

# Print what a Python that fits lacks, a line each.
python_lacks() { # python
    local include name
    name=python$(python_version "$1")
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        echo "$1's modules ensurepip and venv (Debian and Ubuntu: $name-venv)"
    include=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [[ -f $include/Python.h ]] || echo "$include/Python.h (Debian and Ubuntu: $name-dev)"
}

# Set `python` to the first that has all that is needed, or if none has to the first that fits.
choose_python() {
    local candidate first=
    for candidate in python3.11 python3.12 python3.10 python3; do
        python_fits "$candidate" || continue
        : "${first:=$candidate}"
        if [[ -z $(python_lacks "$candidate") ]]; then
            python=$candidate
            return
        fi
    done
    [[ -z $first ]] || python=$first
}

# Name everything that the machine lacks, before anything starts.
check_machine() {
    local missing=()
    [[ $python != auto ]] || choose_python
    if ! python_fits "$python"; then
        missing+=("Python 3.10, 3.11 or 3.12 (put it on PATH, or give --python PATH)")
    else
        mapfile -t missing < <(python_lacks "$python")
    fi
    command -v git >/dev/null || missing+=("git")
    command -v g++ >/dev/null || command -v c++ >/dev/null ||
        missing+=("a C++ compiler, g++ or c++ (meeteval and pesq are compiled)")
    if [[ ${#missing[@]} -gt 0 ]]; then
        printf 'install.sh: missing: %s\n' "${missing[@]}" >&2
        exit 2
    fi
}

# Leave nothing at $venv but an environment of a Python that fits, or no environment yet. Only one
# that this script has made is removed.
clear_place() {
    if [[ -d $venv ]] && ! python_fits "$venv/bin/python"; then
        if [[ -n $(stamped extras) ]]; then
            rm -rf "$venv"
        elif [[ -n $(ls -A "$venv") ]]; then
            fail "$venv is neither empty nor an environment of Python 3.10 to 3.12 (remove it, or give another --venv)"
        fi
    fi
    mkdir -p "$venv"
    stamp none
}

# Two at once would take each other's half-written packages for broken ones. On file systems that
# have no locks there is none.
wait_for_others() {
    local status=0
    command -v flock >/dev/null || return 0
    exec 9<"${BASH_SOURCE[0]}"
    flock --nonblock --conflict-exit-code 100 9 2>/dev/null || status=$?
    if [[ $status -eq 100 ]]; then
        echo "Waiting for another installation"
        flock 9
    fi
}

# Run a command quietly, a line for it; if it fails, show the end of what it said and end.
step() { # what it does, command...
    local started=$SECONDS
    printf '%s ... ' "$1"
    printf '\n== %s\n' "$1" >>"$LOG"
    if "${@:2}" >>"$LOG" 2>&1; then
        printf '%d s\n' $((SECONDS - started))
    else
        printf 'failed\n'
        tail -n 15 "$LOG" | cut -c -300 >&2
        fail "could not do: $1. Above is the end of $LOG; mend the cause and call again to go on"
    fi
}

pip_install() {
    "$venv/bin/python" -m pip install --constraint "$CONSTRAINTS" "$@"
}

make_venv() {
    local package
    "$venv/bin/python" -m pip --version || "$python" -m venv "$venv" || return
    # pip takes a package that was broken off while it was written for a whole one.
    for package in "$venv"/lib/python3*/site-packages/*.dist-info; do
        if [[ -d $package && ! -f $package/RECORD ]]; then rm -r "$package" || return; fi
    done
}

# torch without its dependencies: they come from pip's usual sources, with everything else.
install_torch() {
    local wanted installed source=()
    wanted=$(sed -n 's/^torch==//p' "$CONSTRAINTS")
    # Linux has two builds: PyPI's, which brings CUDA, and the one that calls itself +cpu.
    if [[ $torch == cpu && $(uname -s) == Linux ]]; then
        wanted=$wanted+cpu
        # A machine may have it among pip's own sources.
        [[ $("$venv/bin/python" -m pip index versions torch) == *"$wanted"* ]] ||
            source=(--index-url "$CPU_INDEX")
    fi
    installed=$("$venv/bin/python" -m pip show torch 2>/dev/null | sed -n 's/^Version: //p')
    if [[ -n $installed && $installed != "$wanted" ]]; then
        "$venv/bin/python" -m pip uninstall --yes torch torchaudio || return
    fi
    pip_install --no-deps ${source[@]+"${source[@]}"} "torch==$wanted"
}

# sepasr itself, in place; what it requires is then read from its installed metadata (-I keeps out
# the sepasr.egg-info of the working folder, which may be of an earlier setup.py).
install_sepasr() {
    pip_install setuptools && pip_install --no-deps --no-build-isolation --editable "$ROOT"
}

# What comes as data alone, which pip would fetch again each time, is listed if it isn't there.
install_required() {
    "$venv/bin/python" -I - "$venv" "$extras" "$CONSTRAINTS" "$DATA_ONLY" "${WITHOUT_DEPENDENCIES[@]}" <<'PYTHON' &&
import importlib.metadata
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

venv, extras, constraints, data_only, *without_dependencies = sys.argv[1:]
tried = Path(constraints).read_text().split()
required, alone, data = [], [], []


def is_there(name):
    try:
        return f"{name}=={importlib.metadata.version(name)}" in tried
    except importlib.metadata.PackageNotFoundError:
        return False


for requirement in map(Requirement, importlib.metadata.requires("sepasr")):
    wanted = [{"extra": extra} for extra in ["", *extras.split(",")]]
    if not requirement.marker or any(map(requirement.marker.evaluate, wanted)):
        requirement.marker = None
        name = requirement.name
        listed = data if name == data_only else alone if name in without_dependencies else required
        if listed is not data or not is_there(name):
            listed.append(f"{requirement}\n")
Path(venv, "required.txt").write_text("".join(required))
Path(venv, "alone.txt").write_text("".join(alone))
Path(venv, "data.txt").write_text("".join(data))
PYTHON
        pip_install --requirement "$venv/required.txt"
}

install_data() {
    local place
    [[ -s $venv/data.txt ]] || return 0
    place=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return
    pip_install --no-deps --only-binary :all: --platform "$DATA_PLATFORM" --target "$place" \
        --upgrade --requirement "$venv/data.txt"
}

install_espnet() {
    pip_install --no-deps --requirement "$venv/alone.txt"
}

torchaudio_works() {
    "$venv/bin/python" -c 'import torchaudio'
}

remove_torchaudio_extension() {
    rm "$venv"/lib/python3*/site-packages/torchaudio/lib/_torchaudio*.so && torchaudio_works
}

# End where torch isn't the one asked for, or where something that sepasr needs doesn't import.
check_environment() {
    "$venv/bin/python" -I - "$torch" "$(sed -n 's/^torch==//p' "$CONSTRAINTS")" <<'PYTHON'
import sys

import torch

build, version = sys.argv[1:]
if torch.__version__.split("+")[0] != version:
    sys.exit(f"torch is {torch.__version__} now, where {version} was installed")
if (torch.version.cuda is not None) != (build == "cuda"):
    sys.exit(f"torch is built for CUDA {torch.version.cuda}, where {build} was asked for")

import meeteval, pesq, torchaudio
from espnet2.asr.frontend.s3prl import S3prlFrontend
from espnet2.enh.separator.abs_separator import AbsSeparator
PYTHON
}

gpu_works() {
    "$venv/bin/python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'
}

extras=${extras// /,}
for extra in ${extras//,/ }; do
    [[ " $EXTRAS " == *" $extra "* ]] || fail "there is no extra '$extra' ($EXTRAS)"
done
[[ $torch =~ ^(auto|cpu|cuda)$ ]] || fail "--torch is auto, cpu or cuda, not '$torch'"
check_python
is_installed || wait_for_others
if is_installed; then
    if [[ $torch == auto && $(stamped torch) == cpu && $(nvidia-smi -L 2>/dev/null) == *GPU* ]]; then
        echo "Note: this machine has a GPU, which the torch in $venv can't use (tools/install.sh --torch cuda installs the build that can)"
    fi
    exit
fi

check_machine
# What an earlier call has chosen is kept.
for extra in $(stamped extras | tr , ' '); do
    [[ ",$extras," == *",$extra,"* ]] || extras=$extras,$extra
done
[[ $torch != auto ]] || torch=$(stamped torch)
why=
if [[ -z $torch ]]; then
    torch=cpu why=" (no GPU is found here; --torch cuda takes the one for GPUs)"
    [[ $(nvidia-smi -L 2>/dev/null) != *GPU* ]] || torch=cuda why=
fi
clear_place

size=3
if [[ $torch == cuda ]]; then
    size=8
    [[ ,$extras, == *,cuda,* ]] || extras=$extras,cuda
fi
echo "Installing sepasr in $venv ($size GB, some minutes; log in $LOG)"
step "an environment of Python $(python_version "$venv/bin/python" || python_version "$python")" make_venv
step "torch, $torch build$why" install_torch
step "sepasr" install_sepasr
step "what sepasr requires, with the extras $extras" install_required
step "models that come as data" install_data
step "espnet, s3prl and torchaudio, without what they require" install_espnet
if [[ $torch == cpu ]] && ! torchaudio_works 2>>"$LOG"; then
    step "torchaudio: removing its extension, which wants CUDA (it works without)" remove_torchaudio_extension
fi
step "check" check_environment
if [[ $torch == cuda ]] && ! gpu_works; then
    echo "Note: torch finds no GPU here; on a machine that has one, this build wants a driver for CUDA 13"
fi
stamp "$(digest)"
