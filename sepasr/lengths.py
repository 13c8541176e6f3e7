"""Which part of a padded batch is valid."""

from __future__ import annotations

import torch
from torch import Tensor


def whole(signals: Tensor) -> Tensor:
    """Lengths of (batch, ..., samples) that are valid throughout: (batch,), int64."""
    return torch.full((len(signals),), signals.shape[-1], device=signals.device)


def within(lengths: Tensor, size: int) -> Tensor:
    """Mask of what is valid: lengths (...) to (..., size) bool."""
    return torch.arange(size, device=lengths.device) < lengths[..., None]
