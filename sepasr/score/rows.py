"""Rows per mixture, kept as CSV: everything else is computed from them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from sepasr.errors import UserError
from sepasr.files import atomic_path


@dataclass(frozen=True)
class UtteranceRow:
    """Word errors of one mixture as one recogniser reads it; SI-SDR and its improvement in dB.

    ``orc_errors`` of the system ``mixture`` are those of its one decode as a single stream, while
    its ``cp_errors`` use that decode for every speaker.
    """

    system: str
    seed: int | None
    recogniser: str
    mixture: str
    words: int
    cp_errors: int
    orc_errors: int
    si_sdr: float
    si_sdri: float


@dataclass(frozen=True)
class MeasureRow:
    """Signal measures of one mixture; see :class:`sepasr.score.measures.Measures`."""

    system: str
    seed: int | None
    mixture: str
    si_sdr: float
    si_sdri: float
    pesq: float
    stoi: float
    estoi: float
    srmr: float


@dataclass(frozen=True)
class GuardRow:
    """A stream (counted from 1) in which a rule of the guard against hallucination was hit."""

    system: str
    seed: int | None
    recogniser: str
    mixture: str
    stream: int
    rule: str


Row = TypeVar("Row", UtteranceRow, MeasureRow, GuardRow)


@dataclass(frozen=True)
class Scores:
    """All rows of a run; the results can be computed from them again."""

    utterances: tuple[UtteranceRow, ...]
    measures: tuple[MeasureRow, ...]
    guard: tuple[GuardRow, ...]

    def write(self, folder: str | Path) -> None:
        """Write ``utterances.csv``, ``measures.csv`` and ``guard.csv``."""
        write_rows(Path(folder) / "utterances.csv", UtteranceRow, self.utterances)
        write_rows(Path(folder) / "measures.csv", MeasureRow, self.measures)
        write_rows(Path(folder) / "guard.csv", GuardRow, self.guard)

    @classmethod
    def read(cls, folder: str | Path) -> Scores:
        """Read what :meth:`write` wrote.

        Raises:
            UserError: see :func:`read_rows`.
        """
        return cls(
            read_rows(Path(folder) / "utterances.csv", UtteranceRow),
            read_rows(Path(folder) / "measures.csv", MeasureRow),
            read_rows(Path(folder) / "guard.csv", GuardRow),
        )


def write_rows(path: str | Path, cls: type[Row], rows: Sequence[Row]) -> None:
    """Write rows as CSV with the names of the fields as header; None and NaN are empty cells."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(field.name for field in fields(cls))
        for row in rows:
            writer.writerow("" if cell != cell else cell for cell in astuple(row))


def read_rows(path: str | Path, cls: type[Row]) -> tuple[Row, ...]:
    """Read what :func:`write_rows` wrote.

    Raises:
        UserError: the file is missing, has another header or a cell of another type (with line).
    """
    types = get_type_hints(cls)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            header, *lines = list(csv.reader(stream)) or [[]]
    except FileNotFoundError:
        raise UserError("no such table", where=path, remedy="run the scoring stage") from None
    if header != list(types):
        raise UserError(f"the header is not {','.join(types)}", where=path, line=1)
    rows = []
    for number, cells in enumerate(lines, 2):
        try:
            pairs = zip(types.values(), cells, strict=True)
            rows.append(cls(*(_cell(kind, text) for kind, text in pairs)))
        except ValueError as error:
            raise UserError(str(error), where=path, line=number, remedy="score again") from None
    return tuple(rows)


def _cell(kind: Any, text: str) -> Any:
    if text == "":
        return math.nan if kind is float else None if kind == int | None else kind("")
    return int(text) if kind == int | None else kind(text)
