"""The checkpoint to resume from: written every so many steps, and before SLURM ends the job."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import TorchCheckpointIO

from sepasr.errors import UserError
from sepasr.files import atomic_path
from sepasr.train.lightning_state import leave_next_validation_out, number_log_by_steps

LAST = "last.ckpt"


def steps_done(out: str | Path) -> int:
    """Optimiser steps in the checkpoint that a training in ``out`` would resume from."""
    last = Path(out) / LAST
    if not last.is_file():
        return 0
    try:
        checkpoint = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
        return int(checkpoint["global_step"])
    except Exception as error:  # noqa: BLE001 - torch raises many kinds for a broken file
        of_the_disk = isinstance(error, OSError)  # not of what is on it
        remedy = "look at the disk and its rights" if of_the_disk else "remove it to start again"
        what = f"the checkpoint cannot be read: {error}"
        raise UserError(what, where=last, remedy=remedy) from None


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then renames it.

    Lightning writes it into the system's temporary folder and moves it: where that is another disk,
    moving is copying, and a kill leaves a part of the file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write it, whole or not at all."""
        # Through a file of Python's, so that an error of the disk is an OSError.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class Checkpoints(Callback):
    """Writes ``last.ckpt``, whole or not at all.

    In a SLURM job also on ``SIGUSR1``, which announces that its time is up (``sbatch --signal``):
    training saves, has the job requeued and stops. Lightning would save inside the signal handler,
    in the midst of a step and each process in another one. Here the handler takes note, and the
    processes agree at the end of a step.

    Args:
        out: folder of ``last.ckpt``.
        every: steps between checkpoints.
        valid_every: steps between validations.
        accumulation: batches per step.
        slurm: whether this is a SLURM job.
    """

    def __init__(
        self, out: Path, *, every: int, valid_every: int, accumulation: int, slurm: bool
    ) -> None:
        self.path = out / LAST
        self.every, self.valid_every, self.accumulation = every, valid_every, accumulation
        self.slurm = slurm
        self.told_to_leave = False
        self._due = self._late = False

    def setup(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        """Take note of the signal from here on.

        SLURM signals the processes that prepare data as well. They start after this and inherit
        the handler, which does them no harm; the signal itself would end them.
        """
        if self.slurm:
            signal.signal(signal.SIGUSR1, self._take_note)

    def _take_note(self, *_: Any) -> None:
        self.told_to_leave = True

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Number the lines of the log by steps."""
        number_log_by_steps(trainer)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save after the step where it is time.

        Where a validation follows the step, save one step later: resuming would skip it.
        """
        if (trainer.fit_loop.batch_idx + 1) % self.accumulation:
            return
        leave = self.slurm and trainer.strategy.reduce_boolean_decision(
            self.told_to_leave, all=False
        )
        step = trainer.global_step
        self._due = self._due or leave or step % self.every == 0
        if not self._due or (step % self.valid_every == 0 and not self._late):
            self._late = self._due
            return
        trainer.save_checkpoint(self.path)
        self._due = self._late = False
        if leave:
            leave_next_validation_out(trainer)
            if trainer.is_global_zero:
                requeue()


def requeue() -> None:
    """Have SLURM put this job back into its queue.

    Raises:
        UserError: SLURM refuses.
    """
    job = os.environ["SLURM_JOB_ID"]
    if subprocess.run(["scontrol", "requeue", job], check=False).returncode:
        raise UserError(
            f"SLURM job {job} cannot be requeued", remedy="submit it again: it goes on from here"
        )
