"""Dynamic mixing: every training item drawn anew, as a pure function of a seed and its number.

Item ``i`` of a seed is the same whatever the number of workers, the order in which items are asked
for, or whether training was interrupted: there is no state to save.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from sepasr.data.audio import change_speed, read_audio, read_mono, resample, resampled_length
from sepasr.data.batch import MixtureItem
from sepasr.data.convolution import convolve
from sepasr.data.datadir import NoiseDir, RoomDir, Utterance, UtteranceDir
from sepasr.errors import UserError

ATTEMPTS = 1000
"""Draws of speakers that may not be mixed before it is concluded that none may."""

LEAST_KEPT = 0.1
"""Share of a source's energy below which a stretch of it is no reference to train on."""


@dataclass(frozen=True)
class MixingConfig:
    """What is drawn for each item, uniformly from each range.

    Attributes:
        num_speakers: speakers in a mixture.
        segment_s: length of an item in seconds.
        gain_db: gain of each source, relative to the level of its file.
        snr_db: level of the loudest source over the noise. Its power is the mean over the whole
            item: where it is padded or silent for a while, it is louder than that while it speaks.
        snr_of: which of it: ``reverb``, with the room, or ``anechoic``, without: WHAMR adds WHAM's
            noise, whose level was drawn before there were rooms, so its reverberant speech is
            louder over it, by 3 dB on average.
        speed_percent: speed of each source; tempo and pitch move together.
        reference: ``anechoic`` or ``reverb``: what the references are.
        utterances: what each speaker says, one utterance after another. With several, items are
            those of :class:`sepasr.data.long.LongMixtures`.
        pause_s: silence of a speaker before each of several utterances, in seconds.
        same_gender: share of the mixtures whose speakers are all of one gender, women or men alike;
            None draws speakers without regard to it.
        lone_share: share of the mixtures in which one speaker is silent for a part of the time, at
            the beginning or at the end (a bit fewer: never where next to nothing would be left of
            what they say). A separator that has only heard two at once splits one who speaks alone
            over both of its streams.
        silent: how much of the mixture that speaker is silent for.
        grid_s: of fixed mixtures, segments begin at multiples of so many seconds; 0 lets them begin
            anywhere.
    """

    num_speakers: int = 2
    segment_s: float = 4.0
    gain_db: tuple[float, float] = (-2.5, 2.5)
    snr_db: tuple[float, float] = (-6.0, 3.0)
    snr_of: str = "reverb"
    speed_percent: tuple[int, int] = (95, 105)
    reference: str = "anechoic"
    same_gender: float | None = None
    utterances: int = 1
    pause_s: tuple[float, float] = (0.0, 1.5)
    lone_share: float = 0.0
    silent: tuple[float, float] = (0.2, 0.8)
    grid_s: float = 0.0

    def __post_init__(self) -> None:
        if self.num_speakers < 1:
            raise UserError(f"mixing.num_speakers is {self.num_speakers}, less than 1")
        for name in ("reference", "snr_of"):
            if getattr(self, name) not in ("anechoic", "reverb"):
                what = f"mixing.{name} is '{getattr(self, name)}', not anechoic or reverb"
                raise UserError(what)
        if self.same_gender is not None and not 0 <= self.same_gender <= 1:
            raise UserError(f"mixing.same_gender is {self.same_gender}, not from 0 to 1")
        if self.segment_s <= 0:
            raise UserError(f"mixing.segment_s is {self.segment_s}, not above 0")
        if self.utterances < 1:
            raise UserError(f"mixing.utterances is {self.utterances}, less than 1")
        if self.grid_s < 0:
            raise UserError(f"mixing.grid_s is {self.grid_s}, less than 0")
        if not 0 <= self.lone_share <= 1:
            raise UserError(f"mixing.lone_share is {self.lone_share}, not from 0 to 1")
        if self.lone_share and self.utterances > 1:
            raise UserError(
                "mixing.lone_share is for one utterance of each speaker",
                remedy="several utterances have their own silences, mixing.pause_s",
            )
        lowest = {"speed_percent": 1.0, "pause_s": 0.0, "silent": 0.0}
        highest = {"silent": 1.0}
        for name in ("gain_db", "snr_db", "speed_percent", "pause_s", "silent"):
            low, high = getattr(self, name)
            if low > high or low < lowest.get(name, low) or high > highest.get(name, high):
                raise UserError(f"mixing.{name} [{low}, {high}] is no range")


def from_db(level: float) -> np.float32:
    """A level in dB as a factor on amplitudes."""
    return np.float32(10 ** (level / 20))


def power(signal: np.ndarray) -> float:
    """Mean square."""
    return float(np.dot(signal, signal)) / len(signal)


