"""From figures of pages to rows: the table of a run, and what all sources share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.report.figure_text import DIFFERENCE, P_VALUES
from sepasr.report.figures import Figure, Record, RowAt, Source, Table
from sepasr.report.marks import Mark
from sepasr.report.result_facts import (
    GUARD,
    IN_UTTERANCES,
    MEASURED,
    TABLE,
    UTTERANCES,
    Fact,
    facts,
    misplaced,
)
from sepasr.report.table import MEASURES, corrected_p
from sepasr.score.inputs import TableConfig
from sepasr.score.result import Results, SystemInfo
from sepasr.score.rows import GuardRow, MeasureRow, Scores, UtteranceRow, read_rows
from sepasr.score.statistics import Interval
from sepasr.score.summary import summarise


def shown(path: Path) -> str:
    """A path as messages have it: from the repository's root."""
    path = path.resolve()
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)


def there(path: Path, command: str) -> Path:
    """A file that a command leaves in EXP/results.

    Raises:
        UserError: it is not there.
    """
    if not path.is_file():
        remedy = f"{command} makes it, in EXP/results; copy it"
        raise UserError("no such file", where=shown(path), remedy=remedy)
    return path


def numbered(path: Path, cls: Any) -> list[RowAt]:
    """Rows with the lines that they are on."""
    rows: tuple[Any, ...] = read_rows(path, cls)
    return [RowAt(f"{shown(path)}:{number}", row) for number, row in enumerate(rows, 2)]


def records_of(path: Path, cls: Any, value: str = "") -> list[Record]:
    """Rows of a summary; bounds that are called ``low`` and ``high`` belong to ``value``."""
    names = {"low": f"{value}_low", "high": f"{value}_high"}
    return [
        Record(at.place, {names.get(k, k): v for k, v in asdict(at.row).items()})
        for at in numbered(path, cls)
    ]


def like(record: Record, found: Any, value: str = "") -> Record:
    """A row that was computed again, in the place of a record."""
    names = {"low": f"{value}_low", "high": f"{value}_high"}
    return replace(record, fields={names.get(k, k): v for k, v in asdict(found).items()})


