"""``sepasr study``: run one of the studies in conf/study."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.separate import add_source_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("study", nargs="*", help="name in conf/study, or a YAML file")
    parser.add_argument("--list", action="store_true", help="say which studies there are")
    parser.add_argument(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="only say what is to do, and what is complete",
    )
    parser.add_argument("--recipe", default="mini_whamr", help="folder of egs/ (%(default)s)")
    parser.add_argument("--exp", type=Path, help="folder of experiments (default: egs/RECIPE/exp)")
    parser.add_argument("--data", type=Path, help="folder of data directories (EXP/data)")
    parser.add_argument("--start", type=Path, help="separator to start from (EXP/start/separator)")
    parser.add_argument("--out", type=Path, help="folder of tables and plots (EXP/results)")
    parser.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        dest="overrides",
        help="laid over every training: fit.accelerator=cpu ...",
    )
    add_source_argument(parser)
    parser.add_argument(
        "--device",
        help="where is separated and read: cpu, cuda, cuda:1 (default: cpu; recognisers by their "
        "YAML); trainings by fit.accelerator",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that measure")


def run(options: argparse.Namespace) -> None:
    """Run the studies that are named, one after the other."""
    from sepasr.errors import UserError
    from sepasr.study.config import load_study, study_names

    if options.list:
        names = study_names()
        width = max(map(len, names), default=0)
        for name in names:
            print(f"{name:{width}}  {load_study(name).question}")
        return
    if not options.study:
        remedy = f"there are {', '.join(study_names())}"
        raise UserError("no study is named", remedy=remedy)
    studies = {Path(name).stem: load_study(name) for name in options.study}
    if len(studies) < len(options.study):
        raise UserError("two studies have one name", remedy="name each once, by its own file name")
    from sepasr.study.outlook import outlook  # here: with PyTorch, these take seconds
    from sepasr.study.place import Place
    from sepasr.study.run import run_study
    from sepasr.study.runner import Runner

    exp = options.exp or Path("egs", options.recipe, "exp")
    place = Place(
        recipe=options.recipe,
        exp=exp,
        data=options.data or exp / "data",
        start=options.start or exp / "start" / "separator",
        out=options.out or exp / "results",
        overrides=tuple(options.overrides),
        asr_source=options.asr_source,
        jobs=options.jobs,
        device=options.device,
    )
    failed = {}
    for name, study in studies.items():
        try:
            if options.dry_run and study.difficulty is None:
                print("\n".join(outlook(Runner(name, study, place))))
            elif options.dry_run:
                print(
                    f"{name}: {study.question}\nnothing to train: rows in {place.out} are analysed"
                )
            else:
                run_study(name, study, place)
        except UserError as error:
            if len(studies) == 1:
                raise
            failed[name] = str(error)
            print(f"{name} failed: {error}", flush=True)
    if failed:
        raise UserError(
            "; ".join(f"{name}: {cause}" for name, cause in failed.items()),
            where=f"{len(failed)} of {len(studies)} studies",
            remedy="run it again: what is done stays done",
        )
