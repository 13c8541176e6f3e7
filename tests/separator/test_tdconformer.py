"""The network is the published one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sepasr.config import load_config
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.separator.tdconformer import ConformerLayer, GlobalNorm, TDConformer

CONF = Path(__file__).parents[2] / "conf" / "separator"


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("s", 1_771_904), ("m", 6_680_320), ("l", 25_934_336), ("xl", 102_191_104)],
)
def test_parameter_counts_of_the_authors_code(size: str, parameters: int) -> None:
    with torch.device("meta"):
        separator = Separator(load_config(SeparatorConfig, [CONF / f"{size}.yaml"]))
    assert sum(p.numel() for p in separator.parameters()) == parameters


def test_mini_fits_into_four_megabytes_of_float16() -> None:
    with torch.device("meta"):
        separator = Separator(load_config(SeparatorConfig, [CONF / "mini.yaml"]))
    assert sum(p.numel() for p in separator.parameters()) * 2 < 4_000_000


def test_global_norm_is_group_norm_with_one_group() -> None:
    ours, reference = GlobalNorm(6), nn.GroupNorm(1, 6)
    with torch.no_grad():
        for norm in (ours, reference):
            norm.weight.copy_(torch.arange(6.0))
            norm.bias.copy_(torch.arange(6.0) - 3)
    x = torch.randn(3, 11, 6)
    torch.testing.assert_close(ours(x), reference(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("kernel", [3, 4, 31, 64])
def test_layer_equals_a_plain_reading_of_its_description(kernel: int) -> None:
    """Written out with PyTorch's own modules, in (batch, channels, frames)."""
    torch.manual_seed(1)
    width, hidden, heads = 8, 12, 2
    layer = ConformerLayer(width, hidden, heads, kernel, 0.0, 0.0).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    attention = nn.MultiheadAttention(width, heads, batch_first=True).double()
    own = layer.attention
    attention.load_state_dict(
        {
            "in_proj_weight": own.in_project.weight,
            "in_proj_bias": own.in_project.bias,
            "out_proj.weight": own.out_project.weight,
            "out_proj.bias": own.out_project.bias,
        }
    )

    def feed_forward(module, x):
        return module.contract(nn.functional.silu(module.expand(module.norm(x))))

    def convolution(module, x):
        y = module.norm(x).transpose(1, 2)
        y = nn.functional.conv1d(y, module.gate.weight[:, :, None], module.gate.bias)
        y = nn.functional.glu(y, dim=1)
        y = nn.functional.conv1d(
            y, module.depthwise.weight, module.depthwise.bias, padding="same", groups=width
        )
        norm = module.depthwise_norm
        y = nn.functional.silu(nn.functional.group_norm(y, 1, norm.weight, norm.bias))
        y = nn.functional.conv1d(y, module.project.weight[:, :, None], module.project.bias)
        return y.transpose(1, 2)

    x = torch.randn(2, 9, width, dtype=torch.double)
    expected = x + feed_forward(layer.feed_forward_in, x) / 2
    expected = expected + convolution(layer.convolution, expected)
    normed = own.norm(expected)
    expected = expected + attention(normed, normed, normed)[0]
    expected = layer.norm(expected + feed_forward(layer.feed_forward_out, expected) / 2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("subsamplings", [0, 1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 7, 64])
def test_one_mask_per_speaker_at_any_length(subsamplings: int, frames: int) -> None:
    network = TDConformer(10, 3, 8, 8, 2, 1, 5, subsamplings)
    encoded, lengths = torch.randn(2, frames, 10), torch.full((2,), frames)
    masked, out_lengths, named = network(encoded, lengths)
    assert [m.shape for m in masked] == [encoded.shape] * 3
    assert list(named) == ["mask_spk1", "mask_spk2", "mask_spk3"]
    assert torch.equal(out_lengths, lengths)
    for stream, mask in zip(masked, named.values(), strict=True):
        assert (mask >= 0).all()
        assert torch.equal(stream, encoded * mask)


def test_dropout_acts_in_training_only() -> None:
    network = TDConformer(10, 2, 8, 8, 2, 1, 5, 1, dropout=0.5, attention_dropout=0.5)
    encoded = torch.randn(1, 20, 10)
    assert not torch.equal(network.masks(encoded), network.masks(encoded))
    network.eval()
    assert torch.equal(network.masks(encoded), network.masks(encoded))