def draw_noise(noise: NoiseDir, samples: int, fs: int, rng: np.random.Generator) -> np.ndarray:
    """A random excerpt of (samples,) at ``fs`` Hz, of the left channel where there are two.

    A file that is too short is repeated; one of another rate is resampled.

    Raises:
        UserError: a file is shorter than it was when the directory was prepared.
    """
    drawn = noise.noises[int(rng.integers(len(noise.noises)))]
    rate = noise.info.fs
    count = resampled_length(samples, fs, rate)
    spare = max(int(drawn.duration_s * rate) - count, 0)
    start = int(rng.integers(spare + 1))
    listed = round(drawn.duration_s * rate)
    stop = min(start + count, listed)
    excerpt = read_audio(drawn.path, rate, start=start, stop=stop)[0][:, 0]
    if start + len(excerpt) < stop:
        raise truncated(drawn.path, drawn.id, start + len(excerpt), listed)
    repeated = torch.from_numpy(np.resize(excerpt, count))
    return resample(repeated, rate, fs).numpy()[:samples]


def truncated(path: Path, key: str, samples: int, listed: int) -> UserError:
    """The error that the file of the id ``key`` has fewer samples than its directory lists."""
    return UserError(
        f"{samples} samples where the data directory has {listed} for '{key}'",
        where=path,
        remedy="the file is truncated: replace it, or prepare the directory again",
    )


def scaled_noise(noise: np.ndarray, speech_power: float, snr_db: float) -> np.ndarray:
    """Noise at ``snr_db`` below speech; silence stays silence."""
    noise_power = power(noise)
    if noise_power == 0 or speech_power == 0:
        return noise
    return noise * np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))


def place_in_pass(index: int, count: int, seed: int) -> int:
    """Which of ``count`` items comes as number ``index``: each once per pass, in a new order."""
    number, position = divmod(index, count)
    return int(_pass(number, count, seed)[position])


@lru_cache(maxsize=4)
def _pass(number: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, number, 0]).permutation(count)


