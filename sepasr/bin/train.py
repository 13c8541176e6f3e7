"""``sepasr train``: pretrain or fine-tune a separator."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_material_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every training needs."""
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        required=True,
        help="how to train; a later file is laid over the earlier ones",
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="overrides")
    parser.add_argument(
        "--utterances", type=Path, required=True, help="data directory of single utterances"
    )
    parser.add_argument("--noise", type=Path, required=True, help="data directory of noise")
    parser.add_argument("--rooms", type=Path, required=True, help="data directory of rooms")
    parser.add_argument("--valid", type=Path, required=True, help="data directory to validate on")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and logs go")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a training with other settings in OUT"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_material_arguments(parser)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--separator", type=Path, nargs="+", help="YAML of a new separator")
    start.add_argument("--init", type=Path, help="directory of a trained separator to start from")
    parser.add_argument(
        "--encoder",
        type=Path,
        nargs="*",
        default=[],
        help="YAML of the loss's encoder; a later file is laid over the earlier ones",
    )


def run(options: argparse.Namespace) -> None:
    """Train, resuming what was begun in ``--out``."""
    from sepasr.train.recipe import Sources, train_separator

    train_separator(
        config_files=options.config,
        overrides=options.overrides,
        separator_files=options.separator,
        init=options.init,
        encoder_files=options.encoder,
        sources=Sources(options.utterances, options.noise, options.rooms),
        valid=options.valid,
        out=options.out,
        overwrite=options.overwrite,
    )
