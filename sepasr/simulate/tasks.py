"""Files that are made once: what is missing of a corpus, and what it isn't asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from sepasr.errors import UserError
from sepasr.files import locked_folder, whole_files
from sepasr.parallel import parallel_map

LOCK = ".lock"


@dataclass(frozen=True)
class Task:
    """Something to make, and the files that it consists of."""

    files: tuple[Path, ...]
    make: Callable[[], None]

    @property
    def is_done(self) -> bool:
        """Whether all of it is there."""
        return all(file.exists() for file in self.files)


@contextmanager
def making(out: Path) -> Iterator[None]:
    """Have a corpus's folder for this run alone, which removes what it doesn't know.

    Raises:
        UserError: another run is making it.
    """
    what, remedy = "another run is making this corpus", "wait for it, or name another directory"
    with locked_folder(out / LOCK, what, out, remedy):
        yield


def make_missing(
    tasks: Iterable[Task], description: str, *, jobs: int = 1, cluster: Path | None = None
) -> None:
    """Make what isn't there; jobs and cluster as for :func:`sepasr.parallel.parallel_map`."""
    missing = [task for task in tasks if not task.is_done]
    parallel_map(_make, missing, jobs=jobs, cluster=cluster, description=description)


def _make(task: Task) -> None:
    torch.set_num_threads(1)  # sums of resampling must not depend on the number of threads
    task.make()


def refuse_to_shrink(
    folders: Iterable[Path], kept: Collection[Path], asked: str, pattern: str = "**/*.wav"
) -> None:
    """Make sure that no whole WAV of the folders would be removed.

    Data directories of another experiment may list it.

    Args:
        folders: of a corpus.
        kept: the files that it is asked for.
        asked: its sizes, for the error.
        pattern: which of the folders' files are the corpus's.

    Raises:
        UserError: there is a file that isn't among ``kept``.
    """
    for folder in folders:
        surplus = [path for path in whole_files(folder, pattern) if path not in kept]
        if surplus:
            what = (
                f"holds more than is asked for by {asked}: {len(surplus)} WAV files, such as "
                f"{surplus[0].relative_to(folder)}, which another experiment may use"
            )
            remedy = "ask for as much as there is, name another folder for the corpus, or remove it"
            raise UserError(what, where=folder, remedy=remedy)


def prune(folders: Iterable[Path], kept: Collection[Path]) -> None:
    """Remove what a killed run has left in some folders, and whatever else isn't of the corpus."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()
