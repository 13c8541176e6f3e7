"""The filterbank as matrix products, against ESPnet's convolutions with the same weights."""

from __future__ import annotations

import pytest
import torch
from espnet2.enh.decoder.conv_decoder import ConvDecoder
from espnet2.enh.encoder.conv_encoder import ConvEncoder
from torch import nn

from sepasr.separator.filterbank import Analysis, Synthesis

SHAPES = [(256, 64), (16, 8), (32, 32), (20, 8)]  # the last one's frames don't overlap evenly


def same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    ours.load_state_dict(theirs.state_dict())


def gradients(module: nn.Module, x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients of the input and the weights, for a loss that isn't symmetric."""
    x = x.clone().requires_grad_()
    output, out_lengths = module(x, lengths)
    loss = (output * torch.linspace(-1, 2, output.numel()).view_as(output)).sum()
    return [output, out_lengths, *torch.autograd.grad(loss, [x, *module.parameters()])]


@pytest.mark.parametrize(("kernel", "stride"), SHAPES)
@pytest.mark.parametrize("missing", [0, 3])
def test_analysis_is_espnets(kernel: int, stride: int, missing: int) -> None:
    torch.manual_seed(0)
    theirs, ours = ConvEncoder(6, kernel, stride), Analysis(6, kernel, stride)
    same_weights(ours, theirs)
    samples = kernel + 9 * stride - missing  # the last frame may lack samples, and is left out
    x, lengths = torch.randn(2, samples), torch.tensor([samples, samples - stride])
    for mine, its in zip(gradients(ours, x, lengths), gradients(theirs, x, lengths), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride"), SHAPES)
@pytest.mark.parametrize("more", [0, 3])
def test_synthesis_is_espnets(kernel: int, stride: int, more: int) -> None:
    torch.manual_seed(0)
    theirs, ours = ConvDecoder(6, kernel, stride), Synthesis(6, kernel, stride)
    same_weights(ours, theirs)
    samples = kernel + 9 * stride + more
    frames, lengths = torch.randn(2, 10, 6), torch.tensor([samples, samples - stride])
    for mine, its in zip(
        gradients(ours, frames, lengths), gradients(theirs, frames, lengths), strict=True
    ):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)
