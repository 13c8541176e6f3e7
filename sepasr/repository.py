"""The state of the repository that code runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit(repository: str | Path) -> str:
    """The repository's commit, with ``+`` for a tree that differs; ``unknown`` without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "unknown"
