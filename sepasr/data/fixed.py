"""Fixed mixtures: segments of mixtures that are on disk, as a pure function of seed and number.

The other way to train than sepasr.data.dynamic, with items of the same kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from sepasr.data.audio import read_mono
from sepasr.data.batch import MixtureItem
from sepasr.data.datadir import Mixture, MixtureDir
from sepasr.data.dynamic import place_in_pass, truncated

ATTEMPTS = 10
"""Draws of a segment in which every speaker is heard; the last is taken whatever it holds."""

AUDIBLE = 1e-4
"""A speaker is heard whose power is above this share of the mixture's."""


class FixedMixtures(Dataset):
    """Random segments of the mixtures of a directory, each mixture once per pass in a new order.

    There is no last item: see :class:`sepasr.data.dynamic.DynamicMixtures`.

    Args:
        directory: the mixtures.
        segment_s: length of an item in seconds; a shorter mixture is followed by zeros.
        seed: items of another seed are other items.
        grid_s: segments begin at multiples of so many seconds, and so come again; 0 lets them begin
            anywhere.
    """

    def __init__(
        self, directory: MixtureDir, segment_s: float, seed: int, grid_s: float = 0.0
    ) -> None:
        self.directory, self.seed = directory, seed
        self.fs = directory.info.fs
        self.samples = round(segment_s * self.fs)
        self.grid = max(round(grid_s * self.fs), 1)

    def mixture(self, index: int) -> Mixture:
        """What item ``index`` is cut from."""
        mixtures = self.directory.mixtures
        return mixtures[place_in_pass(index, len(mixtures), self.seed)]

    def __getitem__(self, index: int) -> MixtureItem:
        rng = np.random.default_rng([self.seed, index, 1])
        entry = self.mixture(index)
        spare = round(entry.duration_s * self.fs) - self.samples
        for _ in range(ATTEMPTS):
            start = self.grid * int(rng.integers(max(spare, 0) // self.grid + 1))
            item = self._segment(entry, start)
            powers = np.square(item.references, dtype=np.float64).sum(1)
            if (powers > AUDIBLE * np.square(item.mixture, dtype=np.float64).sum()).all():
                break
        return item

    def _segment(self, entry: Mixture, start: int) -> MixtureItem:
        mixture = self._read(entry, entry.mixture, start)
        references = [self._read(entry, path, start) for path in entry.references]
        length = round(entry.duration_s * self.fs)
        padded = length if length < self.samples else None
        return MixtureItem(mixture, np.stack(references), length=padded)

    def _read(self, entry: Mixture, path: Path, start: int) -> np.ndarray:
        listed = round(entry.duration_s * self.fs)
        samples = read_mono(path, self.fs, start=start, stop=min(start + self.samples, listed))
        if start + len(samples) < min(start + self.samples, listed):
            raise truncated(path, entry.id, start + len(samples), listed)
        return np.pad(samples, (0, self.samples - len(samples)))
