"""What is resumed is what was begun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from sepasr.errors import UserError
from sepasr.train import workdir
from sepasr.train.recipe import TrainConfig
from sepasr.train.workdir import IDLE, ORIGIN, alone, claim, claimed, note_origin, read_origin

INPUTS = {"fit": {"steps": 10, "optimizer": {"lr": 0.1}}, "init": "abc"}


def checkpoint(out: Path, steps: int) -> None:
    torch.save({"global_step": steps}, out / "last.ckpt")


def test_the_same_inputs_go_on(tmp_path: Path) -> None:
    claim(tmp_path / "a", INPUTS, overwrite=False)
    checkpoint(tmp_path / "a", 5)
    claim(tmp_path / "a", INPUTS, overwrite=True)
    assert (tmp_path / "a" / "last.ckpt").exists()


def test_commits_of_a_training_that_went_on_are_all_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, cv = tmp_path / ORIGIN, {"set": "cv", "mixtures": 9}
    assert read_origin(origin) == {"commits": [], "valid": {}}  # of an earlier version
    note_origin(tmp_path, "aaaa", cv)
    note_origin(tmp_path, "bbbb", cv)
    assert read_origin(origin) == {"commits": ["bbbb"], "valid": cv}  # nothing was trained before
    monkeypatch.setattr(workdir, "steps_done", lambda out: 100)
    for commit in ("bbbb", "cccc", "bbbb"):
        note_origin(tmp_path, commit, cv)
    assert read_origin(origin)["commits"] == ["bbbb", "cccc"]
    origin.write_text("[]")
    with pytest.raises(UserError, match=r"origin\.json: does not say what a training came from"):
        read_origin(origin)


def test_a_later_fall_of_the_rate_goes_on(tmp_path: Path) -> None:
    claim(tmp_path / "a", INPUTS, overwrite=False)
    checkpoint(tmp_path / "a", 5)
    later = {"steps": 10, "optimizer": {"lr": 0.1, "decay_steps": 3}}
    claim(tmp_path / "a", {**INPUTS, "fit": later}, overwrite=True)
    assert (tmp_path / "a" / "last.ckpt").exists()


def test_more_steps_go_on(tmp_path: Path) -> None:
    claim(tmp_path / "a", INPUTS, overwrite=False)
    checkpoint(tmp_path / "a", 10)
    claim(tmp_path / "a", {**INPUTS, "fit": {**INPUTS["fit"], "steps": 20}}, overwrite=True)
    assert (tmp_path / "a" / "last.ckpt").exists()


@pytest.mark.parametrize("name", IDLE)
def test_what_decides_nothing_may_change(tmp_path: Path, name: str) -> None:
    inputs = asdict(TrainConfig())
    claim(tmp_path / "a", inputs, overwrite=False)
    checkpoint(tmp_path / "a", 5)
    changed = deepcopy(inputs)
    section, _, last = name.rpartition(".")
    (changed[section] if section else changed)[last] = [7] if last == "snapshots" else "other"
    claim(tmp_path / "a", changed, overwrite=False)
    assert (tmp_path / "a" / "last.ckpt").exists()


@pytest.mark.parametrize("follows", [{"optimizer": {"schedule": "plateau"}}, {"keep": "best"}])
def test_how_often_is_validated_decides_where_something_follows_it(
    tmp_path: Path, follows: dict
) -> None:
    fit = {"steps": 10, "valid_every": 2, "optimizer": {"lr": 0.1}, **follows}
    claim(tmp_path / "a", {"fit": fit}, overwrite=False)
    checkpoint(tmp_path / "a", 5)
    with pytest.raises(UserError, match=r"fit\.valid_every was 2 and is 3"):
        claim(tmp_path / "a", {"fit": {**fit, "valid_every": 3}}, overwrite=False)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"fit": {"steps": 10, "optimizer": {"lr": 0.2}}}, "fit.optimizer.lr was 0.1 and is 0.2"),
        ({"init": None}, "init was abc and is None"),
        ({"encoder": "x"}, "encoder was None and is x"),
        ({"fit": {"steps": 4, "optimizer": {"lr": 0.1}}}, "trained for 5 steps already"),
    ],
)
def test_other_inputs_are_refused_or_start_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict, cause: str
) -> None:
    out = tmp_path / "a"
    claim(out, INPUTS, overwrite=False)
    checkpoint(out, 5)
    with pytest.raises(UserError, match=cause):
        claim(out, {**INPUTS, **changed}, overwrite=False)
    assert (out / "last.ckpt").exists()
    assert capsys.readouterr().out == ""
    claim(out, {**INPUTS, **changed}, overwrite=True)
    assert not (out / "last.ckpt").exists()
    (said,) = capsys.readouterr().out.splitlines()
    (old,) = tmp_path.glob("a.old-*")
    assert said.startswith(f"{out}: the training that was here is kept in {old}: ")
    assert cause in said
    assert (old / "last.ckpt").exists()


def test_the_folder_one_is_in(tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "a"
    claim(out, INPUTS, overwrite=False)
    checkpoint(out, 5)
    monkeypatch.chdir(out)
    claim(".", {**INPUTS, "init": None}, overwrite=True)
    (old,) = tmp_path.glob("a.old-*")
    assert (old / "last.ckpt").exists()
    assert not (out / "last.ckpt").exists()


def test_a_step_that_has_passed_without_a_snapshot_is_told(tmp_path: Path) -> None:
    out = tmp_path / "a"
    fit = {**INPUTS["fit"], "snapshots": [3]}
    claim(out, {**INPUTS, "fit": fit}, overwrite=False)
    checkpoint(out, 5)
    (out / "step3").mkdir()
    claim(out, {**INPUTS, "fit": {**fit, "snapshots": [3, 7]}}, overwrite=False)
    for passed in (2, 5):
        wanted = {**INPUTS, "fit": {**fit, "snapshots": [passed, 3, 7]}}
        with pytest.raises(UserError, match=f"passed step {passed} of fit.snapshots"):
            claim(out, wanted, overwrite=False)
    claim(out, wanted, overwrite=True)
    assert not (out / "last.ckpt").exists()


def test_a_move_that_is_broken_off_mixes_no_two_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    for count in range(6):
        out = tmp_path / str(count) / "a"
        claim(out, INPUTS, overwrite=False)
        checkpoint(out, 10)
        for name in ("final", "step3", "csv"):
            (out / name).mkdir()
        left = count

        def failing(path: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", failing)
        with suppress(KeyboardInterrupt):
            claim(out, {**INPUTS, "init": None}, overwrite=True)
        assert left < 0 or count == 5
        monkeypatch.setattr(Path, "rename", rename)
        if count == 3:  # somebody has tidied up meanwhile
            shutil.rmtree(next(out.parent.glob("a.old-*")))
        claim(out, {**INPUTS, "init": None}, overwrite=False)  # the move was begun, and is ended
        assert {path.name for path in out.iterdir()} <= {"config.yaml", ".lock"}
        (old,) = out.parent.glob("a.old-*")
        kept = {path.name for path in old.iterdir()}
        assert kept <= {"config.yaml", "csv", "final", "last.ckpt", "step3"}
        assert len(kept) == (5 if count != 3 else 2)


@pytest.mark.slow
def test_the_lock_ends_with_the_training_and_not_with_its_workers(tmp_path: Path) -> None:
    """Of a training that is killed, the processes that prepare data live on for seconds."""
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from sepasr.train.workdir import alone, leave_locks\n"
        "with alone(Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n"
        "        leave_locks()\n"
        "        print(flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, start_new_session=True) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == b"\n"
        with pytest.raises(UserError, match="another training is at work"), alone(tmp_path):
            pass
        training.kill()
        training.wait()
        with alone(tmp_path):
            pass
        os.killpg(training.pid, signal.SIGKILL)


def test_what_was_finished_is_moved_and_never_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    for number in range(3):
        with claimed(out, {**INPUTS, "init": number}, overwrite=True):
            assert not (out / "final").exists()
            checkpoint(out, 10)
            (out / "final").mkdir()
            (out / "final" / "model").write_text(str(number))
    kept = sorted(tmp_path.glob("a.old-????????-??????"))
    assert [(old / "final" / "model").read_text() for old in kept] == ["0", "1"]
    for number, old in enumerate(kept):
        assert {path.name for path in old.iterdir()} == {"config.yaml", "final", "last.ckpt"}
        assert f"init: {number}" in (old / "config.yaml").read_text()
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{out}: the training that was here is kept in {old}: init was {n} and is {n + 1}"
        for n, old in enumerate(kept)
    ]


def test_a_batch_may_be_shared_in_another_way(tmp_path: Path) -> None:
    inputs = asdict(TrainConfig())
    shares = {"batch": 8, "accumulation": 1, "devices": 1, "num_nodes": 1}
    claim(tmp_path / "a", {**inputs, "fit": {**inputs["fit"], **shares}}, overwrite=False)
    checkpoint(tmp_path / "a", 5)
    shared = {**inputs["fit"], "batch": 1, "accumulation": 2, "devices": 2, "num_nodes": 2}
    claim(tmp_path / "a", {**inputs, "fit": shared}, overwrite=False)
    with pytest.raises(UserError, match=r"fit\.batch of all devices was 8 and is 12"):
        claim(tmp_path / "a", {**inputs, "fit": {**shared, "devices": 3}}, overwrite=False)
    ctc = {**inputs, "hearing": {}}  # a recogniser's batches are drawn by their size
    claim(tmp_path / "b", ctc, overwrite=False)
    checkpoint(tmp_path / "b", 5)
    with pytest.raises(UserError, match=r"fit\.\w+ was"):
        claim(tmp_path / "b", {**ctc, "fit": shared}, overwrite=False)


@pytest.mark.parametrize("exported", ["final", "step3"])
def test_what_was_exported_is_another_training_too(tmp_path: Path, exported: str) -> None:
    out, other = tmp_path / "a", {**INPUTS, "init": None}
    claim(out, INPUTS, overwrite=False)
    claim(out, other, overwrite=False)  # nothing has come of the first one
    (out / exported).mkdir()
    claim(out, other, overwrite=False)
    with pytest.raises(UserError, match="init was None and is abc"):
        claim(out, INPUTS, overwrite=False)
    claim(out, INPUTS, overwrite=True)
    assert not (out / exported).exists()


def test_a_training_that_is_refused_leaves_that_at_work_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a"
    with claimed(out, INPUTS, overwrite=True):
        with alone(out):  # as in what the block calls
            pass
        before = (out / "config.yaml").read_text()
        monkeypatch.setattr(workdir, "_HELD", {})  # as in another process
        with (
            pytest.raises(UserError, match="another training is at work"),
            claimed(out, {**INPUTS, "init": "other"}, overwrite=True),
        ):
            pass
        assert (out / "config.yaml").read_text() == before
    with claimed(out, {**INPUTS, "init": "other"}, overwrite=False):
        assert "other" in (out / "config.yaml").read_text()


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "1")
            claim(tmp_path / "a", INPUTS, overwrite=True)
            assert not (tmp_path / "a").exists()
            patched.setenv(name, "0")
            claim(tmp_path / name, INPUTS, overwrite=True)
            assert (tmp_path / name / "config.yaml").exists()


def test_another_process_waits_until_the_first_has_removed_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "a", {**INPUTS, "init": "xyz"}
    claim(out, INPUTS, overwrite=False)
    checkpoint(out, 5)

    def first_process(_: float) -> None:
        monkeypatch.setenv("RANK", "0")
        claim(out, other, overwrite=True)
        monkeypatch.setenv("RANK", "1")

    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="init was abc and is xyz"):
        claim(out, other, overwrite=False)
    monkeypatch.setattr("sepasr.train.workdir.PATIENCE_S", 0.0)
    with pytest.raises(UserError, match="init was abc and is xyz"):
        claim(out, other, overwrite=True)
    assert (out / "last.ckpt").exists()
    monkeypatch.setattr("sepasr.train.workdir.PATIENCE_S", 60.0)
    monkeypatch.setattr("sepasr.train.workdir.time.sleep", first_process)
    claim(out, other, overwrite=True)
    assert not (out / "last.ckpt").exists()
