"""Where parallel work runs: on this machine, under SLURM, or on machines reached by ssh."""

from __future__ import annotations

import asyncio
import atexit
import logging
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sepasr.config import load_config
from sepasr.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, SpecCluster

RETRIES = 3
"""How often work is given to another worker after the one that had it was lost."""
WITHOUT_WORKERS = "5 minutes"
"""After this, work that no worker is left for is given up."""
CONNECT_S = 30
NO_WORKER_YET = (TimeoutError, asyncio.TimeoutError)
"""Dask's are the latter, which is another class before Python 3.11."""
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
"""Dask's own without MALLOC_TRIM_THRESHOLD_: memory that goes back to the system with every freed
array comes again page by page, which takes half as long again as the signal measures themselves."""
UNMANAGED_MEMORY = {"memory_limit": 0}
"""Dask watches over data that it holds; what a model takes would make it pause or kill workers."""


@dataclass(frozen=True)
class SlurmConfig:
    """How SLURM is asked for jobs, one for each worker; see sbatch.

    Attributes:
        partition: without it, the default one.
        account: to charge.
        walltime: of a job, as HH:MM:SS. Another job then takes its place and its unfinished work.
        cpus: of a job. Workers compute in one thread.
        memory: of a job, such as 4GB.
        directives: further options, such as ``--gres=gpu:1``.
        prologue: shell commands before the workers start, such as ``module load cuda``.
        log_directory: for what jobs print; without it, where sbatch puts it.
        interface: network interface by which workers reach this machine, such as ib0.
        python: of the machines there; without it, this one's.
    """

    partition: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"
    cpus: int = 1
    memory: str = "4GB"
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    log_directory: str | None = None
    interface: str | None = None
    python: str | None = None


@dataclass(frozen=True)
class SshConfig:
    """Machines to work on.

    ``~/.ssh/config`` says how to reach them: users, ports, keys; a password can't be asked for.

    Attributes:
        hosts: their names; the first also runs the scheduler.
        python: of the machines there; without it, this one's.
    """

    hosts: tuple[str, ...]
    python: str | None = None


@dataclass(frozen=True)
class ClusterConfig:
    """Where workers are, as ``conf/cluster/NAME.yaml`` states it.

    Every worker is a process that does one item at a time in one thread. All machines must see the
    same files under the same paths, with the same versions of Python and packages. At most one of
    ``slurm``, ``ssh`` and ``scheduler`` is given; without any, the workers are on this machine.

    Attributes:
        workers: how many; with 0 as many as ``--jobs`` says. A scheduler that is there already has
            what it has.
        slurm: have SLURM start them.
        ssh: start them on these machines.
        scheduler: address of a Dask scheduler that is there already, such as tcp://10.0.0.1:8786.
    """

    workers: int = 0
    slurm: SlurmConfig | None = None
    ssh: SshConfig | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        given = [n for n in ("slurm", "ssh", "scheduler") if getattr(self, n) is not None]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}, where one is expected")
        if self.workers < 0:
            raise UserError(f"workers is {self.workers}, less than 0")
        if self.ssh and not self.ssh.hosts:
            raise UserError("ssh.hosts is empty")


def load_cluster(path: Path | None, jobs: int) -> ClusterConfig:
    """The cluster of a YAML file, or without one ``jobs`` workers on this machine.

    Raises:
        UserError: something in the file is wrong.
    """
    config = ClusterConfig() if path is None else load_config(ClusterConfig, [path])
    return replace(config, workers=config.workers or jobs)


@cache
def connect(config: ClusterConfig) -> Client:
    """Start a cluster, or give the one that this process has already; it ends with the process.

    Raises:
        UserError: it can't be started or reached, or what it needs isn't installed.
    """
    import dask
    from distributed import Client

    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": RETRIES,
            "distributed.scheduler.no-workers-timeout": WITHOUT_WORKERS,
            # Whoever watches over a worker restarts it, except for a job whose time is up. Dask
            # would give up a worker that happens to be down, again, so long after it was lost.
            "distributed.deploy.lost-worker-timeout": "15 s" if config.slurm else "1000 days",
            "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        }
    )
    try:
        client = Client(config.scheduler or _start(config), timeout=CONNECT_S)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"no cluster: {error}", remedy="check the cluster's settings") from error
    atexit.register(client.close)
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except NO_WORKER_YET:
        print("no worker is there yet; waiting for the first", file=sys.stderr, flush=True)
        client.wait_for_workers(1)
    return client


def _start(config: ClusterConfig) -> SpecCluster:
    start = _slurm if config.slurm else _ssh if config.ssh else _local
    cluster = start(config)
    atexit.register(_close, cluster)
    if config.slurm:
        cluster.sync(_submit_first, cluster)
        # Not `scale`: a job whose time is up is to be replaced.
        cluster.adapt(minimum=config.workers, maximum=config.workers)
    return cluster


async def _submit_first(cluster: SpecCluster) -> None:
    """Raise what is wrong with the first job, which `adapt` would only log."""
    cluster.worker_spec.update(cluster.new_worker_spec())
    await cluster


def _local(config: ClusterConfig) -> SpecCluster:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=config.workers,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",  # None would still serve, on 8787 if that is free
        silence_logs=logging.CRITICAL,
        **UNMANAGED_MEMORY,
    )


def _slurm(config: ClusterConfig) -> SpecCluster:
    from dask_jobqueue import SLURMCluster

    slurm = config.slurm or SlurmConfig()
    return SLURMCluster(
        job_name="sepasr",
        queue=slurm.partition,
        account=slurm.account,
        walltime=slurm.walltime,
        cores=1,
        processes=1,  # Dask would not replace a job of several workers
        job_cpu=slurm.cpus,
        memory=slurm.memory,
        job_extra_directives=list(slurm.directives),
        job_script_prologue=list(slurm.prologue),
        log_directory=slurm.log_directory,
        interface=slurm.interface,
        python=shlex.quote(slurm.python or sys.executable),
        worker_extra_args=["--memory-limit", "0", "--no-dashboard"],
        scheduler_options={"dashboard": False, "dashboard_address": None},
        silence_logs=logging.CRITICAL,
    )


def _ssh(config: ClusterConfig) -> SpecCluster:
    from distributed import SSHCluster

    ssh = config.ssh
    assert ssh is not None
    return SSHCluster(
        [ssh.hosts[0], *ssh.hosts],
        worker_options={
            "n_workers": -(-config.workers // len(ssh.hosts)),
            "nthreads": 1,
            "dashboard": False,
            **UNMANAGED_MEMORY,
        },
        scheduler_options={"dashboard": False, "port": 0},
        remote_python=ssh.python,
        silence_logs=logging.CRITICAL,
    )


def _close(cluster: SpecCluster) -> None:
    """End workers promptly, even at work: when this process ends nobody waits for it any more."""
    from distributed import LocalCluster

    _give_up_refused(cluster)
    with suppress(*NO_WORKER_YET):
        if isinstance(cluster, LocalCluster):
            cluster.sync(_kill_workers, cluster)
        cluster.close()


def _give_up_refused(cluster: SpecCluster) -> None:
    """Dask insists on having closed every job that it knows, also one that sbatch refused."""
    from distributed import Status

    for job in cluster.workers.values():
        if job.status is Status.created:
            job.status = Status.failed


async def _kill_workers(cluster: LocalCluster) -> None:
    await asyncio.gather(*(nanny.close(timeout=1) for nanny in cluster.workers.values()))
