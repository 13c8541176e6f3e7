"""``sepasr prepare_librimix``: the data directories of Libri2Mix or Libri3Mix."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.prepare import add_few_argument, counts_of
from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--librimix", type=Path, required=True, help="holds Libri2Mix and Libri3Mix, or is one"
    )
    parser.add_argument("--librispeech", type=Path, required=True, help="LibriSpeech, or holds it")
    parser.add_argument("--train", default="train-100", help="or train-360 (default: %(default)s)")
    parser.add_argument("--num-speakers", type=int, default=2, help="2 or 3")
    parser.add_argument("--fs", type=int, default=16000, help="sampling rate in Hz: 16000 or 8000")
    parser.add_argument("--cut", default="max", help="or min (default: %(default)s)")
    parser.add_argument("--condition", default="mix_both", help="or mix_clean, mix_single")
    parser.add_argument("--reference", default="anechoic", help="there is no other")
    parser.add_argument("--allow-partial", action="store_true", help="less than LibriMix has")
    add_few_argument(parser)
    parser.add_argument("--check", action="store_true", help="only look whether all is there")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data directories")
    add_worker_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Check the trees, and write the directories."""
    from sepasr.data.librimix import LibriMix, check_tree, prepare_librimix

    librimix = LibriMix(
        options.librimix,
        options.num_speakers,
        options.fs,
        options.cut,
        options.condition,
        options.reference,
    )
    common = {"train": options.train, "allow_partial": options.allow_partial}
    if options.check:
        check_tree(librimix, options.librispeech, **common)
        return
    prepare_librimix(
        librimix,
        options.librispeech,
        options.out,
        **common,
        few=counts_of(options.few),
        jobs=options.jobs,
        cluster=options.cluster,
    )
