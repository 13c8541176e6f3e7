"""Convolution in blocks, against numpy's, which writes it out."""

from __future__ import annotations

import numpy as np
import pytest

from sepasr.data import convolution
from sepasr.data.convolution import convolve


@pytest.mark.parametrize("samples", [1, 5, 63, 64, 65, 1000])
@pytest.mark.parametrize("taps", [1, 2, 31, 33, 200])
def test_it_is_the_beginning_of_numpys(
    samples: int, taps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "SHORTEST", 64)
    rng = np.random.default_rng(samples * taps)
    signal = rng.standard_normal(samples).astype(np.float32)
    responses = rng.standard_normal((3, taps)).astype(np.float32)
    heard = convolve(signal, responses)
    assert heard.dtype == np.float32
    expected = [np.convolve(signal, response)[:samples] for response in responses]
    np.testing.assert_allclose(heard, expected, atol=1e-4)


def test_nothing_is_heard_before_it_is_said() -> None:
    signal = np.zeros(20000, np.float32)
    signal[12345] = 1
    (heard,) = convolve(signal, np.array([[0, 0, 0.5]], np.float32))
    assert np.abs(heard[:12347]).max() < 1e-6
    assert heard[12347] == pytest.approx(0.5)
