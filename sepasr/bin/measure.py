"""``sepasr measure``: signal measures of separated mixtures, without recognisers."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", type=Path, help="data directory of the mixtures")
    parser.add_argument(
        "streams", type=Path, nargs="+", help="folder with spk1.scp, spk2.scp and so on; or several"
    )
    parser.add_argument("--brief", action="store_true", help="SI-SDR and SI-SDRi alone")
    parser.add_argument("--rows", type=Path, help="CSV to write, a row for each mixture")
    add_worker_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Measure, and print a table of means with 95 % intervals over mixtures."""
    from sepasr.data.datadir import MixtureDir
    from sepasr.report.table import measures_section, print_section
    from sepasr.score.rows import MeasureRow, write_rows
    from sepasr.score.score import measure_streams

    data = MixtureDir.load(options.data)
    workers = {"jobs": options.jobs, "cluster": options.cluster}
    systems = {
        str(folder): measure_streams(data, folder, brief=options.brief, **workers)
        for folder in options.streams
    }
    if options.rows:
        write_rows(options.rows, MeasureRow, [row for rows in systems.values() for row in rows])
    info = data.info
    title = (
        f"{data.path}: {len(data.mixtures)} mixtures of {info.corpus}, {info.fs} Hz, "
        f"cut {info.cut}, {info.condition}, {info.reference} references"
    )
    print_section(measures_section(title, systems))
