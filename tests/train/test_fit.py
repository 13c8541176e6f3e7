"""Training is a function of its configuration, however often it is interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sepasr.data.dynamic import MixtureItem
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.fit import FitConfig, fit, steps_done
from sepasr.train.schedule import OptimizerConfig, lr_factor
from sepasr.train.separation import SeparationModule, collate


class Tones(Dataset):
    """Item i is a function of i alone."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> MixtureItem:
        rng = np.random.default_rng(index)
        references = rng.standard_normal((2, 800)).astype(np.float32)
        return MixtureItem(references.sum(0), references)


class Killed(Exception):
    pass


class DyingTones(Tones):
    def __init__(self, last: int) -> None:
        self.last = last

    def __getitem__(self, index: int) -> MixtureItem:
        if index > self.last:
            raise Killed
        return super().__getitem__(index)


def config(**changes) -> FitConfig:
    settings = {
        "steps": 9,
        "batch": 2,
        "seed": 3,
        "workers": 0,
        "valid_every": 4,
        "save_every": 2,
        "accelerator": "cpu",
        "optimizer": OptimizerConfig(lr=1e-3, schedule="cosine", warmup_steps=2, decay_steps=6),
    }
    return FitConfig(**{**settings, **changes})


def train(out: Path, dataset: Dataset, **changes) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    separator = Separator(
        SeparatorConfig(channels=16, width=8, hidden=8, heads=2, layers=1, depthwise_kernel=3)
    )
    module = SeparationModule(separator, SignalLoss(), config(**changes))
    valid = DataLoader(Tones(), batch_sampler=[[0], [1]], collate_fn=collate)
    fit(module, dataset, collate, valid, out)
    return Separator.from_pretrained(out / "final").state_dict()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_killed_and_resumed_gives_equal_weights(tmp_path: Path, accumulation: int) -> None:
    whole = train(tmp_path / "whole", Tones(), accumulation=accumulation)
    with pytest.raises(Killed):
        train(tmp_path / "killed", DyingTones(2 * 7 * accumulation), accumulation=accumulation)
    assert steps_done(tmp_path / "killed") == 6
    assert not (tmp_path / "killed" / "final").exists()
    resumed = train(tmp_path / "killed", Tones(), accumulation=accumulation)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_training_changes_the_weights_and_the_seed_matters(tmp_path: Path) -> None:
    once = train(tmp_path / "a", Tones())
    again = train(tmp_path / "b", Tones())
    assert all(torch.equal(once[name], again[name]) for name in once)
    longer = train(tmp_path / "c", Tones(), steps=11)
    assert any(not torch.equal(once[name], longer[name]) for name in once)


def test_snapshots_are_what_training_would_have_been_at_that_step(tmp_path: Path) -> None:
    constant = OptimizerConfig(lr=1e-3)
    train(tmp_path / "long", Tones(), optimizer=constant, snapshots=[4], accumulation=2)
    short = train(tmp_path / "short", Tones(), optimizer=constant, steps=4, accumulation=2)
    snapshot = Separator.from_pretrained(tmp_path / "long" / "step4").state_dict()
    assert all(torch.equal(short[name], snapshot[name]) for name in short)


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    done = train(tmp_path, Tones())
    assert steps_done(tmp_path) == 9
    again = train(tmp_path, Tones())
    assert all(torch.equal(done[name], again[name]) for name in done)


def test_learning_rate_schedule() -> None:
    factor = lr_factor(
        OptimizerConfig(lr=2.0, final_lr=0.2, warmup_steps=10, schedule="cosine", decay_steps=50),
        steps=110,
    )
    assert factor(4) == pytest.approx(0.5)
    assert factor(10) == factor(60) == pytest.approx(1.0)
    assert factor(85) == pytest.approx(0.55)
    assert factor(110) == pytest.approx(0.1)
