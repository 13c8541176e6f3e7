"""What is trained, whatever it is: settings, optimiser, and the weights that come of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sepasr.errors import UserError
from sepasr.train.average import AVERAGE, MovingAverage
from sepasr.train.best import BEST, BestWeights
from sepasr.train.lightning_state import count_batches
from sepasr.train.schedule import PLATEAU, LatePlateau, OptimizerConfig, lr_factor

LAST_STEP, KEPT = "last", ("last", BEST)
"""Which weights a training ends with: those of its last step, or of its best validation."""
LEAST_SCALE = 1e-3
"""Of losses in float16; it begins at 65,536."""
LOG_EVERY = 10
"""Steps from line to line of a training's log."""
STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)
"""As Lightning names them: in each, every process has all weights, and is one of its own."""


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
        follows = self.keep == BEST or self.optimizer.schedule == PLATEAU
        if follows and self.valid_every == 1 < self.steps:
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


def follows_validation(fit: Mapping[str, Any]) -> bool:
    """Whether the validations decide anything, from the settings of a :class:`FitConfig`."""
    plateau = fit.get("optimizer", {}).get("schedule") == PLATEAU
    return plateau or fit.get("keep") == BEST


class TrainingModule(lightning.LightningModule):
    """What :func:`fit` trains: a Lightning module that can export itself.

    A subclass gives ``training_step``, ``validation_step`` (logging ``valid/loss``, which a plateau
    and the best weights go by) and :meth:`export`.
    """

    def __init__(self, config: FitConfig) -> None:
        super().__init__()
        self.fit_config = config
        self.batches_done = 0
        self._number = 0
        self._average: MovingAverage | None = None
        self._start: dict[str, Tensor] = {}
        self._best = BestWeights() if config.keep == BEST else None
        self._took_best = False

    def begin(self, batches_done: int) -> None:
        """Take note of the weights there are before the first step, and of what is done already.

        A checkpoint is loaded after this: the weights are those that training once began with.
        """
        self.batches_done = batches_done
        if self.fit_config.average:
            self._average = MovingAverage(self._trainable(), self.fit_config.average)
        if self.fit_config.stay:
            self._start = {n: p.detach().clone() for n, p in self._trainable().items()}

    def _trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed what this batch draws (dropout), so that it is the same after an interruption."""
        self._number = self.batches_done * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(self.seed_of_batch())
        self.batches_done += 1

    def seed_of_batch(self, purpose: int = 0) -> int:
        """A seed for something that is drawn for this batch, on this device."""
        entropy = [self.fit_config.seed, self._number, *([purpose] if purpose else [])]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Add the gradient of what keeps the weights near the start.

        Once for all accumulated batches and devices, and before the gradient is clipped: as if it
        were part of the loss.
        """
        if not self._start:
            return
        squares = []
        for name, parameter in self._trainable().items():
            self._start[name] = self._start[name].to(parameter.device)
            way = parameter.detach() - self._start[name]
            squares.append(way.square().sum())
            if parameter.grad is not None:
                parameter.grad.add_(way, alpha=2 * self.fit_config.stay)
        self.log("train/distance_from_start", torch.stack(squares).sum().sqrt())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the average follow before anything is saved or validated."""
        super().optimizer_step(*args, **kwargs)
        scaler = self._scaler()
        if scaler is not None and scaler.is_enabled() and scaler.get_scale() < LEAST_SCALE:
            # Each gradient that is not finite halves it, and is left out.
            raise self.not_finite("one gradient after the other, and that")
        if self._average is not None:
            self._average.update()

    def on_validation_start(self) -> None:
        """Validate what would be exported."""
        if self._average is not None:
            self._average.swap()

    def on_validation_end(self) -> None:
        """Keep what is better than all before, and train on with the weights themselves."""
        if self._best is not None:
            loss = float(self.trainer.callback_metrics["valid/loss"])
            if not math.isfinite(loss):
                raise self.not_finite("the loss of the validation")
            self._best.offer(loss, self.global_step, self.state_dict())
        if self._average is not None:
            self._average.swap()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep beside the weights what was best, and the average."""
        if self._best is not None:
            checkpoint[BEST] = self._best.state_dict()
        if self._average is not None:
            checkpoint[AVERAGE] = self._average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with what was best and the average, also where steps were accumulated otherwise."""
        count_batches(checkpoint, self.fit_config.accumulation)
        if self._best is not None:
            self._best.load_state_dict(checkpoint[BEST])
        if self._average is not None:
            self._average.load_state_dict(checkpoint[AVERAGE])

    def export(self, directory: Path) -> None:
        """Write the model with the weights it has, without what only training needs."""
        raise NotImplementedError

    def export_final(self, directory: Path) -> None:
        """Write what the training ends with, after which this has those weights."""
        if self._best is None:
            self.export_trained(directory)
        else:
            self.load_state_dict(self._best.weights)
            self._took_best = True
            self.export(directory)

    def steps_of_weights(self) -> int:
        """Optimiser steps behind the weights that there are now."""
        if self._best is not None and self._took_best:
            return self._best.step
        return self.global_step

    def export_trained(self, directory: Path) -> None:
        """Write the model as it is now: with the average where there is one."""
        with self._average.swapped() if self._average is not None else nullcontext():
            self.export(directory)

    def layer_depths(self) -> Mapping[str, int]:
        """How many layers lie between each parameter and the output, by the parameter's name."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """Adam or AdamW over what is trainable, and the schedule."""
        config = self.fit_config.optimizer
        groups = self._groups()
        fused = self._may_fuse()
        optimizer: Optimizer = (
            AdamW(groups, config.lr, weight_decay=config.weight_decay, fused=fused)
            if config.weight_decay
            else Adam(groups, config.lr, fused=fused)
        )
        if config.schedule == PLATEAU:
            plateau = LatePlateau(optimizer, config.patience, self._may_decay)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {
                    "scheduler": plateau,
                    "monitor": "valid/loss",
                    "interval": "step",
                    # Counted in batches.
                    "frequency": self.fit_config.valid_every * self.fit_config.accumulation,
                    # A longer training finds no loss where a shorter one ended with a validation,
                    # of which the schedule has heard.
                    "strict": False,
                },
            }
        schedule = LambdaLR(optimizer, lr_factor(config, self.fit_config.steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient, and refuse one that would spoil the weights.

        Lightning refuses to under mixed precision where the optimiser is fused, though in bfloat16
        gradients are not scaled, and there is nothing to do but this.

        Raises:
            UserError: the gradient is not finite. Where gradients are scaled that is how a scale is
                found.
        """
        if self._scaler() is not None:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val or math.inf)
        if not norm.isfinite():
            raise self.not_finite("the gradient")

    def not_finite(self, what: str) -> UserError:
        """The error for a value of this step, or of a validation behind it, that is not finite."""
        step = self.global_step + int(self.trainer.training)
        return UserError(
            f"{what} of step {step} is not finite",
            where=self.trainer.default_root_dir,
            remedy="run it again, to go on from what was saved before; if it comes again, take the "
            "weights of before by sepasr strip, and --init and a lower fit.optimizer.lr with them",
        )

    def _scaler(self) -> Any:
        """What scales the loss, in float16 alone; of that Lightning makes bfloat16 on a CPU."""
        if self._trainer is None:
            return None
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def _may_fuse(self) -> bool:
        """Whether the optimiser's step may be one operation on all weights."""
        on_device = all(p.device.type in ("cpu", "cuda") for p in self.parameters())
        return on_device and self._scaler() is None

    def _groups(self) -> list[Any]:
        """What is trainable; with a decay, the layers of one depth together, at their own rate."""
        config = self.fit_config.optimizer
        trainable = self._trainable()
        if config.layer_decay == 1:
            return list(trainable.values())
        depths = self.layer_depths()
        return [
            {
                "params": [p for name, p in trainable.items() if depths[name] == depth],
                "lr": config.lr * config.layer_decay**depth,
            }
            for depth in sorted({depths[name] for name in trainable})
        ]

    def _may_decay(self) -> bool:
        return self.global_step >= self.fit_config.optimizer.plateau_after
