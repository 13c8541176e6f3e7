"""The network is the published one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sepasr.bin.separate import PRETRAINED
from sepasr.config import load_config
from sepasr.separator.config import read_description
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.separator.tdconformer import (
    ChannelPReLU,
    ConformerLayer,
    GlobalNorm,
    Subsampling,
    Supersampling,
    TDConformer,
)

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


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("subsamplings", [0, 1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6, 7, 64])
def test_one_mask_per_speaker_at_any_length(subsamplings: int, frames: int, padding: int) -> None:
    network = TDConformer(10, 3, 8, 8, 2, 1, 5, subsamplings, subsampling_padding=padding)
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


def frames_that_differ(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Of two outputs (1, frames, channels)."""
    return (before != after).any(-1)[0].nonzero()[:, 0].tolist()


def test_a_subsampled_frame_is_made_of_the_frames_that_are_made_of_it() -> None:
    """By a change of one frame at a time, of 2000 that become 999."""
    torch.manual_seed(0)
    halve, double = Subsampling(4), Supersampling(4)
    x, skip = torch.randn(1, 2000, 4), torch.randn(1, 2000, 4)
    with torch.no_grad():
        half = halve(x)
        whole = double(half, skip)
        assert half.shape == (1, 999, 4)
        assert whole.shape == skip.shape
        read = {j: [] for j in (0, 1, 500, 998)}
        for frame in (*range(7), *range(998, 1006), *range(1994, 2000)):
            other = x.clone()
            other[:, frame] += 1
            for j in frames_that_differ(half, halve(other)):
                read.setdefault(j, []).append(frame)
        for j in (0, 1, 500, 998):
            expected = list(range(2 * j, 2 * j + 4))
            assert read[j] == expected
            other = half.clone()
            other[:, j] += 1
            assert frames_that_differ(whole, double(other, skip)) == expected


@pytest.mark.parametrize("size", ["s", "m", "l", "xl", "mini"])
def test_new_networks_subsample_without_padding(size: str) -> None:
    config = load_config(SeparatorConfig, [CONF / f"{size}.yaml"])
    assert config.subsampling_padding == 0
    assert config.settings()["subsampling_padding"] == 0  # and what is trained so says so
    with torch.device("meta"):
        separator = Separator(config)
        separator.separator(torch.empty(1, 2000, config.channels), torch.tensor([2000]))
        skip = torch.empty(1, 2000, config.width)
        assert separator.separator.subsampling[0](skip).shape == (1, 999, config.width)


def test_weights_of_before_there_was_a_choice_keep_their_padding() -> None:
    """The pretrained separator gives what it gave then: some samples of two chirps."""
    config, _ = read_description(PRETRAINED)
    assert config.subsampling_padding == 1
    assert "subsampling_padding" not in config.settings()
    t = torch.arange(16001, dtype=torch.double) / 16000
    rising = 0.1 * torch.sin(2 * torch.pi * (200 * t + 900 * t.square()))
    falling = 0.07 * torch.sin(2 * torch.pi * (1500 * t - 400 * t.square()))
    with torch.inference_mode():
        estimates = Separator.from_pretrained(PRETRAINED)((rising + falling).float())
    expected = torch.tensor(
        [
            [-0.000992554, 0.06929972, -0.07963494, 0.04567619, -0.13914488, -0.05788161],
            [0.02662499, 0.009874374, -0.02447793, -0.0002958636, 0.0001103482, -0.004533867],
        ]
    )
    torch.testing.assert_close(estimates[:, 1000::3000], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_residual_stream_stays_in_float32_under_autocast(padding: int) -> None:
    network = TDConformer(10, 2, 8, 8, 2, 2, 5, 2, subsampling_padding=padding)
    seen: dict[str, torch.dtype] = {}
    for name, module in network.named_modules():
        if isinstance(module, ChannelPReLU | ConformerLayer | Subsampling | Supersampling):
            module.register_forward_pre_hook(
                lambda _, given, name=name: seen.update({f"into {name}": given[0].dtype})
            )
            module.register_forward_hook(
                lambda _, __, out, name=name: seen.update({name: out.dtype})
            )
    linear = network.layers[0].feed_forward_in.expand
    linear.register_forward_hook(lambda _, __, out: seen.update(linear=out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network.masks(torch.randn(1, 40, 10)).sum().backward()
    assert seen.pop("linear") == torch.bfloat16  # autocast is at work
    del seen["into bottleneck_activation"]  # behind a linear layer
    of_activations = [name for name in seen if name.startswith("into") and "activation" in name]
    assert len(of_activations) == 4
    for name in of_activations[:2]:
        del seen[name]  # behind a convolution
    assert set(seen.values()) == {torch.float32}, seen
