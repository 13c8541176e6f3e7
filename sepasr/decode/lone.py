"""A lone voice belongs into one stream.

A separator that has mostly heard several at a time splits the voice of one who speaks alone over
its streams, or puts it into another's: it would be heard, and read, twice or in the wrong place.
Where what several streams hold is one voice (it keeps one pitch, and rises and falls together), or
all but one are silent, the sum of the streams goes to the speaker whose voice it is. The sum of all
streams stays what it was.

Voices are told by their cepstra and pitch. Where they are much alike and the separator was right,
that does harm: it is done on request.

All of this is decided over cells of a quarter of a second, of which sums are kept: some ten
megabytes for an hour of two speakers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import binary_dilation, convolve1d

from sepasr.decode.activity import ACTIVE_DB, SILENT_DB
from sepasr.decode.order import (
    NEW_VOICE,
    cheapest_path,
    voice_distance,
    weighted_mean,
    within_variance,
)
from sepasr.decode.voice import (
    LEAST_VOICED,
    frame_spectra,
    log_pitch,
    mel_cepstra,
    voice_vector,
)

CELL_S, FRAME_S, HOP_S = 0.24, 0.032, 0.02
POOLED = 5
"""Cells that are judged together: pitches and levels of a quarter of a second say too little."""
SAME_PITCH = 0.04
"""Pitches this near, in their logarithm, are one: two thirds of a semitone."""
HEARD_DB = -25.0
"""Under this, relative to the loudest, a stream holds nothing that could be another's."""
WEIGHTS, BIAS = np.array([-1.3, 8.0, 1.9, 4.4]), -1.0
"""Logarithm of the odds that streams hold one voice, from :func:`evidence`: a logistic regression
on three conversations full of overlaps (of a woman and a man, two women, two men; development
voices, seed 11), but for the bias, which is 2 lower: speakers merged are worse than one split."""
SILENT_ODDS = 3.0
"""The same, for a stream that is silent beside the loudest."""
EDGE = 2
"""Cells beside speech of several that are left as they are."""
CHANGE = 1.0
"""What it costs to begin or end being alone, on the same scale."""
TURN = 1.0
"""What a change of speakers costs within speech that goes on: as much as a squared distance of 1
over a second of a voice."""
SURE_SHARE = 0.9
"""Speakers' voices are first taken from what is so far in one stream."""
SHORTEST, LONGEST = 3, 40
"""Cells of a stretch of one speaker."""
ROUNDS = 20
FADE_S = 0.02


@dataclass(frozen=True)
class Cells:
    """Sums over the cells of a recording's streams.

    Attributes:
        gram: (cells, streams, streams), products of samples.
        voiced: (cells, streams, streams), frames in which both have a pitch and are heard.
        agree: the same, frames in which it is one pitch.
        level: (cells, streams), the logarithm of the energy, summed over frames.
        levels: (cells, streams, streams), the products of these.
        spoken: (cells,), frames in which anyone is heard.
        cepstra: (cells, 15), of the sum of the streams, over these frames.
        squares: the same, of its squares.
        pitch: (cells,), the logarithm of its pitch.
        pitched: (cells,), frames that have one.
    """

    gram: np.ndarray
    voiced: np.ndarray
    agree: np.ndarray
    level: np.ndarray
    levels: np.ndarray
    spoken: np.ndarray
    cepstra: np.ndarray
    squares: np.ndarray
    pitch: np.ndarray
    pitched: np.ndarray


def cell_samples(fs: int) -> int:
    """Samples of a cell."""
    return round(CELL_S * fs)


def measure_cells(blocks: Iterable[np.ndarray], fs: int, level_db: float) -> Cells:
    """Sums over all cells; the last one is filled up with silence.

    Args:
        blocks: of the streams, (streams, samples) each.
        fs: sampling rate in Hz.
        level_db: level of the recording's speech, dB re full scale.
    """
    threshold_db = max(level_db + ACTIVE_DB, SILENT_DB)
    parts = [_cells(block, fs, threshold_db) for block in _whole_cells(blocks, cell_samples(fs))]
    fields = Cells.__dataclass_fields__
    return Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def _whole_cells(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """(cells, streams, samples of a cell)."""
    held: np.ndarray | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], -1)
        whole = held.shape[-1] // size * size
        if whole:
            yield held[:, :whole].reshape(len(held), -1, size).transpose(1, 0, 2)
            held = held[:, whole:]
    if held is not None and held.shape[-1]:
        yield np.pad(held, ((0, 0), (0, size - held.shape[-1])))[None]


