"""The options of every subcommand that works on many items at a time."""

from __future__ import annotations

import argparse
from pathlib import Path

JOBS = "processes of this machine (default: %(default)s)"


def add_worker_arguments(
    parser: argparse.ArgumentParser, jobs: int = 1, jobs_help: str = JOBS
) -> None:
    """Declare how many workers there are, and where."""
    parser.add_argument("--jobs", type=int, default=jobs, metavar="N", help=jobs_help)
    parser.add_argument(
        "--cluster",
        type=Path,
        metavar="YAML",
        help="workers elsewhere, as conf/cluster/*.yaml describes them",
    )
