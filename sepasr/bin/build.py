"""``sepasr build``: WHAMR and impulse responses, from WSJ0, WHAM's noise and published tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments

SETS = ["tr", "cv", "tt"]
CONDITION = "mix_both_reverb"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each kind."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    whamr = kinds.add_parser("whamr", help="a WHAMR tree: what is missing of it is made")
    whamr.add_argument("--scripts", type=Path, required=True, help="WHAMR's whamr_scripts")
    whamr.add_argument("--wsj0", type=Path, required=True, help="above all discs of WSJ0")
    whamr.add_argument("--noise", type=Path, required=True, help="WHAM's wham_noise")
    whamr.add_argument("--sets", nargs="+", action="extend", choices=SETS, help="(default: all)")
    whamr.add_argument("--cut", default="max", help="or min (default: %(default)s)")
    whamr.add_argument(
        "--conditions",
        nargs="+",
        action="extend",
        help=f"folders of mixtures (default: {CONDITION})",
    )
    whamr.add_argument("--allow-partial", action="store_true", help="fewer mixtures than WHAMR has")
    rooms = kinds.add_parser("rooms", help="impulse responses for dynamic mixing")
    rooms.add_argument("--scripts", type=Path, help="WHAMR's own training rooms are taken")
    rooms.add_argument("--num-rooms", type=int, help="so many; without --scripts they are drawn")
    rooms.add_argument("--seed", type=int, default=0, help="of what is drawn")
    for kind in (whamr, rooms):
        kind.add_argument("--fs", type=int, default=16000, help="sampling rate in Hz: 16000, 8000")
        kind.add_argument("--out", type=Path, required=True)
        add_worker_arguments(kind)


def run(options: argparse.Namespace) -> None:
    """Make what is missing."""
    from sepasr.simulate.whamr import build_whamr
    from sepasr.simulate.whamr_rooms import build_rooms, choose_rooms

    workers = {"jobs": options.jobs, "cluster": options.cluster}
    if options.kind == "whamr":
        build_whamr(
            options.scripts,
            options.wsj0,
            options.noise,
            options.out,
            options.sets or SETS,
            fs=options.fs,
            cut=options.cut,
            conditions=options.conditions or [CONDITION],
            allow_partial=options.allow_partial,
            **workers,
        )
    else:
        bank = choose_rooms(options.scripts, options.num_rooms, options.seed)
        build_rooms(bank, options.out, options.fs, **workers)
