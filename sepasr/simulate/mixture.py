"""One mixture of speakers in a room with noise: what it is made of, and its signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import combinations, permutations

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
    """All that is drawn for a mixture; one for each source of everything that concerns it.

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

    utterances: tuple[str, ...]
    speakers: tuple[Speaker, ...]
    sentences: tuple[str, ...]
    gains_db: tuple[float, ...]
    starts: tuple[int, ...]
    tail: int
    room: Room
    noise: int
    noise_offset: float
    snr_db: float

    @property
    def name(self) -> str:
        """The mixture's name as in WSJ0-2mix and -3mix, without suffix."""
        pairs = zip(self.utterances, self.gains_db, strict=True)
        return "_".join(f"{utterance}_{gain:.5f}" for utterance, gain in pairs)


@dataclass(frozen=True)
class Signals:
    """A mixture of two and its parts, (samples,) float32 each, under WHAMR's names.

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
    num_speakers: int = 2,
) -> MixturePlan:
    """Draw mixture number ``index`` of a set.

    Args:
        rng: source of all that is drawn.
        index: its number; utterance ids are counted by it, so that no two are the same.
        part: whose sentences are said.
        speakers: who may speak.
        rt60_s: range of the reverberation time, in seconds.
        snr_db: range of the louder reverberant source against the noise, in dB.
        gain_db: one source is louder by up to this, the other softer by the same, in dB; of more
            than two, each has a gain of its own in this range.
        num_noises: how many noise files there are.
        num_speakers: in the mixture.
    """
    chosen: tuple[Speaker, ...]
    if num_speakers == 2:
        chosen = draw_pair(rng, speakers)
    else:
        chosen = draw_group(rng, speakers, num_speakers)
    sentences: list[str] = []
    while len(sentences) < num_speakers:
        sentence = draw(rng, part)
        if sentence not in sentences:
            sentences.append(sentence)
    count = 1 if num_speakers == 2 else num_speakers
    gains = [round(float(rng.uniform(-gain_db, gain_db)), 5) for _ in range(count)]
    if num_speakers == 2:
        gains.append(-gains[0])
    lead = rng.uniform(*LEAD_S)
    first = num_speakers * index
    return MixturePlan(
        utterances=tuple(utterance_id(s, first + number) for number, s in enumerate(chosen)),
        speakers=chosen,
        sentences=tuple(sentences),
        gains_db=tuple(gains),
        starts=tuple(int(FS * (lead + rng.uniform(0, STAGGER_S))) for _ in chosen),
        tail=int(FS * rng.uniform(*TAIL_S)),
        room=draw_room(rng, rt60_s, num_speakers),
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
    """Two speakers that can be told apart: half of the pairs of a woman and a man.

    Natural ones are then of two base voices, the other half of the pairs of one.
    """
    mixed = rng.uniform() < 0.5
    pairs = [
        (a, b)
        for a, b in permutations(speakers, 2)
        if (a.gender != b.gender) == mixed and not too_similar(a, b)
    ]
    return pairs[rng.integers(len(pairs))]


def draw_group(
    rng: np.random.Generator, speakers: Sequence[Speaker], count: int
) -> tuple[Speaker, ...]:
    """Speakers of whom no two are too similar, in any order.

    Raises:
        ValueError: there are no such speakers.
    """
    groups = [
        group
        for group in permutations(speakers, count)
        if not any(too_similar(a, b) for a, b in combinations(group, 2))
    ]
    if not groups:
        raise ValueError(f"no {count} of these speakers can be told apart")
    return groups[rng.integers(len(groups))]


def render(
    plan: MixturePlan, utterances: Sequence[np.ndarray], noise: np.ndarray
) -> tuple[Signals, Signals]:
    """The signals of a mixture of two; see :func:`sound`.

    Returns:
        `max`, in which the noise starts before and ends after the speech, and `min`, cut from it
        at the beginning and end of the shorter source.
    """
    full = Signals(**sound(plan, utterances, noise))
    shorter = min((0, 1), key=lambda source: len(utterances[source]))
    start = plan.starts[shorter]
    return full, full.cut(start, start + len(utterances[shorter]))


def sound(
    plan: MixturePlan, utterances: Sequence[np.ndarray], noise: np.ndarray
) -> dict[str, np.ndarray]:
    """The signals of a mixture, in which the noise starts before and ends after the speech.

    Args:
        plan: what to mix.
        utterances: (samples,) each, of equal rms.
        noise: (samples,), longer than the mixture.

    Returns:
        (samples,) float32 each, by WHAMR's names: ``noise``, ``sN_anechoic`` and ``sN_reverb`` of
        every source, and their exact sum ``mix_both_reverb``.
    """
    stops = [start + len(u) for start, u in zip(plan.starts, utterances, strict=True)]
    length = max(stops) + plan.tail
    reverberant, anechoic = (
        [_place(plan, utterances, rirs, source, length) for source in range(len(utterances))]
        for rirs in impulse_responses(plan.room)
    )
    power = max(
        np.mean(np.square(source[start:stop]))
        for source, start, stop in zip(reverberant, plan.starts, stops, strict=True)
    )
    begin = int(plan.noise_offset * (len(noise) - length))
    noise = noise[begin : begin + length]
    noise = noise * np.sqrt(power / np.mean(np.square(noise)) / 10 ** (plan.snr_db / 10))
    scale = min(1.0, PEAK / np.abs(reduce(np.add, reverberant) + noise).max())
    parts = {"noise": noise}
    for room, sources in (("anechoic", anechoic), ("reverb", reverberant)):
        parts |= {f"s{number}_{room}": source for number, source in enumerate(sources, 1)}
    signals = {name: (scale * part).astype(np.float32) for name, part in parts.items()}
    speech = [signals[f"s{number}_reverb"] for number in range(1, len(utterances) + 1)]
    return {**signals, "mix_both_reverb": reduce(np.add, speech) + signals["noise"]}


def _place(
    plan: MixturePlan,
    utterances: Sequence[np.ndarray],
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
