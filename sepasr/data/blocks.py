"""Audio that memory does not hold: read and resampled block by block, without a seam."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
import torch

from sepasr.data.audio import common_period, filter_width, resample
from sepasr.data.scp import is_file, read_entry
from sepasr.errors import UserError

BLOCK = 1 << 18
"""Samples per channel read at a time: the same at every call, so that a second one gives the same
samples to the last bit."""
FRAME_S = 0.02
LOWEST_DB, LEVELS = -120, 121


class BlockResampler:
    """Resamples a signal that comes in blocks into what :func:`resample` makes of the whole.

    The filter looks a few samples back and ahead. So many are kept from one block to the next, and
    a block always begins at a sample that both rates share, where the phases of the filter start.

    Args:
        source: sampling rate of what comes in, in Hz.
        target: sampling rate of what goes out, in Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        self._rates = source, target
        self._step_in, self._step_out = common_period(source, target)
        self._margin = -(-filter_width(source, target) // self._step_in) + 1
        self._held: torch.Tensor | None = None
        self._first = 0  # the step at which what is held begins
        self._done = 0  # steps that have gone out

    def push(self, block: torch.Tensor) -> torch.Tensor:
        """Take (..., samples) and give what can be said of it so far, (..., samples)."""
        if self._step_in == self._step_out:
            return block
        held = block if self._held is None else torch.cat([self._held, block], -1)
        ready = max(self._done, self._first + held.shape[-1] // self._step_in - self._margin)
        out = self._resampled(held, ready)
        start = max(0, ready - self._margin)
        self._held = held[..., (start - self._first) * self._step_in :].clone()
        self._first, self._done = start, ready
        return out

    def finish(self) -> torch.Tensor | None:
        """The rest; None where there is none."""
        if self._held is None:
            return None
        return self._resampled(self._held, None)

    def _resampled(self, held: torch.Tensor, stop: int | None) -> torch.Tensor:
        """Output from the first step that has not gone out, up to the step ``stop``."""
        if stop == self._done:
            return held[..., :0]
        out = resample(held, *self._rates)
        end = None if stop is None else (stop - self._first) * self._step_out
        return out[..., (self._done - self._first) * self._step_out : end]


def resample_blocks(blocks: Iterable[np.ndarray], source: int, target: int) -> Iterator[np.ndarray]:
    """Resample blocks (..., samples); joined, they are what the whole would be resampled to."""
    resampler = BlockResampler(source, target)
    for block in blocks:
        out = resampler.push(torch.from_numpy(block)).numpy()
        if out.shape[-1]:
            yield out
    rest = resampler.finish()
    if rest is not None and rest.shape[-1]:
        yield rest.numpy()


def header_of(source: str) -> tuple[int, int] | None:
    """Samples and sampling rate in Hz that the header of a file states; None where none does."""
    if not is_file(source):
        return None
    try:
        info = soundfile.info(source)
    except (soundfile.LibsndfileError, RuntimeError):
        return None
    return info.frames, info.samplerate


def read_blocks(source: str, channel: int | None = None) -> Iterator[np.ndarray]:
    """One channel of a recording, in blocks of (samples,) float32.

    A file that libsndfile reads is never in memory as a whole. An entry of a wav.scp that is not a
    file, and SPHERE that is compressed by Shorten, are decoded as a whole first.

    Args:
        source: a file, or another entry of a wav.scp.
        channel: the channel to take, from 1; without it all channels are averaged.

    Raises:
        UserError: the recording can't be read, holds samples that are not finite, or has no such
            channel.
    """
    start = 0
    for block in _all_channels(source):
        if not np.isfinite(block).all():
            first = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            what = f"sample {start + first} is not finite"
            raise UserError(what, where=source, remedy="repair the file")
        start += len(block)
        yield one_channel(block, channel, source)
    if start == 0:
        raise UserError("no samples", where=source, remedy="the file is empty or truncated")


def _all_channels(source: str) -> Iterator[np.ndarray]:
    if header_of(source) is None:
        samples, _ = read_entry(source)
        for start in range(0, len(samples), BLOCK):
            yield samples[start : start + BLOCK]
        return
    try:
        with soundfile.SoundFile(source) as file:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                yield block
    except (soundfile.LibsndfileError, RuntimeError) as error:
        what = f"cannot be read as audio: {error}"
        raise UserError(what, where=source, remedy="replace the file") from None


def one_channel(samples: np.ndarray, channel: int | None, source: str) -> np.ndarray:
    """The mean of (samples, channels), or one of the channels, counted from 1.

    Raises:
        UserError: there is no such channel.
    """
    if channel is None:
        return samples.mean(axis=1)
    if 1 <= channel <= samples.shape[1]:
        return samples[:, channel - 1]
    raise UserError(f"no channel {channel}, there are {samples.shape[1]}", where=source)


@dataclass(frozen=True)
class Measured:
    """What one pass over a recording tells.

    Attributes:
        samples: how many there are.
        level_db: loudness of its speech: of frames of 20 ms that are not below -90 dB, the level
            that one in twenty exceeds, in dB re full scale; -120 where all is silent.
        sha256: of the samples.
        offset: their mean.
        rms: their root mean square.
    """

    samples: int
    level_db: float
    sha256: str
    offset: float = 0.0
    rms: float = 0.0


def frame_samples(fs: int) -> int:
    """Samples of a frame of 20 ms."""
    return max(1, round(FRAME_S * fs))


def frame_seconds(fs: int) -> float:
    """Length of such a frame: not quite 20 ms where that is no whole number of samples."""
    return frame_samples(fs) / fs


def frame_levels(streams: np.ndarray, fs: int) -> np.ndarray:
    """Level of frames of 20 ms: (streams, samples) to (streams, frames), in dB re full scale.

    What is left of a frame at the end is left out.
    """
    frame = frame_samples(fs)
    frames = streams.shape[-1] // frame
    framed = streams[:, : frames * frame].reshape(len(streams), frames, frame)
    return 10 * np.log10(np.square(framed, dtype=np.float64).mean(-1) + 1e-12)


def measure(blocks: Iterable[np.ndarray], fs: int) -> Measured:
    """Go once over blocks of (samples,)."""
    counts = np.zeros(LEVELS, np.int64)
    digest, samples, total, squares = hashlib.sha256(), 0, 0.0, 0.0
    for block in blocks:
        total += float(block.sum(dtype=np.float64))
        squares += float(np.square(block, dtype=np.float64).sum())
        digest.update(np.ascontiguousarray(block).tobytes())
        samples += len(block)
        (level,) = frame_levels(block[None], fs)
        bins = np.clip(np.round(level) - LOWEST_DB, 0, LEVELS - 1).astype(np.int64)
        counts += np.bincount(bins, minlength=LEVELS)
    counts[: -90 - LOWEST_DB] = 0
    level_db = float(LOWEST_DB)
    if counts.any():
        level_db += int(np.searchsorted(np.cumsum(counts), 0.95 * counts.sum()))
    offset, rms = total / max(samples, 1), float(np.sqrt(squares / max(samples, 1)))
    return Measured(samples, level_db, digest.hexdigest(), offset, rms)


class Feed:
    """Spans of a signal that comes in blocks, each beginning where the last one did or later.

    Args:
        blocks: (..., samples) each.
    """

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = iter(blocks)
        self._parts: list[np.ndarray] = []
        self._start = 0  # of the first part
        self._end = 0

    def span(self, start: int, stop: int) -> np.ndarray:
        """Samples ``start`` to ``stop``; fewer where the signal ends before."""
        while self._end < stop:
            block = next(self._blocks, None)
            if block is None:
                break
            self._parts.append(block)
            self._end += block.shape[-1]
            self._drop(start)
        self._drop(start)
        if not self._parts:
            raise ValueError(f"nothing is left at {start}")
        joined = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts, -1)
        # A copy, not a view: what lies before it must not stay in memory.
        self._parts = [joined[..., start - self._start :].copy()]
        self._start = start
        return self._parts[0][..., : stop - start]

    def _drop(self, start: int) -> None:
        while self._parts and self._start + self._parts[0].shape[-1] <= start:
            self._start += self._parts.pop(0).shape[-1]
