"""A disk that takes no more: one line, nothing half-written, and a second run goes on.

A limit on the size of files stands in for the disk: the system calls fail alike.
"""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from good_inputs import FS, World, contents
from tqdm import tqdm

from sepasr.bin.main import main


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(seconds: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(seconds * FS)


def short(world: World) -> list[object]:
    return world.separate(world.wav("a.wav", noise(5)))


def hours(world: World) -> list[object]:
    return world.separate(world.wav("a.wav", noise(20)))


def mixtures(world: World) -> list[object]:
    return world.separate(world.data.mixtures.path)


def training(world: World) -> list[object]:
    return [*world.train(), "--set", "fit.save_every=1", "fit.steps=2", "fit.valid_every=9"]


def transcripts(world: World) -> list[object]:
    return world.recognise()


def tables(world: World) -> list[object]:
    return world.corpus("mixtures", Random(0))[0]


def strip(world: World) -> list[object]:
    return ["strip", world.model, "-o", world.folder / "stripped"]


def corpus(world: World) -> list[object]:
    sizes = ("train_hibari=1", "train_joe=0", "train_espeak=0", "dev=0", "test=0", "rooms=0")
    some = [f"num_{size}" for size in (*sizes, "noises_train=1", "noises=1")]
    return ["simulate", "--set", *some, "--jobs", "1", "--out", world.folder / "corpus"]


CASES = {
    short: 50_000,
    hours: 200_000,
    mixtures: 8_000,
    training: 20_000,
    transcripts: 5_000,
    tables: 10,
    strip: 5_000,
    corpus: 5_000,
}


@pytest.mark.parametrize(("command", "size"), CASES.items(), ids=[c.__name__ for c in CASES])
def test_one_line_and_a_second_run_goes_on(
    command: Callable[[World], list[object]],
    size: int,
    data_dirs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet = partial(tqdm, file=io.StringIO())
    monkeypatch.setattr("sepasr.parallel.tqdm", quiet)
    monkeypatch.setattr("sepasr.decode.progress.tqdm", quiet)
    world = World(tmp_path, data_dirs)
    arguments = [str(argument) for argument in command(world)]
    before = contents(tmp_path)
    capsys.readouterr()
    with largest_file(size):
        assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sepasr {arguments[0]}: ")
    assert line.endswith(")")
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    # What goes on keeps its place; all else is whole or not there.
    assert not [name for name in after if ".part" in name]
    assert main(arguments) == 0
