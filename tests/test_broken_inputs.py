"""A hundred broken inputs, each answered by one line, after which all is as it was."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from broken_inputs import KINDS
from good_inputs import World, contents
from tqdm import tqdm

from sepasr.bin.main import main

if TYPE_CHECKING:
    from conftest import DataDirs

SEED = 0
EACH = 10


@pytest.mark.parametrize("number", range(EACH))
@pytest.mark.parametrize("kind", KINDS)
def test_one_line_and_all_else_is_intact(
    kind: str,
    number: int,
    data_dirs: DataDirs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sepasr.parallel.tqdm", partial(tqdm, file=io.StringIO()))
    monkeypatch.setattr("sepasr.decode.progress.tqdm", partial(tqdm, file=io.StringIO()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    broken = KINDS[kind](World(tmp_path, data_dirs), Random(f"{SEED} {kind} {number}"), number)
    before = contents(tmp_path)
    capfd.readouterr()

    assert main([str(argument) for argument in broken.arguments]) == 2

    captured = capfd.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"sepasr {broken.arguments[0]}: ")
    for part in broken.says:
        assert part in line
    assert re.search(r"\(.+\)$", line), f"no remedy: {line}"
    assert "Traceback" not in captured.out + line
    after = contents(tmp_path)
    # Libraries that are imported keep things of their own there.
    others = {name for name in after if re.match(r"cache(?!/sepasr)", name)}
    assert {name: after[name] for name in after.keys() - others} == before


@pytest.mark.parametrize("command", ["separate", "transcribe"])
def test_one_unreadable_file_among_many_keeps_no_other_back(
    command: str, data_dirs: DataDirs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, data_dirs)
    for name in "ac":
        world.wav(f"in/{name}.wav", 0.1 * np.sin(np.arange(900)))
    world.write("in/b.wav", "no audio")
    more = ["--recogniser", world.folder / "reader.yaml"] if command == "transcribe" else []
    arguments = [command, *world.separate(tmp_path / "in")[1:], *more]
    assert main([str(argument) for argument in arguments]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/in/b.wav: cannot be read as audio" in first
    assert "1 of 3 recordings can't be" in last
    assert {p.name for p in world.out.glob("*_spk1.wav")} == {"a_spk1.wav", "c_spk1.wav"}
    if more:
        assert {p.name for p in world.out.glob("*.txt")} == {"a.txt", "c.txt"}
