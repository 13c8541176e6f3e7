"""``sepasr prepare``: data directories from corpora on disk."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each kind of directory."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    whamr = kinds.add_parser("whamr", help="mixtures of a WHAMR tree: one directory per set")
    whamr.add_argument("--whamr", type=Path, required=True, help="holds wav16k or wav8k")
    whamr.add_argument("--wsj0", type=Path, help="WSJ0, for the transcripts")
    whamr.add_argument("--sets", nargs="+", default=["tr", "cv", "tt"], choices=["tr", "cv", "tt"])
    whamr.add_argument("--cut", default="max", choices=["max", "min"])
    whamr.add_argument("--condition", default="mix_both_reverb", help="folder of the mixtures")
    whamr.add_argument("--reference", default="anechoic", choices=["anechoic", "reverb"])
    whamr.add_argument("--allow-partial", action="store_true", help="fewer mixtures than WHAMR has")
    whamr.add_argument("--no-text", action="store_true", help="without transcripts")
    utterances = kinds.add_parser("utterances", help="single utterances of a subset of WSJ0")
    utterances.add_argument("--wsj0", type=Path, required=True)
    utterances.add_argument("--subset", default="si_tr_s")
    utterances.add_argument("--similar", type=Path, help="table of speakers never to be mixed")
    utterances.add_argument("--genders", type=Path, help="table of speakers, f or m")
    noise = kinds.add_parser("noise", help="a folder of noise recordings")
    noise.add_argument("--noise", type=Path, required=True)
    rooms = kinds.add_parser("rooms", help="a folder of room impulse responses")
    rooms.add_argument("--rirs", type=Path, required=True)
    for kind in (whamr, utterances, noise, rooms):
        kind.add_argument("--fs", type=int, default=16000, help="sampling rate in Hz")
        kind.add_argument("--corpus", required=True, help="name of the corpus, for the tables")
        kind.add_argument("--out", type=Path, required=True)


def run(options: argparse.Namespace) -> None:
    """Write the directories."""
    from sepasr.data.utterances import prepare_noise, prepare_rirs, prepare_utterances
    from sepasr.data.whamr import prepare_whamr

    fs, corpus, out = options.fs, options.corpus, options.out
    if options.kind == "whamr":
        prepare_whamr(
            options.whamr,
            options.wsj0,
            out,
            options.sets,
            fs=fs,
            cut=options.cut,
            condition=options.condition,
            reference=options.reference,
            allow_partial=options.allow_partial,
            text=not options.no_text,
            corpus=corpus,
        )
    elif options.kind == "utterances":
        prepare_utterances(
            options.wsj0,
            options.subset,
            out,
            fs,
            similar=options.similar,
            genders=options.genders,
            corpus=corpus,
        )
    elif options.kind == "noise":
        prepare_noise(options.noise, out, fs, corpus=corpus)
    else:
        prepare_rirs(options.rirs, out, fs, corpus=corpus)
