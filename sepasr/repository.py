"""The state of the repository that code runs from."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

UNKNOWN = "unknown"
"""What stands for a commit where there is no git."""


def commit(repository: str | Path, besides: Sequence[str] = ()) -> str:
    """The repository's commit, with ``+`` for a tree that differs; ``unknown`` without git.

    Args:
        repository: its folder.
        besides: files in it that may differ, relative to the folder.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        others = [":/", *(f":(exclude){path}" for path in besides)]
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *others)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return UNKNOWN
