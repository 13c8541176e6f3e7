"""Single utterances for training a recogniser: clean, noisy and reverberant; in like lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sepasr.data.audio import read_mono
from sepasr.data.datadir import NoiseDir, RoomDir, UtteranceDir
from sepasr.data.dynamic_utterances import DynamicUtterances, UtteranceItem
from sepasr.lengths import within

FS = 16000
BLANK = 0
BUCKET_SAMPLES = FS // 2
"""Batches are padded to multiples of this: every new length costs CPUs new kernels."""
MASKED_S = 0.15
MASKED_MEL = 400.0
"""The widest stretch of time and the widest band that are masked, of some 3 s and 2840 mel."""


@dataclass(frozen=True)
class HearingConfig:
    """What the model hears in training.

    Attributes:
        clean_steps: the first steps hear the utterances as they are, but for their speed.
        room_share: share of the later utterances that are heard in a room.
        noise_share: share of the later utterances with noise.
        snr_db: level of the speech over the noise, from and to.
        speed_percent: speed of the speech, from and to.
        silence_share: share of the later utterances with silence before and after.
        silence_s: the longest such silence, both ends together.
        masked_times: at most so many stretches of a later utterance are silenced.
        masked_bands: from a later utterance at most so many bands are taken out.
        pool: batches that are drawn together and share out their utterances by length.
    """

    clean_steps: int = 0
    room_share: float = 0.5
    noise_share: float = 0.5
    snr_db: tuple[float, float] = (5.0, 25.0)
    speed_percent: tuple[int, int] = (95, 105)
    silence_share: float = 0.0
    silence_s: float = 3.0
    masked_times: int = 0
    masked_bands: int = 0
    pool: int = 16


class TrainingUtterances(Dataset):
    """Clean utterances first, then noisy and reverberant ones; batches of similar length.

    Item ``i`` is a function of the seed and ``i``. ``pool`` batches are drawn together, sorted by
    duration, cut into batches, and these shuffled, so that little of a batch is padding.

    Args:
        utterances: the speech and its text.
        noise: where the noise comes from.
        rooms: where the impulse responses come from.
        config: how they are heard.
        batch: items of a batch.
        seed: items of another seed are other items.
        batches: of a step, on all devices together.
    """

    def __init__(
        self,
        utterances: UtteranceDir,
        noise: NoiseDir | None,
        rooms: RoomDir | None,
        config: HearingConfig,
        batch: int,
        seed: int,
        batches: int = 1,
    ) -> None:
        def heard(room_share: float, noise_share: float, silence_share: float) -> DynamicUtterances:
            return DynamicUtterances(
                utterances,
                noise,
                rooms,
                seed,
                room_share=room_share,
                noise_share=noise_share,
                snr_db=config.snr_db,
                speed_percent=config.speed_percent,
                silence_share=silence_share,
                silence_s=config.silence_s,
                fs=FS,
            )

        self.clean = heard(0.0, 0.0, 0.0)
        self.augmented = heard(config.room_share, config.noise_share, config.silence_share)
        self.clean_items = config.clean_steps * batch * batches
        self.masks = config.masked_times, config.masked_bands
        self.batch, self.pool, self.seed = batch, config.pool, seed
        self._block, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, index: int) -> UtteranceItem:
        block, place = divmod(index, self.batch * self.pool)
        if block != self._block:
            self._block, self._order = block, self._draw(block)
        number = int(self._order[place])
        item = self._heard(index)[number]
        if index < self.clean_items or not any(self.masks):
            return item
        rng = np.random.default_rng([self.seed, number, 2])
        return replace(item, waveform=mask(item.waveform, *self.masks, rng))

    def _heard(self, index: int) -> DynamicUtterances:
        return self.clean if index < self.clean_items else self.augmented

    def _draw(self, block: int) -> np.ndarray:
        """Numbers of the items of a pool, batch after batch."""
        size = self.batch * self.pool
        items = np.arange(block * size, (block + 1) * size)
        durations = [self._heard(int(item)).duration_s(int(item)) for item in items]
        batches = items[np.argsort(durations, kind="stable")].reshape(self.pool, self.batch)
        return np.random.default_rng([self.seed, block]).permutation(batches).reshape(-1)


def mel_of(hz: np.ndarray | float) -> np.ndarray:
    """Frequencies on HTK's mel scale."""
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def mask(waveform: np.ndarray, times: int, bands: int, rng: np.random.Generator) -> np.ndarray:
    """Silence some stretches of time and some bands: SpecAugment (arXiv 1904.08779) on a waveform.

    Args:
        waveform: (samples,) at 16 kHz; is left as it is.
        times: at most so many stretches, each of up to ``MASKED_S``.
        bands: at most so many bands, each of up to ``MASKED_MEL`` on the mel scale.
        rng: source of their number, width and place.

    Returns:
        (samples,), float32.
    """
    spectrum = np.fft.rfft(waveform)
    mel = mel_of(np.fft.rfftfreq(len(waveform), 1 / FS))
    for _ in range(rng.integers(bands + 1)):
        width = rng.uniform(0, MASKED_MEL)
        low = rng.uniform(0, mel[-1] - width)
        spectrum[(low <= mel) & (mel < low + width)] = 0
    masked = np.fft.irfft(spectrum, len(waveform)).astype(np.float32)
    for _ in range(rng.integers(times + 1)):
        width = round(rng.uniform(0, MASKED_S) * FS)
        start = rng.integers(max(1, len(masked) - width))
        masked[start : start + width] = 0
    return masked


