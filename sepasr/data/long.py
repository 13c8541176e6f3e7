"""Mixtures longer than an utterance: each speaker says one thing after another, with pauses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from sepasr.data.batch import MixtureItem
from sepasr.data.datadir import Utterance
from sepasr.data.dynamic import (
    DynamicMixtures,
    draw_noise,
    from_db,
    power,
    read_source,
    scaled_noise,
)


@dataclass(frozen=True)
class LongMixture:
    """A whole long mixture.

    Attributes:
        item: signals, the utterances of the first speaker before those of the second.
        said: for each speaker what is said, in order.
        noise: (samples,); None where there is none.
    """

    item: MixtureItem
    said: tuple[tuple[Utterance, ...], ...]
    noise: np.ndarray | None


class LongMixtures(Dataset):
    """Mixtures of several utterances per speaker, as pure functions of seed and number.

    A speaker stays at one place of the room, at one gain. Two utterances of one speaker never
    overlap: as many channels as speakers are enough for any such mixture.

    Args:
        mixtures: draws speakers, rooms and noise; its configuration says how many utterances there
            are, and the pauses between them.
    """

    def __init__(self, mixtures: DynamicMixtures) -> None:
        self.mixtures, self.config = mixtures, mixtures.config
        self.fs = mixtures.fs

    def __getitem__(self, index: int) -> MixtureItem:
        """The item ``index``: a segment from the beginning of a long mixture.

        What is said after its end isn't in it; such an utterance is silent, with an empty span.
        """
        return self.draw(index, self.mixtures.samples, each=True).item

    def draw(self, index: int, samples: int | None = None, *, each: bool = False) -> LongMixture:
        """Draw mixture ``index``, cut to so many samples; None makes it as long as what is said.

        With ``each`` it has every utterance by itself, each as long as the mixture.
        """
        rng = np.random.default_rng([self.mixtures.seed, index])
        config, mixtures = self.config, self.mixtures
        responses = mixtures.draw_responses(rng)
        speakers = [self._speak(speaker, rng) for speaker in mixtures.draw_speakers(rng)]
        if samples is None:
            tail = max(0 if r is None else len(r[0]) for r in responses)
            samples = max(spans[-1, 1] for _, _, spans in speakers) + tail
        images, references, levelled = np.zeros((3, len(speakers), samples), np.float32)
        heard = []
        for number, ((_, spoken, spans), response) in enumerate(
            zip(speakers, responses, strict=True)
        ):
            for dry, (start, _) in zip(spoken, spans, strict=True):
                signals = self._hear(dry[: max(samples - start, 0)], response)
                image, reference, _ = signals
                stop = min(start + len(image), samples)
                for track, signal in zip((images, references, levelled), signals, strict=True):
                    track[number, start:stop] += signal[: stop - start]
                heard.append((start, reference[: max(stop - start, 0)]))
        spans = np.concatenate([spans for _, _, spans in speakers]).clip(max=samples)
        mixture, noise = images.sum(0), None
        if mixtures.noise is not None:
            noise = draw_noise(mixtures.noise, samples, self.fs, rng)
            noise = scaled_noise(noise, max(map(power, levelled)), rng.uniform(*config.snr_db))
            mixture = mixture + noise
        item = MixtureItem(mixture.astype(np.float32), references, None, spans)
        if each:
            item = replace(item, utterances=_lines(heard, samples))
        return LongMixture(item, tuple(said for said, _, _ in speakers), noise)

    def _hear(
        self, dry: np.ndarray, response: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As :meth:`DynamicMixtures.hear`, with what the room adds behind an utterance."""
        if not len(dry):  # it begins after the end
            return dry, dry, dry
        tail = 0 if response is None else max(map(len, response)) - 1
        return self.mixtures.hear(np.pad(dry, (0, tail)), response)

    def _speak(
        self, speaker: str, rng: np.random.Generator
    ) -> tuple[tuple[Utterance, ...], list[np.ndarray], np.ndarray]:
        """What a speaker says, its waveforms, and where they are, (utterances, 2)."""
        config, choices = self.config, self.mixtures.by_speaker[speaker]
        # None twice, as long as there are enough.
        order = np.resize(rng.permutation(len(choices)), config.utterances)
        said = tuple(choices[number] for number in order)
        gain = from_db(rng.uniform(*config.gain_db))
        spoken, spans, end = [], [], 0
        for utterance in said:
            fs = self.mixtures.speech_fs
            dry = read_source(utterance, fs, self.fs, config.speed_percent, rng)
            start = end + round(rng.uniform(*config.pause_s) * self.fs)
            end = start + len(dry)
            spoken.append(gain * dry)
            spans.append((start, end))
        return said, spoken, np.array(spans)


def _lines(heard: list[tuple[int, np.ndarray]], samples: int) -> np.ndarray:
    """Sounds, each at its place in a line of so many samples, (sounds, samples)."""
    lines = np.zeros((len(heard), samples), np.float32)
    for line, (start, sound) in zip(lines, heard, strict=True):
        line[start : start + len(sound)] = sound
    return lines
