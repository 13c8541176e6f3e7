#!/usr/bin/env bash
# WHAMR, as in arXiv 2406.08914: the repository's run.sh with this folder's options, conf/ and local/.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --recipe whamr "$@"
