"""Convolution of a long signal with the response of a room."""

from __future__ import annotations

import numpy as np
from scipy.signal import oaconvolve


def convolve(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve, and keep as many samples as the signal has.

    Args:
        signal: (samples,), float32.
        response: (taps,), float32. Zeros at its end cost nothing: an anechoic response is a hundred
            taps in a file as long as the reverberant one.

    Returns:
        (samples,), float32.
    """
    (sounding,) = np.nonzero(response)
    if len(sounding) == 0:
        return np.zeros_like(signal)
    return oaconvolve(signal, response[: sounding[-1] + 1])[: len(signal)]
