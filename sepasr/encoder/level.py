"""What a waveform is brought to before an encoder hears it.

SI-SDR leaves the scale of an estimate free, an embedding does not.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

RMS_DB = -25.0


def rms_level(waveform: Tensor, valid: Tensor, lengths: Tensor) -> Tensor:
    """Scale each utterance to an RMS of -25 dB re full scale over its valid samples.

    The floor under the mean square, -100 dB, keeps silence silent and its gradient finite.

    Args:
        waveform: (batch, samples), zero where not valid.
        valid: (batch, samples) bool.
        lengths: (batch,) samples.

    Returns:
        (batch, samples), zero where not valid.
    """
    mean_square = waveform.square().sum(1, keepdim=True) / lengths[:, None]
    return waveform * (10 ** (RMS_DB / 20) / (mean_square + 1e-10).sqrt())


def unit_variance(waveform: Tensor, valid: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the valid samples, as ``Wav2Vec2FeatureExtractor`` does it.

    Args:
        waveform: (batch, samples), zero where not valid.
        valid: (batch, samples) bool.
        lengths: (batch,) samples.

    Returns:
        (batch, samples), zero where not valid.
    """
    mean = waveform.sum(1, keepdim=True) / lengths[:, None]
    centred = (waveform - mean) * valid
    variance = centred.square().sum(1, keepdim=True) / lengths[:, None]
    return centred / (variance + 1e-7).sqrt()


LEVELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "rms": rms_level,
    "model": unit_variance,
}

RMS: dict[str, float] = {"rms": 10 ** (RMS_DB / 20), "model": 1.0}
"""To which RMS each of them brings an utterance that isn't silent."""
