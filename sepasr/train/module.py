"""What is trained, whatever it is: optimiser, and the weights that come of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
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
from sepasr.train.fit_config import FitConfig
from sepasr.train.lightning_state import count_batches
from sepasr.train.schedule import PLATEAU, LatePlateau, lr_factor

LEAST_SCALE = 1e-3
"""Of losses in float16; it begins at 65,536."""
LOG_EVERY = 10
"""Steps from line to line of a training's log."""


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
        self._exported_step: int | None = None

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

    def on_train_start(self) -> None:
        """Give a lengthened training the rate of its own schedule at once.

        What is loaded is the rate with which the shorter one ended, and a schedule sets the next
        one only after a step.
        """
        schedule = self.lr_schedulers()
        if isinstance(schedule, LambdaLR):
            groups = zip(
                schedule.optimizer.param_groups,
                schedule.base_lrs,
                schedule.lr_lambdas,
                strict=True,
            )
            for group, base, factor in groups:
                group["lr"] = base * factor(schedule.last_epoch)

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
            # Each gradient that is not finite halves the scale, and its step is skipped.
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
        # There is one endless epoch. Lightning counts it when the last step is done, but not where
        # a run resumes from a checkpoint of that step: otherwise equal checkpoints would differ.
        checkpoint["epoch"] = 0
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
            self._exported_step = self._best.step
            self.export(directory)

    def steps_of_weights(self) -> int:
        """Optimiser steps that led to the present weights."""
        return self.global_step if self._exported_step is None else self._exported_step

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
                    # Resumed where a shorter training ended with a validation, a longer one finds
                    # no loss; the schedule has already heard of it.
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
        """What scales the loss: float16 alone has it, which Lightning makes bfloat16 on a CPU."""
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
