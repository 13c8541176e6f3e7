"""``sepasr prepare``: data directories from corpora on disk."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sepasr.bin.build import SETS
from sepasr.bin.workers import add_worker_arguments
from sepasr.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each kind of directory."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    whamr = kinds.add_parser("whamr", help="mixtures of a WHAMR tree: one directory per set")
    whamr.add_argument("--whamr", type=Path, required=True, help="holds wav16k or wav8k")
    whamr.add_argument("--wsj0", type=Path, help="WSJ0, for transcripts, utterances and comparison")
    whamr.add_argument("--sets", nargs="+", action="extend", choices=SETS, help="(default: all)")
    whamr.add_argument("--cut", default="max", help="or min (default: %(default)s)")
    whamr.add_argument("--condition", default="mix_both_reverb", help="folder of the mixtures")
    whamr.add_argument("--reference", default="anechoic", help="or reverb (default: %(default)s)")
    whamr.add_argument("--allow-partial", action="store_true", help="fewer mixtures than WHAMR has")
    add_few_argument(whamr)
    whamr.add_argument("--no-text", action="store_true", help="without transcripts")
    whamr.add_argument(
        "--styles", nargs="*", action="extend", default=[], help="subsets of tt by style: nvp, vp"
    )
    whamr.add_argument("--training", action="store_true", help="also what dynamic mixing needs")
    whamr.add_argument("--noise", type=Path, help="for --training without a set tr: WHAM's noise")
    whamr.add_argument("--rirs", type=Path, help="for --training: impulse responses of rooms")
    whamr.add_argument("--check", action="store_true", help="only look whether all files are there")
    utterances = kinds.add_parser("utterances", help="single utterances of a subset of WSJ0")
    utterances.add_argument("--wsj0", type=Path, required=True)
    utterances.add_argument("--subset", default="si_tr_s")
    utterances.add_argument("--similar", type=Path, help="table of speakers never to be mixed")
    utterances.add_argument("--genders", type=Path, help="table of speakers, f or m")
    speech = kinds.add_parser("speech", help="utterances of a folder with a folder per speaker")
    speech.add_argument("--speech", type=Path, required=True, help="holds SPEAKER/...")
    speech.add_argument("--text", type=Path, help="table of ids and words (training needs none)")
    speech.add_argument("--genders", type=Path, help="table of speakers, f or m")
    noise = kinds.add_parser("noise", help="a folder of noise recordings")
    noise.add_argument("--noise", type=Path, required=True)
    rooms = kinds.add_parser("rooms", help="a folder of room impulse responses")
    rooms.add_argument("--rirs", type=Path, required=True)
    mixtures = kinds.add_parser("mixtures", help="a folder of mixtures of any number of speakers")
    mixtures.add_argument(
        "--mixtures", type=Path, required=True, help="SIGNAL/MIXTURE.wav, utt2spk, text_spk1 ..."
    )
    mixtures.add_argument("--condition", default="mix_both_reverb", help="folder of the mixtures")
    mixtures.add_argument(
        "--reference", default="anechoic", help="or reverb (default: %(default)s)"
    )
    for kind in (whamr, utterances, speech, noise, rooms, mixtures):
        kind.add_argument("--fs", type=int, default=16000, help="sampling rate in Hz")
        kind.add_argument("--corpus", required=True, help="name of the corpus, for the tables")
        kind.add_argument("--out", type=Path, required=True)
        add_worker_arguments(kind)


def add_few_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--few``."""
    parser.add_argument(
        "--few",
        nargs="*",
        action="extend",
        default=[],
        metavar="SET=N",
        help="only so many mixtures of a set, spread over it, for a try: cv=20 tt=20",
    )


def counts_of(few: Sequence[str]) -> dict[str, int]:
    """The values of ``--few``.

    Raises:
        UserError: one is none.
    """
    counts = {}
    for one in few:
        name, equals, count = one.partition("=")
        if not (name and equals and count.isdecimal()):
            raise UserError(f"'{one}' is not SET=N", where="--few", remedy="such as tt=20")
        counts[name] = int(count)
    return counts


def run(options: argparse.Namespace) -> None:
    """Write the directories."""
    from sepasr.data.utterances import read_noise, read_rirs, read_speech, read_subset

    common = {"corpus": options.corpus, "jobs": options.jobs, "cluster": options.cluster}
    if options.kind == "whamr":
        _prepare_whamr(options)
    elif options.kind == "utterances":
        read_subset(
            options.wsj0,
            options.subset,
            options.out,
            options.fs,
            similar=options.similar,
            genders=options.genders,
            **common,
        ).write()
    elif options.kind == "speech":
        read_speech(
            options.speech,
            options.out,
            options.fs,
            text=options.text,
            genders=options.genders,
            **common,
        ).write()
    elif options.kind == "noise":
        read_noise(options.noise, options.out, options.fs, **common).write()
    elif options.kind == "mixtures":
        from sepasr.data.mixture_folder import read_mixture_folder

        read_mixture_folder(
            options.mixtures,
            options.out,
            options.fs,
            condition=options.condition,
            reference=options.reference,
            **common,
        ).write()
    else:
        read_rirs(options.rirs, options.out, options.fs, **common).write()


def _prepare_whamr(options: argparse.Namespace) -> None:
    from sepasr.data.datadir import write_directories
    from sepasr.data.mixtures import check_few, few_of
    from sepasr.data.whamr import DIRECTORIES, check_material, read_material, read_sets
    from sepasr.data.whamr_tree import Whamr, check_tree
    from sepasr.data.wsj0 import Wsj0

    counts = counts_of(options.few)
    whamr = Whamr(options.whamr, options.fs, options.cut, options.condition, options.reference)
    sets = options.sets or SETS
    check_few(counts, sets)
    if options.training:
        check_material(options.condition, sets, noise=options.noise, rirs=options.rirs)
    if options.check:
        check_tree(whamr, sets, allow_partial=options.allow_partial)
        return
    wsj0 = None if options.wsj0 is None else Wsj0(options.wsj0)
    if options.training and wsj0 is None:
        raise UserError("--training without --wsj0", remedy="its utterances are mixed")
    workers = {"jobs": options.jobs, "cluster": options.cluster}
    directories = read_sets(
        whamr,
        wsj0,
        options.out,
        sets,
        allow_partial=options.allow_partial,
        text=not options.no_text,
        styles=options.styles,
        corpus=options.corpus,
        **workers,
    )
    if wsj0 is None or not options.training:
        write_directories(few_of(directories, counts), options.out, known=())
        return
    material = read_material(
        directories, wsj0, options.out, noise=options.noise, rirs=options.rirs, **workers
    )
    # What is mixed keeps away from all of the sets, not only from what is left of them.
    write_directories([*few_of(directories, counts), *material], options.out, DIRECTORIES)
