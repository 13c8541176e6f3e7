"""From figures of pages to rows: what studies leave that analyse measures and conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sepasr.report.figure_rows import like, numbered, records_of, shown
from sepasr.report.figures import Record, RowAt, Source, Table
from sepasr.report.marks import Mark
from sepasr.score.rows import UtteranceRow
from sepasr.study.conditions import CONDITIONS, LABELS
from sepasr.study.config import Difficulty
from sepasr.study.correlation import (
    CorrelationRow,
    MeasuredRow,
    correlations,
    shared_systems,
)
from sepasr.study.difficulty import (
    Conditions,
    DifficultyRow,
    difficulty_table,
    groups,
)
from sepasr.study.figures import OfStudy, left
from sepasr.study.permutations import ALL, ChoiceRow, PermutationRow, permutation_table

CORRELATIONS, PERMUTATIONS = "_correlations", "_permutations"
"""Endings of their names."""


class _Analysis(OfStudy):
    """A summary of rows that a study keeps beside its own.

    Attributes:
        ending: of its name, behind the study's.
        value: its column.
        rows_ending: of the name of the file of rows.
        summary: class of its rows.
        kept_as: class of the rows beside the study's.
    """

    ending: ClassVar[str]
    value: ClassVar[str]
    rows_ending: ClassVar[str]
    summary: ClassVar[type]
    kept_as: ClassVar[type]

    def __init__(self, name: str, out: Path) -> None:
        study = name.removesuffix(self.ending)
        path = left(out / f"{name}.csv", study)
        self._beside = left(out / f"{study}{self.rows_ending}.csv", study)
        super().__init__(name, out, study)
        self.records = records_of(path, self.summary, self.value)

    @cached_property
    def beside(self) -> list[RowAt]:
        """The rows beside the study's."""
        return numbered(self._beside, self.kept_as)


class Correlations(_Analysis):
    """Rank correlations of measures with word errors, over the screen of a study."""

    keys = ("measure", "recogniser", "kind")
    ending, value, rows_ending = CORRELATIONS, "correlation", "_measures"
    summary, kept_as = CorrelationRow, MeasuredRow

    @cached_property
    def _screen(self) -> list[RowAt]:
        """Rows of the screen: those of the finals are of the set that the rule names."""
        finals, variants = self.record["rule"], self.record["variants"]
        sets = {finals["set"] + v["task"] for v in variants.values()} if finals else set()
        return [at for at in self.kept if at.row.set not in sets]

    @cached_property
    def _shared(self) -> set[tuple[str, int, int | None]]:
        """The systems that all correlations are over."""
        names = list(dict.fromkeys(r.fields["measure"] for r in self.records))
        rows, measured = ([at.row for at in group] for group in (self._screen, self.beside))
        return shared_systems(rows, measured, names)

    def rows(self, record: Record, columns: Sequence[str]) -> list[RowAt]:
        """Of the screen, and of the systems that all measures of the study are defined for."""
        cells = record.fields
        mine = [at for at in self._screen if at.row.recogniser == cells["recogniser"]]
        mine += [at for at in self.beside if at.row.measure == cells["measure"]]
        return [at for at in mine if (at.row.variant, at.row.steps, at.row.seed) in self._shared]

    def recompute(self, record: Record) -> Record:
        """By :func:`sepasr.study.correlation.correlations`."""
        rows = [at.row for at in self.rows(record, ())]
        measured = [row for row in rows if isinstance(row, MeasuredRow)]
        read = [row for row in rows if not isinstance(row, MeasuredRow)]
        found = correlations(read, measured, [record.fields["measure"]])
        one = next(row for row in found if row.kind == record.fields["kind"])
        return like(record, one, "correlation")

    def table(self, mark: Mark) -> Table:
        """Measures by recognisers."""
        column = mark.columns[0] if mark.columns else "correlation"
        return self.pivot(mark, self.select(mark), ("measure",), "recogniser", column)