class RunTable(Source):
    """The table of a run: its systems as every recogniser reads them."""

    keys = ("system", "seed", "recogniser")

    def __init__(
        self, name: str, results: Path, utterances: Path, config: Path | None = None
    ) -> None:
        """Read the results; their rows when they are asked for.

        Args:
            name: as marks have it.
            results: the ``results.json``.
            utterances: rows of word errors; beside them may lie those of measures and of the guard.
            config: the recipe's settings of the table, which name control and primaries.

        Raises:
            UserError: results or rows of word errors are not there.
        """
        self.name, self._results, self._utterances = name, results, utterances
        self._measures, self._guard = (utterances.with_name(n) for n in (MEASURED, GUARD))
        self._config = config
        there(results, "./run.sh")
        there(utterances, "./run.sh")
        self.results = Results.read(results)
        self.records = self._of(self.results)
        run = self.results.run
        texts = {"seeds": ", ".join(map(str, run.seeds))}
        known = {
            f.name: getattr(run, f.name) for f in fields(run) if f.name not in ("notes", "versions")
        }
        self.stated = Record(shown(results), known | texts)

    def _of(self, results: Results) -> list[Record]:
        gains = {
            (c.system, c.recogniser): c for c in (*results.comparisons, *results.other_comparisons)
        }
        corrected = corrected_p(results)
        nothing = Interval(math.nan, math.nan, math.nan)
        differences = {
            (d.system, d.measure): Interval(d.difference, d.low, d.high)
            for d in results.measure_differences
        }
        records = []
        for number, line in enumerate(results.systems):
            measures = {k: v for m in MEASURES for k, v in getattr(line, m).columns(m).items()}
            for m in MEASURES:
                apart = differences.get((line.name, m)) if line in results.lines else None
                measures |= (apart or nothing).columns(f"{m}{DIFFERENCE}")
            for reader, errors in line.wer.items():
                found = gains.get((line.name, reader)) if line in results.lines else None
                cells: dict[str, Any] = {
                    "system": line.name,
                    "seed": line.seed,
                    "recogniser": reader,
                }
                cells |= {"steps": line.steps, "against": found.against if found else ""}
                cells |= errors.cpwer.columns("cpwer") | errors.orcwer.columns("orcwer")
                for gain, p, x in (
                    ("gain", "p", found),
                    ("orc_gain", "orc_p", found and found.orcwer),
                ):
                    interval = Interval(x.relative_gain, x.low, x.high) if x else nothing
                    cells |= {**interval.columns(gain), p: x.p if x else math.nan}
                cells["p_holm"] = corrected[found] if found else math.nan
                place = f"{shown(self._results)}: systems[{number}], {reader}"
                records.append(Record(place, cells | measures))
        return records

    @cached_property
    def _kept(self) -> list[RowAt]:
        return numbered(self._utterances, UtteranceRow)

    @cached_property
    def _measured(self) -> list[RowAt]:
        """Signal measures by mixture; of old runs there are none but those beside word errors."""
        return numbered(self._measures, MeasureRow) if self._measures.is_file() else []

    @cached_property
    def _table(self) -> TableConfig | None:
        """What the recipe says of its tables, if that is there."""
        path = self._config
        return load_config(TableConfig, [path]) if path and path.is_file() else None

    @cached_property
    def _results_again(self) -> Results:
        """Everything once more, from the rows; measures that they don't hold are NaN."""
        results, rows = self.results, tuple(at.row for at in self._kept)
        systems = [
            SystemInfo(x.name, "", x.encoder, seed=x.seed, steps=x.steps, lr=x.lr)
            for x in results.systems
            if len(x.seeds) < 2
        ]
        measures = {
            (r.system, r.seed, r.mixture): MeasureRow(
                r.system, r.seed, r.mixture, r.si_sdr, r.si_sdri, *[math.nan] * 4
            )
            for r in rows
        }
        measures |= {(r.system, r.seed, r.mixture): r for r in (at.row for at in self._measured)}
        guard = read_rows(self._guard, GuardRow) if self._guard.is_file() else ()
        scores = Scores(rows, tuple(measures.values()), guard)
        seeds = tuple(sorted({r.seed for r in rows if r.seed is not None}))
        return summarise(
            scores,
            systems,
            results.recognisers,
            replace(results.run, seeds=seeds),
            control=results.control,
            primary=self._table.pairs if self._table else (),
        )

    @cached_property
    def _again(self) -> list[Record]:
        return self._of(self._results_again)

    def rows(self, record: Record, columns: Sequence[str]) -> list[RowAt]:
        """Of the system, and for a gain of the control: of all seeds that are averaged."""
        cells = record.fields
        one = {cells["seed"]} if cells["seed"] is not None else None
        wanted = [(cells["system"], one), (cells["against"], None)]
        wanted = wanted[: 1 + compares(columns)]
        names = {column.partition(".")[0].removesuffix(DIFFERENCE) for column in columns}
        if self._measured and names <= set(MEASURES):
            return [
                at
                for system, seeds in wanted
                for at in self._measured
                if at.row.system == system and (seeds is None or at.row.seed in seeds)
            ]
        return [
            at
            for system, seeds in wanted
            for at in self._kept
            if (at.row.system, at.row.recogniser) == (system, cells["recogniser"])
            and (seeds is None or at.row.seed in seeds)
        ]

    def recompute(self, record: Record) -> Record:
        """By :func:`sepasr.score.summary.summarise`."""
        return self._again[[r.place for r in self.records].index(record.place)]

    def table(self, mark: Mark) -> Table:
        """Systems by recognisers, cpWER with its interval unless a column is named."""
        column = mark.columns[0] if mark.columns else "cpwer.interval"
        return self.pivot(mark, self.select(mark), ("system",), "recogniser", column)

    def differences(self) -> list[str]:
        """Where the results differ from what the rows and the recipe's settings of the table give.

        What :meth:`not_recomputed` names is left out.
        """
        table, where = self._table, shown(self._results)
        sources = {MEASURED: self._measures.is_file(), GUARD: self._guard.is_file()}
        sources |= {UTTERANCES: True, TABLE: table is not None}
        again = self._results_again
        if table is not None:
            names = {line.name for line in self.results.systems}
            again = replace(again, control=table.control_among(names))
        old, new = facts(self.results), facts(again)
        nothing = Fact((), "not there")
        found = [f"{where}: {line}" for line in misplaced(self.results)]
        for key in dict.fromkeys([*old, *new]):
            mine, theirs = old.get(key, nothing), new.get(key, nothing)
            if not sources[(old.get(key) or new[key]).needs] or mine.agrees(theirs):
                continue
            place, name = key
            by = f"{TABLE} says" if mine.needs == TABLE else "its rows give"
            was, now = mine.told(theirs), theirs.told(mine)
            found.append(f"{where}: {place}: {name} is {was}, {by} {now}")
        known = {(line.name, line.seed) for line in self.results.systems}
        readers = {recogniser.name for recogniser in self.results.recognisers}
        for at in self._kept:
            if (at.row.system, at.row.seed) not in known or at.row.recogniser not in readers:
                found.append(f"{at.place}: a row of what {where} does not have")
                break
        return found

    def not_recomputed(self) -> list[str]:
        """Sentences on what can't be computed again, as what it is computed from is not there."""
        measures = [heading for name, (heading, _) in MEASURES.items() if name not in IN_UTTERANCES]
        wanted = {
            self._measures: f"{', '.join(measures)}, and their differences",
            self._guard: "hits of the hallucination guard",
        }
        if self._config is not None:
            wanted[self._config] = "the control, and which comparisons are primary"
        return [
            *(f"{what}: no {shown(path)}" for path, what in wanted.items() if not path.is_file()),
            "what recognisers are to a loss, encoders, steps and rates: no rows hold them",
        ]


