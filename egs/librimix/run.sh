#!/usr/bin/env bash
# Libri2Mix and Libri3Mix: the repository's run.sh with this folder's options, conf/ and local/.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --recipe librimix "$@"