class Permutations(_Analysis):
    """How often an embedding chooses another permutation than SI-SDR."""

    keys = ("variant", "steps", "seed", "set", "encoder", "kind")
    ending, value, rows_ending = PERMUTATIONS, "differ", "_choices"
    summary, kept_as = PermutationRow, ChoiceRow

    def rows(self, record: Record, columns: Sequence[str]) -> list[RowAt]:
        """Which mixtures differ."""
        place = {key: record.fields[key] for key in self.keys if key != "kind"}
        kinds = (record.fields["kind"],) if record.fields["kind"] != ALL else None
        return [
            at
            for at in self.beside
            if all(getattr(at.row, key) == value for key, value in place.items())
            and (kinds is None or at.row.kind in kinds)
        ]

    def recompute(self, record: Record) -> Record:
        """By :func:`sepasr.study.permutations.permutation_table`."""
        found = permutation_table([at.row for at in self.rows(record, ())])
        one = next(row for row in found if row.kind == record.fields["kind"])
        return like(record, one, "differ")

    def table(self, mark: Mark) -> Table:
        """Variants by the speakers' genders."""
        column = mark.columns[0] if mark.columns else "differ"
        records, rows = self.select(mark), ("variant", "steps", "encoder")
        table = self.pivot(mark, records, rows, "kind", column)
        table.note = self.provenance(records)
        return table


class Conditioned(Source):
    """Word errors along conditions of mixtures, from the rows of the recipe's table."""

    keys = ("system", "recogniser", "condition", "bin")

    def __init__(self, name: str, out: Path) -> None:
        path = out / f"{name}.csv"
        self.name = name
        self._utterances = left(out / "utterances.csv", name)
        self._conditions = left(out / f"{name}_conditions.csv", name)
        self.records = records_of(path, DifficultyRow)
        self.stated = Record(shown(path), {"study": name})
        self._again = cache(self._compute)

    @cached_property
    def _kept(self) -> list[RowAt]:
        return numbered(self._utterances, UtteranceRow)

    @cached_property
    def _known(self) -> list[RowAt]:
        return numbered(self._conditions, Conditions)

    def _bins(self, condition: str) -> int:
        return max(r.fields["bin"] for r in self.records if r.fields["condition"] == condition)

    def rows(self, record: Record, columns: Sequence[str]) -> list[RowAt]:
        """Of the group's mixtures, or of all for a correlation: conditions, then word errors."""
        cells, known = record.fields, self._known
        if cells["bin"]:
            values = np.array([getattr(at.row, cells["condition"]) for at in known])
            group = groups(values, self._bins(cells["condition"]))[cells["bin"] - 1]
            known = [known[number] for number in group]
        mixtures = {at.row.mixture for at in known}
        place = (cells["system"], cells["recogniser"])
        return known + [
            at
            for at in self._kept
            if (at.row.system, at.row.recogniser) == place and at.row.mixture in mixtures
        ]

    def _compute(self, system: str, recogniser: str, condition: str) -> list[Any]:
        asked = Difficulty("", [system], [recogniser], self._bins(condition))
        others = {name: math.nan for name in CONDITIONS if name != condition}  # not asked for
        rows = [at.row for at in self._kept]
        mine = [r for r in rows if (r.system, r.recogniser) == (system, recogniser)]
        conditions = [replace(at.row, **others) for at in self._known]
        return difficulty_table(self.name, asked, mine, conditions)

    def recompute(self, record: Record) -> Record:
        """By :func:`sepasr.study.difficulty.difficulty_table`."""
        *place, number = (record.fields[key] for key in self.keys)
        return like(record, next(row for row in self._again(*place) if row.bin == number))

    def table(self, mark: Mark) -> Table:
        """Rank correlations by condition; or, with the column ``cpwer``, word errors by group."""
        column = mark.columns[0] if mark.columns else "spearman"
        whole = column.partition(".")[0] == "spearman"
        records = [r for r in self.select(mark) if (r.fields["bin"] == 0) == whole]
        across, head = ("condition", _condition) if whole else ("bin", _edges)
        return self.pivot(mark, records, ("system",), across, column, head)


def _condition(record: Record) -> str:
    return LABELS[record.fields["condition"]]


def _edges(record: Record) -> str:
    return f"{record.fields['lower']:g} to {record.fields['upper']:g}"
