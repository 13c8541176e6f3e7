"""Whose voice a stretch of a stream is: a small vector per stretch, and no weights."""

from __future__ import annotations

from typing import Protocol

import numpy as np

FRAME_S, HOP_S = 0.032, 0.01
BANDS, CEPSTRA = 30, 15
LOWEST_HZ, HIGHEST_HZ = 80.0, 7600.0
PITCH_HZ = (65.0, 400.0)
VOICED = 0.5
"""A frame is voiced if a period repeats with at least this correlation."""
LEAST_S = 0.5


class VoiceEmbedding(Protocol):
    """Makes a vector of a voice. Streams of one speaker are near, those of two are not.

    Attributes:
        variance: what one dimension is expected to vary within one speaker, (dimensions,); it
            sets the scale until the recording itself tells it.
    """

    variance: np.ndarray

    def __call__(self, waveform: np.ndarray, active: np.ndarray, fs: int) -> np.ndarray | None:
        """Embed the active parts of a stream.

        Args:
            waveform: (samples,).
            active: (samples,), bool: where the speaker is heard and nobody else.
            fs: sampling rate in Hz.

        Returns:
            (dimensions,), NaN where a dimension is unknown; None where too little is active.
        """
        ...


class MelStatistics:
    """Mean and deviation of the mel cepstrum, and the mean pitch, over a stream's active frames.

    The cepstrum's first coefficient is the level, which says nothing of a voice: it is left out.
    """

    def __init__(self) -> None:
        cepstra = np.ones(CEPSTRA)
        self.variance = np.concatenate([0.6 * cepstra, 0.2 * cepstra, [0.01]])

    def __call__(self, waveform: np.ndarray, active: np.ndarray, fs: int) -> np.ndarray | None:
        """Embed; see :class:`VoiceEmbedding`."""
        size, hop = round(FRAME_S * fs), max(1, round(HOP_S * fs))
        if len(waveform) < size:
            return None
        frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop]
        within = np.lib.stride_tricks.sliding_window_view(active, size)[::hop].mean(1) > 0.75
        frames = frames[within].astype(np.float64)
        if len(frames) * HOP_S < LEAST_S:
            return None
        spectrum = np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size)) ** 2
        mel = np.log(spectrum @ mel_bands(2 * size, fs).T + 1e-10)
        cepstra = mel @ _cosines().T
        return np.concatenate([cepstra.mean(0), cepstra.std(0), [_log_pitch(spectrum, size, fs)]])


def mel_bands(size: int, fs: int) -> np.ndarray:
    """Triangles on the mel scale, (bands, bins of a transform of ``size`` samples)."""
    top = min(HIGHEST_HZ, 0.49 * fs)
    low, high = (2595 * np.log10(1 + f / 700) for f in (min(LOWEST_HZ, 0.1 * fs), top))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / fs)
    left, centre, right = (edges[k : k + BANDS, None] for k in range(3))
    return np.maximum(
        0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    )


def _cosines() -> np.ndarray:
    """The discrete cosine transform's rows 1 to 15, orthonormal."""
    k, n = np.arange(1, CEPSTRA + 1)[:, None], np.arange(BANDS)
    return np.sqrt(2 / BANDS) * np.cos(np.pi * k * (n + 0.5) / BANDS)


def _log_pitch(spectrum: np.ndarray, size: int, fs: int) -> float:
    """Mean of the logarithm of the pitch in Hz over voiced frames, NaN where there are few.

    The correlation of a frame with itself is divided by that of its window, as in Boersma (1993).
    """
    window = np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2
    correlation = np.fft.irfft(spectrum)[:, :size] / np.fft.irfft(window)[:size].clip(1e-3)
    lags = np.arange(int(fs / PITCH_HZ[1]) or 1, min(size * 3 // 4, int(fs / PITCH_HZ[0]) + 1))
    if len(lags) < 2:
        return float("nan")
    peak = correlation[:, lags]
    best = peak.argmax(1)
    voiced = peak.max(1) > VOICED * correlation[:, 0]
    if voiced.sum() < 10:
        return float("nan")
    return float(np.log(fs / lags[best[voiced]]).mean())
