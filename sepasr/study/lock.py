"""Folders that one process at a time works in."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sepasr.files import try_lock


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep other studies out of a folder, as long as the block runs; wait while they are in it.

    The lock ends with the process, however it ends. What it starts and hands the file descriptor
    to holds the lock too: a training goes on when the study that started it is killed, and the next
    one waits for it. Where a disk has no locks, as some that are shared in a network, nobody waits.

    Yields:
        The file descriptor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        if not try_lock(stream):
            print(f"{folder}: another process works here; waiting for it", flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()
