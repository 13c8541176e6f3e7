"""Figures of Markdown pages, each taken from one row of a summary and traced to its rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepasr.errors import UserError
from sepasr.report.cells import MISSING, markdown_table
from sepasr.report.figure_text import figure_text
from sepasr.report.marks import Mark, find_marks, line_of

SHOWN = 8
"""Candidates that an error names."""


@dataclass(frozen=True)
class Record:
    """A row of a summary.

    Attributes:
        place: file and line, or what stands for it.
        fields: values by name; of an interval's bounds the names end in ``_low`` and ``_high``.
    """

    place: str
    fields: Mapping[str, Any]

    def holds(self, column: str) -> bool:
        """Whether there is such a column."""
        name, _, how = column.partition(".")
        bounds = how != "interval" or f"{name}_low" in self.fields
        return name in self.fields and how in ("", "value", "interval") and bounds


@dataclass(frozen=True)
class RowAt:
    """A row per mixture, any of the dataclasses that are kept as CSV, with its file and line."""

    place: str
    row: Any


class Source(ABC):
    """A summary, and the rows per mixture that it is computed from.

    Attributes:
        name: as marks have it.
        keys: fields that tell its records apart.
        records: its rows.
        stated: what holds for all of them, such as the commit.
    """

    keys: tuple[str, ...]
    name: str
    records: Sequence[Record]
    stated: Record

    @abstractmethod
    def table(self, mark: Mark) -> Table:
        """The table that a mark asks for."""

    @abstractmethod
    def rows(self, record: Record, columns: Sequence[str]) -> list[RowAt]:
        """The rows per mixture that columns of a record are computed from."""

    @abstractmethod
    def recompute(self, record: Record) -> Record:
        """The record as these rows give it; NaN for what they don't hold."""

    def label(self, record: Record) -> str:
        """What tells a record from others."""
        return " ".join(f"{key}={_text(record.fields[key])}" for key in self.keys)

    def check_fields(self, mark: Mark) -> None:
        """Refuse fields and columns that there aren't."""
        known = self.records[0].fields if self.records else {}
        unknown = [field for field in mark.where if field not in known]
        unknown += [c for c in mark.columns if self.records and not self.records[0].holds(c)]
        if unknown:
            names = ", ".join(name for name in known if not name.endswith(("_low", "_high")))
            raise mark.error(f"asks for '{unknown[0]}'", f"{self.name} has {names}")

    def select(self, mark: Mark) -> list[Record]:
        """The records that a mark is about, at least one; without ``seed=`` not one of several.

        Raises:
            UserError: there is none, or no such field or column.
        """
        self.check_fields(mark)
        hits = [
            sum(_text(r.fields[field]) in values for field, values in mark.where.items())
            for r in self.records
        ]
        best = [r for r, hit in zip(self.records, hits, strict=True) if hit == max(hits)]
        if max(hits, default=-1) < len(mark.where):
            raise mark.error("meets no row", self._candidates(best))
        if "seed" in mark.where or "seed" not in self.keys:
            return best
        others = [key for key in self.keys if key != "seed"]
        averages = {
            tuple(r.fields[key] for key in others) for r in best if r.fields["seed"] is None
        }
        return [
            r
            for r in best
            if r.fields["seed"] is None or tuple(r.fields[key] for key in others) not in averages
        ]

    def single(self, mark: Mark, records: Sequence[Record]) -> Record:
        """The one record.

        Raises:
            UserError: there are several.
        """
        if len(records) > 1:
            raise mark.error(f"meets {len(records)} rows", self._candidates(records))
        return records[0]

    def _candidates(self, records: Sequence[Record]) -> str:
        labels = [self.label(record) for record in records[:SHOWN]]
        more = [f"{len(records) - SHOWN} more"] if len(records) > SHOWN else []
        return "there are " + "; ".join(labels + more) if labels else "there are none"

    def pivot(
        self,
        mark: Mark,
        records: Sequence[Record],
        rows: Sequence[str],
        across: str,
        column: str,
        head: Callable[[Record], str] | None = None,
    ) -> Table:
        """A line for each value of the fields ``rows``, a column for each of ``across``.

        Lines without any figure are left out.

        Raises:
            UserError: a cell meets several records.
        """
        lines: dict[tuple, dict[Any, list[Record]]] = defaultdict(lambda: defaultdict(list))
        heads: dict[Any, str] = {}
        for record in records:
            place = record.fields[across]
            heads.setdefault(place, head(record) if head else _text(place))
            lines[tuple(record.fields[field] for field in rows)][place].append(record)
        order = mark.where.get(across, ())
        heads = dict(sorted(heads.items(), key=lambda x: _place(order, _text(x[0]))))
        table = Table([*rows, *heads.values()], len(rows), [])
        for key, cells in lines.items():
            line: list[str | Cell] = [_text(value) for value in key]
            for place in heads:
                found = cells.get(place)
                line.append(Cell(self.single(mark, found), column) if found else MISSING)
            if any(isinstance(c, Cell) and c.text != MISSING for c in line):
                table.lines.append(line)
        return table


