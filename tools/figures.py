#!/usr/bin/env python3
"""Renew or check the figures in pages, or show the rows that one comes from.

tools/figures.py --write [PAGE ...]         # README.md, docs/*.md, pretrained/README.md, RESULTS.md
tools/figures.py --check [PAGE ...]         # says which differ; the status is 1 if any does
                                            # (without PAGE also what no committed rows give)
tools/figures.py --rows docs/findings.md:17 # the row and the rows per mixture behind that line

How marks are written is in sepasr/report/marks.py. Rows are in egs/mini_whamr, or --folder DIR.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path

from sepasr.errors import UserError
from sepasr.files import write_text
from sepasr.models import REPOSITORY
from sepasr.report.figure_rows import RunTable, shown, trace
from sepasr.report.figures import Figure, Opener, Source, figures_at, read_mark, render
from sepasr.report.marks import find_marks
from sepasr.report.table import markdown
from sepasr.study.figures import Study, left

FOLDER = REPOSITORY / "egs" / "mini_whamr"
TABLE = "table"


def open_source(folder: Path, name: str) -> Source:
    """The source that a mark names.

    ``table`` is the recipe's (``results.json`` and ``results/utterances.csv`` of the folder) and
    ``table/PART`` that of another test set, in ``results/PART``. The others are of the studies in
    ``results/``: ``NAME``, ``NAME_correlations`` and ``NAME_permutations``.
    """
    out = folder / "results"
    first, _, part = name.partition("/")
    if first == TABLE:
        results = (out / part if part else folder) / "results.json"
        rows, config = out / part / "utterances.csv", folder / "conf" / "table.yaml"
        return RunTable(name, results, rows, config)
    ending = next((e for e in ("_correlations", "_permutations") if name.endswith(e)), "")
    path = left(out / f"{name}.csv", name.removesuffix(ending))
    header = path.read_text(encoding="utf-8").partition("\n")[0].split(",")
    if not ending and "condition" not in header:
        return Study(name, out)
    from sepasr.study import analysis_figures as of  # here: encoders take seconds to import

    kinds = {"_correlations": of.Correlations, "_permutations": of.Permutations}
    return kinds.get(ending, of.Conditioned)(name, out)


def pages() -> list[Path]:
    """Those of the repository that may hold marks."""
    found = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    return [*found, *sorted(REPOSITORY.glob("egs/*/pretrained/README.md"))]


def opener(folder: Path) -> Opener:
    """Opens every source once."""
    return cache(lambda name: open_source(folder, name))


def read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "name a Markdown file, such as docs/findings.md"
        raise UserError("no such page", where=page, remedy=remedy) from None


def renewed(wanted: Sequence[Path], folder: Path, sources: Opener) -> dict[Path, str]:
    """Pages with what they should hold; without ``wanted`` all, and each RESULTS.md."""
    texts = {page: render(page, read(page), sources) for page in wanted or pages()}
    if not wanted:
        tables = tables_of(folder, sources).items()
        texts |= {place / "RESULTS.md": markdown(table.results) for place, table in tables}
    return texts


def tables_of(folder: Path, sources: Opener) -> dict[Path, RunTable]:
    """The recipe's table and those of other test sets, by the folders of their RESULTS.md."""
    names = {folder: TABLE}
    parts = sorted((folder / "results").glob("*/results.json"))
    names |= {path.parent: f"{TABLE}/{path.parent.name}" for path in parts}
    tables = {place: sources(name) for place, name in names.items()}
    return {place: table for place, table in tables.items() if isinstance(table, RunTable)}


def figures_of(page: Path, sources: Opener) -> list[Figure]:
    """All figures of a page."""
    marks = find_marks(page, read(page))
    return [figure for mark in marks for figure in read_mark(mark, sources)[1]]


def differences(texts: dict[Path, str]) -> Iterator[str]:
    """Lines of pages that differ from what they should be, each with page and number."""
    for page, text in texts.items():
        pairs = zip_longest(read(page).splitlines(), text.splitlines(), fillvalue="(no line)")
        for number, (old, new) in enumerate(pairs, 1):
            if old != new:
                yield f"{shown(page)}:{number}: is       {old}"
                yield f"{shown(page)}:{number}: rows say {new}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    what.add_argument("--rows", metavar="PAGE:LINE")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR")
    options = parser.parse_args(arguments)
    sources = opener(options.folder)
    if options.rows:
        page, _, number = options.rows.rpartition(":")
        if not page or not number.isdecimal():
            parser.error(f"--rows {options.rows} is not PAGE:LINE")
        if options.pages:
            parser.error(f"--rows is of one page: what is {options.pages[0]} for?")
        figures = figures_at(Path(page), read(Path(page)), int(number), sources)
        lines = [line for figure in figures for line in trace(figure)]
        print("\n".join(lines))
        return int(any(line.endswith("DIFFERS") for line in lines))
    texts = renewed(options.pages, options.folder, sources)
    if options.write:
        for page, text in texts.items():
            if text != read(page):
                write_text(page, text)
                print(shown(page))
        return 0
    found = list(differences(texts))
    if not options.pages:
        missing: list[str] = []
        for table in tables_of(options.folder, sources).values():
            found += table.differences()
            missing += table.not_recomputed()
        for line in dict.fromkeys(missing):
            print(f"not computed again: {line}")
    if found:
        print("\n".join(found), "tools/figures.py --write renews pages", sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"figures: {error}", file=sys.stderr)
        sys.exit(2)
