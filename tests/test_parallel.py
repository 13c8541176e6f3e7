"""One map, whatever does the work: the same results in the same order, and nobody's is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sepasr.cluster import ClusterConfig, SlurmConfig, SshConfig, connect, load_cluster
from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.parallel import ItemError, OncePerProcess, map_as_completed, parallel_map

pytestmark = pytest.mark.slow

CONF = REPOSITORY / "conf" / "cluster"
TRIM = "MALLOC_TRIM_THRESHOLD_"


@pytest.fixture
def cluster() -> Path:
    """Two workers on this machine, with `run`; they are started once for all tests."""
    return CONF / "local.yaml"


def run(function, items, cluster):
    jobs = 1 if cluster is None else 2
    return parallel_map(function, items, jobs=jobs, cluster=cluster, description="test")


def square_late(number: int) -> int:
    time.sleep(0.005 * (number % 3))
    return number * number


def test_results_come_in_the_order_of_the_items(cluster):
    numbers = range(200)
    squares = [number * number for number in numbers]
    assert run(square_late, numbers[:9], None) == squares[:9]
    assert run(square_late, numbers, cluster) == squares
    assert run(square_late, [], cluster) == []
    assert dict(
        map_as_completed(square_late, numbers[:9], jobs=2, cluster=cluster, description="test")
    ) == dict(enumerate(squares[:9]))


def process(_: int) -> tuple[int, str | None, str | None]:
    time.sleep(0.02)
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), os.environ.get(TRIM)


def test_all_workers_have_a_share_in_one_thread_each(cluster):
    assert {pid for pid, *_ in run(process, range(5), None)} == {os.getpid()}
    found = set(run(process, range(64), cluster))
    assert len(found) == 2
    assert os.getpid() not in {pid for pid, *_ in found}
    assert {threads for _, threads, _ in found} == {"1"}
    assert {trim for *_, trim in found} == {os.environ.get(TRIM)}  # Dask's own choice is slow
    assert set(run(process, range(64), cluster)) == found


def note(number: int, folder: Path) -> int:
    with (folder / f"{os.getpid()}_{time.monotonic_ns()}").open("x") as file:
        file.write(str(number))
    return number


def noted(folder: Path) -> list[int]:
    return sorted(int(file.read_text()) for file in folder.iterdir())


def test_each_item_is_done_once(cluster, tmp_path):
    run(partial(note, folder=tmp_path), range(500), cluster)
    assert noted(tmp_path) == list(range(500))


def die_first(number: int, folder: Path) -> int:
    """The process dies of item 40, but not again."""
    time.sleep(0.01)
    note(number, folder)
    if number == 40 and noted(folder).count(40) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_items_of_a_lost_worker_are_done_by_another(cluster, tmp_path):
    work = partial(die_first, folder=tmp_path)
    assert run(work, range(200), cluster) == list(range(200))
    done = noted(tmp_path)
    assert done.count(40) == 2
    assert len(done) < 200 + 20  # no more than what the lost worker was at


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_an_item_that_kills_every_worker_is_named(cluster):
    # Of several items that have died with the same workers, the first is named.
    lost = r"4 workers were lost.* at or soon after [1-3] \(the memory may be too small"
    with pytest.raises(UserError, match=lost):
        run(die, range(10), cluster)


def refuse(number: int) -> int:
    time.sleep(0.2 if number == 2 else 0)
    if number in (2, 9):
        raise UserError("is refused", where=f"item {number}")
    if number == 20:
        raise ValueError("of another kind")
    return number


def test_the_first_error_arrives_as_it_was_raised(cluster):
    for where in (None, cluster):
        with pytest.raises(UserError, match=r"^item 2: is refused$"):
            run(refuse, range(40), where)
        with pytest.raises(ItemError, match=r"^20: ValueError: of another kind$"):
            run(refuse, range(10, 40), where)
        with pytest.raises(OSError, match="nowhere"):
            run(os.stat, ["nowhere"], where)


def test_work_is_done_in_the_folder_of_the_caller(cluster, tmp_path, monkeypatch):
    (tmp_path / "here").touch()
    monkeypatch.chdir(tmp_path)
    assert run(os.path.exists, ["here"], cluster) == [True]


def make(folder: Path) -> str:
    note(0, folder)
    return "made"


def use(number: int, thing: OncePerProcess[str]) -> str:
    time.sleep(0.02)
    return thing()


def test_what_is_costly_is_made_once_in_each_process(cluster, tmp_path):
    for where, times in ((None, 1), (cluster, 3)):
        thing = OncePerProcess(make, (tmp_path,))
        assert run(partial(use, thing=thing), range(64), where) == ["made"] * 64
        assert len(noted(tmp_path)) == times


def test_with_jobs_alone_processes_are_started_only_where_they_pay(monkeypatch):
    pids = {pid for pid, *_ in parallel_map(process, range(10), jobs=2, description="test")}
    assert pids == {os.getpid()}
    monkeypatch.setattr("sepasr.parallel.HERE_S", 0.05)
    monkeypatch.setattr("sepasr.parallel.WORTH_S", 0.5)
    found = [pid for pid, *_ in parallel_map(process, range(64), jobs=2, description="test")]
    here = found.count(os.getpid())
    assert found[:here] == [os.getpid()] * here
    assert 2 <= here <= 10
    assert len(set(found[here:])) == 2


def test_a_scheduler_that_is_there_already(cluster, tmp_path):
    address = connect(load_cluster(cluster, 2)).scheduler.address
    (tmp_path / "there.yaml").write_text(f"scheduler: {address}\n")
    assert run(abs, [-1, 2, -3], tmp_path / "there.yaml") == [1, 2, 3]


def test_a_function_that_no_worker_could_import_is_refused():
    for function in (lambda x: x, partial(lambda x: x)):
        with pytest.raises(TypeError, match=r"a function of a module, which .*<lambda> is not"):
            run(function, [1], None)
    with pytest.raises(UserError, match="jobs: 0 is less than 1"):
        parallel_map(square_late, [1], jobs=0, description="test")


SBATCH = """#!/bin/sh
[ -z "$REFUSED" ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
number=$(ls "$JOBS" | grep -c sh$)
cp "$1" "$JOBS/$number.sh"
setsid bash "$JOBS/$number.sh" >"$JOBS/$number.log" 2>&1 &
echo $! >"$JOBS/$number.pid"
echo "Submitted batch job $number"
"""
SCANCEL = """#!/bin/bash
echo "$1" >>"$JOBS/cancelled"
kill -- -"$(cat "$JOBS/$1.pid")"
"""
SLURM = """
workers: 2
slurm:
  partition: cpu
  account: speech
  walltime: "01:30:00"
  cpus: 3
  memory: 2GB
  directives: ["--gres=gpu:1"]
  prologue: ["export GREETING=hello"]
  log_directory: logs
"""
COMMAND = """
import os, pathlib, time, sepasr.parallel
there = {"cluster": pathlib.Path("slurm.yaml"), "description": "test"}
sepasr.parallel.parallel_map(time.sleep, [1] * 4, **there)
print(sepasr.parallel.parallel_map(os.getenv, ["GREETING"] * 3, **there))
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A stand-in for SLURM that runs jobs at once on this machine; the folder of the jobs."""
    jobs = tmp_path / "jobs"
    for folder in ("jobs", "bin"):
        (tmp_path / folder).mkdir()
    for name, content in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "slurm.yaml").write_text(SLURM)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return jobs


def command(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", COMMAND], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_slurm_is_asked_for_what_the_yaml_says(slurm, tmp_path):
    done = command(tmp_path)
    assert done.stdout == "['hello', 'hello', 'hello']\n", done.stderr
    script = (slurm / "0.sh").read_text().splitlines()
    for line in (
        *("#SBATCH -J sepasr", "#SBATCH -p cpu", "#SBATCH -A speech", "#SBATCH -t 01:30:00"),
        *("#SBATCH -n 1", "#SBATCH --cpus-per-task=3", "#SBATCH --mem=2G", "#SBATCH --gres=gpu:1"),
        *("#SBATCH -e logs/sepasr-%J.err", "export GREETING=hello"),
    ):
        assert line in script
    assert f"{sys.executable} -m distributed.cli.dask_worker" in script[-1]
    assert "--nthreads 1 " in script[-1]
    submitted = {file.stem for file in slurm.glob("*.sh")}
    assert submitted == {"0", "1"}
    assert set((slurm / "cancelled").read_text().split()) == submitted


def test_what_sbatch_refuses_is_told(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("REFUSED", "yes")
    message = command(tmp_path).stderr.splitlines()[-1]
    assert message.startswith("sepasr.errors.UserError: no cluster: ")
    assert "sbatch: error: invalid partition" in message


def test_descriptions_of_clusters(tmp_path):
    assert load_cluster(CONF / "local.yaml", 5) == ClusterConfig(5) == load_cluster(None, 5)
    assert load_config(ClusterConfig, [CONF / "slurm.yaml"]).slurm == SlurmConfig(
        log_directory="slurm_logs"
    )
    ssh = load_config(ClusterConfig, [CONF / "ssh.yaml"]).ssh
    assert ssh == SshConfig(("node1", "node2"))
    for text, cause in (
        ("ssh: {hosts: [a]}\nscheduler: b\n", "ssh and scheduler, where one is expected"),
        ("ssh: {hosts: []}\n", "ssh.hosts is empty"),
        ("workers: -1\n", "workers is -1, less than 0"),
        ("slurm: {queue: cpu}\n", "queue"),
    ):
        (tmp_path / "wrong.yaml").write_text(text)
        with pytest.raises(UserError, match=cause):
            load_cluster(tmp_path / "wrong.yaml", 1)
