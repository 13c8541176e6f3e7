"""Rows of the CSV tables that corpora come with."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepasr.errors import UserError

_REMEDY = "get the file again"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        path: the file.
        line: its line there, counted from 1.
        values: by column.
    """

    path: Path
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def number(self, column: str) -> float:
        """The finite number in a column.

        Raises:
            UserError: it is none; file and line are named.
        """
        try:
            number = float(self[column])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.problem(f"{column} '{self[column]}' is not a number")
        return number

    def problem(self, what: str) -> UserError:
        """The error ``what`` at this row."""
        return UserError(what, where=self.path, line=self.line, remedy=_REMEDY)


def read_rows(path: str | Path, columns: Sequence[str]) -> dict[str, Row]:
    """Read a table with a line of column names at its top.

    Args:
        path: UTF-8 text, values separated by commas.
        columns: those that it must have. The first is the key.

    Returns:
        Rows by key, in the file's order.

    Raises:
        UserError: the file is missing or not a table, or lacks a column, rows or a value, or a key
            is there twice.
    """
    rows: dict[str, Row] = {}
    for row in _rows(Path(path)):
        missing = [name for name in columns if row.values.get(name) is None]
        if missing:
            raise row.problem(f"no value of '{missing[0]}'")
        if row[columns[0]] in rows:
            raise row.problem(f"'{row[columns[0]]}' is there twice")
        rows[row[columns[0]]] = row
    if not rows:
        raise UserError("no rows", where=path, remedy=_REMEDY)
    return rows


def _rows(path: Path) -> Iterator[Row]:
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            for values in reader:
                yield Row(path, reader.line_num, values)
    except FileNotFoundError:
        raise UserError("no such file", where=path, remedy=_REMEDY) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a table: {error}", where=path, remedy=_REMEDY) from None
