"""Training of a separator: pretraining and fine-tuning are the same module with another loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from sepasr.data.audio import read_mono
from sepasr.data.datadir import MixtureDir
from sepasr.data.dynamic import MixtureItem
from sepasr.loss.loss import SeparationLoss, items_above
from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Provenance, Separator
from sepasr.train.fit import FitConfig, TrainingModule
from sepasr.train.sums import Sums


@dataclass(frozen=True)
class MixtureBatch:
    """Mixtures (batch, samples) and references (batch, speakers, samples), all equally long."""

    mixture: Tensor
    references: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> MixtureBatch:
        """Move to a device."""
        return MixtureBatch(
            self.mixture.to(device, non_blocking=non_blocking),
            self.references.to(device, non_blocking=non_blocking),
        )


def collate(items: list[MixtureItem]) -> MixtureBatch:
    """Stack items of equal length."""
    return MixtureBatch(
        torch.from_numpy(np.stack([item.mixture for item in items])),
        torch.from_numpy(np.stack([item.references for item in items])),
    )


class WholeMixtures(Dataset):
    """The mixtures of a data directory at their full length, for validation."""

    def __init__(self, directory: MixtureDir) -> None:
        self.directory = directory

    def __len__(self) -> int:
        return len(self.directory.mixtures)

    def __getitem__(self, index: int) -> MixtureItem:
        entry, fs = self.directory.mixtures[index], self.directory.info.fs
        references = [read_mono(path, fs) for path in entry.references]
        return MixtureItem(read_mono(entry.mixture, fs), np.stack(references))


class SeparationModule(TrainingModule):
    """Trains a separator.

    Args:
        separator: starts from the weights it has.
        loss: see :class:`sepasr.loss.loss.SeparationLoss`.
        config: how to train.
        threshold_db: items whose loss is below are left out of the mean, which is taken over the
            items of a step on all devices and in all accumulated batches; None keeps all.
        description: what the exported separator shall say of this training.
    """

    def __init__(
        self,
        separator: Separator,
        loss: SeparationLoss,
        config: FitConfig,
        threshold_db: float | None = None,
        description: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(config)
        self.separator = separator
        # Not a module, so that the frozen encoder in it is neither trained nor saved nor switched
        # to training mode with the rest.
        self.loss = loss
        self.threshold_db = threshold_db
        self.description = description
        self.signal_loss = SignalLoss()
        self._step, self._validation = Sums(), Sums()

    def on_fit_start(self) -> None:
        """Move the loss, which Lightning does not know of, to the device."""
        self.loss.to(self.device)

    def training_step(self, batch: MixtureBatch, _: int) -> Tensor:
        """The mean loss of a batch, an item that is left out counting as 0."""
        result = self.loss(self.separator(batch.mixture), batch.references)
        kept = items_above(result.value, self.threshold_db)
        items = torch.ones_like(result.value)
        self._step.add(items=items, kept=torch.ones_like(kept), loss=kept, **result.parts)
        return kept.sum() / len(result.value)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn the gradient into that of the mean over the kept items of all devices and batches.

        Before, it is the mean over accumulated batches (Lightning) and devices (DDP), in which
        items that are left out still count.
        """
        total = self._step.take(self.trainer.strategy)
        items, kept = total.pop("items"), total.pop("kept").clamp_min(1)
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(items / kept)
        self.log("train/loss", total.pop("loss") / kept, prog_bar=True)
        for name, part in total.items():
            self.log(f"train/{name}", part / items, prog_bar=name == "si_sdr")

    def validation_step(self, batch: MixtureBatch, _: int) -> None:
        """SI-SDR and its improvement over the mixture; the signal loss is the one monitored."""
        loss = self.signal_loss(self.separator(batch.mixture), batch.references)
        before = si_sdr(batch.mixture[:, None], batch.references).mean(-1)
        gain = loss.parts["si_sdr"] - before
        self._validation.add(items=torch.ones_like(gain), loss=loss.value, si_sdri=gain)

    def on_validation_epoch_end(self) -> None:
        """Mean over all items, on all devices."""
        total = self._validation.take(self.trainer.strategy)
        items = total.pop("items")
        for name, value in total.items():
            self.log(f"valid/{name}", value / items, prog_bar=name == "si_sdri", sync_dist=True)

    def export(self, directory: Path) -> None:
        """Write the separator as a directory of its own."""
        start = self.separator.provenance
        training = {**self.description, "steps": self.global_step}
        provenance = Provenance(start.reference, (*start.history, training))
        self.separator.save_pretrained(directory, provenance=provenance)
