"""Several processes train as one would on as many times the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
from tiny_training import trainings
from torch.utils.data import DataLoader

from sepasr.errors import UserError
from sepasr.train.fit import EndlessBatches, FitConfig, share_of


@pytest.mark.slow
def test_two_processes_give_what_one_gives_with_the_doubled_batch(tmp_path: Path) -> None:
    script = Path(__file__).with_name("tiny_training.py")
    subprocess.run(
        [sys.executable, script, tmp_path / "two"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    one = trainings(tmp_path / "one", processes=1)
    two = torch.load(tmp_path / "two" / "found.pt")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if name.endswith("attention.in_project.bias"):
            continue  # see plain_loop.assert_near
        bound = 1e-6 if " to " in name or name.endswith("validation") else 1e-7
        scale = max(1.0, tensor.abs().max().item())
        assert (two[name] - tensor).abs().max() <= bound * scale, name


@pytest.mark.parametrize("done", [0, 3])
def test_the_batches_of_all_processes_are_the_larger_batches_of_one(done: int) -> None:
    shares = [islice(EndlessBatches(2, done, rank, world=3), 4) for rank in range(3)]
    together = [list(chain(*batches)) for batches in zip(*shares, strict=True)]
    assert together == list(islice(EndlessBatches(6, done), 4))


def test_each_item_is_validated_once() -> None:
    loader = DataLoader(range(11), batch_size=3)
    shares = [share_of(loader, rank, 3) for rank in range(3)]
    seen = [batch.tolist() for share in shares for batch in share]
    assert sorted(seen) == [batch.tolist() for batch in loader]
    with pytest.raises(UserError, match="4 batches to validate on, fewer than the 5 devices"):
        share_of(loader, 0, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"devices": 0},
        {"num_nodes": 0},
        {"strategy": "ddp_spawn"},
        {"strategy": "fsdp"},
        {"save_every": 0},
    ],
)
def test_settings_that_make_no_sense(change: dict) -> None:
    with pytest.raises(UserError, match=rf"fit\.{next(iter(change))}"):
        FitConfig(**change)
