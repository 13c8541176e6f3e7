"""The optimiser's settings and the learning rate over the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sepasr.errors import UserError

CONSTANT, COSINE, PLATEAU = SCHEDULES = ("constant", "cosine", "plateau")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate over the steps.

    Attributes:
        lr: peak learning rate.
        weight_decay: decoupled weight decay; 0 is plain Adam.
        warmup_steps: linear rise from 0, but for ``plateau``.
        schedule: ``constant``; ``cosine`` (constant, then falling to ``final_lr`` over the last
            ``decay_steps``, or over all steps if there are fewer); or ``plateau`` (halved when the
            validation loss has not fallen for more than ``patience`` validations, once
            ``plateau_after`` steps have passed).
        final_lr: where ``cosine`` ends.
        decay_steps: how long ``cosine`` falls.
        patience: for ``plateau``, in validations.
        plateau_after: for ``plateau``, in steps.
        gradient_norm: gradients are clipped to this norm; 0 leaves them.
        layer_decay: the rate of a layer is ``lr`` times this to the power of its depth, counted
            from the output (as Bao et al. fine-tune BEiT, arXiv 2106.08254); 1 is one rate for all.
    """

    lr: float = 5e-5
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: str = CONSTANT
    final_lr: float = 0.0
    decay_steps: int = 0
    patience: int = 3
    plateau_after: int = 0
    gradient_norm: float = 5.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"fit.optimizer.lr is {self.lr}, not above 0")
        at_least_zero = ("weight_decay", "warmup_steps", "final_lr", "patience", "plateau_after")
        for name in at_least_zero:
            if getattr(self, name) < 0:
                raise UserError(f"fit.optimizer.{name} is {getattr(self, name)}, less than 0")
        if self.schedule not in SCHEDULES:
            raise UserError(
                f"unknown learning-rate schedule '{self.schedule}'",
                remedy=f"fit.optimizer.schedule is one of {', '.join(SCHEDULES)}",
            )
        if self.schedule == PLATEAU and self.warmup_steps:
            raise UserError(
                f"fit.optimizer.schedule {PLATEAU} has no use for fit.optimizer.warmup_steps",
                remedy=f"set it to 0, or take {CONSTANT} or {COSINE}",
            )
        if self.schedule == COSINE and self.decay_steps < 1:
            raise UserError(
                f"fit.optimizer.schedule {COSINE} falls over no steps",
                remedy=f"set fit.optimizer.decay_steps, or take {CONSTANT}",
            )
        if self.gradient_norm < 0:
            raise UserError(
                f"fit.optimizer.gradient_norm is {self.gradient_norm}, less than 0",
                remedy="set it to 0 for gradients as they are",
            )
        if not 0 < self.layer_decay <= 1:
            raise UserError(
                f"fit.optimizer.layer_decay is {self.layer_decay}, not above 0 and up to 1"
            )


class LatePlateau(ReduceLROnPlateau):
    """Halves the rate on a plateau, but only once ``may_decay`` says so."""

    def __init__(self, optimizer: Optimizer, patience: int, may_decay: Callable[[], bool]) -> None:
        # A share of a negative loss, as torch has it by default, would take a worse one for better.
        # A change of 1e-8, which it leaves out by default, is half of a rate of 2e-8.
        super().__init__(optimizer, factor=0.5, patience=patience, threshold=0.0, eps=0.0)
        self.may_decay = may_decay

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take the validation loss into account."""
        if self.may_decay():
            super().step(metrics, epoch)

    def state_dict(self) -> dict[str, Any]:
        """State without the callable, which belongs to the module."""
        return {k: v for k, v in super().state_dict().items() if k != "may_decay"}


def lr_factor(config: OptimizerConfig, steps: int) -> Callable[[int], float]:
    """The learning rate of each step as a share of the peak, for all but a plateau."""
    floor = config.final_lr / config.lr
    falling = min(config.decay_steps, steps)

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        if config.schedule == CONSTANT:
            return rise
        remaining = (steps - step) / falling
        progress = 1 - min(1.0, max(0.0, remaining))
        cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * progress)).item())
        return rise * (floor + (1 - floor) * cosine)

    return factor
