"""A static page of a run: figures, plots, examples to hear, from results and what lies beside."""

from __future__ import annotations

import math
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from sepasr.data.datadir import Info, MixtureDir
from sepasr.errors import UserError
from sepasr.files import replaced_directory, write_text
from sepasr.report import plots, study_plots
from sepasr.report.alignment import kind
from sepasr.report.curves import of_results, origin, read_curves
from sepasr.report.examples import ALL, Example, Gallery, choose
from sepasr.report.studies import read_studies
from sepasr.report.table import FEWER, MORE, UNDECIDED, notes, provenance, sections, software
from sepasr.score.inputs import installed
from sepasr.score.result import CLEAN, MIXTURE, Results
from sepasr.score.rows import UtteranceRow, read_rows

INDEX = "index.html"
GENERATOR = "sepasr report"
EXAMPLES = 16
VERSIONS = ("sepasr", "torch", "meeteval", "jiwer", "matplotlib", "jinja2")
NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
FIGURE = re.compile(rf"((?:< )?{NUMBER})(?: (\[[^\]]*\]))?(?: (seen|kin|unseen))?")
VERDICTS = {FEWER: "good", MORE: "bad", UNDECIDED: "open"}


@dataclass(frozen=True)
class Sources:
    """What a page is made from.

    Attributes:
        results: file of the results.
        rows: file of the rows per mixture, for examples; None for a page without them.
        exp: folder of experiments, for training curves and, with ``data``, for audio.
        data: directory of the test set.
        studies: folder of tables of studies.
        examples: how many mixtures to show.
    """

    results: Path
    rows: Path | None = None
    exp: Path | None = None
    data: Path | None = None
    studies: Path | None = None
    examples: int = EXAMPLES


def find_results(place: str | Path, rows: Path | None = None) -> tuple[Path, Path | None]:
    """The files of results and of rows that a folder or a ``results.json`` stands for.

    Rows lie beside the results, or in a folder ``results`` there.

    Args:
        place: folder or file.
        rows: where the rows are, if they are elsewhere.
    """
    place = Path(place)
    results = place / "results.json" if place.is_dir() else place
    if rows is not None:
        return results, rows
    places = [results.parent / name for name in ("utterances.csv", "results/utterances.csv")]
    return results, next((path for path in places if path.is_file()), None)


def write_page(sources: Sources, out: str | Path) -> Path:
    """Write the page and its files; the folder appears, or is replaced, when all is there.

    The page depends on its sources alone, and asks for nothing but its own files.

    Returns:
        The page, ``out/index.html``.

    Raises:
        UserError: a source is missing or broken, rows are not those of the results, or ``out``
            holds something else than a page.
    """
    out = Path(out)
    results = Results.read(sources.results)
    rows = read_rows(sources.rows, UtteranceRow) if sources.rows else ()
    if sources.rows:
        _check_rows(rows, results, sources.rows, sources.results)
    data = MixtureDir.load(sources.data) if sources.data else None
    panels = read_studies(sources.studies) if sources.studies else []
    training = _training(sources.exp, results) if sources.exp else None
    with _replaced(out) as folder:
        content = {
            "results": results,
            "lead": _lead(results),
            "forest": plots.forest(results),
            "sections": sections(results),
            "studies": study_plots.studies(panels),
            "training": training,
            "examples": list(_examples(sources, results, rows, data, folder)),
            "notes": notes(results),
            "provenance": _provenance(results, data.info if data else None),
            "software": software(results),
            "versions": versions(),
            "mixtures": len({row.mixture for row in rows}),
        }
        write_text(folder / INDEX, render(content))
    return out / INDEX


def _training(exp: Path, results: Results) -> plots.Plot | None:
    """The course of the trainings of the results' systems and seeds."""
    curves, others = of_results(read_curves(exp), results)
    if others and not curves:
        print(f"sepasr report: no training in {exp} is one of these results", file=sys.stderr)
    return plots.training(curves, origin(exp, curves), others)