def _cells(sound: np.ndarray, fs: int, threshold_db: float) -> Cells:
    size, hop = round(FRAME_S * fs), round(HOP_S * fs)
    sound = sound.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view
    frames = windows(sound, size, axis=-1)[..., ::hop, :]  # (cells, streams, frames, samples)
    energy = np.square(frames).mean(-1)
    threshold = 10 ** (threshold_db / 10)
    pitch = log_pitch(frame_spectra(frames), fs)
    heard = ~np.isnan(pitch) & (energy > threshold)
    both = heard[:, :, None] & heard[:, None]
    near = np.abs(pitch[:, :, None] - pitch[:, None]) < SAME_PITCH
    level = np.log(energy + 1e-10)

    summed = windows(sound.sum(1), size, axis=-1)[:, ::hop]
    spoken = np.square(summed).mean(-1) > threshold
    spectra = frame_spectra(summed)
    cepstra = mel_cepstra(spectra, fs) * spoken[..., None]
    pitches = log_pitch(spectra, fs)
    pitched = spoken & ~np.isnan(pitches)
    return Cells(
        gram=sound @ sound.transpose(0, 2, 1),
        voiced=both.sum(-1),
        agree=(both & near).sum(-1),
        level=level.sum(-1),
        levels=level @ level.transpose(0, 2, 1),
        spoken=spoken.sum(-1),
        cepstra=cepstra.sum(1),
        squares=np.square(cepstra).sum(1),
        pitch=np.where(pitched, pitches, 0).sum(-1),
        pitched=pitched.sum(-1),
    )


def evidence(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """What each stream and the loudest one tell of being one voice.

    Returns:
        (cells, streams, 4): whether the share of common pitches is known, and that share over a
        half (0 where it isn't); how their levels go together; how their samples do. And
        (cells, streams): their level in dB, relative to the loudest's.
    """
    pool = np.ones(POOLED)
    gram, voiced, agree, level, levels = (
        convolve1d(values.astype(np.float64), pool, axis=0, mode="constant")
        for values in (cells.gram, cells.voiced, cells.agree, cells.level, cells.levels)
    )
    frames = convolve1d(np.full(len(gram), _frames_of_a_cell()), pool, mode="constant")[:, None]
    energy = np.einsum("css->cs", gram)
    loudest = energy.argmax(1)
    at = np.arange(len(gram))
    mean = level / frames
    variance = np.maximum(np.einsum("css->cs", levels) / frames - mean**2, 1e-9)
    covariance = levels[at, loudest] / frames - mean * mean[at, loudest][:, None]
    together = covariance / np.sqrt(variance * variance[at, loudest][:, None])
    alike = gram[at, loudest] / np.sqrt(energy * energy[at, loudest][:, None] + 1e-20)
    count = voiced[at, loudest]
    known = count >= LEAST_VOICED
    common = np.where(known, (agree[at, loudest] + 1) / (count + 2) - 0.5, 0)
    relative_db = 10 * np.log10((energy + 1e-12) / (energy[at, loudest][:, None] + 1e-12))
    return np.stack([known, common, together, alike], -1), relative_db


def _frames_of_a_cell() -> float:
    return float((CELL_S - FRAME_S) // HOP_S + 1)


def lone_cells(cells: Cells) -> np.ndarray:
    """In which cells one speaks alone, (cells,) of bool: the likeliest course of all (Viterbi).

    Of several streams beside the loudest, the one that is the least like it decides.
    """
    found, relative_db = evidence(cells)
    odds = found @ WEIGHTS + BIAS
    odds = np.where(relative_db > HEARD_DB, odds, SILENT_ODDS)
    odds[np.arange(len(odds)), relative_db.argmax(1)] = np.inf  # the loudest itself
    lone = odds.min(1)
    costs = [np.array([0.0, -one]) for one in lone.tolist()]
    move = CHANGE * (1 - np.eye(2))
    alone = np.array(cheapest_path(costs, [move] * (len(costs) - 1)), bool)
    # Where another begins or ends is known to a cell or so.
    return alone & ~binary_dilation(~alone & (cells.spoken > 0), iterations=EDGE)


def _runs(chosen: np.ndarray) -> list[tuple[int, int]]:
    """Runs of chosen cells: the first, and the one after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


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
    """Whose each cell is that is to be gathered; -1 where all is left as it is, (cells,).

    Stretches are cut where that makes them cheapest, and each part goes to the speaker whose voice
    it is like and in whose stream it is; then the voices are those of their parts, until nothing
    changes.

    Args:
        cells: of streams that are in one order.
        variance: what each dimension of a voice is expected to vary within a speaker.
    """
    runs = _runs(lone_cells(cells) & (cells.spoken > 0))
    owner = np.full(len(cells.spoken), -1)
    if not runs:
        return owner
    sums, streams = _Sums(cells), cells.gram.shape[1]
    parts = np.array([piece for run in runs for piece in _pieces(*run)])
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
        found = np.array([part for run in runs for part in _parts(costs, *run)])
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
