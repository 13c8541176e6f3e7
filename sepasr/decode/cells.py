"""Cells of a quarter of a second of a recording's streams, and in which of them one speaks alone.

Of each cell sums are kept, so that any stretch of them can be judged: some ten megabytes for an
hour of two speakers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, convolve1d

from sepasr.decode.activity import ACTIVE_DB, SILENT_DB
from sepasr.decode.order import cheapest_path
from sepasr.decode.voice import FRAME_S, LEAST_VOICED, frame_spectra, log_pitch, mel_cepstra

CELL_S, HOP_S = 0.24, 0.02
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
