"""Convolution with the response of a room, against numpy's, which writes it out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import set_workers

from sepasr.data import convolution
from sepasr.data.convolution import convolve


@pytest.mark.parametrize("samples", [1, 5, 63, 64, 65, 1000])
@pytest.mark.parametrize("taps", [1, 2, 31, 33, 200])
@pytest.mark.parametrize("zeros", [0, 300])
def test_it_is_the_beginning_of_numpys(
    samples: int, taps: int, zeros: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "SHORTEST", 64)
    rng = np.random.default_rng(samples * taps)
    signal = rng.standard_normal(samples).astype(np.float32)
    response = np.pad(rng.standard_normal(taps).astype(np.float32), (0, zeros))
    heard = convolve(signal, response)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, np.convolve(signal, response)[:samples], atol=1e-4)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_the_number_of_threads_changes_no_sample(workers: int) -> None:
    rng = np.random.default_rng(0)
    signal, response = (rng.standard_normal(n).astype(np.float32) for n in (200_000, 9600))
    alone = convolve(signal, response)
    with set_workers(workers):
        np.testing.assert_array_equal(convolve(signal, response), alone)


def test_nothing_is_heard_before_it_is_said() -> None:
    signal = np.zeros(20000, np.float32)
    signal[12345] = 1
    heard = convolve(signal, np.array([0, 0, 0.5], np.float32))
    assert np.abs(heard[:12347]).max() < 1e-6
    assert heard[12347] == pytest.approx(0.5)


def test_a_silent_response_is_silence() -> None:
    heard = convolve(np.ones(7, np.float32), np.zeros(3, np.float32))
    np.testing.assert_array_equal(heard, np.zeros(7, np.float32))
