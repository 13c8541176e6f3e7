"""Marks in Markdown pages, between which figures stand that are generated.

In a line: ``<!--fig: SOURCE FIELD=VALUE ... COLUMN ...-->TEXT<!--/fig-->``. On lines of their own:
``<!-- table: SOURCE FIELD=VALUE ... [COLUMN] -->`` and, below the table, ``<!-- end -->``.

``FIELD=VALUE`` narrows the source's rows down: to one for a figure, to one a cell for a table. Of
several values, ``FIELD=ONE,OTHER``, a table keeps the order; what holds a space is put in quotes.
Without ``seed=`` it is the average over seeds where there is one. ``COLUMN.value`` leaves the
interval out, ``COLUMN.interval`` gives it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sepasr.errors import UserError

MARK = re.compile(
    r"<!--\s*fig:(?P<fig>.*?)-->(?P<text>.*?)<!--\s*/fig\s*-->"
    r"|<!--\s*table:(?P<table>.*?)-->\n(?P<body>.*?)<!--\s*end\s*-->",
    flags=re.DOTALL,
)
OPENING = re.compile(r"<!--\s*(?:fig|table):")
BLOCK_START = re.compile(r"[ \t]*(?:(?:[-*+>]|\d+[.)])[ \t]*)*")


@dataclass(frozen=True)
class Mark:
    """A mark in a page.

    Attributes:
        page: its file.
        line: where it begins, from 1.
        start: place of the text between the marks; ``end`` is behind it.
        is_table: whether it holds a table.
        words: what the mark says.
        source: name of the source.
        where: accepted values by field.
        columns: names.
    """

    page: Path
    line: int
    start: int
    end: int
    is_table: bool
    words: str
    source: str
    where: Mapping[str, tuple[str, ...]]
    columns: tuple[str, ...]

    def error(self, what: str, remedy: str | None = None) -> UserError:
        """One that names page, line and mark."""
        return UserError(f"'{self.words}' {what}", where=self.page, line=self.line, remedy=remedy)


def find_marks(page: Path, text: str) -> list[Mark]:
    """All marks of a page.

    Raises:
        UserError: one is not closed, says nothing, or begins a line of prose.
    """
    found = {match.start(): match for match in MARK.finditer(text)}
    for opening in OPENING.finditer(text):
        if opening.start() not in found:
            what, line = "a mark within another, or not closed", line_of(text, opening.start())
            raise UserError(what, where=page, line=line, remedy="<!--/fig--> or <!-- end -->")
    marks = []
    for start, match in found.items():
        is_table = match["fig"] is None
        words = " ".join((match["table"] if is_table else match["fig"]).split())
        span = match.span("body" if is_table else "text")
        mark = Mark(page, line_of(text, start), *span, is_table, words, "", {}, ())
        before = text[text.rfind("\n", 0, start) + 1 : start]
        if is_table and before:
            raise mark.error("is not on a line of its own")
        if not is_table and BLOCK_START.fullmatch(before):
            raise mark.error("begins its line, which Markdown takes for HTML", "put a word before")
        try:
            source, *rest = shlex.split(words)
        except ValueError:
            raise mark.error("is no SOURCE FIELD=VALUE ... COLUMN") from None
        pairs = dict(word.split("=", 1) for word in rest if "=" in word)
        # The name of a value may hold a comma itself.
        where = {field: tuple(dict.fromkeys([*v.split(","), v])) for field, v in pairs.items()}
        columns = tuple(word for word in rest if "=" not in word)
        if not is_table and not columns:
            raise mark.error("names no column")
        marks.append(replace(mark, source=source, where=where, columns=columns))
    return marks


def line_of(text: str, place: int) -> int:
    """Line of a place in a text, from 1."""
    return text.count("\n", 0, place) + 1
