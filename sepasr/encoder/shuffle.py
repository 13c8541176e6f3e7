"""An untrained encoder of the same shape, and of the same numbers, as a trained one."""

from __future__ import annotations

import torch
from torch import nn

from sepasr.errors import UserError


def shuffle_weights(model: nn.Module, seed: int) -> None:
    """Put the elements of every weight tensor into a random order, each tensor by itself.

    Every tensor keeps its shape, mean, variance and histogram; what training has put into the
    order is gone. Tensors that several modules share stay shared.

    Args:
        model: changed in place.
        seed: the same one gives the same order on every device.

    Raises:
        UserError: the model has no weights.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters())
    if not parameters:
        raise UserError("the encoder shows no weights that could be shuffled")
    with torch.no_grad():
        for _, parameter in sorted(parameters.items()):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
