"""``sepasr strip``: the inference-only directory of a separator."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.separator.config import DTYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="last.ckpt of a training, the folder it is in, or a separator's directory",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="directory to make")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help="how the weights are stored (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Write it, and load it to compare."""
    from sepasr.separator.strip import strip

    separator = strip(options.checkpoint, options.out, options.dtype)
    parameters = sum(parameter.numel() for parameter in separator.parameters())
    print(f"{options.out}: {separator.config.network}, {parameters:,} parameters, verified")
