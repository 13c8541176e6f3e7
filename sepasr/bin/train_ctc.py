"""``sepasr train_ctc``: train a small recogniser with a CTC head."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.train import add_common_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    parser.add_argument(
        "--utterances", type=Path, required=True, help="data directory of single utterances"
    )
    parser.add_argument(
        "--init", type=Path, help="directory of a trained recogniser to start from (default: none)"
    )


def run(options: argparse.Namespace) -> None:
    """Train, resuming what was begun in ``--out``."""
    from sepasr.train.ctc import train_ctc
    from sepasr.train.material import Sources

    train_ctc(
        config_files=options.config,
        overrides=options.overrides,
        sources=Sources(options.utterances, options.noise, options.rooms),
        valid=options.valid,
        out=options.out,
        overwrite=options.overwrite,
        init=options.init,
    )
