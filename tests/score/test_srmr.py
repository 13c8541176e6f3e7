import numpy as np
import pytest
import torch
from torchmetrics.functional.audio.srmr import speech_reverberation_modulation_energy_ratio

from sepasr.score.srmr import srmr


def modulated(samples: int, fs: int, modulation_hz: float, colour: list[float]) -> np.ndarray:
    time_s = np.arange(samples) / fs
    noise = np.random.default_rng(0).standard_normal(samples)
    envelope = 1 + np.sin(2 * np.pi * modulation_hz * time_s)
    return np.convolve(noise * envelope, colour, "same") * 0.3


SLOW = pytest.mark.slow  # torchmetrics' filters run in a Python loop


@pytest.mark.parametrize(
    ("samples", "fs", "modulation_hz", "colour"),
    [
        (2_100, 8_000, 8, [1, -0.9]),  # one window and a rest
        pytest.param(5_130, 16_000, 40, [1, 0.9], marks=SLOW),  # two windows, low bandwidth
        pytest.param(4_096, 16_000, 4, [20], marks=SLOW),  # louder than full scale
        pytest.param(3_000, 11_025, 8, [1], marks=SLOW),  # a window isn't whole shifts
    ],
)
def test_equals_torchmetrics(samples, fs, modulation_hz, colour):
    signal = modulated(samples, fs, modulation_hz, colour)
    expected = speech_reverberation_modulation_energy_ratio(torch.from_numpy(signal), fs)
    assert srmr(signal, fs) == pytest.approx(float(expected), rel=1e-9)


def test_reverberation_lowers_it():
    """A decaying tail smooths the 4 Hz rhythm of speech, which is what the ratio is made for."""
    generator = np.random.default_rng(0)
    dry = modulated(32_000, 16_000, 4, [1])
    tail = generator.standard_normal(8_000) * np.exp(-np.arange(8_000) / 1_500)
    wet = np.convolve(dry, tail)[: len(dry)]
    assert srmr(wet, 16_000) < 0.8 * srmr(dry, 16_000)


def test_undefined():
    assert np.isnan(srmr(np.zeros(16_000), 16_000))
    assert np.isnan(srmr(np.ones(4_000), 16_000))
