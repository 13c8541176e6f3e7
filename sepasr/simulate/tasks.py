"""Files that are made once: what is missing of a corpus, and what it no longer holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from sepasr.parallel import parallel_map


@dataclass(frozen=True)
class Task:
    """Something to make, and the files that it consists of."""

    files: tuple[Path, ...]
    make: Callable[[], None]

    @property
    def is_done(self) -> bool:
        """Whether all of it is there."""
        return all(file.exists() for file in self.files)


def make_missing(
    tasks: Iterable[Task], description: str, *, jobs: int = 1, cluster: Path | None = None
) -> None:
    """Make what isn't there; jobs and cluster as for :func:`sepasr.parallel.parallel_map`."""
    missing = [task for task in tasks if not task.is_done]
    parallel_map(_make, missing, jobs=jobs, cluster=cluster, description=description)


def _make(task: Task) -> None:
    torch.set_num_threads(1)  # sums of resampling must not depend on the number of threads
    task.make()


def prune(folders: Iterable[Path], kept: Collection[Path]) -> None:
    """Remove what a larger corpus or a killed run has left in some folders."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()
