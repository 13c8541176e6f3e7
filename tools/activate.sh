# shellcheck shell=bash
# Source this in a shell to work with sepasr by hand: `. tools/activate.sh`
# puts the environment that tools/install.sh made first on PATH, and nothing else.
sepasr_venv=${SEPASR_VENV:-$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)/.venv}
if [ -x "$sepasr_venv/bin/python" ]; then
    export VIRTUAL_ENV=$sepasr_venv
    case $PATH in
        "$sepasr_venv/bin:"*) ;;
        *) export PATH=$sepasr_venv/bin:$PATH ;;
    esac
    unset sepasr_venv
else
    echo "activate.sh: there is no environment in $sepasr_venv; run tools/install.sh" >&2
    unset sepasr_venv
    return 1
fi
