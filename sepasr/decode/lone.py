"""A lone voice belongs into one stream.

A separator that has mostly heard several at a time splits the voice of one who speaks alone over
its streams, or puts it into another's: it would be heard, and read, twice or in the wrong place.
Where what several streams hold is one voice (it keeps one pitch, and rises and falls together), or
all but one are silent, the sum of the streams goes to the speaker whose voice it is. The sum of all
streams stays what it was.

Voices are told by their cepstra and pitch. Where they are much alike and the separator was right,
that does harm: it is done on request.

All of this is decided over cells (:mod:`sepasr.decode.cells`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sepasr.decode.activity import runs
from sepasr.decode.cells import HOP_S, Cells, cell_samples, lone_cells
from sepasr.decode.voice import (
    LEAST_VOICED,
    NEW_VOICE,
    voice_distance,
    voice_vector,
    weighted_mean,
    within_variance,
)

TURN = 1.0
"""What a change of speakers costs within speech that goes on: as much as a squared distance of 1
over a second of a voice."""
SURE_SHARE = 0.9
"""Speakers' voices are first taken from what is so far in one stream."""
SHORTEST, LONGEST = 3, 40
"""Cells of a stretch of one speaker."""
ROUNDS = 20
FADE_S = 0.02


class _Sums:
    """Sums over any stretch of cells."""

    def __init__(self, cells: Cells) -> None:
        parts = [
            np.einsum("css->cs", cells.gram),
            cells.cepstra,
            cells.squares,
            np.stack([cells.spoken, cells.pitch, cells.pitched], -1),
        ]
        self._ends = np.cumsum([part.shape[1] for part in parts])[:-1]
        sums = np.concatenate(parts, -1).cumsum(0)
        self._sums = np.concatenate([np.zeros((1, sums.shape[1])), sums])

    def over(self, start: np.ndarray, stop: np.ndarray) -> _Said:
        """Of stretches from ``start`` to the cell before ``stop``, (stretches,) both."""
        total = self._sums[stop] - self._sums[start]
        energy, cepstra, squares, counts = np.split(total, self._ends, axis=-1)
        spoken, pitch, pitched = counts.T
        frames = np.where(spoken > 0, spoken, np.nan)[:, None]
        pitch = np.where(pitched >= LEAST_VOICED, pitch / np.maximum(pitched, 1), np.nan)
        share = energy / np.maximum(energy.sum(-1, keepdims=True), 1e-20)
        vectors = voice_vector(cepstra / frames, squares / frames, pitch)
        return _Said(share, vectors, spoken * HOP_S)


@dataclass(frozen=True)
class _Said:
    """What is known of stretches of speech.

    Attributes:
        share: (stretches, streams), how much of it each stream has.
        voices: (stretches, 31).
        seconds: (stretches,) of speech.
    """

    share: np.ndarray
    voices: np.ndarray
    seconds: np.ndarray


def speakers_of(cells: Cells, variance: np.ndarray) -> np.ndarray:
    """The speaker whom each cell is gathered for, (cells,); -1 where all is left as it is.

    Stretches are cut where that makes them cheapest, and each part goes to the speaker whose voice
    it is like and in whose stream it is; then the voices are those of their parts, until nothing
    changes.

    Args:
        cells: of streams that are in one order.
        variance: what each dimension of a voice is expected to vary within a speaker.
    """
    spans = runs(lone_cells(cells) & (cells.spoken > 0))
    owner = np.full(len(cells.spoken), -1)
    if not spans:
        return owner
    sums, streams = _Sums(cells), cells.gram.shape[1]
    parts = np.array([piece for span in spans for piece in _pieces(*span)])
    said = sums.over(*parts.T)
    speakers = said.share.argmax(1)
    # Who the speakers are is asked where there is no doubt.
    weights = said.seconds * (said.share.max(1) >= SURE_SHARE)
    if not weights.any():
        weights = said.seconds
    for _ in range(ROUNDS):
        centres = [_centre(said.voices, weights * (speakers == k)) for k in range(streams)]
        groups = [said.voices[(speakers == k) & (weights > 0)] for k in range(streams)]
        costs = _costs(sums, len(owner), centres, within_variance(groups, variance))
        found = np.array([part for span in spans for part in _parts(costs, *span)])
        if np.array_equal(found, np.column_stack([parts, speakers])):
            break
        parts, speakers = found[:, :2], found[:, 2]
        said = sums.over(*parts.T)
        weights = said.seconds
    for (start, stop), speaker in zip(parts, speakers, strict=True):
        owner[start:stop] = speaker
    return owner


