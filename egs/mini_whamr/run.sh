#!/usr/bin/env bash
# The embedded recipe: the repository's run.sh with this folder's conf/ and local/.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --recipe mini_whamr "$@"
