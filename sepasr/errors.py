"""The one exception that stands for a mistake of the user's."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake that the user can mend: bad input, a bad option, a missing file.

    The command line prints it as a single line and exits with status 2, without a traceback.
    Every message names what is wrong, where (file, line or id) and what to do about it.

    Args:
        what: what is wrong and, if it is known, why.
        where: the file, option or id it concerns.
        remedy: what the user can do.
        line: line number in ``where``, counted from 1.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        remedy: str | None = None,
        line: int | None = None,
    ) -> None:
        place = "" if where is None else f"{where}:{line}: " if line else f"{where}: "
        tail = f" ({remedy})" if remedy else ""
        super().__init__(" ".join(f"{place}{what}{tail}".split()))
