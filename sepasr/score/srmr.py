"""Speech-to-reverberation modulation energy ratio, a measure without a reference.

The measure of Falk, Zheng and Chan, "A non-intrusive quality and intelligibility measure of
reverberant and dereverberated speech" (2010), with the constants of SRMRToolbox that torchmetrics'
``speech_reverberation_modulation_energy_ratio`` uses by default (23 gammatone filters from 125 Hz,
modulation filters from 4 to 128 Hz, no normalisation of energies, not the ``fast`` variant, which
is another measure). It gives the same value, but runs its recursive filters in compiled code, where
torchmetrics falls back to a Python loop if torchaudio comes without its extension.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from gammatone.filters import centre_freqs, make_erb_filters
from scipy.signal import hilbert, sosfilt

ACOUSTIC_FILTERS = 23
LOW_HZ = 125.0
MODULATION_HZ = tuple(4.0 * 2.0 ** (5 * k / 7) for k in range(8))  # 4 to 128 Hz, in equal ratios
MODULATION_Q = 2.0
WINDOW_S, SHIFT_S = 0.256, 0.064
EAR_Q, MIN_BANDWIDTH_HZ = 9.26449, 24.7  # Glasberg and Moore


def srmr(signal: np.ndarray, fs: int) -> float:
    """Ratio of the energy in modulations under some 20 Hz (speech) to that above (reverberation).

    Args:
        signal: (samples,), full scale 1.0; louder ones are scaled to it.
        fs: sampling rate in Hz.

    Returns:
        A ratio, higher for less reverberant speech; NaN for a silent signal or one
        shorter than a window (256 ms).
    """
    peak = np.abs(signal).max()
    if peak == 0 or len(signal) < WINDOW_S * fs:
        return float("nan")
    energy = _modulation_energy(signal.astype(np.float64) / max(peak, 1.0), fs)
    per_band = energy.sum(axis=1)
    # The bandwidth up to which 90 % of the energy lies says how many modulation bands count.
    share = np.cumsum(per_band[::-1]) / per_band.sum()
    centres = centre_freqs(fs, ACOUSTIC_FILTERS, LOW_HZ)[::-1]
    bandwidth_hz = centres[np.argmax(share > 0.9)] / EAR_Q + MIN_BANDWIDTH_HZ
    last = max(5, int(np.searchsorted(_modulation_cutoffs_hz(fs), bandwidth_hz, side="right")))
    return float(energy[:, :4].sum() / energy[:, 4:last].sum())


def _modulation_energy(signal: np.ndarray, fs: int) -> np.ndarray:
    """Mean energy of the windows, (acoustic filters, modulation filters)."""
    samples = len(signal)
    period = -(-samples // 16) * 16  # of the Fourier transform, as torchmetrics chooses it
    energy = np.empty((ACOUSTIC_FILTERS, len(MODULATION_HZ)))
    for row, (sections, gain) in zip(energy, _gammatone(fs), strict=True):
        envelope = np.abs(hilbert(sosfilt(sections, signal) / gain, period)[:samples])
        bands = np.stack([sosfilt(section, envelope) for section in _modulation_filters(fs)])
        row[:] = _window_energies(bands**2, fs).mean(axis=1)
    return energy


def _window_energies(power: np.ndarray, fs: int) -> np.ndarray:
    """Sums of (bands, samples) under squared Hamming windows, (bands, windows).

    A window spans several shifts: every shift is summed under each part of the window at once, and
    the parts that make up a window are then added.
    """
    length, shift = int(np.ceil(WINDOW_S * fs)), int(np.ceil(SHIFT_S * fs))
    windows = 1 + (power.shape[1] - length) // shift
    parts = -(-length // shift)
    window = np.zeros(parts * shift)
    window[:length] = np.hamming(length + 2)[:length] ** 2  # as torchmetrics cuts it
    needed = (windows - 1 + parts) * shift
    if missing := max(0, needed - power.shape[1]):  # where a window isn't a whole number of shifts
        power = np.pad(power, ((0, 0), (0, missing)))
    sums = power[:, :needed].reshape(len(power), -1, shift) @ window.reshape(parts, shift).T
    return np.sum([sums[:, part : part + windows, part] for part in range(parts)], axis=0)


@lru_cache
def _gammatone(fs: int) -> list[tuple[np.ndarray, float]]:
    """Each acoustic filter as four second-order sections, and the gain to divide by."""
    filters = []
    for a0, a11, a12, a13, a14, a2, b0, b1, b2, gain in make_erb_filters(
        fs, centre_freqs(fs, ACOUSTIC_FILTERS, LOW_HZ)
    ):
        sections = [[a0, a1, a2, b0, b1, b2] for a1 in (a11, a12, a13, a14)]
        filters.append((np.array(sections), gain))
    return filters


@lru_cache
def _modulation_filters(fs: int) -> list[np.ndarray]:
    """Each modulation filter, a band-pass, as one second-order section."""
    filters = []
    for centre in MODULATION_HZ:
        w0 = np.tan(np.pi * centre / fs)
        b0 = w0 / MODULATION_Q
        a0, a1, a2 = 1 + b0 + w0**2, 2 * w0**2 - 2, 1 - b0 + w0**2
        filters.append(np.array([[b0 / a0, 0.0, -b0 / a0, 1.0, a1 / a0, a2 / a0]]))
    return filters


def _modulation_cutoffs_hz(fs: int) -> np.ndarray:
    """Lower 3 dB cutoffs of the modulation filters."""
    centres = np.array(MODULATION_HZ)
    return centres - np.tan(np.pi * centres / fs) / MODULATION_Q * fs / (2 * np.pi)
