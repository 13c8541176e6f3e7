"""``sepasr submit``: run a training as a SLURM job and wait for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.errors import UserError

TRAININGS = ("train", "train_ctc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cluster", type=Path, required=True, help="YAML of what to ask SLURM for")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", dest="overrides"
    )
    parser.add_argument(
        "--script", type=Path, required=True, help="batch script to write; the log goes beside it"
    )
    parser.add_argument("command", nargs="+", help="after --: train or train_ctc and its options")


def run(options: argparse.Namespace) -> None:
    """Check the command, write the script and submit it."""
    from sepasr.bin.main import parse
    from sepasr.config import load_config
    from sepasr.train.slurm import JobConfig, submit

    command = options.command
    if command[0] not in TRAININGS:
        raise UserError(f"'{command[0]}' is not submitted", remedy=f"one of {', '.join(TRAININGS)}")
    parse(command)  # a mistake shows here, not when the job has waited for its turn
    submit(load_config(JobConfig, [options.cluster], options.overrides), command, options.script)
