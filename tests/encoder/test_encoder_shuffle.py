"""Shuffled weights: the same numbers in another order, and an encoder that still is a loss."""

from __future__ import annotations

import pytest
import torch
from encoder_helpers import noise
from torch import nn

from sepasr.encoder.base import load_encoder
from sepasr.encoder.shuffle import shuffle_weights
from sepasr.errors import UserError


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(7, 5), nn.LayerNorm(5)
        self.second = nn.Linear(7, 5)
        self.second.weight = self.first.weight
        self.register_buffer("kept", torch.arange(3.0))


def test_every_tensor_keeps_its_elements_and_loses_their_order() -> None:
    before, after = Tied(), Tied()
    shuffle_weights(after, 1)
    for name, value in after.named_parameters():
        old = before.get_parameter(name)
        assert torch.equal(value.flatten().sort().values, old.flatten().sort().values)
    assert not torch.equal(after.first.weight, before.first.weight)
    assert not torch.equal(after.first.bias, before.first.bias)
    assert after.second.weight is after.first.weight
    assert torch.equal(after.kept, before.kept)


def test_the_seed_decides() -> None:
    models = [Tied() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        shuffle_weights(model, seed)
    once, again, other = (model.first.weight for model in models)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_model_that_hides_its_weights_is_refused() -> None:
    with pytest.raises(UserError, match="no weights that could be shuffled"):
        shuffle_weights(nn.ReLU(), 1)


def test_an_encoder_of_the_configuration_says_that_it_is_shuffled() -> None:
    """Built, proven and frozen as any other."""
    trained = load_encoder("wav2vec2_mini")
    shuffled = load_encoder("wav2vec2_mini", ["shuffle_seed=3"])
    assert (trained.name, trained.family, trained.weights) == trained.conf.identity
    assert shuffled.name == "wav2vec2_mini_shuffled"
    assert shuffled.family == "untrained"
    assert shuffled.weights == f"{trained.weights}, shuffled by 3"
    waveform, lengths = noise(2, 8000), torch.tensor([8000, 8000])
    (a, counts), (b, others) = trained(waveform, lengths), shuffled(waveform, lengths)
    assert a.shape == b.shape
    assert torch.equal(counts, others)
    assert not torch.allclose(a, b, atol=0.1)
