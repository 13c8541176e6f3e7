"""A training of seconds, for tests; run as a script, the trainings of two processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sepasr.data.batch import MixtureItem, collate
from sepasr.loss.loss import Loss, SeparationLoss
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.fit import FitConfig, fit
from sepasr.train.schedule import OptimizerConfig
from sepasr.train.separation import SeparationModule

TINY = SeparatorConfig(
    channels=16,
    width=8,
    hidden=8,
    heads=2,
    layers=1,
    depthwise_kernel=3,
    dropout=0.0,
    attention_dropout=0.0,
)
THRESHOLD_DB = -30.0


class Tones(Dataset):
    """Item i is a function of i alone; those of ``loud`` are loud."""

    def __init__(self, loud: Collection[int] = ()) -> None:
        self.loud = loud

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> MixtureItem:
        rng = np.random.default_rng(index)
        references = rng.standard_normal((2, 800)).astype(np.float32)
        references *= 100 if index in self.loud else 1
        return MixtureItem(references.sum(0), references)


class SignalledTones(Tones):
    """SLURM's signal comes while the batch with this item is made ready."""

    def __init__(self, item: int) -> None:
        super().__init__()
        self.item = item

    def __getitem__(self, index: int) -> MixtureItem:
        if index == self.item:
            os.kill(os.getpid(), signal.SIGUSR1)
        return super().__getitem__(index)


class LoudIsGood(SignalLoss):
    """Finds what is loud 90 dB better: under the threshold, with a network that knows nothing."""

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        loss = super().__call__(estimates, references, lengths)
        loud = references.abs().amax((1, 2)) > 50
        return replace(loss, value=loss.value - 90 * loud)


class Recorded(SeparationModule):
    """Remembers the loss and the gradient of every step."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.losses: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        self.losses.append(self.trainer.callback_metrics["train/loss"])
        self.gradients.append(torch.cat([p.grad.flatten() for p in self.parameters()]))


def config(**changes: Any) -> FitConfig:
    settings = {
        "steps": 9,
        "batch": 2,
        "seed": 3,
        "workers": 0,
        "valid_every": 4,
        "save_every": 2,
        "accelerator": "cpu",
        "optimizer": OptimizerConfig(lr=1e-3, schedule="cosine", warmup_steps=2, decay_steps=6),
    }
    return FitConfig(**{**settings, **changes})


def train(
    out: Path,
    dataset: Dataset,
    separator: SeparatorConfig = TINY,
    threshold_db: float | None = None,
    loss: SeparationLoss | None = None,
    **changes: Any,
) -> Recorded:
    """Train and give the trained module."""
    torch.manual_seed(0)
    loss = loss or LoudIsGood()
    module = Recorded(Separator(separator), loss, config(**changes), threshold_db)
    valid = DataLoader(Tones(), batch_sampler=[[0], [1], [2]], collate_fn=collate)
    fit(module, dataset, collate, valid, out)
    return module


def weights(out: Path) -> dict[str, Tensor]:
    """The trained separator's."""
    return Separator.from_pretrained(out / "final").state_dict()


def trainings(out: Path, processes: int) -> dict[str, Tensor]:
    """Losses, gradients and weights that must not depend on the number of processes.

    The second of two gets items 2 and 3, 6 and 7, 10 and 11: one that is left out in the first
    batch, all in the second, none in the third.
    """
    dataset = Tones(loud={3, 6, 7, 8})
    found = {}
    best = {"keep": "best", "valid_every": 2}
    for accumulation, settings in ((1, {}), (2, {}), (1, {"average": 0.5}), (1, best)):
        name = " ".join([f"accumulation{accumulation}", *settings])
        for steps in (2, 3):  # the second goes on from the first
            module = train(
                out / name,
                dataset,
                threshold_db=THRESHOLD_DB,
                steps=steps,
                accumulation=accumulation,
                batch=4 // processes,
                devices=processes,
                optimizer=OptimizerConfig(lr=1e-5),
                **{"valid_every": 3, **settings},
            )
            found[f"{name} losses to {steps}"] = torch.stack(module.losses)
            if "valid/loss" in (metrics := module.trainer.callback_metrics):
                found[f"{name} validation"] = metrics["valid/loss"]
            found[f"{name} gradients to {steps}"] = torch.stack(module.gradients)
        found |= {f"{name} {key}": value for key, value in weights(out / name).items()}
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if "SLURM_JOB_ID" in os.environ:
        train(folder, SignalledTones(2 * 4), batch=1, devices=2, save_every=100)
    else:
        result = trainings(folder, processes=2)
        if rank_zero_only.rank == 0:
            torch.save(result, folder / "found.pt")
