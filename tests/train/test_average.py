"""The moving average: against its formula, across interruptions, and where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plain_loop import LR, plain
from tiny_training import TINY, Tones, train, weights
from torch import Tensor

from sepasr.errors import UserError
from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator
from sepasr.separator.strip import load
from sepasr.train.average import AVERAGE, MovingAverage
from sepasr.train.checkpoint import LAST
from sepasr.train.fit import FitConfig
from sepasr.train.schedule import OptimizerConfig

DECAY = 0.8
SETTINGS = {"optimizer": OptimizerConfig(lr=LR), "loss": SignalLoss()}


def passed(steps: int) -> list[dict[str, Tensor]]:
    """The weights before the first and after each step of a training without average."""
    found: list[dict[str, Tensor]] = []
    plain(steps, after=lambda s: found.append({n: v.clone() for n, v in s.state_dict().items()}))
    return found


def average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """By the sum that the documentation states, in float64."""
    last = len(states) - 1
    shares = [DECAY**last, *((1 - DECAY) * DECAY ** (last - k) for k in range(1, last + 1))]
    assert sum(shares) == pytest.approx(1)
    return {
        name: torch.stack([q * w[name].double() for q, w in zip(shares, states, strict=True)])
        .sum(0)
        .float()
        for name in states[0]
    }


def test_it_is_the_sum_that_is_stated_and_swaps_to_the_bit() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4)
    mine = MovingAverage({"w": weight}, DECAY)
    states = [{"w": weight.clone()}]
    for _ in range(6):
        weight.add_(torch.randn(3, 4))
        mine.update()
        states.append({"w": weight.clone()})
    expected, last = average(states)["w"], weight.clone()
    with mine.swapped():
        torch.testing.assert_close(weight, expected)
    assert torch.equal(weight, last)
    torch.testing.assert_close(mine.state_dict()["w"], expected)


def test_it_is_what_is_exported_and_the_training_goes_its_way(tmp_path: Path) -> None:
    states = passed(5)
    train(tmp_path, Tones(), steps=5, snapshots=[3], average=DECAY, **SETTINGS)
    exported = {5: weights(tmp_path), 3: Separator.from_pretrained(tmp_path / "step3").state_dict()}
    for steps, found in exported.items():
        expected = average(states[: steps + 1])
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
            assert name.endswith("bias") or not torch.equal(value, states[steps][name])
    checkpoint = torch.load(tmp_path / LAST, weights_only=True)
    assert all(
        torch.equal(checkpoint["state_dict"][f"separator.{name}"], value)
        for name, value in states[5].items()
    )
    stripped = load(tmp_path).state_dict()
    assert all(torch.equal(stripped[name], value) for name, value in exported[5].items())


def test_it_is_what_is_validated(tmp_path: Path) -> None:
    module = train(tmp_path, Tones(), steps=4, average=DECAY, **SETTINGS)
    separator = Separator(TINY)
    separator.load_state_dict(average(passed(4)))
    losses = torch.cat([SignalLoss()(separator(m[None]), r[None]).value for m, r in _three_tones()])
    before = torch.stack([si_sdr(m[None], r).mean() for m, r in _three_tones()])
    logged = module.trainer.callback_metrics
    for name, expected in (("loss", losses.mean()), ("si_sdri", (-losses - before).mean())):
        torch.testing.assert_close(logged[f"valid/{name}"], expected, rtol=0, atol=1e-3)


def _three_tones() -> list[tuple[Tensor, Tensor]]:
    items = [Tones()[index] for index in range(3)]
    return [(torch.from_numpy(i.mixture), torch.from_numpy(i.references)) for i in items]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_an_interruption_changes_nothing(tmp_path: Path, accumulation: int) -> None:
    settings = {"average": DECAY, "accumulation": accumulation, "valid_every": 2, **SETTINGS}
    train(tmp_path / "whole", Tones(), steps=5, **settings)
    for steps in (3, 5):
        train(tmp_path / "parts", Tones(), steps=steps, **settings)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    states = [torch.load(tmp_path / name / LAST)[AVERAGE] for name in ("whole", "parts")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("average", [-0.1, 1.0])
def test_what_is_no_decay_is_refused(average: float) -> None:
    with pytest.raises(UserError, match=r"fit\.average is"):
        FitConfig(average=average)
