"""Tables of positions that some of ESPnet's networks hold, and lengthen as they need."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def renew_positions(network: nn.Module) -> None:
    """Make tables of positions fit for training again.

    They are no buffers: one that grew, or was moved, in inference mode is a tensor that no gradient
    may need.
    """
    for module in _with_positions(network):
        if module.pe.is_inference():
            module.pe = module.pe.clone()


def extend_positions(network: nn.Module, frames: int) -> None:
    """Let tables of positions reach so many frames at least, on the CPU in float32."""
    for module in _with_positions(network):
        module.extend_pe(torch.empty(1, frames))


def _with_positions(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if hasattr(module, "extend_pe")]
