"""What lies beside a file while it is written: taken over from the dead, never from the living."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sepasr.errors import UserError
from sepasr.files import (
    atomic_path,
    locked_folder,
    new_directory,
    refuse_another,
    replaced_directory,
    whole_files,
    write_text,
)

DIES = """
import os, signal, sys
from sepasr import files
with getattr(files, sys.argv[1])(sys.argv[2]) as temporary:
    (temporary / "half" if temporary.is_dir() else temporary).write_text("half of it, no more")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def die(what: str, path: Path) -> None:
    command = [sys.executable, "-c", DIES, what, path]
    assert subprocess.run(command, check=False).returncode == -9


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_kill_leaves_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_text(path, "old")
    die("atomic_path", path)
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.wav"]


def test_two_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            assert second != first
            assert second.suffix == ".wav"
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.wav"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(FileExistsError), atomic_path(tmp_path / "a") as temporary:
        temporary.touch(exist_ok=False)
    with pytest.raises(IsADirectoryError), replaced_directory(tmp_path / "b") as folder:
        folder.write_text("new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_results_are_as_readable_as_any_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("what", ["new_directory", "replaced_directory"])
def test_a_directory_is_taken_over_as_well(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a"
    die(what, path)
    assert not path.exists()
    with {"new_directory": new_directory, "replaced_directory": replaced_directory}[what](
        path
    ) as folder:
        assert not names(folder)
        (folder / "whole").touch()
    assert names(tmp_path) == ["a"]
    assert names(path) == ["whole"]


def test_a_kill_between_two_renamings_loses_nothing(tmp_path: Path) -> None:
    with replaced_directory(tmp_path / "a") as folder:
        (folder / "old").touch()
    (tmp_path / "a").rename(tmp_path / ".a.replaced")
    with pytest.raises(RuntimeError), replaced_directory(tmp_path / "a"):
        raise RuntimeError
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old"]


def test_two_runs_that_write_one_directory(tmp_path: Path) -> None:
    with replaced_directory(tmp_path / "a") as folder:
        with (
            pytest.raises(UserError, match=r"/a: another run is writing this directory \(wait"),
            replaced_directory(tmp_path / "a"),
        ):
            pass
        (folder / "first").touch()
    assert names(tmp_path / "a") == ["first"]
    assert names(tmp_path) == ["a"]


LOOP = """
import sys
from sepasr.files import write_text
for number in range(300):
    write_text(sys.argv[1], sys.argv[2] * 100_000)
"""


def test_many_that_write_one_file_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    writers = [subprocess.Popen([sys.executable, "-c", LOOP, path, letter]) for letter in "xyz"]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
        time.sleep(0.002)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["a"]


def test_where_there_are_no_locks_nobody_is_refused(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    with (tmp_path / "lock").open("w") as lock:
        monkeypatch.setattr("sepasr.files.fcntl.flock", without)
        refuse_another(lock, "another is at work", tmp_path, "wait for it")
    write_text(tmp_path / "a", "whole")
    assert sorted(os.listdir(tmp_path)) == ["a", "lock"]


def test_a_lock_that_was_removed_while_another_waited_for_it_locks_nothing(tmp_path, monkeypatch):
    lock = tmp_path / "folder/lock"
    opened = 0

    def removing(*arguments):
        nonlocal opened
        opened += 1
        if opened == 1:  # whoever had it removes it just before this one gets it
            lock.unlink()

    monkeypatch.setattr("sepasr.files.fcntl.flock", removing)
    with locked_folder(lock, "another is at work", tmp_path, "wait for it") as stream:
        assert os.path.samestat(os.fstat(stream.fileno()), lock.stat())
    assert opened == 2


def test_a_folder_that_another_run_renames_is_made_anew(tmp_path, monkeypatch):
    opened, at = [], os.open

    def renaming(path, *arguments, **options):
        opened.append(path)
        if len(opened) == 1:  # whoever wrote it is done just before this one gets it
            os.rename(path, tmp_path / "a")
        return at(path, *arguments, **options)

    monkeypatch.setattr("sepasr.files.os.open", renaming)
    with replaced_directory(tmp_path / "a") as folder:
        (folder / "second").touch()
    assert names(tmp_path / "a") == ["second"]
    assert names(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path, monkeypatch):
    assert whole_files(tmp_path / "nowhere", "*.wav") == []
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=f"{tmp_path}: can't be read"):
        whole_files(tmp_path, "*.wav")
