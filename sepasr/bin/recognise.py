"""``sepasr recognise``: decode the streams of systems with one recogniser."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.separate import add_source_argument
from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--recogniser",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="YAML of the recogniser; a later file is laid over the earlier ones",
    )
    add_source_argument(parser)
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", dest="overrides"
    )
    parser.add_argument(
        "--device", help="where it reads, if it can choose: cpu, cuda, cuda:1 (its YAML's)"
    )
    parser.add_argument("--data", type=Path, required=True, help="data directory of the mixtures")
    parser.add_argument("--exp", type=Path, required=True, help="folder of experiments")
    parser.add_argument(
        "--systems",
        nargs="+",
        action="extend",
        required=True,
        help="folders below EXP/separate",
    )
    add_worker_arguments(parser, 0, "processes of this machine (default: by the recogniser's YAML)")


def needs(options: argparse.Namespace) -> list[str]:
    """The model; settings that are wrong are refused already here."""
    from sepasr.config import load_config
    from sepasr.decode.recogniser import RecogniserConfig, check_recogniser

    config = load_config(RecogniserConfig, options.recogniser, options.overrides)
    check_recogniser(config)
    return [f"recogniser: {config.name}, {config.model or config.kind}"]


def run(options: argparse.Namespace) -> None:
    """Decode each system into ``EXP/decode/SYSTEM/RECOGNISER``."""
    from sepasr.data.datadir import MixtureDir
    from sepasr.decode.cache import TranscriptCache
    from sepasr.decode.recognise import recognise, streams_of
    from sepasr.decode.recogniser import load_recogniser
    from sepasr.parallel import OncePerProcess

    data = MixtureDir.load(options.data)
    first, *deltas = options.recogniser
    settings = tuple(options.overrides), tuple(deltas), options.device
    load = OncePerProcess(load_recogniser, (first, options.asr_source, *settings))
    recogniser = load()
    streams = {name: streams_of(data, options.exp / "separate" / name) for name in options.systems}
    with TranscriptCache(options.exp / "transcripts.sqlite") as cache:
        for name, found in streams.items():
            print(f"{recogniser.name} reads {name}", flush=True)
            recognise(
                found,
                recogniser,
                cache,
                options.exp / "decode" / name / recogniser.name,
                separated=options.exp / "separate" / name,
                load=load,
                jobs=options.jobs or recogniser.processes,
                cluster=options.cluster,
            )
