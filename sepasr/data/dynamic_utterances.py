"""Single utterances, each heard anew, as pure functions of a seed and a number.

Items are drawn as those of sepasr.data.dynamic, for training a recogniser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from sepasr.data.audio import read_audio
from sepasr.data.convolution import convolve
from sepasr.data.datadir import NoiseDir, RoomDir, Utterance, UtteranceDir
from sepasr.data.dynamic import draw_noise, place_in_pass, power, read_source, scaled_noise


@dataclass(frozen=True)
class UtteranceItem:
    """A single speaker's waveform (samples,), float32, and its text."""

    waveform: np.ndarray
    text: str


class DynamicUtterances(Dataset):
    """Single utterances, each clean, noisy or reverberant by chance, for training a recogniser.

    Args:
        utterances: where the speech and its text come from.
        noise: where the noise comes from; without, no item has any.
        rooms: where the impulse responses come from; without, no item is heard in one.
        seed: items of another seed are other items.
        room_share: share of the items that are heard in a room.
        noise_share: share of the items with noise.
        snr_db: level of the speech, silence left out, over the noise.
        speed_percent: speed of the speech.
        silence_share: share of the items with silence around the speech, as the shorter sentence of
            a mixture has.
        silence_s: the longest such silence, before and after together.
        fs: as for :class:`DynamicMixtures`.
    """

    def __init__(
        self,
        utterances: UtteranceDir,
        noise: NoiseDir | None,
        rooms: RoomDir | None,
        seed: int,
        *,
        room_share: float = 0.5,
        noise_share: float = 0.5,
        snr_db: tuple[float, float] = (5.0, 25.0),
        speed_percent: tuple[int, int] = (95, 105),
        silence_share: float = 0.0,
        silence_s: float = 3.0,
        fs: int | None = None,
    ) -> None:
        self.speech_fs = utterances.info.fs
        self.fs = self.speech_fs if fs is None else fs
        self.utterances = utterances.utterances
        self.noise, self.rooms, self.seed = noise, rooms, seed
        self.room_share, self.noise_share = room_share, noise_share
        self.snr_db, self.speed_percent = snr_db, speed_percent
        self.silence_share, self.silence_s = silence_share, silence_s

    def utterance(self, index: int) -> Utterance:
        """What item ``index`` says: each utterance once per pass, each pass in another order."""
        return self.utterances[place_in_pass(index, len(self.utterances), self.seed)]

    def silence(self, index: int) -> tuple[float, float]:
        """Seconds of silence before and after what item ``index`` says."""
        rng = np.random.default_rng([self.seed, index, 1])
        if rng.random() >= self.silence_share:
            return 0.0, 0.0
        seconds, before = rng.uniform(0, self.silence_s), rng.random()
        return seconds * before, seconds * (1 - before)

    def duration_s(self, index: int) -> float:
        """Length of item ``index`` in seconds, but for its change of speed."""
        return self.utterance(index).duration_s + sum(self.silence(index))

    def __getitem__(self, index: int) -> UtteranceItem:
        rng = np.random.default_rng([self.seed, index])
        utterance = self.utterance(index)
        speech = read_source(utterance, self.speech_fs, self.fs, self.speed_percent, rng)
        spoken = len(speech)
        speech = np.pad(speech, [round(seconds * self.fs) for seconds in self.silence(index)])
        if self.rooms is not None and rng.random() < self.room_share:
            room = self.rooms.rooms[int(rng.integers(len(self.rooms.rooms)))]
            reverb, _ = read_audio(room.reverb, self.fs)
            response = reverb[:, int(rng.integers(reverb.shape[1]))]
            speech = convolve(speech, response)
        if self.noise is not None and rng.random() < self.noise_share:
            noise = draw_noise(self.noise, len(speech), self.fs, rng)
            spoken_power = power(speech) * len(speech) / spoken
            speech = speech + scaled_noise(noise, spoken_power, rng.uniform(*self.snr_db))
        return UtteranceItem(speech.astype(np.float32), utterance.text)
