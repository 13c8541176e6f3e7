"""``sepasr wer``: word errors of transcripts of recordings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("reference", type=Path, help="what was said: SegLST (.json) or STM (.stm)")
    parser.add_argument(
        "hypothesis", type=Path, nargs="+", help="what was read, such as `sepasr transcribe` writes"
    )
    parser.add_argument(
        "--orc", action="store_true", help="ORC-WER, too (for minutes: it takes long on hours)"
    )


def run(options: argparse.Namespace) -> None:
    """Print a line for each recording, and one for all."""
    from sepasr.report.cells import MISSING
    from sepasr.report.table import Section, print_section
    from sepasr.score.sessions import read_segments, score_sessions
    from sepasr.score.wer import Errors

    hypothesis = read_segments(options.hypothesis)
    scored = score_sessions(read_segments([options.reference]), hypothesis, orc=options.orc)
    read = {segment.session for segment in hypothesis}
    for name in (one.session for one in scored if one.session not in read):
        print(f"sepasr wer: {name}: nothing was read, all is deleted", file=sys.stderr)

    def cells(name: str, cp: Errors, orc: Errors | None) -> tuple[str, ...]:
        counts = (cp.words, cp.substitutions, cp.insertions, cp.deletions)
        rates = (cp, orc) if options.orc else (cp,)
        texts = (f"{100 * e.rate:.1f}" if e and e.words else MISSING for e in rates)
        return (name, *texts, *map(str, counts))

    rows = [cells(one.session, one.cp, one.orc) for one in scored]
    if len(scored) > 1:
        orc = sum((one.orc for one in scored if one.orc), Errors())
        rows.append(cells("all", sum((one.cp for one in scored), Errors()), orc))
    names = ("cpWER (%)", *(("ORC-WER (%)",) if options.orc else ()))
    header = ("recording", *names, "words", "substitutions", "insertions", "deletions")
    note = "Both sides by Whisper's English normaliser; counts are those of cpWER."
    print_section(Section("Word errors", header, rows, note=note))
