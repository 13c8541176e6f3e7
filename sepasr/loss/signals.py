"""What a loss refuses to compare: signals of other shapes, and lengths that are none."""

from __future__ import annotations

import torch
from torch import Tensor


def check_signals(estimates: Tensor, references: Tensor, lengths: Tensor | None = None) -> None:
    """Refuse what would be broadcast, or read in another layout, to a number that looks right.

    Args:
        estimates: (batch, speakers, samples), of floating-point type.
        references: (batch, speakers, samples); the number of speakers may be another one.
        lengths: valid samples of each item, (batch,), int64 or int32.

    Raises:
        TypeError: one of them isn't a tensor of such a type.
        ValueError: the shapes don't fit, or a length is below 1 or above the samples.
    """
    for name, signals in (("estimates", estimates), ("references", references)):
        if not isinstance(signals, Tensor) or not signals.is_floating_point():
            kind = signals.dtype if isinstance(signals, Tensor) else type(signals).__name__
            raise TypeError(f"{name} of {kind}; a floating-point tensor is wanted")
        if signals.ndim != 3:
            raise ValueError(
                f"{name} of shape {tuple(signals.shape)}; (batch, speakers, samples) is wanted, "
                "for one mixture signals[None]"
            )
        _, speakers, samples = signals.shape
        if samples == 0 or speakers > samples:
            raise ValueError(
                f"{name} of {speakers} speakers and {samples} samples; the order is "
                "(batch, speakers, samples)"
            )
    if (len(estimates), estimates.shape[-1]) != (len(references), references.shape[-1]):
        raise ValueError(
            f"estimates of shape {tuple(estimates.shape)} and references of shape "
            f"{tuple(references.shape)}: batch and samples differ"
        )
    if lengths is None:
        return
    if not isinstance(lengths, Tensor) or lengths.dtype not in (torch.int64, torch.int32):
        kind = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"lengths of {kind}; an integer tensor of samples is wanted, not of shares")
    if lengths.shape != estimates.shape[:1]:
        raise ValueError(f"lengths of shape {tuple(lengths.shape)} for a batch of {len(estimates)}")
    samples = estimates.shape[-1]
    if torch.any((lengths < 1) | (lengths > samples)):
        raise ValueError(f"lengths {lengths.tolist()}: from 1 to the {samples} samples is possible")