def read_source(
    utterance: Utterance,
    fs: int,
    target: int,
    speed_percent: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """An utterance of ``fs`` Hz at a random speed, (samples,) at ``target`` Hz."""
    low, high = speed_percent
    waveform = read_mono(utterance.path, fs)
    percent = int(rng.integers(low, high + 1))
    return change_speed(torch.from_numpy(waveform), percent, fs, target).numpy()


class DynamicMixtures(Dataset):
    """Mixtures of random speakers, rooms, gains and noise.

    Item N is the same whenever it is asked for, and there is no last one, so there is no length:
    for a ``DataLoader`` take ``sampler=range(N)`` and :func:`sepasr.data.batch.collate`.

    Args:
        utterances: where the sources come from.
        noise: where the noise comes from; None adds none.
        rooms: where the impulse responses come from; without, the sources are mixed as they are and
            are their own references.
        config: the ranges.
        seed: items of another seed are other items.
        fs: sampling rate of the items in Hz, which rooms must have; without, that of the
            utterances. Utterances and noise are resampled.

    Raises:
        UserError: there are fewer speakers, or of a gender, than a mixture needs.
    """

    def __init__(
        self,
        utterances: UtteranceDir,
        noise: NoiseDir | None,
        rooms: RoomDir | None,
        config: MixingConfig,
        seed: int,
        fs: int | None = None,
    ) -> None:
        self.path, self.speech_fs = utterances.path, utterances.info.fs
        self.fs = self.speech_fs if fs is None else fs
        self.noise, self.rooms, self.config, self.seed = noise, rooms, config, seed
        self.samples = round(config.segment_s * self.fs)
        self.by_speaker: dict[str, list[Utterance]] = {}
        for utterance in utterances.utterances:
            self.by_speaker.setdefault(utterance.speaker, []).append(utterance)
        self.speakers = sorted(self.by_speaker)
        if len(self.speakers) < config.num_speakers:
            raise UserError(
                f"{len(self.speakers)} speakers, too few for mixtures of {config.num_speakers}",
                where=utterances.path,
            )
        self.similar = utterances.similar
        self.genders = utterances.genders
        needed = config.num_speakers if config.same_gender else 1
        counts = [sum(self.genders.get(s) == gender for s in self.speakers) for gender in "fm"]
        if config.same_gender is not None and min(counts) < needed:
            raise UserError(
                f"{counts[0]} women and {counts[1]} men in spk2gender, "
                f"same_gender needs {needed} of each",
                where=utterances.path,
                remedy="prepare it with the speakers' genders, or leave same_gender out",
            )
        self.weights = np.array([len(self.by_speaker[s]) for s in self.speakers], float)

    def __getitem__(self, index: int) -> MixtureItem:
        rng = np.random.default_rng([self.seed, index])
        config = self.config
        responses = self.draw_responses(rng)
        sounding = self.draw_sounding(index)
        images, references, levelled = [], [], []
        drawn = zip(self.draw_speakers(rng), responses, sounding, strict=True)
        for speaker, response, (begin, end) in drawn:
            choices = self.by_speaker[speaker]
            utterance = choices[int(rng.integers(len(choices)))]
            dry = read_source(utterance, self.speech_fs, self.fs, config.speed_percent, rng)
            dry = self._place(dry, rng) * from_db(rng.uniform(*config.gain_db))
            if end - begin < self.samples:
                dry = self._silence(dry, begin, end)
            image, reference, speech = self.hear(dry, response)
            images.append(image)
            references.append(reference)
            levelled.append(speech)
        mixture = np.sum(images, axis=0)
        if self.noise is not None:
            noise = draw_noise(self.noise, self.samples, self.fs, rng)
            loudest = max(map(power, levelled))
            mixture = mixture + scaled_noise(noise, loudest, rng.uniform(*config.snr_db))
        return MixtureItem(mixture.astype(np.float32), np.stack(references).astype(np.float32))

    def draw_sounding(self, index: int) -> list[tuple[int, int]]:
        """From and up to which sample each speaker of item ``index`` may be heard."""
        rng = np.random.default_rng([self.seed, index, 1])
        sounding = [(0, self.samples)] * self.config.num_speakers
        if rng.random() < self.config.lone_share:
            silent = round(rng.uniform(*self.config.silent) * self.samples)
            spans = [(silent, self.samples), (0, self.samples - silent)]
            sounding[int(rng.integers(len(sounding)))] = spans[int(rng.integers(2))]
        return sounding

    def draw_responses(
        self, rng: np.random.Generator
    ) -> list[tuple[np.ndarray, np.ndarray]] | list[None]:
        """Reverberant and anechoic response (taps,) of a position for each speaker, in one room."""
        count = self.config.num_speakers
        if self.rooms is None:
            return [None] * count
        room = self.rooms.rooms[int(rng.integers(len(self.rooms.rooms)))]
        reverb, _ = read_audio(room.reverb, self.fs)
        anechoic, _ = read_audio(room.anechoic, self.fs)
        if reverb.shape[1] < count:
            raise UserError(
                f"{reverb.shape[1]} source positions, too few for mixtures of {count}",
                where=room.reverb,
            )
        positions = rng.choice(reverb.shape[1], count, replace=False)
        return [(reverb[:, position], anechoic[:, position]) for position in positions]

    def hear(
        self, dry: np.ndarray, response: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the microphone hears of a source, the reference, and what the noise is levelled by.

        Each is (samples,) like ``dry``.
        """
        if response is None:
            return dry, dry, dry
        wanted = self.config.reference, self.config.snr_of
        image = convolve(dry, response[0])
        anechoic = convolve(dry, response[1]) if "anechoic" in wanted else image
        reference, levelled = (anechoic if one == "anechoic" else image for one in wanted)
        return image, reference, levelled

    def draw_speakers(self, rng: np.random.Generator) -> list[str]:
        """Different speakers, none marked as too similar to another (``spk2similar``).

        A speaker is drawn as often as there are utterances of theirs.
        """
        count, share = self.config.num_speakers, self.config.same_gender
        same = None if share is None else bool(rng.random() < share)
        gender = "fm"[rng.integers(2)] if same else None
        chances = self.weights * [gender in (None, self.genders.get(s)) for s in self.speakers]
        chances /= chances.sum()
        for _ in range(ATTEMPTS):
            drawn = [str(s) for s in rng.choice(self.speakers, count, False, chances)]
            mixed = len({self.genders.get(s) for s in drawn}) > 1
            alike = any(b in self.similar.get(a, ()) for a in drawn for b in drawn)
            if not alike and (same is None or mixed != same):
                return drawn
        raise UserError(
            f"found no {count} speakers to mix",
            where=self.path,
            remedy="check spk2similar and same_gender, which may leave none",
        )

    @staticmethod
    def _silence(dry: np.ndarray, begin: int, end: int) -> np.ndarray:
        """Only samples ``begin`` to ``end``, unless hardly anything would be left to separate."""
        kept = np.zeros_like(dry)
        kept[begin:end] = dry[begin:end]
        return kept if power(kept) >= LEAST_KEPT * power(dry) else dry

    def _place(self, dry: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cut a random segment of a long source, or set a short one at a random offset."""
        spare = len(dry) - self.samples
        start = int(rng.integers(abs(spare) + 1))
        if spare >= 0:
            return dry[start : start + self.samples]
        return np.pad(dry, (start, -spare - start))
