"""Depthwise convolution over the frames of (batch, frames, channels), with a gradient that is fast.

oneDNN convolves that layout as it is, as an image of one row with the channels last, forward and
for the gradient of the input. For the gradient of a long kernel it multiplies matrices channel by
channel, which takes several times as long as all the rest; here it is one product for all channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK = 64
"""Frames that are correlated at a time. Much longer blocks compute more that isn't needed."""


def as_image(x: Tensor) -> Tensor:
    """View (batch, frames, channels) as (batch, channels, 1, frames), channels last."""
    return x.transpose(1, 2).unsqueeze(2)


def as_frames(image: Tensor) -> Tensor:
    """The inverse of :func:`as_image`."""
    return image.squeeze(2).transpose(1, 2)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve every channel with a kernel of its own, with 'same' padding.

    An even kernel looks one frame further ahead than back.

    Args:
        x: (batch, frames, channels).
        weight: (channels, 1, kernel), as ``nn.Conv1d`` has it.
        bias: (channels,), or None.

    Returns:
        A tensor of the shape of ``x``, in the precision of autocast where that is on.
    """
    if weight.shape[-1] % 2 == 0:
        # With a zero in front it is odd, and the padding that of the convolution itself.
        weight = F.pad(weight, (1, 0))
    if x.device.type != "cpu":
        return _convolve(x, weight, bias)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    with torch.autocast("cpu", enabled=False):
        # Never in bfloat16: on a CPU with matrix units for it (AMX) oneDNN's depthwise convolution
        # of that type was seen not to return.
        wide = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
        x, weight, bias = x.to(wide), weight.to(wide), bias if bias is None else bias.to(wide)
        convolve = _Depthwise.apply if torch.is_grad_enabled() else _convolve
        return convolve(x, weight, bias).to(dtype)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with kernels (channels, 1, kernel) of odd length."""
    channels, _, kernel = weight.shape
    padding = (0, kernel // 2)
    image = F.conv2d(as_image(x), weight.unsqueeze(2), bias, padding=padding, groups=channels)
    return as_frames(image)


class _Depthwise(torch.autograd.Function):
    """See :func:`depthwise`; the kernel is odd, all of one type, float32 or wider."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _convolve(gradient, weight.flip(-1), None) if for_x else None,
            _of_weight(gradient, x, weight) if for_weight else None,
            gradient.sum((0, 1)) if for_bias else None,
        )


def _of_weight(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the kernels, by correlating that of the output with the input.

    Block by block: each frame of a block times each that any of its kernels' taps sees. The sums
    over the diagonals, on which both are equally far apart, are the gradients of the taps.
    """
    batch, frames, channels = gradient.shape
    kernel = weight.shape[-1]
    blocks, seen = -(-frames // BLOCK), BLOCK + kernel - 1
    missing = blocks * BLOCK - frames
    outputs = F.pad(gradient, (0, 0, 0, missing)).view(batch, blocks, BLOCK, channels)
    inputs = F.pad(x, (0, 0, kernel // 2, kernel // 2 + missing)).unfold(1, seen, BLOCK)
    products = torch.bmm(
        outputs.permute(3, 2, 0, 1).reshape(channels, BLOCK, batch * blocks),
        inputs.permute(2, 0, 1, 3).reshape(channels, batch * blocks, seen),
    )
    taps = products.as_strided((channels, BLOCK, kernel), (BLOCK * seen, seen + 1, 1))
    return taps.sum(1).unsqueeze(1)
