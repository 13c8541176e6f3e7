"""The settings of a training, whatever is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from sepasr.errors import UserError
from sepasr.train.best import BEST
from sepasr.train.schedule import PLATEAU, OptimizerConfig

LAST_STEP = "last"
KEPT = (LAST_STEP, BEST)
"""Which weights a training ends with: those of its last step, or of its best validation."""
STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)
"""Lightning's names. With each, every process holds all weights, in a program of its own."""


@dataclass(frozen=True)
class FitConfig:
    """How long and on what to train.

    Attributes:
        steps: optimiser steps in all.
        batch: items of one forward pass on one device.
        accumulation: forward passes per optimiser step.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``, as in Lightning; losses are float32.
        seed: of the weights, the dropout and the data.
        workers: processes that prepare data.
        valid_every: steps between validations.
        save_every: steps between checkpoints to resume from.
        snapshots: steps at which the model is exported besides the last one.
        devices: processes on each machine, each with a GPU of its own or, on ``cpu``, without.
        num_nodes: machines.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``mps``.
        strategy: one of ``STRATEGIES``; ``auto`` is ``ddp`` where there are several devices.
        optimizer: see :class:`OptimizerConfig`.
        keep: which weights are exported at the end: ``last``, of the last step, or ``best``, of the
            validation with the least loss.
        average: decay of an exponential moving average of the weights, which is then what is
            validated and exported (see :class:`sepasr.train.average.MovingAverage`); 0 takes the
            weights of the last step.
        stay: weight of the squared distance of the weights from those at the start, added to the
            loss (L2-SP: Li, Grandvalet and Davoine, arXiv 1802.01483); 0 leaves them free.
    """

    steps: int = 1000
    batch: int = 4
    accumulation: int = 1
    precision: str = "32-true"
    seed: int = 0
    workers: int = 1
    valid_every: int = 500
    save_every: int = 200
    snapshots: list[int] = field(default_factory=list)
    devices: int = 1
    num_nodes: int = 1
    accelerator: str = "auto"
    strategy: str = "auto"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    keep: str = LAST_STEP
    average: float = 0.0
    stay: float = 0.0

    def __post_init__(self) -> None:
        at_least_one = ("steps", "batch", "accumulation", "valid_every", "save_every")
        for name in (*at_least_one, "devices", "num_nodes"):
            if getattr(self, name) < 1:
                raise UserError(f"fit.{name} is {getattr(self, name)}, less than 1")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise UserError(f"fit.{name} is {getattr(self, name)}, less than 0")
        if early := [step for step in self.snapshots if step < 1]:
            raise UserError(f"fit.snapshots has {early[0]}, less than 1")
        if late := [step for step in self.snapshots if step > self.steps]:
            raise UserError(
                f"fit.snapshots has {late[0]}, and fit.steps is {self.steps}",
                remedy="leave it out, or train for more steps",
            )
        if self.keep not in KEPT:
            remedy = f"fit.keep is one of {', '.join(KEPT)}"
            raise UserError(f"unknown choice of weights '{self.keep}'", remedy=remedy)
        if self.follows_validation and self.valid_every == 1 < self.steps:
            raise UserError(
                "fit.valid_every is 1: no checkpoint could be written between two validations",
                remedy=f"set it to 2 or more, or fit.keep={LAST_STEP} and another schedule",
            )
        if self.keep == BEST and self.valid_every > self.steps:
            raise UserError(
                f"fit.keep {BEST} of no validation: fit.valid_every is {self.valid_every}, and "
                f"fit.steps is {self.steps}",
                remedy=f"validate more often, or set fit.keep={LAST_STEP}",
            )
        if not 0 <= self.average < 1:
            raise UserError(f"fit.average is {self.average}, not from 0 to less than 1")
        if self.stay < 0:
            raise UserError(f"fit.stay is {self.stay}, less than 0")
        if self.precision in ("16-true", "bf16-true", "64-true", "64"):
            raise UserError(
                f"fit.precision {self.precision}: the losses and what they compare are float32",
                remedy="take 32-true, or bf16-mixed or 16-mixed",
            )
        if self.strategy not in STRATEGIES:
            raise UserError(
                f"fit.strategy is {self.strategy}, which is not known to train and save right",
                remedy=f"take one of {', '.join(STRATEGIES)}",
            )

    @property
    def follows_validation(self) -> bool:
        """Whether the validations decide anything."""
        return validations_decide(self.optimizer.schedule, self.keep)


def validations_decide(schedule: str | None, keep: str | None) -> bool:
    """Whether the validations decide anything: the learning rate, or which weights are kept."""
    return schedule == PLATEAU or keep == BEST
