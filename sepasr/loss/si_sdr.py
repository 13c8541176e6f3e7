"""Scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from sepasr.lengths import within
from sepasr.loss.signals import check_signals

FLOOR = 1e-8
"""Keeps the ratio within +-80 dB."""

SILENCE = 1e-8
"""Energy (sum of squares, full scale 1.0) far under which a signal counts as silent."""


def zero_mean(signal: Tensor, mask: Tensor | None = None) -> Tensor:
    """Subtract the mean over the valid samples and set the others to zero.

    Args:
        signal: (..., samples).
        mask: broadcastable to ``signal``; all samples are valid without it.
    """
    if mask is None:
        return signal - signal.mean(-1, keepdim=True)
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    return (signal - (signal * mask).sum(-1, keepdim=True) / count) * mask


def si_sdr(estimate: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """SI-SDR in dB after Le Roux et al., "SDR - half-baked or well done?" (2019), both zero-mean.

    The reference is scaled to be the orthogonal projection of the estimate; what is left of the
    estimate is the distortion. Computed in float32 at least, whatever autocast says: in bfloat16
    20 dB reads as 21 and 30 dB as infinity.

    Args:
        estimate: (..., samples).
        reference: broadcastable to ``estimate``.
        mask: valid samples, broadcastable to ``estimate``.

    Returns:
        SI-SDR of shape (...), between -80 and 80 dB. A silent estimate or reference gives -80 dB,
        with a finite gradient.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        estimate = zero_mean(estimate.to(dtype), mask)
        reference = zero_mean(reference.to(dtype), mask)
        # Both at unit energy: the value is then a ratio of numbers between 0 and 1.
        energy = estimate.square().sum(-1, keepdim=True) + SILENCE
        estimate = estimate / energy.sqrt()
        reference = reference / (reference.square().sum(-1, keepdim=True) + SILENCE).sqrt()
        cosine = (estimate * reference).sum(-1, keepdim=True)
        distortion = (estimate - cosine * reference).square().sum(-1)
        # What silence lacks to unit energy counts as distortion: else a silent estimate reads 0 dB.
        distortion = distortion + SILENCE / energy.squeeze(-1)
        return 10 * torch.log10((cosine.squeeze(-1).square() + FLOOR) / (distortion + FLOOR))


def pairwise_si_sdr(estimates: Tensor, references: Tensor, lengths: Tensor | None = None) -> Tensor:
    """SI-SDR of every estimate against every reference.

    Args:
        estimates: (batch, speakers, samples).
        references: (batch, speakers, samples).
        lengths: valid samples of each item, (batch,).

    Returns:
        (batch, references, estimates) in dB.

    Raises:
        TypeError, ValueError: see :func:`sepasr.loss.signals.check_signals`.
    """
    check_signals(estimates, references, lengths)
    mask = None if lengths is None else within(lengths, estimates.shape[-1])[:, None, None]
    return si_sdr(estimates[:, None], references[:, :, None], mask)
