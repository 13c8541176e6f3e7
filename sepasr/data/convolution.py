"""Convolution of a long signal with the response of a room."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, rfft

SHORTEST = 4096


def convolve(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve, and keep as many samples as the signal has.

    Overlap-save in blocks of a power of two, which stay in the processor's cache. SciPy's
    ``oaconvolve`` plans its transforms anew for each length: mixtures take a fifth longer with it.
    Of PyTorch's transforms the longer ones depend, in the last digit, on the number of threads.

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
    samples, taps = len(signal), int(sounding[-1]) + 1
    # Twice the overlap at least, so that half of each block or more is new.
    size = max(SHORTEST, 2 ** int(np.ceil(np.log2(2 * taps))))
    hop = size - taps + 1
    blocks = -(-samples // hop)
    padded = np.pad(signal, (taps - 1, blocks * hop - samples))
    spectra = rfft(np.lib.stride_tricks.sliding_window_view(padded, size)[::hop])
    spectra *= rfft(response[:taps], size)
    return irfft(spectra, size)[:, taps - 1 :].reshape(-1)[:samples]