def _place(order: Sequence[str], text: str) -> int:
    return order.index(text) if text in order else len(order)


def _text(value: object) -> str:
    return "" if value is None else str(value)


@dataclass(frozen=True)
class Cell:
    """A figure of a table."""

    record: Record
    column: str

    @property
    def text(self) -> str:
        """As the table shows it."""
        return figure_text(self.record.fields, self.column, bare=True)


@dataclass
class Table:
    """A table, and what is said below it.

    Attributes:
        header: names of the columns.
        labels: how many columns, from the left, are text.
        lines: cells; text, or figures.
        note: of where it comes from; empty for none.
    """

    header: list[str]
    labels: int
    lines: list[list[str | Cell]]
    note: str = ""

    def markdown(self) -> str:
        """As it stands between its marks."""
        texts = [[c if isinstance(c, str) else c.text for c in line] for line in self.lines]
        table = markdown_table(self.header, texts, self.labels)
        return "\n".join([table, *(["", self.note] if self.note else []), ""])


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        mark: that it stands in.
        line: of the page, from 1, once the page is written.
        source: of the record.
        record: that it is taken from.
        columns: of the record.
    """

    mark: Mark
    line: int
    source: Source
    record: Record
    columns: tuple[str, ...]

    def text(self, record: Record | None = None) -> str:
        """As the page shows it; or as it would, taken from another record."""
        fields = (record or self.record).fields
        return ", ".join(figure_text(fields, c, bare=self.mark.is_table) for c in self.columns)

    @property
    def is_stated(self) -> bool:
        """Whether it is no figure of mixtures, but such as the commit."""
        return self.record is self.source.stated

    def rows(self) -> list[RowAt]:
        """The rows per mixture that it is computed from; none where it is stated."""
        return [] if self.is_stated else self.source.rows(self.record, self.columns)

    def recomputed(self) -> str:
        """The same text, from the rows per mixture."""
        return self.text(None if self.is_stated else self.source.recompute(self.record))


Opener = Callable[[str], Source]


def read_mark(mark: Mark, opener: Opener) -> tuple[str, list[Figure]]:
    """What belongs between the marks, and its figures.

    Raises:
        UserError: names page and line: the source is not there, or has not just one such row.
    """
    try:
        source = opener(mark.source)
    except UserError as error:
        raise UserError(str(error), where=mark.page, line=mark.line) from None
    if mark.is_table:
        table = source.table(mark)
        figures = [
            Figure(mark, mark.line + 3 + number, source, cell.record, (cell.column,))
            for number, line in enumerate(table.lines)
            for cell in line
            if isinstance(cell, Cell)
        ]
        return table.markdown(), figures
    if not mark.where and all(map(source.stated.holds, mark.columns)):
        record = source.stated
    else:
        record = source.single(mark, source.select(mark))
    figure = Figure(mark, mark.line, source, record, mark.columns)
    if MISSING in figure.text():
        raise mark.error("is undefined", source.label(record))
    return figure.text(), [figure]


def render(page: Path, text: str, opener: Opener) -> str:
    """The page with every figure renewed."""
    for mark in reversed(find_marks(page, text)):
        text = text[: mark.start] + read_mark(mark, opener)[0] + text[mark.end :]
    return text


def figures_at(page: Path, text: str, line: int, opener: Opener) -> Iterator[Figure]:
    """Figures of a line of a page; of a line of a table that has none, all of the table.

    Raises:
        UserError: there is none.
    """
    nothing = True
    for mark in find_marks(page, text):
        last = line_of(text, mark.end)
        if mark.line <= line <= last:
            figures = read_mark(mark, opener)[1]
            yield from [f for f in figures if f.line == line] or figures
            nothing = False
    if nothing:
        remedy = "name one with a mark: <!--fig: ...--> or <!-- table: ... -->"
        raise UserError("no figure", where=page, line=line, remedy=remedy)
