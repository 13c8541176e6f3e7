"""Convolution of a long signal with the responses of a room."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

SHORTEST = 4096


def convolve(signal: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """Convolve a signal with several responses, and keep as many samples as it has.

    Overlap-save: the signal is transformed once for all responses, in blocks that stay in the
    processor's cache.

    Args:
        signal: (samples,), float32.
        responses: (count, taps), float32.

    Returns:
        (count, samples), float32.
    """
    samples, (count, taps) = len(signal), responses.shape
    if taps == 0:
        raise ValueError("responses have no taps")
    # Twice the overlap at least, so that half of each block or more is new.
    size = max(SHORTEST, 2 ** int(np.ceil(np.log2(2 * taps))))
    hop = size - taps + 1
    count_blocks = -(-samples // hop)
    padded = F.pad(torch.from_numpy(signal), (taps - 1, count_blocks * hop - samples))
    blocks = torch.fft.rfft(padded.unfold(0, size, hop))
    spectra = torch.fft.rfft(torch.from_numpy(responses), size)
    heard = torch.fft.irfft(blocks * spectra[:, None], size)[..., taps - 1 :]
    return heard.reshape(count, -1)[:, :samples].numpy()
