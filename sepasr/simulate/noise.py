"""Noise in the role of WHAM's: five kinds, none stationary, made without recordings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, sosfilt

from sepasr.simulate import text
from sepasr.simulate.voices import BABBLE_VOICES, FS, Speaker, speak

NOISE_S = 14.0
"""Length of a noise file, in seconds."""
NOISE_RMS = 0.05
"""Root mean square of a noise file, re full scale 1.0."""
_TALKERS = (4, 9)
_EVENTS_PER_S = (1.0, 5.0)


def draw_noise(kind: str, split: str, rng: np.random.Generator) -> np.ndarray:
    """A noise of one of :data:`KINDS`.

    Args:
        kind: babble, traffic, music, clatter or machine.
        split: tr, cv or tt; babble takes its voices by it.
        rng: source of everything else.

    Returns:
        (samples,) float32 at 16 kHz, of the stated length and rms.
    """
    samples = _babble(rng, split) if kind == "babble" else _ARTIFICIAL[kind](rng)
    # Nothing that people hear as noise is without a floor: a little of it hides digital silence.
    samples = samples / np.sqrt(np.mean(np.square(samples))) + 0.03 * _coloured(rng, 1.0)
    peak = np.percentile(np.abs(samples), 99.9)
    samples = peak * np.tanh(samples / peak)  # single clicks would otherwise set the level
    return (NOISE_RMS * samples / np.sqrt(np.mean(np.square(samples)))).astype(np.float32)


def _length() -> int:
    return int(NOISE_S * FS)


def _coloured(rng: np.random.Generator, slope: float) -> np.ndarray:
    """Gaussian noise of unit rms whose power falls as frequency to the power of ``slope``."""
    spectrum = np.fft.rfft(rng.standard_normal(_length()))
    frequency = np.fft.rfftfreq(_length(), 1 / FS)
    samples = np.fft.irfft(spectrum / np.maximum(frequency, 30.0) ** (slope / 2), _length())
    return samples / samples.std()


def _slow_gain(rng: np.random.Generator, period_s: float, depth_db: float) -> np.ndarray:
    """A gain that wanders: a new random level within +-``depth_db`` every ``period_s`` or so."""
    knots = int(NOISE_S / period_s) + 2
    level = rng.uniform(-depth_db, depth_db, knots)
    time = np.linspace(0, knots - 1, _length())
    return 10 ** (np.interp(time, np.arange(knots), level) / 20)


def _band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    return sosfilt(butter(2, (low, high), "bandpass", fs=FS, output="sos"), samples)


def _babble(rng: np.random.Generator, split: str) -> np.ndarray:
    """Several people talking at once behind a door, each louder and softer in turn."""
    samples = np.zeros(_length())
    for talker in range(rng.integers(*_TALKERS)):
        voice = rng.choice(BABBLE_VOICES[split])
        speaker = Speaker(f"b{talker:02d}", "espeak", voice=str(voice))
        speech = np.zeros(0, np.float32)
        while len(speech) < _length():
            speech = np.concatenate([speech, speak(speaker, text.draw(rng, "train"), rng)])
        # Shifted round, so that the talkers do not all begin together.
        speech = np.roll(speech, rng.integers(len(speech)))[: _length()]
        samples += speech * _slow_gain(rng, 2.0, 6.0)
    return _band(samples, 150.0, rng.uniform(1500.0, 4000.0))


def _traffic(rng: np.random.Generator) -> np.ndarray:
    """A rumble on which vehicles pass by: bands that swell and fade."""
    samples = 0.5 * _coloured(rng, 2.0)
    time = np.arange(_length()) / FS
    for _ in range(rng.integers(4, 9)):
        centre, width = rng.uniform(0, NOISE_S), rng.uniform(0.4, 1.5)
        swell = np.exp(-np.square((time - centre) / width))
        low = rng.uniform(60, 500)
        band = _band(_coloured(rng, 1.0), low, low * rng.uniform(3, 8))
        samples += rng.uniform(0.5, 2.0) * swell * band / band.std()
    return samples


def _music(rng: np.random.Generator) -> np.ndarray:
    """Chords of a few harmonic tones that change every half to one and a half seconds."""
    samples = np.zeros(_length())
    start = 0
    while start < _length():
        count = int(rng.uniform(0.5, 1.5) * FS)
        time = np.arange(min(count, _length() - start)) / FS
        envelope = np.minimum(time / 0.02, 1.0) * np.exp(-time / rng.uniform(0.3, 2.0))
        root = 55.0 * 2 ** (rng.integers(0, 24) / 12)
        for interval in (0, rng.choice([3, 4]), 7, 12):
            pitch = root * 2 ** (interval / 12)
            for harmonic in range(1, 9):
                phase = 2 * np.pi * (harmonic * pitch * time + rng.uniform())
                samples[start : start + len(time)] += envelope * np.sin(phase) / harmonic**1.3
        start += count
    return samples * _slow_gain(rng, 1.5, 4.0)


def _clatter(rng: np.random.Generator) -> np.ndarray:
    """Dishes, keys and tools: impulses at random times, each ringing in a few resonances."""
    samples = 0.02 * _coloured(rng, 1.0)
    for start in rng.integers(0, _length(), rng.poisson(rng.uniform(*_EVENTS_PER_S) * NOISE_S)):
        time = np.arange(min(int(0.25 * FS), _length() - start)) / FS
        loudness = 10 ** (rng.uniform(-12, 3) / 20)
        for _ in range(rng.integers(2, 6)):
            frequency, decay = rng.uniform(300, 6000), rng.uniform(0.005, 0.05)
            ring = np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time)
            samples[start : start + len(time)] += loudness * ring
    return samples


def _machine(rng: np.random.Generator) -> np.ndarray:
    """A motor: its harmonics and a hiss that beats with its turns, speeding up and down."""
    turns_per_s = rng.uniform(8, 40) * _slow_gain(rng, 2.0, 1.5)
    phase = 2 * np.pi * np.cumsum(turns_per_s) / FS
    samples = sum(
        (np.sin(k * phase + rng.uniform(0, 2 * np.pi)) / k for k in range(1, 25)),
        np.zeros(_length()),
    )
    low = rng.uniform(200, 1500)
    hiss = _band(_coloured(rng, 0.5), low, low * rng.uniform(2, 4))
    beat = 1 + rng.uniform(0.5, 0.95) * np.sin(phase)
    return (samples + rng.uniform(0.5, 3.0) * beat * hiss / hiss.std()) * _slow_gain(rng, 1.0, 6.0)


_ARTIFICIAL: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "traffic": _traffic,
    "music": _music,
    "clatter": _clatter,
    "machine": _machine,
}
KINDS = ("babble", *_ARTIFICIAL)
"""Kinds of noise, taken in turn."""
