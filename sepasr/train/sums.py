"""Means over what several batches and devices hold."""

from __future__ import annotations

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class Sums:
    """Named sums over batches, then over devices.

    Lightning's own reduction of what is logged divides whole numbers of items by the number of
    devices and rounds: with uneven shares of a validation set its mean is wrong.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, **terms: Tensor) -> None:
        """Add the elements of each tensor, without gradient, to the sum of that name."""
        for name, term in terms.items():
            total = term.detach().sum(dtype=torch.float32)
            self._sums[name] = self._sums[name] + total if name in self._sums else total

    def take(self, strategy: Strategy) -> dict[str, Tensor]:
        """The sums over all devices, on each of them; what is added next begins anew."""
        names, sums = zip(*self._sums.items(), strict=True)
        self._sums = {}
        totals = strategy.reduce(torch.stack(sums), reduce_op="sum")
        return dict(zip(names, totals, strict=True))
