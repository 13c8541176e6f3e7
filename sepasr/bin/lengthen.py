"""``sepasr lengthen``: a set of long mixtures, several utterances per speaker, from utterances."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--utterances", type=Path, required=True, help="data directory of single utterances"
    )
    parser.add_argument("--noise", type=Path, help="data directory of noise to add")
    parser.add_argument("--rooms", type=Path, help="data directory of rooms to speak in")
    parser.add_argument(
        "--config", type=Path, nargs="+", action="extend", default=[], help="YAML of the mixing"
    )
    parser.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        dest="overrides",
        help="such as utterances=3 pause_s=[0,2] (default: 3 utterances)",
    )
    parser.add_argument("--count", type=int, default=100, help="mixtures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--fs", type=int, default=16000, help="sampling rate in Hz")
    parser.add_argument("--corpus", required=True, help="name of the corpus, for the tables")
    parser.add_argument("--out", type=Path, required=True, help="data directory to write")
    parser.add_argument("--audio", type=Path, required=True, help="folder of its audio, not in OUT")
    add_worker_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Write the data directory."""
    from sepasr.config import load_config
    from sepasr.data.dynamic import DynamicMixtures
    from sepasr.data.long import LongMixtures
    from sepasr.errors import UserError
    from sepasr.simulate.long import LongConfig, write_long_mixtures
    from sepasr.train.material import Sources, fingerprints

    if options.count < 1:
        raise UserError(f"{options.count} mixtures", remedy="set --count to 1 or more")
    config = load_config(LongConfig, options.config, options.overrides)
    directories = Sources(options.utterances, options.noise, options.rooms).load(options.fs)
    mixtures = LongMixtures(DynamicMixtures(*directories, config, options.seed, options.fs))
    write_long_mixtures(
        mixtures,
        options.count,
        options.out,
        options.audio,
        corpus=options.corpus,
        made_of={**fingerprints(*directories), "fs": options.fs},
        jobs=options.jobs,
        cluster=options.cluster,
    )
