"""A training as a SLURM job, over as many machines as it asks for, put back when its time is up."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sepasr.errors import UserError
from sepasr.files import write_text


@dataclass(frozen=True)
class JobConfig:
    """What a training asks of SLURM; ``conf/cluster/slurm_train.yaml``.

    Attributes:
        nodes: machines.
        gpus: GPUs of each machine; 0 trains on the CPU.
        cpus_per_task: cores for each process; there is one for each GPU.
        time: longest run as ``sbatch --time`` takes it; a training that needs longer goes back into
            the queue, and on from where it was.
        notice_s: seconds before that, at which the training is told to save. It does so at the end
            of a step, behind a validation that is due there or under way.
        partition: None leaves it to the cluster.
        account: None leaves it to the cluster.
        options: further options of ``sbatch``, as they are.
    """

    nodes: int = 1
    gpus: int = 1
    cpus_per_task: int = 8
    time: str = "24:00:00"
    notice_s: int = 300
    partition: str | None = None
    account: str | None = None
    options: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("gpus", 0), ("cpus_per_task", 1), ("notice_s", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, less than {least}")

    def settings(self) -> list[str]:
        """The settings of a training that fit the job."""
        accelerator = "gpu" if self.gpus else "cpu"
        return [
            f"fit.num_nodes={self.nodes}",
            f"fit.devices={max(self.gpus, 1)}",
            f"fit.accelerator={accelerator}",
        ]


def job_script(config: JobConfig, command: Sequence[str], log: Path) -> str:
    """The batch script of a ``sepasr`` command that trains.

    Args:
        config: what to ask for.
        command: the subcommand and its options, without those that :meth:`JobConfig.settings` adds.
        log: what it prints; ``%j`` is the number of the job.
    """
    options = [
        f"--job-name=sepasr_{command[0]}",
        f"--nodes={config.nodes}",
        # Lightning wants a process for each GPU, started by srun, and SLURM's word for how many.
        f"--ntasks-per-node={max(config.gpus, 1)}",
        *([f"--gpus-per-node={config.gpus}"] if config.gpus else []),
        f"--cpus-per-task={config.cpus_per_task}",
        f"--time={config.time}",
        # To the processes of the training, not to this script.
        f"--signal=USR1@{config.notice_s}",
        "--requeue",
        "--open-mode=append",
        f"--output={shlex.quote(str(log))}",
        *([f"--partition={config.partition}"] if config.partition else []),
        *([f"--account={config.account}"] if config.account else []),
        *config.options,
    ]
    program = [sys.executable, "-m", "sepasr.bin.main", *command, "--set", *config.settings()]
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            *(f"#SBATCH {option}" for option in options),
            f"cd {shlex.quote(str(Path.cwd()))} || exit",
            # Not inherited from sbatch since SLURM 22.05.
            'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
            f"exec srun --kill-on-bad-exit=1 {shlex.join(program)}",
            "",
        ]
    )


def submit(config: JobConfig, command: Sequence[str], script: Path) -> None:
    """Write the batch script, hand it to ``sbatch`` and wait for the end of the job.

    Args:
        config: what to ask for.
        command: the subcommand and its options.
        script: the file to write; what the job prints goes beside it.

    Raises:
        UserError: there is no ``sbatch``, or it or the job failed.
    """
    log = script.resolve().with_suffix(".%j.log")
    write_text(script, job_script(config, command, log))
    try:
        status = subprocess.run(["sbatch", "--wait", str(script)], check=False).returncode
    except FileNotFoundError:
        raise UserError(
            "there is no sbatch here", remedy="run it where jobs are submitted"
        ) from None
    if status:
        raise UserError(f"the job failed with status {status}", where=script, remedy=f"see {log}")
