"""``sepasr report``: a static page of results, with plots and examples to listen to."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--results", type=Path, required=True, help="a results.json, or the folder of one"
    )
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="CSV",
        help="word errors of every mixture, for examples (default: utterances.csv beside the "
        "results, or in results/ there)",
    )
    parser.add_argument("--exp", type=Path, help="folder of experiments, for training curves")
    parser.add_argument(
        "--data",
        type=Path,
        help="data directory of the test set: with --exp, examples can be heard",
    )
    parser.add_argument("--studies", type=Path, metavar="DIR", help="folder of studies' tables")
    parser.add_argument(
        "--examples", type=int, default=16, metavar="N", help="mixtures to show (%(default)s)"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the page")


def run(options: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from sepasr.errors import UserError
    from sepasr.report.page import Sources, find_results, write_page

    if options.data and not options.exp:
        raise UserError("--data without --exp: there is nothing to hear", remedy="name both")
    if options.examples < 0:
        raise UserError(f"--examples {options.examples} is less than 0")
    results, rows = find_results(options.results, options.rows)
    if options.data and rows is None:
        what = "no utterances.csv beside the results to choose examples by"
        raise UserError(what, where=results, remedy="name it with --rows")
    sources = Sources(results, rows, options.exp, options.data, options.studies, options.examples)
    print(write_page(sources, options.out))
