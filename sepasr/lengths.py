"""Which part of a padded batch is valid."""

from __future__ import annotations

import torch
from torch import Tensor


def within(lengths: Tensor, size: int) -> Tensor:
    """Mask of what is valid: lengths (...) to (..., size) bool."""
    return torch.arange(size, device=lengths.device) < lengths[..., None]
