"""An exponential moving average of weights: what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

AVERAGE = "average"
"""Where a checkpoint has the average, by the names of its weights."""


class MovingAverage:
    """After step n, decay^n w_0 + (1 - decay) sum_k decay^(n - k) w_k, of weights that change.

    It begins with the weights as they are, w_0, and isn't corrected for it: in a short fine-tuning
    the average is still close to where training came from. Every process of a training keeps the
    same one.

    Args:
        weights: by name; they are changed in place by whatever trains them.
        decay: share of the average kept at every update, 0 to 1; with 0 it is the last weights.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.weights, self.decay = dict(weights), decay
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights, after a step."""
        self._to_device()
        averages, weights = list(self.average.values()), list(self.weights.values())
        torch._foreach_lerp_(averages, weights, 1 - self.decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Put the average in place of the weights for the block; they come back to the last bit."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Let weights and average change places."""
        self._to_device()
        for name, weight in self.weights.items():
            kept = weight.clone()
            weight.copy_(self.average[name])
            self.average[name].copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, by name."""
        return dict(self.average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with an average that was kept."""
        for name, average in self.average.items():
            average.copy_(state[name])

    def _to_device(self) -> None:
        """Follow weights that were moved since."""
        for name, weight in self.weights.items():
            if self.average[name].device != weight.device:
                self.average[name] = self.average[name].to(weight.device)
