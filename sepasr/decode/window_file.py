"""The windows of a long recording on disk, one appended after the other as they are separated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sepasr.errors import UserError
from sepasr.files import locked_folder, write_text

STATE, WINDOWS, LOCK = "state.json", "windows.f32", "lock"
ENERGY = 1e-10
"""Streams of less energy have no level that could be fitted, as in ``match_level``."""


class WindowFile:
    """Streams of windows, and beside each what the one gain of all is found from.

    Args:
        folder: for this work alone; made where it is missing.
        identity: what decides the windows; what something else has left in the folder is removed.
        windows: how many there are.
        speakers: streams of each.
        samples: of each.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, object],
        *,
        windows: int,
        speakers: int,
        samples: int,
    ) -> None:
        self.folder, self.identity, self.windows = folder, identity, windows
        self._path = folder / WINDOWS
        self._record = np.dtype(
            [("streams", "<f4", (speakers, samples)), ("product", "<f8"), ("energy", "<f8")]
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Have the folder for this run alone. The lock ends with the process, however it ends."""
        what = "another run is separating this recording into the same folder"
        remedy = "wait for it, or choose another folder"
        with locked_folder(self.folder / LOCK, what, self.folder.parent, remedy):
            yield

    def prepare(self, more: int) -> None:
        """Leave nothing in the folder but what this very work left there, and look for room.

        Args:
            more: bytes that this disk is to take besides.

        Raises:
            UserError: it has less room.
        """
        state, text = self.folder / STATE, json.dumps(self.identity, indent=2) + "\n"
        goes_on = state.is_file() and state.read_text(encoding="utf-8") == text
        # Half-written streams are written anew, and take room until they go.
        kept = {LOCK, STATE, WINDOWS} if goes_on else {LOCK}
        for left in self.folder.iterdir():
            if left.name not in kept:
                left.unlink()
        if not goes_on:
            write_text(state, text)
        needed = self.windows * self._record.itemsize - self._size() + more
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            what = f"{needed / 1e9:.1f} GB are needed on this disk, {free / 1e9:.1f} GB are free"
            raise UserError(what, where=self.folder.parent, remedy="make room, or choose another")

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.is_file() else 0

    def done(self) -> int:
        """How many windows are there."""
        return min(self._size() // self._record.itemsize, self.windows)

    @contextmanager
    def appending(self) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
        """Give what appends a window: its mixture (samples,) and streams (speakers, samples)."""
        done = self.done()
        with self._path.open("ab") as file:
            file.truncate(done * self._record.itemsize)  # the last one may have been cut off

            def append(mixture: np.ndarray, streams: np.ndarray) -> None:
                total = streams.astype(np.float64).sum(0)
                record = np.zeros((), self._record)
                record["streams"] = streams
                record["product"] = mixture.astype(np.float64) @ total
                record["energy"] = total @ total
                file.write(record.tobytes())
                file.flush()

            yield append

    def gain(self) -> float:
        """The one gain: the least-squares one over all windows."""
        product = energy = 0.0
        with self._path.open("rb") as file:
            for number in range(self.windows):
                file.seek((number + 1) * self._record.itemsize - 16)
                one, other = np.frombuffer(file.read(16), "<f8")
                product, energy = product + float(one), energy + float(other)
        return product / energy if energy > ENERGY else 1.0

    def __iter__(self) -> Iterator[np.ndarray]:
        """The streams of each window, as they were appended."""
        with self._path.open("rb") as file:
            for _ in range(self.windows):
                yield np.frombuffer(file.read(self._record.itemsize), self._record)["streams"][0]
