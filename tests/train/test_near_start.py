"""Staying near the start, and rates by layer: against a loop that does it another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_loop import LR, assert_near, plain
from tiny_training import TINY, Tones, train, weights

from sepasr.errors import UserError
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.layers import layer_depths
from sepasr.train.schedule import OptimizerConfig

CONSTANT = OptimizerConfig(lr=LR)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_distance_to_the_start_is_part_of_the_loss(tmp_path: Path, accumulation: int) -> None:
    """As autograd has it, before the gradient is clipped, once for all batches of a step."""
    torch.manual_seed(0)
    start = [parameter.detach().clone() for parameter in Separator(TINY).parameters()]

    def penalty(separator: Separator) -> torch.Tensor:
        pairs = zip(separator.parameters(), start, strict=True)
        return 30.0 * sum((p - s).square().sum() for p, s in pairs)

    batch = {"accumulation": accumulation, "batch": 2 // accumulation}
    settings = {"loss": SignalLoss(), "optimizer": CONSTANT, "steps": 5, **batch}
    module = train(tmp_path, Tones(), stay=30.0, **settings)
    found, expected, free = weights(tmp_path), plain(5, penalty=penalty), plain(5)
    assert_near(found, expected)
    assert any((found[n] - free[n]).abs().max() > 1e-4 for n in found)
    distance = sum(
        (before - after).square().sum()
        for before, after in zip(start, module.separator.parameters(), strict=True)
    )
    # The last one that was logged is that before the fifth step.
    logged = module.trainer.callback_metrics["train/distance_from_start"]
    assert 0 < logged < distance.sqrt()


def test_the_start_is_that_of_before_an_interruption(tmp_path: Path) -> None:
    settings = {"stay": 30.0, "loss": SignalLoss(), "optimizer": CONSTANT}
    train(tmp_path / "whole", Tones(), steps=5, **settings)
    for steps in (3, 5):
        train(tmp_path / "parts", Tones(), steps=steps, **settings)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


DEEP = replace(TINY, layers=3)
DEPTHS = {
    "encoder.conv1d.weight": 4,
    "separator.bottleneck.weight": 4,
    "separator.subsampling.0.norm.bias": 4,
    "separator.layers.0.norm.weight": 3,
    "separator.layers.2.attention.in_project.weight": 1,
    "separator.supersampling.0.convolution.weight": 0,
    "separator.mask_norm.weight": 0,
    "decoder.convtrans1d.weight": 0,
}


def test_depths_count_from_the_output() -> None:
    depths = layer_depths(Separator(DEEP))
    assert {name: depths[name] for name in DEPTHS} == DEPTHS
    assert sorted(set(depths.values())) == [0, 1, 2, 3, 4]


def test_each_layer_has_its_rate(tmp_path: Path) -> None:
    depths = layer_depths(Separator(DEEP))
    decayed = OptimizerConfig(lr=LR, layer_decay=0.5)
    module = train(tmp_path, Tones(), DEEP, loss=SignalLoss(), optimizer=decayed, steps=4)
    rates = {group["lr"] for group in module.trainer.optimizers[0].param_groups}
    assert rates == {LR * 0.5**depth for depth in range(5)}
    expected = plain(4, DEEP, rate=lambda name: LR * 0.5 ** depths[name])
    assert_near(weights(tmp_path), expected)


def test_a_schedule_moves_every_rate(tmp_path: Path) -> None:
    decayed = OptimizerConfig(lr=LR, layer_decay=0.5, schedule="cosine", decay_steps=4)
    module = train(tmp_path, Tones(), DEEP, loss=SignalLoss(), optimizer=decayed, steps=2)
    groups = module.trainer.optimizers[0].param_groups
    ratios = [group["lr"] / (LR * 0.5**depth) for depth, group in enumerate(groups)]
    assert ratios == pytest.approx([ratios[0]] * 5)
    assert ratios[0] < 1


def test_a_network_of_unknown_order_is_refused() -> None:
    other = Separator(SeparatorConfig(network="tcn", arguments={"layer": 1, "stack": 1}))
    with pytest.raises(UserError, match=r"layer_decay: the order of the layers of tcn"):
        layer_depths(other)
    with pytest.raises(UserError, match="layer_decay is 0"):
        OptimizerConfig(layer_decay=0.0)
