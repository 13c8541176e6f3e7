"""Training, of whatever module, with Lightning: steps, checkpoints, resuming, logs."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.callbacks.progress import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, Dataset, Sampler

from sepasr.errors import UserError
from sepasr.train.checkpoint import LAST, Checkpoints, WholeCheckpoints, steps_done
from sepasr.train.fit_config import FitConfig
from sepasr.train.module import LOG_EVERY, TrainingModule
from sepasr.train.workdir import FINAL, alone, is_first_process, leave_locks

__all__ = ["EndlessBatches", "FitConfig", "TrainingModule", "check", "fit", "share_of"]

CSV_LOGS, TENSORBOARD = "csv", "tensorboard"


class EndlessBatches(Sampler[list[int]]):
    """Numbers of items, batch after batch, from where training stands.

    Items are pure functions of their number, so this is all there is to resume. It has no length:
    the number of steps ends the training. Of several processes each takes its own batches: together
    those that one process would take of as many times the size.
    """

    def __init__(self, batch: int, done: int, rank: int = 0, world: int = 1) -> None:
        self.batch, self.done, self.rank, self.world = batch, done, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        number = self.done * self.world + self.rank
        while True:
            yield list(range(number * self.batch, (number + 1) * self.batch))
            number += self.world


class Snapshots(Callback):
    """Exports the model at chosen steps, as ``stepN`` beside what is exported at the end."""

    def __init__(self, config: FitConfig, out: Path) -> None:
        self.config, self.out = config, out

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any
    ) -> None:
        """Export after the step, once for all its accumulated batches."""
        step = trainer.global_step
        due = (
            step in self.config.snapshots
            and (trainer.fit_loop.batch_idx + 1) % (self.config.accumulation) == 0
        )
        if due and trainer.is_global_zero:
            assert isinstance(module, TrainingModule)
            module.export_trained(self.out / f"step{step}")


def share_of(loader: DataLoader, rank: int, world: int, workers: int = 0) -> DataLoader:
    """The batches of a loader that one of several processes takes: each batch goes to one.

    ``workers`` processes read the next ones while others are separated.

    Raises:
        UserError: there are fewer batches than processes.
    """
    batches = list(loader.batch_sampler or ())
    if len(batches) < world:
        raise UserError(
            f"{len(batches)} batches to validate on, fewer than the {world} devices",
            remedy="validate on more, or train on fewer devices",
        )
    return DataLoader(
        loader.dataset,
        batch_sampler=batches[rank::world],
        collate_fn=loader.collate_fn,
        num_workers=workers,
        worker_init_fn=leave_locks,
    )


def without_traceback(error: UserError) -> UserError:
    """The mistake alone; torch puts a traceback before what a worker process raises."""
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    return UserError(str(error).rpartition(name)[2])


def check(config: FitConfig, valid: DataLoader, out: str | Path) -> None:
    """Refuse what :func:`fit` would refuse of settings, before an older training is moved.

    Raises:
        UserError: Lightning refuses the settings, as those of a device that there isn't; or there
            is too little to validate on.
    """
    trainer = _trainer(config, Path(out), 0)
    share_of(valid, trainer.global_rank, trainer.world_size)


def fit(
    module: TrainingModule,
    dataset: Dataset,
    collate: Callable[[list[Any]], Any],
    valid: DataLoader,
    out: str | Path,
) -> None:
    """Train until ``steps`` are done, resuming from ``out/last.ckpt`` where there is one.

    The result is exported to ``out/final`` when the last step is done.

    Args:
        module: what to train; its ``fit_config`` says how.
        dataset: map-style, endless: item ``i`` is a function of ``i`` alone.
        collate: makes a batch of items.
        valid: the validation batches.
        out: directory of checkpoints, logs and the exported model.

    Raises:
        UserError: see :func:`check`; or an item can't be made, as of audio that is missing or
            broken; or another process trains in ``out``.
    """
    out = Path(out)
    with alone(out):
        _fit(module, dataset, collate, valid, out)


def _trainer(config: FitConfig, out: Path, done: int) -> lightning.Trainer:
    # Silences notes on unused devices, and advertisements.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    slurm = SLURMEnvironment.detect()
    plugins: list[Any] = [WholeCheckpoints()]
    if slurm:
        plugins.append(SLURMEnvironment(auto_requeue=False))
    try:
        trainer = lightning.Trainer(
            max_steps=config.steps,
            max_epochs=-1,
            accumulate_grad_batches=config.accumulation,
            precision=config.precision,  # type: ignore[arg-type]
            gradient_clip_val=config.optimizer.gradient_norm,
            plugins=plugins,
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            val_check_interval=config.valid_every * config.accumulation,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=LOG_EVERY,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=out,
            logger=[
                # A directory per (re)start: the logger would delete the file it resumes from.
                # Every line at once: those in memory are lost with a process that is killed.
                CSVLogger(
                    out,
                    name=CSV_LOGS,
                    version=f"from_step_{done}",
                    flush_logs_every_n_steps=LOG_EVERY,
                ),
                TensorBoardLogger(out, name="", version=TENSORBOARD),
            ],
            callbacks=[
                # Before the checkpoint that says that its step is done.
                Snapshots(config, out),
                Checkpoints(
                    out,
                    every=config.save_every,
                    valid_every=config.valid_every,
                    accumulation=config.accumulation,
                    slurm=slurm,
                ),
                LearningRateMonitor("step"),
                TQDMProgressBar(refresh_rate=10),
            ],
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        remedy = "set fit.accelerator, devices, strategy and precision to what this machine has"
        raise UserError(f"Lightning refuses the settings: {error}", remedy=remedy) from None
    if trainer.world_size != config.devices * config.num_nodes:
        # Within a job of SLURM Lightning starts no processes: there are as many as the job's tasks.
        raise UserError(
            f"{trainer.world_size} processes train on {config.devices} devices of each of "
            f"{config.num_nodes} machines",
            remedy="start one task for each device with srun (run.sh: --train_cluster slurm_train)",
        )
    return trainer


def _fit(
    module: TrainingModule,
    dataset: Dataset,
    collate: Callable[[list[Any]], Any],
    valid: DataLoader,
    out: Path,
) -> None:
    config = module.fit_config
    done = steps_done(out)
    if done == 0 and is_first_process():
        # What was logged here is of a training of which nothing is left to go on from.
        for logs in (CSV_LOGS, TENSORBOARD):
            shutil.rmtree(out / logs, ignore_errors=True)
    # Else GPUs convolve float32 with 10 bits, the encoders of a loss included.
    torch.backends.cudnn.allow_tf32 = False
    trainer = _trainer(config, out, done)
    rank, world = trainer.global_rank, trainer.world_size
    valid = share_of(valid, rank, world, config.workers)
    module.begin(done * config.accumulation)
    batches = EndlessBatches(config.batch, module.batches_done, rank, world)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=config.workers,
        worker_init_fn=leave_locks,
        persistent_workers=config.workers > 0,
    )
    with warnings.catch_warnings():
        # Lightning asks for more workers than there are cores to spare.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # between it and torch
        warnings.filterwarnings("ignore", message="ReduceLROnPlateau conditioned.*")  # see strict
        try:
            trainer.fit(module, loader, valid, ckpt_path=out / LAST if done else None)
        except UserError as error:
            raise without_traceback(error) from None
        except SystemExit:  # what Lightning makes of Ctrl-C and of SIGTERM
            raise KeyboardInterrupt from None
    if trainer.global_step < config.steps:
        raise KeyboardInterrupt
    trainer.save_checkpoint(out / LAST)
    if trainer.is_global_zero:
        module.export_final(out / FINAL)
