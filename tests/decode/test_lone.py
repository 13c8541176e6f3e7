"""A lone voice, split or in the wrong stream, is gathered; where two speak, nothing is touched."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import soundfile
import torch
from conversation import FS, Knowing, conversation
from scipy.ndimage import maximum_filter1d

from sepasr.decode import lone
from sepasr.decode.cells import Cells, cell_samples, lone_cells, measure_cells
from sepasr.decode.lone import (
    LONGEST,
    SHORTEST,
    TURN,
    gathered,
    speakers_of,
)
from sepasr.decode.recording import Recording, separate_recording
from sepasr.decode.voice import MelStatistics

SIZE = cell_samples(FS)
LEVEL_DB = -22.0


def spoken(parts: np.ndarray) -> np.ndarray:
    """Where each speaker speaks, (2, samples); between two vowels is a sample of nothing."""
    return maximum_filter1d(parts[:2] != 0, 200, axis=-1)


def split(parts: np.ndarray, seed: int) -> np.ndarray:
    """Streams (2, samples), in which whoever speaks alone is now here, now there, now in both.

    Where both speak, each has a stream, and a tenth of the other.
    """
    one, other = parts[:2]
    streams = np.stack([one + 0.1 * other, other + 0.1 * one])
    rng = np.random.default_rng(seed)
    said = spoken(parts)
    bounds = np.flatnonzero(np.diff(said.sum(0), prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        if said[:, start].sum() == 1:
            voice = parts[:2, start:stop].sum(0)
            here = 0.5 + 0.3 * np.sin(2 * np.pi * 3 * np.arange(stop - start) / FS)
            parted = here * voice, (1 - here) * voice
            ways = [(voice, 0 * voice), (0 * voice, voice), parted, parted[::-1]]
            streams[:, start:stop] = ways[rng.integers(4)]
    return (streams + parts[2]).astype(np.float32)


@pytest.fixture(scope="module")
def talk() -> tuple[np.ndarray, np.ndarray, Cells]:
    parts = conversation(240, seed=5)
    streams = split(parts, 0)
    return parts, streams, measure_cells([streams], FS, LEVEL_DB)


def truth(parts: np.ndarray) -> np.ndarray:
    """How much of each cell each speaker speaks, (cells, speakers), from 0 to 1."""
    cells = -(-parts.shape[1] // SIZE)
    padded = np.pad(spoken(parts), ((0, 0), (0, cells * SIZE - parts.shape[1])))
    return padded.reshape(2, cells, SIZE).mean(-1).T


def test_who_speaks_alone_is_found_and_whose_it_is(talk) -> None:
    parts, _, cells = talk
    said = truth(parts)
    alone = (said.max(1) == 1) & (said.min(1) == 0)
    both = said.min(1) == 1
    assert alone.sum() > 300
    assert both.sum() > 15
    found = lone_cells(cells)
    assert found[alone].mean() > 0.9  # all but those beside others
    assert found[both].mean() < 0.2
    owner = speakers_of(cells, MelStatistics().variance)
    mine = owner[alone & (owner >= 0)] == said.argmax(1)[alone & (owner >= 0)]
    assert max(mine.mean(), 1 - mine.mean()) > 0.98  # speakers have no numbers of their own


def test_the_sum_of_the_streams_stays(talk) -> None:
    _, streams, cells = talk
    owner = speakers_of(cells, MelStatistics().variance)
    out = np.concatenate(list(gathered([streams], owner, FS)), 1)
    np.testing.assert_allclose(out.sum(0), streams.sum(0), atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate(list(gathered([streams], np.full_like(owner, -1), FS)), 1), streams
    )


def test_nothing_depends_on_the_blocks(talk) -> None:
    _, streams, cells = talk
    cuts = [0, 100, 5 * SIZE, 5 * SIZE + 1, 100_000, streams.shape[1]]
    blocks = [streams[:, start:stop] for start, stop in pairwise(cuts)]
    for name, values in vars(measure_cells(blocks, FS, LEVEL_DB)).items():
        np.testing.assert_array_equal(values, getattr(cells, name))
    owner = np.resize([-1, 0, 0, 1, -1, 1, 0], len(cells.spoken))
    whole = np.concatenate(list(gathered([streams], owner, FS)), 1)
    np.testing.assert_array_equal(np.concatenate(list(gathered(blocks, owner, FS)), 1), whole)


def test_what_is_gathered_fades_and_leaves_nothing_behind() -> None:
    streams = np.full((2, 4 * SIZE), 0.5, np.float32)
    out = np.concatenate(list(gathered([streams], np.array([-1, 1, 1, -1]), FS)), 1)
    assert np.abs(np.diff(out)).max() <= 0.5 / (lone.FADE_S * FS) + 1e-6
    assert out[0, SIZE + round(lone.FADE_S * FS) : 3 * SIZE].max() == 0
    assert out[1, 2 * SIZE] == 1


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_the_cuts_are_the_cheapest(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone, "LONGEST", 5)
    start, rng = 2, np.random.default_rng(length)
    costs = rng.uniform(0, 3, (LONGEST, start + length, 2))
    found = lone._parts(costs, start, start + length)

    def total(parts) -> float:
        turns = sum(a[2] != b[2] for a, b in pairwise(parts))
        return TURN * turns + sum(costs[b - a - 1, b - 1, k] for a, b, k in parts)

    ways = []
    for cut in product((False, True), repeat=length - 1):
        bounds = [start, *(start + 1 + k for k, here in enumerate(cut) if here), start + length]
        sizes = np.diff(bounds)
        if sizes.max() > 5 or (sizes.min() < SHORTEST and length > SHORTEST):
            continue
        for speakers in product(range(2), repeat=len(sizes)):
            way = [(*span, k) for span, k in zip(pairwise(bounds), speakers, strict=True)]
            ways.append(way)
    assert total(found) == pytest.approx(min(map(total, ways)))
    assert [found[0][0], found[-1][1]] == [start, start + length]


class Splitting(Knowing):
    """Puts a lone voice, or half of its spectrum, now into one stream and now into the other."""

    def __init__(self, parts: np.ndarray) -> None:
        super().__init__(parts)
        self.streams = split(parts, 1)

    def unscaled(self, mixture: torch.Tensor) -> torch.Tensor:
        start = self.known[self._key(mixture.numpy())]
        return torch.from_numpy(self.streams[:, start : start + len(mixture)].copy())


@pytest.mark.slow
def test_a_recording_is_gathered_unless_that_is_not_wanted(tmp_path) -> None:
    parts = conversation(240, seed=5)
    separator = Splitting(parts)
    soundfile.write(tmp_path / "talk.wav", separator.mixture, FS, "FLOAT")
    said = truth(parts)
    alone = (said.max(1) == 1) & (said.min(1) == 0)
    astray = []
    for gather in (True, False):
        paths = separate_recording(
            separator, Recording("talk", str(tmp_path / "talk.wav")), tmp_path, gather=gather
        )
        streams = np.stack([soundfile.read(path)[0] for path in paths])
        padded = np.pad(streams, ((0, 0), (0, len(alone) * SIZE - streams.shape[1])))
        energy = np.square(padded.reshape(2, -1, SIZE)).sum(-1).T[alone]
        own = energy[np.arange(alone.sum()), said.argmax(1)[alone]] / energy.sum(1)
        astray.append(float(min((own < 0.5).mean(), (own > 0.5).mean())))
    assert astray[0] < 0.03
    assert astray[1] > 0.25