class WholeUtterances(Dataset):
    """The utterances of a data directory as they are, the shortest first, for validation."""

    def __init__(self, directory: UtteranceDir) -> None:
        self.utterances = sorted(directory.utterances, key=lambda u: (u.duration_s, u.id))

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> UtteranceItem:
        utterance = self.utterances[index]
        return UtteranceItem(read_mono(utterance.path, FS), utterance.text)


@dataclass(frozen=True)
class UtteranceBatch:
    """Normalised waveforms and what is said in them.

    Attributes:
        waveforms: (batch, samples), zero mean and unit variance over the valid samples, then zeros.
        mask: (batch, samples), 1 where samples are valid.
        units: (units,), the output units of all utterances, one utterance after the other.
        unit_lengths: (batch,), how many each has.
        texts: what is said.
    """

    waveforms: Tensor
    mask: Tensor
    units: Tensor
    unit_lengths: Tensor
    texts: tuple[str, ...]

    def to(self, device: torch.device, non_blocking: bool = False) -> UtteranceBatch:
        """Move to a device."""
        return UtteranceBatch(
            self.waveforms.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
            self.units.to(device, non_blocking=non_blocking),
            self.unit_lengths.to(device, non_blocking=non_blocking),
            self.texts,
        )


def normalise_waveform(waveform: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance, as transformers' ``Wav2Vec2FeatureExtractor`` does it."""
    deviation = np.sqrt(np.square(waveform - waveform.mean()).mean() + 1e-7)
    return (waveform - waveform.mean()) / deviation


class Collate:
    """Makes batches of utterances.

    Args:
        pieces: file of a sentencepiece model; output unit ``i`` is its piece ``i - 1``, and unit 0
            is the blank.
    """

    def __init__(self, pieces: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._pieces = SentencePieceProcessor(model_file=str(pieces))

    def units(self, text: str) -> list[int]:
        """The output units of a text."""
        return [piece + BLANK + 1 for piece in self._pieces.encode(text)]

    def __call__(self, items: Sequence[UtteranceItem]) -> UtteranceBatch:
        """Pad to a multiple of ``BUCKET_SAMPLES``."""
        lengths = [len(item.waveform) for item in items]
        samples = -(-max(lengths) // BUCKET_SAMPLES) * BUCKET_SAMPLES
        waveforms = np.zeros((len(items), samples), dtype=np.float32)
        for row, item in zip(waveforms, items, strict=True):
            row[: len(item.waveform)] = normalise_waveform(item.waveform)
        units = [self.units(item.text) for item in items]
        return UtteranceBatch(
            torch.from_numpy(waveforms),
            within(torch.tensor(lengths), samples).long(),
            torch.tensor([unit for sentence in units for unit in sentence]),
            torch.tensor([len(sentence) for sentence in units]),
            tuple(item.text for item in items),
        )
