"""``sepasr show``: print the tables of results once more."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("results", type=Path, help="a results.json, or the folder it is in")


def run(options: argparse.Namespace) -> None:
    """Print them."""
    from sepasr.report.table import print_tables
    from sepasr.score.result import Results

    results = options.results
    print_tables(Results.read(results / "results.json" if results.is_dir() else results))
