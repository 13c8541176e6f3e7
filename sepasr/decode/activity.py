"""Where in a recording each of its streams is active, by energy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from sepasr.data.blocks import FRAME_S

ACTIVE_DB = -30.0
"""A frame is active down to this, relative to the level of the recording's speech."""
LEAK_DB = -15.0
"""Below this, relative to the loudest stream in the same frame, a stream is taken for a leak."""
SILENT_DB = -90.0
"""What is below is silent however quiet the recording is: the step of a 16-bit sample."""
LEAST_S = 0.2
"""A stream that is active for less is silent."""
GAP_S, PAD_S, SHORTEST_S = 0.6, 0.2, 0.1


def active_frames(levels: np.ndarray, level_db: float) -> np.ndarray:
    """Which frames of which stream hold its speaker.

    Args:
        levels: (streams, frames) in dB, of all streams of the recording.
        level_db: level of the recording's speech, as :func:`sepasr.data.blocks.measure` finds it.

    Returns:
        (streams, frames), bool.
    """
    loudest = levels.max(0, initial=-np.inf)
    threshold = max(level_db + ACTIVE_DB, SILENT_DB)
    return (levels > threshold) & (levels > loudest + LEAK_DB)


def runs(chosen: np.ndarray) -> list[tuple[int, int]]:
    """Runs of what is chosen, (frames,) of bool: the first of each, and the one after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def segments(
    active: np.ndarray, longest_s: float, frame_s: float = FRAME_S
) -> list[tuple[float, float]]:
    """Stretches of speech in one stream.

    Pauses under 0.6 s are bridged, and what is active for less than 0.1 s is left out. Each
    stretch begins 0.2 s before its speech and ends 0.2 s after, so that no consonant is lost.

    Args:
        active: (frames,), bool.
        longest_s: a longer stretch is cut, in the longest pause of its last third or, where there
            is none, into equal parts.
        frame_s: seconds of a frame, which is a whole number of samples.

    Returns:
        Start and end of each in seconds, in order and disjoint.
    """
    bridged: list[list[int]] = []
    for start, stop in runs(active):
        if bridged and (start - bridged[-1][1]) * frame_s < GAP_S:
            bridged[-1][1] = stop
        else:
            bridged.append([start, stop])
    found = []
    end_s = len(active) * frame_s
    for start, stop in bridged:
        if active[start:stop].sum() * frame_s < SHORTEST_S:
            continue
        begin = max(0.0, start * frame_s - PAD_S)
        end = min(end_s, stop * frame_s + PAD_S)
        cuts = [begin]
        while end - cuts[-1] > longest_s:
            cuts.append(_cut(active[:stop], cuts[-1], end, longest_s, frame_s))
        found += list(pairwise([*cuts, end]))
    return found


def _cut(active: np.ndarray, begin: float, end: float, longest_s: float, frame_s: float) -> float:
    """Where to cut what is too long, in seconds: not within a word, if that can be.

    ``active`` ends with the speech: what is kept of the silence behind it is no pause to cut in.
    """
    first = int((begin + longest_s * 2 / 3) / frame_s)
    last = int((begin + longest_s) / frame_s)
    pauses = runs(~active[first:last])
    if not pauses:
        return begin + (end - begin) / math.ceil((end - begin) / longest_s)
    start, stop = max(pauses, key=lambda pause: pause[1] - pause[0])
    return (first + (start + stop) / 2) * frame_s
