"""Values kept by key in a file that only grows: what is there survives any interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sepasr.errors import UserError
from sepasr.files import write_text


class ValueLog:
    """A JSON line ``[key, value, ...]`` for each key.

    Args:
        path: the file; it is made with the first key.

    Attributes:
        known: values by key.

    Raises:
        UserError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.known: dict[str, tuple[float, ...]] = {}
        self._path = path
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8")
        complete = text[: text.rfind("\n") + 1]
        if complete != text:  # an interruption in the middle of a line
            write_text(path, complete)
        for number, line in enumerate(complete.splitlines(), 1):
            try:
                key, *values = json.loads(line)
            except (ValueError, TypeError):
                remedy = "delete it: all in it can be measured again"
                raise UserError("not a JSON list", where=path, line=number, remedy=remedy) from None
            self.known[key] = tuple(values)

    def add(self, key: str, values: Sequence[float]) -> None:
        """Keep values; NaN is kept as such."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, *values]) + "\n")
        self.known[key] = tuple(values)
