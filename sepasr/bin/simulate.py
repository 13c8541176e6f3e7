"""``sepasr simulate``: the embedded corpus, in the layouts of WSJ0, WHAM and WHAMR."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, nargs="+", action="extend", default=[], help="YAML")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", dest="overrides"
    )
    parser.add_argument("--out", type=Path, required=True, help="where the corpus goes")
    parser.add_argument(
        "--extra",
        nargs="*",
        action="extend",
        default=[],
        metavar="SET",
        help="further sets: 3speakers, 4speakers, espeak (other voices), long",
    )
    add_worker_arguments(parser, jobs=2)


def run(options: argparse.Namespace) -> None:
    """Make what is missing of the corpus, and of the sets that are asked for."""
    from sepasr.config import load_config
    from sepasr.simulate.corpus import CorpusConfig, build_corpus
    from sepasr.simulate.extra import build_extra_sets

    config = load_config(CorpusConfig, options.config, options.overrides)
    out, workers = options.out.absolute(), {"jobs": options.jobs, "cluster": options.cluster}
    build_corpus(config, out, **workers)
    build_extra_sets(config, options.extra, out, **workers)
