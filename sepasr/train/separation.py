"""Training of a separator: pretraining and fine-tuning are the same module with another loss."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from sepasr.data.audio import read_mono
from sepasr.data.batch import MixtureBatch, MixtureItem
from sepasr.data.datadir import MixtureDir
from sepasr.loss.graph_pit import coloured
from sepasr.loss.loss import Moment, SeparationLoss, items_above
from sepasr.loss.pit import NotFinite
from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss
from sepasr.separator.config import IN_CHECKPOINT
from sepasr.separator.model import Provenance, Separator
from sepasr.train.fit import FitConfig, TrainingModule
from sepasr.train.layers import layer_depths
from sepasr.train.sums import Sums
from sepasr.train.teacher import TEACHER, Teacher

_LOSS, _TEACHER = 1, 2
"""Purposes of a batch's seeds, besides dropout."""


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
        teacher: gives what stands in for the references; None where they are known.
        graph: whether references are made of the utterances that are best assigned to each channel
            (:func:`sepasr.loss.graph_pit.coloured`), instead of each speaker's own.
    """

    def __init__(
        self,
        separator: Separator,
        loss: SeparationLoss,
        config: FitConfig,
        threshold_db: float | None = None,
        description: Mapping[str, Any] = MappingProxyType({}),
        teacher: Teacher | None = None,
        *,
        graph: bool = False,
    ) -> None:
        super().__init__(config)
        self.separator = separator
        # Not a module, so that the frozen encoder in it is neither trained nor saved nor switched
        # to training mode with the rest.
        self.loss = loss
        self.threshold_db = threshold_db
        self.description = description
        self.teacher, self.graph = teacher, graph
        self.signal_loss = SignalLoss()
        # It costs an encoder's run, so it is only asked for where something depends on it.
        own = not isinstance(loss, SignalLoss)
        self._validates_own_loss = config.follows_validation and own
        self._step, self._validation = Sums(), Sums()

    def on_fit_start(self) -> None:
        """Move what Lightning does not know of to the device."""
        self.loss.to(self.device)
        if self.teacher is not None:
            self.teacher.to(self.device)

    def training_step(self, batch: MixtureBatch, _: int) -> Tensor:
        """The mean loss of a batch, an item that is left out counting as 0."""
        mixture, references, lengths = batch.mixture, batch.references, batch.lengths
        parts = {}
        if self.teacher is not None:
            with self._naming("an estimate of the teacher"):
                seed = self.seed_of_batch(_TEACHER)
                lesson = self.teacher.lesson(mixture, references, seed, lengths)
            mixture, references = lesson.mixture, lesson.targets
            if self.teacher.mixes:
                lengths = None  # what one item says is mixed with the noise of a longer one
            parts["teacher_si_sdr"] = lesson.si_sdr
        estimates = self.separator(mixture)
        if not estimates.isfinite().all():  # no permutation could be chosen
            raise self.not_finite("an estimate")
        if self.graph:
            assert batch.utterances is not None
            assert batch.spans is not None
            with self._naming("a similarity"):
                references = coloured(estimates, batch.utterances, batch.spans)
        self.loss.begin(Moment(self.global_step, self.seed_of_batch(_LOSS)))
        with self._naming("a distance"):
            result = self.loss(estimates, references, lengths)
        if self.teacher is not None and not self.teacher.mixes:
            true = self.signal_loss(estimates.detach(), batch.references, lengths)
            parts["true_si_sdr"] = true.parts["si_sdr"]
        kept = items_above(result.value, self.threshold_db)
        parts |= {"items": torch.ones_like(result.value), "kept": torch.ones_like(kept)}
        self._step.add(loss=kept, **parts, **result.parts)
        return kept.sum() / len(result.value)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Name what is not finite where no assignment could be chosen."""
        try:
            yield
        except NotFinite:
            raise self.not_finite(what) from None

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
        super().on_before_optimizer_step(optimizer)
        self.log("train/loss", total.pop("loss") / kept, prog_bar=True)
        for name, part in total.items():
            self.log(f"train/{name}", part / items, prog_bar=name == "si_sdr")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the teacher follow before anything is saved."""
        super().optimizer_step(*args, **kwargs)
        if self.teacher is not None:
            self.teacher.update()

    def layer_depths(self) -> Mapping[str, int]:
        """See :class:`sepasr.train.module.TrainingModule`."""
        return {f"separator.{name}": depth for name, depth in layer_depths(self.separator).items()}

    def validation_step(self, batch: MixtureBatch, _: int) -> None:
        """The improvement of SI-SDR over the mixture, and the loss.

        The loss is the one that is trained with where the rate, or what is kept, goes by it;
        elsewhere negative SI-SDR.
        """
        with self._naming("an estimate"):
            estimates = self.separator(batch.mixture)
            signal = self.signal_loss(estimates, batch.references)
        before = si_sdr(batch.mixture[:, None], batch.references).mean(-1)
        gain = signal.parts["si_sdr"] - before
        value = signal.value
        if self._validates_own_loss:
            self.loss.begin(Moment(self.global_step, training=False))
            with self._naming("a distance"):
                value = self.loss(estimates, batch.references).value
        self._validation.add(items=torch.ones_like(gain), loss=value, si_sdri=gain)

    def on_validation_epoch_end(self) -> None:
        """Mean over all items, on all devices."""
        total = self._validation.take(self.trainer.strategy)
        items = total.pop("items")
        for name, value in total.items():
            self.log(f"valid/{name}", value / items, prog_bar=name == "si_sdri", sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint say which separator it holds, in nothing but plain values."""
        super().on_save_checkpoint(checkpoint)
        if self.teacher is not None:
            checkpoint[TEACHER] = self.teacher.state_dict()
        description = self.separator.description(self.provenance())
        checkpoint[IN_CHECKPOINT] = json.loads(json.dumps(description))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the teacher."""
        super().on_load_checkpoint(checkpoint)
        if self.teacher is not None:
            self.teacher.load_state_dict(checkpoint[TEACHER])

    def provenance(self) -> Provenance:
        """How the weights came about that there are now."""
        start = self.separator.provenance
        training = {**self.description, "steps": self.steps_of_weights()}
        return Provenance(start.reference, (*start.history, training))

    def export(self, directory: Path) -> None:
        """Write the separator as a directory of its own."""
        self.separator.save_pretrained(directory, provenance=self.provenance())
