"""A training as a SLURM job: what is asked for, and what happens when its time is up."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import SignalledTones, Tones, train, weights
from torch.utils.data import DataLoader

from sepasr.bin.main import main
from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.train.checkpoint import requeue, steps_done
from sepasr.train.fit import FitConfig, check
from sepasr.train.slurm import JobConfig, job_script

CONF = Path(__file__).parents[2] / "conf" / "cluster" / "slurm_train.yaml"
TRAIN = ["train", "--config", "a b.yaml", "--separator", "s.yaml", "--mixtures", "tr"]
TRAIN += ["--valid", "cv", "--out", "exp", "--set", "fit.steps=7"]
JOB = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "x",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program on PATH that writes down its arguments; gives a function that reads them."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def make(name: str, status: int = 0) -> Path:
        program, said = tmp_path / "bin" / name, tmp_path / f"{name}.txt"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{said}"\nexit {status}\n')
        program.chmod(0o755)
        return said

    return make


def submit(tmp_path: Path, *settings: str) -> tuple[int, list[str]]:
    script = tmp_path / "jobs" / "train.sh"
    given = ["submit", "--cluster", str(CONF), "--script", str(script), "--set", *settings]
    status = main([*given, "--", *TRAIN])
    return status, script.read_text().splitlines() if script.is_file() else []


def test_the_job_asks_for_what_the_training_uses(tmp_path: Path, stand_in) -> None:
    said = stand_in("sbatch")
    status, lines = submit(tmp_path, "nodes=2", "gpus=4", "partition=gpu", "options=[--qos=long]")
    assert status == 0
    assert said.read_text().splitlines() == ["--wait", str(tmp_path / "jobs" / "train.sh")]
    assert lines[0] == "#!/usr/bin/env bash"
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}
    assert asked == {
        "--job-name=sepasr_train",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=8",
        "--time=24:00:00",
        "--signal=USR1@1800",
        "--requeue",
        "--open-mode=append",
        f"--output={shlex.quote(f'{tmp_path}/jobs/train.%j.log')}",
        "--partition=gpu",
        "--qos=long",
    }
    ran = stand_in("srun")
    job = {**os.environ, "SLURM_CPUS_PER_TASK": "8"}
    subprocess.run(["bash", tmp_path / "jobs" / "train.sh"], check=True, env=job)
    program = ["--kill-on-bad-exit=1", sys.executable, "-m", "sepasr.bin.main", *TRAIN]
    settings = ["--set", "fit.num_nodes=2", "fit.devices=4", "fit.accelerator=gpu"]
    assert ran.read_text().splitlines() == program + settings


def test_a_job_without_gpus_trains_on_the_cpu() -> None:
    script = job_script(load_config(JobConfig, [CONF], ["gpus=0"]), TRAIN, Path("log"))
    assert "--gpus" not in script
    assert "--ntasks-per-node=1\n" in script
    assert script.endswith("fit.num_nodes=1 fit.devices=1 fit.accelerator=cpu\n")


def test_mistakes_show_before_the_job_waits(tmp_path: Path, stand_in, capsys, monkeypatch) -> None:
    said = stand_in("sbatch", status=3)
    given = ["submit", "--cluster", str(CONF), "--script", str(tmp_path / "job.sh")]
    assert main([*given, "--", "score"]) == 2
    with pytest.raises(SystemExit):
        main([*given, "--", "train", "--confg", "x"])
    assert main([*given, "--set", "gpus=-1", "--", *TRAIN]) == 2
    assert not said.exists()
    assert main([*given, "--", *TRAIN]) == 2
    assert "job.sh: the job failed with status 3" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert main([*given, "--", *TRAIN]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_requeued_and_loses_nothing(
    tmp_path: Path, stand_in, monkeypatch
) -> None:
    """Step 4 is followed by a validation: both come before the checkpoint."""
    whole = train(tmp_path / "whole", Tones())
    said = stand_in("scontrol")
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "job", SignalledTones(2 * 4), save_every=100)
    assert said.read_text().splitlines() == ["requeue", "77"]
    assert steps_done(tmp_path / "job") == 5
    resumed = train(tmp_path / "job", Tones(), save_every=100)
    assert len(resumed.losses) == len(whole.losses) - 5
    before, after = weights(tmp_path / "whole"), weights(tmp_path / "job")
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.slow
def test_processes_of_a_job_leave_at_the_same_step(tmp_path: Path, stand_in) -> None:
    """Only the first one reads the item at which the signal comes."""
    said = stand_in("scontrol")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = JOB | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "OMP_NUM_THREADS": "1"}
    job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    script = Path(__file__).with_name("tiny_training.py")
    tasks = [
        subprocess.Popen(
            [sys.executable, script, tmp_path / "job"],
            env={**os.environ, **job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [task.communicate(timeout=600)[1] for task in tasks]
    assert all("KeyboardInterrupt" in error for error in errors), errors
    assert said.read_text().splitlines() == ["requeue", "77"]
    assert steps_done(tmp_path / "job") == 5


def test_a_job_of_fewer_tasks_than_devices_is_refused(tmp_path: Path, monkeypatch) -> None:
    """Lightning would train in one process, with a batch that no record states."""
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    config = FitConfig(accelerator="cpu", devices=2)
    with pytest.raises(UserError, match="1 processes train on 2 devices of each of 1 machines"):
        check(config, DataLoader([0, 1]), tmp_path)
    check(replace(config, devices=1), DataLoader([0, 1]), tmp_path)


def test_a_job_that_cannot_be_requeued_says_so(tmp_path: Path, stand_in, monkeypatch) -> None:
    stand_in("scontrol", status=1)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(UserError, match="job 77 cannot be requeued"):
        requeue()