def _pieces(start: int, stop: int) -> list[tuple[int, int]]:
    count = -(-(stop - start) // (LONGEST // 2))
    edges = np.linspace(start, stop, count + 1).astype(int).tolist()
    return list(pairwise(edges))


def _centre(voices: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """The mean voice; None where nobody speaks."""
    if not weights.any():
        return None
    return weighted_mean(voices, weights)


def _far(said: _Said, centres: Sequence[np.ndarray | None], scale: np.ndarray) -> np.ndarray:
    """How far each stretch's voice is from each speaker's, (stretches, speakers)."""
    far = np.full((len(said.seconds), len(centres)), NEW_VOICE)
    for k, centre in enumerate(centres):
        if centre is not None:
            far[:, k] = voice_distance(said.voices, centre, scale)
    return far


def _costs(
    sums: _Sums,
    cells: int,
    centres: Sequence[np.ndarray | None],
    scale: np.ndarray,
) -> np.ndarray:
    """What it costs to give a stretch to a speaker, (lengths, cells, speakers).

    Entry ``[n, c]`` is of the ``n + 1`` cells that end with cell ``c``; infinite where there are
    not so many.
    """
    costs = np.full((LONGEST, cells, len(centres)), np.inf)
    at = np.arange(cells)
    each = sums.over(at, at + 1)
    moved = np.zeros((cells + 1, len(centres)))
    # It costs the share of what is moved from stream to stream.
    moved[1:] = ((1 - each.share) * each.seconds[:, None]).cumsum(0)
    for length in range(1, min(LONGEST, cells) + 1):
        stop = np.arange(length, cells + 1)
        said = sums.over(stop - length, stop)
        far = _far(said, centres, scale)
        for k in range(len(centres)):
            cost = far[:, k] * said.seconds + moved[stop, k] - moved[stop - length, k]
            costs[length - 1, length - 1 :, k] = cost
    return costs


def _parts(costs: np.ndarray, start: int, stop: int) -> list[tuple[int, int, int]]:
    """The cheapest cuts of a stretch, and the speaker of each part."""
    speakers = costs.shape[-1]
    best = np.full((stop - start + 1, speakers), np.inf)  # of what ends there with a speaker
    best[0] = -TURN  # to begin is no change
    came: list[list[tuple[int, int]]] = [[(0, 0)] * speakers]
    shortest = min(SHORTEST, stop - start)
    for end in range(1, stop - start + 1):
        lengths = np.arange(shortest, min(end, LONGEST) + 1)
        came.append([(0, 0)] * speakers)
        if not len(lengths):
            continue
        before = best[end - lengths]  # (lengths, speakers)
        change = before.min(-1) + TURN
        for k in range(speakers):
            total = np.minimum(before[:, k], change) + costs[lengths - 1, start + end - 1, k]
            n = int(total.argmin())
            best[end, k] = total[n]
            last = k if before[n, k] <= change[n] else int(before[n].argmin())
            came[end][k] = (int(lengths[n]), last)
    parts: list[tuple[int, int, int]] = []
    end, k = stop - start, int(best[-1].argmin())
    while end > 0:
        length, last = came[end][k]
        parts.append((start + end - length, start + end, k))
        end, k = end - length, last
    return parts[::-1]


def gathered(blocks: Iterable[np.ndarray], owner: np.ndarray, fs: int) -> Iterator[np.ndarray]:
    """The streams, with all that is said alone in its speaker's.

    Args:
        blocks: of the streams, (streams, samples) each.
        owner: of :func:`speakers_of`.
        fs: sampling rate in Hz.
    """
    size, fade = cell_samples(fs), max(1, round(FADE_S * fs))
    done = 0
    for block in blocks:
        at = np.arange(done, done + block.shape[-1])
        done += block.shape[-1]
        cell = np.minimum(at // size, len(owner) - 1)
        before = owner[np.maximum(cell - 1, 0)]
        # What changes at the start of a cell fades in within it.
        new = np.minimum((at - cell * size) / fade, 1.0).astype(np.float32)
        total, out = block.sum(0), np.zeros_like(block)
        for which, weight in ((owner[cell], new), (before, 1 - new)):
            for k in range(len(block)):
                out[k] += weight * np.where(which == k, total, np.where(which < 0, block[k], 0))
        yield np.where((owner[cell] < 0) & (before < 0), block, out)
