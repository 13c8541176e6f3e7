"""How a stream is brought before a recogniser: one level, and windows of bounded length."""

from __future__ import annotations

import numpy as np

FS = 16000
LEVEL_DB = -25.0
MAX_PEAK = 0.999
SILENCE_DB = -90.0
MAX_WINDOW_S = 30.0
MIN_WINDOW_S = 0.1


def to_level(waveform: np.ndarray) -> np.ndarray:
    """Scale a stream to the level at which every recogniser hears every system.

    The root mean square over the whole stream becomes -25 dB re full scale (1.0), or less where
    the peak would reach full scale. A stream below -90 dB, the step of a 16-bit sample, is silent:
    it is left alone, since its noise would be raised into something to be read.

    Args:
        waveform: (samples,), float32.

    Returns:
        (samples,), float32.
    """
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if waveform.size else 0.0
    if rms < 10 ** (SILENCE_DB / 20):
        return waveform
    gain = min(10 ** (LEVEL_DB / 20) / rms, MAX_PEAK / float(np.abs(waveform).max()))
    return (waveform * np.float32(gain)).astype(np.float32)


def split_windows(waveform: np.ndarray) -> list[np.ndarray]:
    """Cut a stream into windows of at most 30 s, each cut at the quietest point there is.

    Whisper hears 30 s at a time, and attention over longer input costs more memory than it is
    worth, so all recognisers get the same windows. A cut is put in the middle of the quietest
    0.2 s between 20 and 30 s after the last one. A window under 0.1 s, shorter than anything that
    can be read, is padded with zeros to that length.

    Args:
        waveform: (samples,) at 16 kHz, float32.

    Returns:
        Windows of shape (samples,), in order; joined, they are the stream.
    """
    longest = round(MAX_WINDOW_S * FS)
    windows = []
    while len(waveform) > longest:
        earliest = longest * 2 // 3
        cut = earliest + _quietest(waveform[earliest:longest])
        windows.append(waveform[:cut])
        waveform = waveform[cut:]
    missing = max(0, round(MIN_WINDOW_S * FS) - len(waveform))
    windows.append(np.pad(waveform, (0, missing)))
    return windows


def _quietest(waveform: np.ndarray, frame: int = FS // 5) -> int:
    """Index of the middle of the ``frame`` samples that have the least energy."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    return int(np.argmin(energy[frame:] - energy[:-frame])) + frame // 2
