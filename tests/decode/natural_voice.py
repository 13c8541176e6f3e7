"""Sentences to read, in a natural voice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sepasr.data.audio import resample
from sepasr.decode.hearing import to_level


def say(texts: Sequence[str], seed: int) -> list[np.ndarray]:
    """Each text, (samples,) at 16 kHz and at the level at which recognisers hear."""
    from hibari import Hibari

    voice = Hibari()
    waveforms = [torch.as_tensor(voice(text, seed=seed)).float() for text in texts]
    return [to_level(resample(waveform, 24000, 16000).numpy()) for waveform in waveforms]
