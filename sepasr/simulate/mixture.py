"""One mixture of two speakers in a room with noise: what it is made of, and its signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import permutations

import numpy as np
from scipy.signal import fftconvolve

from sepasr.simulate.rooms import Room, draw_room, impulse_responses
from sepasr.simulate.text import Part, draw
from sepasr.simulate.voices import FS, Speaker

LEAD_S = (0.1, 0.5)
"""Range of the noise before speech may start, in seconds."""
STAGGER_S = 0.25
"""A source starts up to so long after that, in seconds: the two overlap nearly throughout."""
TAIL_S = (0.3, 0.6)
"""Range of the noise after the last source has ended, in seconds."""
PEAK = 0.9
"""Mixtures with a higher peak are scaled down to it."""
WARP_RATIO = 1.2
"""Speakers of one base voice differ by this factor at least: pairs that nothing can tell apart
would only add noise to the scores."""


@dataclass(frozen=True)
class MixturePlan:
    """All that is drawn for a mixture; two of everything that concerns a source.

    Args:
        utterances: ids, 8 characters.
        speakers: who speaks.
        sentences: what they say.
        gains_db: gains on utterances of equal level, in dB.
        starts: first sample of each source in the `max` mixture.
        tail: samples of noise after the last source.
        room: where they speak.
        noise: number of the noise file.
        noise_offset: where in that file the noise starts, as a share of what is left over.
        snr_db: louder reverberant source against noise, in dB.
    """

    utterances: tuple[str, str]
    speakers: tuple[Speaker, Speaker]
    sentences: tuple[str, str]
    gains_db: tuple[float, float]
    starts: tuple[int, int]
    tail: int
    room: Room
    noise: int
    noise_offset: float
    snr_db: float

    @property
    def name(self) -> str:
        """The mixture's name as in WSJ0-2mix, without suffix."""
        (u1, u2), (g1, g2) = self.utterances, self.gains_db
        return f"{u1}_{g1:.5f}_{u2}_{g2:.5f}"


@dataclass(frozen=True)
class Signals:
    """A mixture and its parts, (samples,) float32 each, under WHAMR's names.

    ``mix_both_reverb`` is the float32 sum (s1_reverb + s2_reverb) + noise, exactly.
    """

    noise: np.ndarray
    s1_anechoic: np.ndarray
    s2_anechoic: np.ndarray
    s1_reverb: np.ndarray
    s2_reverb: np.ndarray
    mix_both_reverb: np.ndarray

    def cut(self, start: int, stop: int) -> Signals:
        """Samples ``start`` to ``stop`` of every signal."""
        return Signals(*(getattr(self, field.name)[start:stop] for field in fields(self)))


def draw_plan(
    rng: np.random.Generator,
    index: int,
    *,
    part: Part,
    speakers: Sequence[Speaker],
    rt60_s: tuple[float, float],
    snr_db: tuple[float, float],
    gain_db: float,
    num_noises: int,
) -> MixturePlan:
    """Draw mixture number ``index`` of a set.

    Args:
        rng: source of all that is drawn.
        index: its number; utterance ids are counted by it, so that no two are the same.
        part: whose sentences are said.
        speakers: who may speak.
        rt60_s: range of the reverberation time, in seconds.
        snr_db: range of the louder reverberant source against the noise, in dB.
        gain_db: one source is louder by up to this, the other softer by the same, in dB.
        num_noises: how many noise files there are.
    """
    pair = draw_pair(rng, speakers)
    first = draw(rng, part)
    while (second := draw(rng, part)) == first:
        pass
    gain = round(float(rng.uniform(-gain_db, gain_db)), 5)
    lead = rng.uniform(*LEAD_S)
    numbers = (2 * index, 2 * index + 1)
    return MixturePlan(
        utterances=(utterance_id(pair[0], numbers[0]), utterance_id(pair[1], numbers[1])),
        speakers=pair,
        sentences=(first, second),
        gains_db=(gain, -gain),
        starts=(
            int(FS * (lead + rng.uniform(0, STAGGER_S))),
            int(FS * (lead + rng.uniform(0, STAGGER_S))),
        ),
        tail=int(FS * rng.uniform(*TAIL_S)),
        room=draw_room(rng, rt60_s, 2),
        noise=int(rng.integers(num_noises)),
        noise_offset=float(rng.uniform()),
        snr_db=float(rng.uniform(*snr_db)),
    )


def utterance_id(speaker: Speaker, number: int) -> str:
    """WSJ0's form: speaker, `c` for common style, two digits of session, two of the utterance."""
    return f"{speaker.id}c{number:04d}"


def too_similar(a: Speaker, b: Speaker) -> bool:
    """Whether two speakers are one natural voice, warped nearly alike."""
    if a.engine != b.engine or a.engine == "espeak":
        return False
    return max(a.warp, b.warp) < WARP_RATIO * min(a.warp, b.warp)


def draw_pair(rng: np.random.Generator, speakers: Sequence[Speaker]) -> tuple[Speaker, Speaker]:
    """Two speakers that can be told apart: half of the pairs of two base voices, half of one."""
    mixed = rng.uniform() < 0.5
    pairs = [
        (a, b)
        for a, b in permutations(speakers, 2)
        if (a.engine != b.engine) == mixed and not too_similar(a, b)
    ]
    return pairs[rng.integers(len(pairs))]


def render(
    plan: MixturePlan, utterances: tuple[np.ndarray, np.ndarray], noise: np.ndarray
) -> tuple[Signals, Signals]:
    """The signals of a mixture.

    Args:
        plan: what to mix.
        utterances: (samples,) each, of equal rms.
        noise: (samples,), longer than the mixture.

    Returns:
        `max`, in which the noise starts before and ends after the speech, and `min`, cut from it
        at the beginning and end of the shorter source.
    """
    stops = [start + len(u) for start, u in zip(plan.starts, utterances, strict=True)]
    length = max(stops) + plan.tail
    reverberant, anechoic = (
        [_place(plan, utterances, rirs, source, length) for source in range(2)]
        for rirs in impulse_responses(plan.room)
    )
    power = max(
        np.mean(np.square(source[start:stop]))
        for source, start, stop in zip(reverberant, plan.starts, stops, strict=True)
    )
    begin = int(plan.noise_offset * (len(noise) - length))
    noise = noise[begin : begin + length]
    noise = noise * np.sqrt(power / np.mean(np.square(noise)) / 10 ** (plan.snr_db / 10))
    scale = min(1.0, PEAK / np.abs(reverberant[0] + reverberant[1] + noise).max())
    noise, a1, a2, r1, r2 = (
        (scale * signal).astype(np.float32) for signal in (noise, *anechoic, *reverberant)
    )
    full = Signals(noise, a1, a2, r1, r2, (r1 + r2) + noise)
    shorter = min((0, 1), key=lambda source: len(utterances[source]))
    return full, full.cut(plan.starts[shorter], stops[shorter])


def _place(
    plan: MixturePlan,
    utterances: tuple[np.ndarray, np.ndarray],
    rirs: np.ndarray,
    source: int,
    length: int,
) -> np.ndarray:
    gain = 10 ** (plan.gains_db[source] / 20)
    heard = gain * fftconvolve(utterances[source].astype(np.float64), rirs[:, source])
    placed = np.zeros(length)
    start = plan.starts[source]
    part = heard[: length - start]
    placed[start : start + len(part)] = part
    return placed
