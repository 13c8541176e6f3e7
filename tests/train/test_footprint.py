"""What a training takes, counted without contents, against a forward pass that has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sepasr.config import load_config
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.footprint import Copies, footprint
from sepasr.train.recipe import TrainConfig

CONFIG = SeparatorConfig(32, width=16, hidden=24, heads=2, layers=2, depthwise_kernel=5)
SAMPLES = 4000


def really_kept(config: SeparatorConfig, batch: int) -> int:
    separator, kept = Separator(config).train(), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        encoded, frames = separator.encoder(torch.randn(batch, SAMPLES), torch.tensor([SAMPLES]))
        for masked in separator.separator(encoded, frames)[0]:
            separator.decoder(masked, torch.tensor([SAMPLES]))[0].square()
    weights = {p.untyped_storage().data_ptr() for p in separator.parameters()}
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights)


@pytest.mark.parametrize(
    ("settings", "memory", "checkpoint"),
    [
        ([], 0, 0),
        (["fit.average=0.9"], 1, 1),
        (["fit.stay=0.1"], 1, 0),
        (["loss.references=teacher"], 1, 0),
        (["loss.references=ema", "loss.ema_decay=1"], 1, 0),
        (["loss.references=remix", "fit.average=0.9", "fit.stay=1"], 3, 2),
    ],
)
def test_weights_that_are_kept_once_more_are_counted(
    settings: list[str], memory: int, checkpoint: int
) -> None:
    assert Copies.of(load_config(TrainConfig, [], settings)) == Copies(memory, checkpoint)


@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
@pytest.mark.parametrize("batch", [1, 3])
def test_activations_are_those_that_are_kept(batch: int, attention_dropout: float) -> None:
    config = replace(CONFIG, attention_dropout=attention_dropout)
    counted = footprint(config, batch, SAMPLES)
    assert counted.activations == pytest.approx(really_kept(config, batch), rel=0.02)


def test_no_attention_keeps_matrices_of_frames_by_frames() -> None:
    once, twice = (footprint(CONFIG, 1, samples).activations for samples in (SAMPLES, 2 * SAMPLES))
    assert twice < 2.1 * once


def test_parameters_and_operations() -> None:
    counted = footprint(CONFIG, 2, SAMPLES)
    separator = Separator(replace(CONFIG, dropout=0.0))
    assert counted.parameters == sum(p.numel() for p in separator.parameters())
    assert counted.memory == 16 * counted.parameters + counted.activations
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        separator(torch.randn(2, SAMPLES))
    assert counted.flops == pytest.approx(3 * counter.get_total_flops(), rel=0.05)


def test_checkpointing_keeps_one_layer_at_a_time() -> None:
    config = replace(CONFIG, layers=6)
    plain = footprint(config, 1, SAMPLES)
    saving = footprint(config, 1, SAMPLES, checkpoint_activations=True)
    one_layer = (plain.activations - footprint(CONFIG, 1, SAMPLES).activations) / 4
    frames = 4 * SAMPLES // CONFIG.stride // 2 * CONFIG.width
    saved = 5 * one_layer - 6 * frames
    assert plain.activations - saving.activations == pytest.approx(saved, rel=0.05)
