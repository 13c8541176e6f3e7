"""By which commit something was made, noted beside it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sepasr.files import write_text
from sepasr.models import REPOSITORY
from sepasr.repository import commit


@lru_cache
def commit_at_start() -> str:
    """The repository's commit when a runner first asked, before anything was done."""
    return commit(REPOSITORY)


def note_commit(made: Path) -> None:
    """Note this commit beside a file or folder that has just been made."""
    write_text(_note(made), commit_at_start() + "\n")


def noted_commit(made: Path) -> str | None:
    """What was noted; None for what was made before commits were noted."""
    note = _note(made)
    return note.read_text(encoding="utf-8").strip() if note.is_file() else None


def _note(made: Path) -> Path:
    return made.with_name(f"{made.name}.commit")
