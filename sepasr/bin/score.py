"""``sepasr score``: tables of word errors and signal measures."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--recipe", required=True, help="its name, for the table")
    parser.add_argument(
        "--config", type=Path, nargs="+", action="extend", default=[], help="YAML of the table"
    )
    parser.add_argument("--data", type=Path, required=True, help="data directory of the test set")
    parser.add_argument("--exp", type=Path, required=True, help="folder of experiments")
    parser.add_argument(
        "--systems", nargs="+", action="extend", required=True, help="folders below EXP/separate"
    )
    parser.add_argument(
        "--recognisers", nargs="+", action="extend", required=True, help="that have read them"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    add_worker_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Score, and write rows, results and tables."""
    import sys
    from datetime import datetime, timezone

    from sepasr.config import load_config
    from sepasr.data.datadir import MixtureDir
    from sepasr.files import write_text
    from sepasr.models import REPOSITORY
    from sepasr.report.table import markdown
    from sepasr.repository import commit
    from sepasr.score.inputs import (
        TableConfig,
        config_sha,
        not_scored,
        recogniser_info,
        system_info,
        versions,
    )
    from sepasr.score.result import Run
    from sepasr.score.score import score
    from sepasr.score.summary import summarise

    exp, out = options.exp, options.out
    table = load_config(TableConfig, options.config)
    data = MixtureDir.load(options.data)
    systems = [system_info(exp, folder) for folder in options.systems]
    recognisers = [recogniser_info(exp, options.systems, name) for name in options.recognisers]
    missing = not_scored(table, systems, recognisers)
    scores = score(data, systems, recognisers, exp, jobs=options.jobs, cluster=options.cluster)
    scores.write(out)
    names = {system.name for system in systems}
    results = summarise(
        scores,
        systems,
        recognisers,
        Run(
            recipe=options.recipe,
            commit=commit(REPOSITORY),
            config_sha=config_sha(exp, options.systems, options.recognisers),
            date=datetime.now(timezone.utc).date().isoformat(),
            seeds=tuple(sorted({s.seed for s in systems if s.seed is not None})),
            fs=data.info.fs,
            cut=data.info.cut,
            reference=data.info.reference,
            mixtures=len(data.mixtures),
            speakers=len(data.mixtures[0].references),
            notes=(*table.notes, *missing),
            corpus=data.info.corpus,
            condition=data.info.condition,
            versions=versions(),
        ),
        control=table.control_among(names),
        primary=table.pairs,
    )
    results.write(out / "results.json")
    write_text(out / "RESULTS.md", markdown(results))
    for sentence in missing:
        print(f"sepasr score: {sentence}", file=sys.stderr)
