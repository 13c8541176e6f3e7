"""The weights of the best validation: what a training may end with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

BEST = "best"
"""Where a checkpoint has them."""


class BestWeights:
    """The weights that validated with the least loss, kept in memory and in every checkpoint.

    So a training that resumes from a checkpoint knows nothing of validations that came after it.

    Attributes:
        loss: of that validation; infinite before the first.
        step: optimiser steps that were done.
        weights: by name, on the CPU.
    """

    def __init__(self) -> None:
        self.loss, self.step = math.inf, 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, loss: float, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keep a copy of these weights if their loss is less than any before."""
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.weights = {name: w.detach().cpu().clone() for name, w in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain values and tensors."""
        return {"loss": self.loss, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what was kept."""
        self.loss, self.step = float(state["loss"]), int(state["step"])
        self.weights = dict(state["weights"])
