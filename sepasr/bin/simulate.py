"""``sepasr simulate``: the embedded corpus, in the layouts of WSJ0, WHAM and WHAMR."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, nargs="+", default=[], help="YAML")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="overrides")
    parser.add_argument("--out", type=Path, required=True, help="where the corpus goes")
    add_worker_arguments(parser, jobs=2)


def run(options: argparse.Namespace) -> None:
    """Make what is missing of the corpus."""
    from sepasr.config import load_config
    from sepasr.simulate.corpus import CorpusConfig, build_corpus

    config = load_config(CorpusConfig, options.config, options.overrides)
    build_corpus(config, options.out.absolute(), jobs=options.jobs, cluster=options.cluster)