def _check_rows(
    rows: Sequence[UtteranceRow], results: Results, rows_file: Path, results_file: Path
) -> None:
    """Refuse rows whose word errors, summed up, are not those of the results.

    Raises:
        UserError: names both files, and the first system and recogniser that differ.
    """
    sums: dict[tuple[str, int | None, str], tuple[int, int]] = {}
    for row in rows:
        key = (row.system, row.seed, row.recogniser)
        errors, words = sums.get(key, (0, 0))
        sums[key] = errors + row.cp_errors, words + row.words
    for line in results.systems:
        if len(line.seeds) > 1:  # the average of lines that are looked at themselves
            continue
        for reader, wer in line.wer.items():
            stated = wer.cpwer.value
            errors, words = sums.get((line.name, line.seed, reader), (0, 0))
            rate = errors / words if words else math.nan
            same = math.isclose(rate, stated, rel_tol=1e-9, abs_tol=1e-12)
            # Without any words there is no rate in either.
            if same or (math.isnan(rate) and math.isnan(stated)):
                continue
            seed = f", seed {line.seed}" if line.seed is not None else ""
            raise UserError(
                f"{errors} errors on {words} words of {line.name}{seed}, read by {reader}, where "
                f"{results_file} has a cpWER of {100 * stated:.2f} %",
                where=rows_file,
                remedy="name rows and results of one scoring",
            )


def render(content: Mapping[str, Any]) -> str:
    """The page's HTML; every text in it is escaped, only plots are taken as they are."""
    environment = Environment(
        loader=PackageLoader("sepasr.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "svg": Markup, "kind": kind}
    constants = {"ALL": ALL, "MIXTURE": MIXTURE, "CLEAN": CLEAN, "GENERATOR": GENERATOR}
    return environment.get_template("page.html").render(**constants, **content)


@dataclass(frozen=True)
class Cell:
    """A cell of a table, taken apart.

    Attributes:
        main: the figure, or the whole text.
        interval: ``[low, high]``; empty for none.
        badge: seen, kin or unseen; empty for none.
        order: what the cell is sorted by; None for text.
        style: of a verdict; empty for none.
    """

    main: str
    interval: str = ""
    badge: str = ""
    order: float | None = None
    style: str = ""


def cell(text: str) -> Cell:
    """Take a cell of :func:`sepasr.report.table.sections` apart."""
    match = FIGURE.fullmatch(text)
    if match:
        order = float(match[1].removeprefix("< "))
        return Cell(match[1], match[2] or "", match[3] or "", order)
    count = re.match(r"(\d+) of \d+$", text)
    return Cell(text, order=float(count[1]) if count else None, style=VERDICTS.get(text, ""))


def versions() -> str:
    """The software that the page is made with."""
    return " · ".join([f"Python {platform.python_version()}", *map(installed, VERSIONS)])


def _provenance(results: Results, info: Info | None) -> str:
    """The corpus of results that don't state it is that of their test set, where that is given."""
    run = results.run
    if run.corpus is None and info is not None:
        run = replace(run, corpus=info.corpus, condition=info.condition)
    return provenance(replace(results, run=run))


@dataclass(frozen=True)
class Lead:
    """A comparison that the page opens with: the system, who reads, and what it came to."""

    system: str
    recogniser: str
    relation: str
    gain: str
    interval: str
    verdict: str
    style: str


def _lead(results: Results) -> list[Lead]:
    """The primary comparisons, as tables show them."""
    by_pair = {
        (row[0], row[1].removesuffix(" (primary)")): row
        for section in sections(results)
        if section.title.startswith("Gain over")
        for row in section.rows
    }
    leads = []
    for c in (*results.comparisons, *results.other_comparisons):
        if c.primary:
            row = by_pair[c.system, c.recogniser]
            gain = cell(row[3])
            style = VERDICTS[row[2]]
            leads.append(
                Lead(
                    c.system,
                    c.recogniser,
                    c.relation or "",
                    gain.main,
                    gain.interval,
                    row[2],
                    style,
                )
            )
    return leads


def _examples(
    sources: Sources,
    results: Results,
    rows: Sequence[UtteranceRow],
    data: MixtureDir | None,
    folder: Path,
) -> Iterator[Example]:
    choices = choose(rows, results, sources.examples)
    if data is None or sources.exp is None:
        yield from map(Example, choices)
        return
    gallery = Gallery(results, rows, data, sources.exp, folder)
    for choice in tqdm(choices, "examples", unit="mixture"):
        yield gallery.example(choice)


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``out`` when the block ends well."""
    if out.exists() and not _is_page(out):
        remedy = "name a new folder"
        raise UserError("holds something else than a page of results", where=out, remedy=remedy)
    with replaced_directory(out) as folder:
        yield folder


def _is_page(folder: Path) -> bool:
    """Whether a folder is empty or was written by :func:`write_page`."""
    if not folder.is_dir():
        return False
    index = folder / INDEX
    if index.is_file():
        with open(index, encoding="utf-8", errors="replace") as stream:
            return f'content="{GENERATOR}"' in stream.read(2000)
    return not any(folder.iterdir())
