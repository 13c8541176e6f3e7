"""Whose voice a stretch of a stream is: a small vector per stretch, and no weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FRAME_S, HOP_S = 0.032, 0.01
BANDS, CEPSTRA = 30, 15
LOWEST_HZ, HIGHEST_HZ = 80.0, 7600.0
PITCH_HZ = (65.0, 400.0)
VOICED = 0.5
"""A frame is voiced if a period repeats with at least this correlation."""
LEAST_VOICED = 10
"""Voiced frames from which on a pitch is known."""
LEAST_S = 0.5
NEW_VOICE = 4.0
"""Squared distance, in units of what varies within a speaker, from which a voice is another's: two
stretches of one speaker are 2 apart on average."""
PRIOR_COUNT = 10.0
"""Observations that the expected variance within a speaker counts for."""


def frame_spectra(frames: np.ndarray) -> np.ndarray:
    """Power spectra (..., samples + 1) of frames (..., samples), twice as fine as they are long."""
    size = frames.shape[-1]
    return np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size)) ** 2


def mel_cepstra(spectra: np.ndarray, fs: int) -> np.ndarray:
    """Mel cepstra (..., 15) without the first coefficient, the level."""
    bands = mel_bands(2 * (spectra.shape[-1] - 1), fs)
    return np.log(spectra @ bands.T + 1e-10) @ _cosines().T


def voice_vector(cepstra: np.ndarray, squares: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """The vector of a voice, (..., 31): means, deviations, pitch.

    Args:
        cepstra: mean cepstrum, (..., 15).
        squares: mean of its squares, (..., 15).
        pitch: mean logarithm of the pitch, (...,), NaN where it is unknown.
    """
    deviation = np.sqrt(np.maximum(squares - cepstra**2, 0))
    return np.concatenate([cepstra, deviation, pitch[..., None]], -1)


def _expected_variance() -> np.ndarray:
    """Of :func:`voice_vector` within a speaker, between stretches of a few seconds.

    It falls with the quefrency; so it was measured on the embedded corpus's voices.
    """
    fall = np.arange(1, CEPSTRA + 1) ** -1.5
    return np.concatenate([2 * fall, fall, [0.01]])


class MelStatistics:
    """Mean and deviation of the mel cepstrum, and the mean pitch, over a stream's active frames.

    Vectors of one speaker are near, those of two are not.

    Attributes:
        variance: what each dimension is expected to vary within a speaker, (31,); it sets the scale
            until the recording itself tells it.
    """

    def __init__(self) -> None:
        self.variance = _expected_variance()

    def __call__(self, waveform: np.ndarray, active: np.ndarray, fs: int) -> np.ndarray | None:
        """Embed the active parts of a stream.

        Args:
            waveform: (samples,).
            active: (samples,), bool: where the speaker is heard and nobody else.
            fs: sampling rate in Hz.

        Returns:
            (31,), NaN where a dimension is unknown; None where too little is active.
        """
        size, hop = round(FRAME_S * fs), max(1, round(HOP_S * fs))
        if len(waveform) < size:
            return None
        frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop]
        within = np.lib.stride_tricks.sliding_window_view(active, size)[::hop].mean(1) > 0.75
        frames = frames[within].astype(np.float64)
        if len(frames) * HOP_S < LEAST_S:
            return None
        spectra = frame_spectra(frames)
        cepstra, pitches = mel_cepstra(spectra, fs), log_pitch(spectra, fs)
        known = pitches[~np.isnan(pitches)]
        pitch = np.asarray(known.mean() if len(known) >= LEAST_VOICED else np.nan)
        return voice_vector(cepstra.mean(0), (cepstra**2).mean(0), pitch)


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


def log_pitch(spectra: np.ndarray, fs: int) -> np.ndarray:
    """Logarithm of the pitch in Hz, (...,), NaN where no period repeats.

    The correlation of a frame with itself is divided by that of its window, as in Boersma (1993).
    """
    size = spectra.shape[-1] - 1
    window = np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2
    correlation = np.fft.irfft(spectra)[..., :size] / np.fft.irfft(window)[:size].clip(1e-3)
    lags = np.arange(int(fs / PITCH_HZ[1]) or 1, min(size * 3 // 4, int(fs / PITCH_HZ[0]) + 1))
    if len(lags) < 2:
        return np.full(spectra.shape[:-1], np.nan)
    peak = correlation[..., lags]
    voiced = peak.max(-1) > VOICED * correlation[..., 0]
    return np.where(voiced, np.log(fs / lags[peak.argmax(-1)]), np.nan)


def weighted_mean(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what isn't NaN, NaN where all is."""
    known = ~np.isnan(vectors)
    total = (weights[:, None] * known).sum(0)
    summed = (weights[:, None] * np.where(known, vectors, 0)).sum(0)
    return np.where(total > 0, summed / np.where(total > 0, total, 1), np.nan)


def within_variance(groups: Sequence[Sequence[np.ndarray]], variance: np.ndarray) -> np.ndarray:
    """Variance within a speaker: as expected, and more and more as the voices show it.

    Args:
        groups: vectors of one speaker each, NaN where unknown.
        variance: what is expected, (dimensions,).
    """
    scatter, count = PRIOR_COUNT * variance, np.full(len(variance), PRIOR_COUNT)
    for group in groups:
        if len(group) > 1:
            vectors = np.stack(group)
            centred = vectors - weighted_mean(vectors, np.ones(len(vectors)))
            known = (~np.isnan(vectors)).sum(0)
            scatter = scatter + np.nansum(centred**2, 0)
            count = count + np.maximum(known - 1, 0)
    return scatter / count


def voice_distance(one: np.ndarray, other: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Mean squared distance of voices in units of ``scale``, over what is known of both.

    Args:
        one: (..., dimensions), NaN where unknown.
        other: the same, or (dimensions,).
        scale: (dimensions,).

    Returns:
        (...,); ``NEW_VOICE`` where nothing is known.
    """
    parts = (one - other) ** 2 / scale
    known = ~np.isnan(parts)
    count = known.sum(-1)
    total = np.where(known, parts, 0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), NEW_VOICE)