def compares(columns: Sequence[str]) -> bool:
    """Whether the rows of the control are needed too."""
    names = {column.partition(".")[0] for column in columns}
    differences = {f"{name}{DIFFERENCE}" for name in MEASURES}
    return bool(names & {"gain", "orc_gain", *P_VALUES, *differences})


def trace(figure: Figure) -> list[str]:
    """How a figure comes about: its mark, its row, the rows per mixture, and whether they agree."""
    record, source = figure.record, figure.source
    lines = [f"{shown(figure.mark.page)}:{figure.line}: {figure.text()}"]
    lines += [f"  mark: {figure.mark.words}", f"  row: {record.place}"]
    names = [c.partition(".")[0] for c in figure.columns]
    names += [f"{n}_{end}" for n in names for end in ("low", "high")]
    lines += [f"    {name} = {record.fields[name]}" for name in names if name in record.fields]
    if figure.is_stated:
        return lines
    lines.insert(3, f"    {source.label(record)}")
    sums: dict[str, list[Any]] = {}
    lines.append("  from:")
    for at in figure.rows():
        cells = {k: "" if v is None or v != v else v for k, v in asdict(at.row).items()}
        lines.append(f"    {at.place}: " + " ".join(f"{k}={v}" for k, v in cells.items()))
        if "cp_errors" in cells:
            keys = [k for k in ("system", "variant", "steps", "seed", "recogniser") if k in cells]
            total = sums.setdefault(" ".join(f"{k}={cells[k]}" for k in keys), [0, 0, 0])
            for number, name in enumerate(("words", "cp_errors", "orc_errors")):
                total[number] += cells[name]
    for key, (words, cp, orc) in sums.items():
        lines.append(f"  sum: {key}: {cp} errors of cpWER, {orc} of ORC-WER, {words} words")
    again = figure.recomputed()
    verdict = "agrees" if again == figure.text() else "DIFFERS"
    return [*lines, f"  computed again from these rows: {again}: {verdict}"]
