"""The fast network computes what the plain one does: the same output, the same gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_tdconformer import largest_difference, plain, plain_names
from torch import nn

from sepasr.config import load_config
from sepasr.separator.model import Separator, SeparatorConfig

CONF = Path(__file__).parents[2] / "conf" / "separator"
S = load_config(SeparatorConfig, [CONF / "s.yaml"])
SMALL = SeparatorConfig(channels=24, width=16, hidden=24, heads=4, layers=2, depthwise_kernel=6)


def separators(config: SeparatorConfig) -> tuple[Separator, Separator]:
    """Without dropout, which draws in another order, and with weights that all do something."""
    torch.manual_seed(3)
    ours = Separator(replace(config, dropout=0.0, attention_dropout=0.0))
    for name, weight in ours.named_parameters():
        if weight.ndim == 1:
            nn.init.normal_(weight, mean=0.5 if name.endswith("weight") else 0.0, std=0.2)
    return ours, plain(ours)


@pytest.mark.parametrize(
    ("config", "batch", "samples"),
    [
        (S, 2, 4000),
        (SMALL, 3, 801),
        (SMALL, 1, 8),
        (replace(SMALL, depthwise_kernel=5, subsamplings=2, num_speakers=3), 2, 1000),
        (replace(SMALL, subsamplings=0, kernel=32, stride=16), 2, 1000),
        (replace(SMALL, subsampling_padding=0), 1, 8),
        (replace(SMALL, subsampling_padding=0, subsamplings=2), 2, 807),
    ],
    ids=["s", "odd", "shortest", "three", "flat", "unpadded shortest", "unpadded twice"],
)
def test_output_and_gradients_are_those_of_the_plain_network(
    config: SeparatorConfig, batch: int, samples: int
) -> None:
    ours, baseline = separators(config)
    mixture = torch.randn(batch, samples)
    probe = torch.randn(batch, config.num_speakers, samples)
    outputs = []
    for separator in (ours, baseline):
        outputs.append(separator(mixture))
        (outputs[-1] * probe).sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    theirs = dict(baseline.separator.named_parameters())
    mine = dict(ours.separator.named_parameters())
    largest = max(float(weight.grad.abs().max()) for weight in theirs.values())
    for name, other in plain_names(config, list(mine)).items():
        expected = theirs[other].grad.reshape(mine[name].shape)
        assert largest_difference(expected, mine[name].grad) < 1e-3 or (
            # The bias of the keys changes nothing: its gradient is rounding alone.
            float((expected - mine[name].grad).abs().max()) < 1e-5 * largest
        ), name


def test_every_weight_has_a_name_in_the_plain_network() -> None:
    ours, baseline = separators(SMALL)
    mapped = plain_names(SMALL, list(ours.separator.state_dict()))
    assert sorted(mapped.values()) == sorted(baseline.separator.state_dict())


def test_convolutions_over_time_copy_nothing() -> None:
    """Their outputs lie in memory as their inputs: (batch, frames, channels)."""
    ours, _ = separators(SMALL)
    seen = []
    for layer in ours.separator.layers:
        layer.convolution.depthwise_norm.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    ours(torch.randn(2, 800))
    assert len(seen) == SMALL.layers
    assert all(x.is_contiguous() for x in seen)
