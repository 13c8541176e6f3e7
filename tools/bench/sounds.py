"""Sounds to measure with: something like speech, drawn from a seed."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

FS = 16000


def voice(seconds: float, seed: int) -> np.ndarray:
    """Noise and a buzz through resonances, in syllables with pauses, (samples,) float32."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * FS)
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(np.arange(samples) / FS * 7))
    buzz = np.diff(np.floor(np.cumsum(pitch / FS)), prepend=0.0) + 0.05 * rng.standard_normal(
        samples
    )
    for frequency in rng.uniform([300, 900, 2200], [800, 2000, 3000]):
        pole = 0.97 * np.exp(2j * np.pi * frequency / FS)
        buzz = lfilter([1.0], [1, -2 * pole.real, abs(pole) ** 2], buzz)
    places = np.arange(0, seconds + 0.25, 0.25)
    loud = np.interp(np.arange(samples) / FS, places, rng.choice([0.0, 0.6, 1.0], len(places)))
    spoken = buzz * loud
    return (0.1 * spoken / max(float(spoken.std()), 1e-6)).astype(np.float32)
