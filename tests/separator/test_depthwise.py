"""The depthwise convolution is PyTorch's, with PyTorch's gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sepasr.separator.depthwise import BLOCK, depthwise

CHANNELS = 5


def by_pytorch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    kernel = weight.shape[-1]
    padded = F.pad(x.transpose(1, 2), ((kernel - 1) // 2, kernel // 2))
    return F.conv1d(padded, weight, bias, groups=len(weight)).transpose(1, 2)


@pytest.mark.parametrize("kernel", [1, 2, 5, 64])
@pytest.mark.parametrize("frames", [1, 3, BLOCK, 2 * BLOCK + 1])
@pytest.mark.parametrize("biased", [True, False])
def test_output_and_gradients(kernel: int, frames: int, biased: bool) -> None:
    torch.manual_seed(1)
    results = []
    drawn = torch.randn(2, frames, CHANNELS), torch.randn(CHANNELS, 1, kernel)
    probe, bias = torch.randn(2, frames, CHANNELS), torch.randn(CHANNELS)
    for convolve in (depthwise, by_pytorch):
        x, weight, b = (tensor.clone().requires_grad_() for tensor in (*drawn, bias))
        output = convolve(x, weight, b if biased else None)
        (output * probe).sum().backward()
        results.append([output, x.grad, weight.grad, *([b.grad] if biased else [])])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_autocast_decides_the_precision() -> None:
    x, weight = torch.randn(1, 9, CHANNELS), torch.randn(CHANNELS, 1, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = depthwise(x, weight, None)
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("kernel", [4, 5])
def test_float64_is_as_exact_as_it_says(kernel: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, BLOCK + 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 1, kernel), (2,))
    )
    assert torch.autograd.gradcheck(depthwise, (x, weight, bias), fast_mode=True)
