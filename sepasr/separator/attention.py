"""Attention with dropout of its weights on a CPU, without all of its scores in memory.

PyTorch's fused attention has no dropout on a CPU: with it, it computes every score of every frame
with every other, draws a number for each and keeps all of them for the gradient. Here some queries
are taken at a time, few enough for their scores to stay in the processor's cache, and the gradient
computes and draws them once more, from the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SCORES = 2**20
"""How many are held at a time: 4 MB of float32."""
_STEPS = 2**16  # rates of dropout are multiples of one in so many


def attention_with_dropout(query: Tensor, key: Tensor, value: Tensor, rate: float) -> Tensor:
    """Scaled dot-product attention whose weights are dropped at random.

    The seed of what is dropped is drawn from PyTorch's own generator.

    Args:
        query, key, value: (batch, heads, frames, width).
        rate: share of the weights that are dropped, from 0 to less than 1; the others are scaled
            up, so that the expected output is that without dropout.

    Returns:
        (batch, heads, frames, width).
    """
    seed = int(torch.randint(2**63 - 1, ()))
    return _Attention.apply(query, key, value, rate, seed)


class _Attention(torch.autograd.Function):
    """See :func:`attention_with_dropout`."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rate: float, seed: int
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            dropped = _Dropped(rate, seed)
            scaled = query * query.shape[-1] ** -0.5
            output = torch.empty_like(query.transpose(1, 2)).transpose(1, 2)
            for item, rows in _pieces(query):
                weights = _weights(scaled[item, :, rows], key[item])
                weights *= dropped.kept(weights.shape)
                output[item, :, rows] = weights.to(value.dtype) @ value[item]
            output *= dropped.scale
        ctx.save_for_backward(query, key, value, output)
        ctx.rate, ctx.seed = rate, seed
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            dropped = _Dropped(ctx.rate, ctx.seed)
            factor = query.shape[-1] ** -0.5
            scaled, gradient = query * factor, gradients[0]
            # The mean gradient of a query's weights, which the softmax takes off each of them.
            means = (gradient.float() * output.float()).sum(-1, keepdim=True)
            gradient = gradient * dropped.scale
            of_query = torch.empty_like(query)
            of_key, of_value = (torch.zeros_like(x, dtype=torch.float32) for x in (key, value))
            for item, rows in _pieces(query):
                weights = _weights(scaled[item, :, rows], key[item])
                kept = dropped.kept(weights.shape)
                given = gradient[item, :, rows]
                of_scores = (given @ value[item].transpose(-1, -2)).float()
                of_scores.mul_(kept).sub_(means[item, :, rows]).mul_(weights)
                weights = weights.mul_(kept).to(value.dtype)
                of_value[item] += weights.transpose(-1, -2) @ given
                of_scores = of_scores.to(key.dtype)
                of_query[item, :, rows] = of_scores @ key[item]
                of_key[item] += of_scores.transpose(-1, -2) @ scaled[item, :, rows]
        return of_query * factor, of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _pieces(query: Tensor) -> Iterator[tuple[int, slice]]:
    """Items of the batch, and within each the rows of queries that are taken at a time."""
    batch, heads, frames, _ = query.shape
    rows = max(1, SCORES // (heads * frames))
    for item in range(batch):
        for start in range(0, frames, rows):
            yield item, slice(start, min(start + rows, frames))


def _weights(query: Tensor, key: Tensor) -> Tensor:
    """Weights (heads, queries, keys) in float32, before dropout."""
    return torch.softmax(query @ key.transpose(-1, -2), -1, dtype=torch.float32)


class _Dropped:
    """What is dropped, in order.

    16 random bits decide on a weight: a random number for each would take longer than everything
    else.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        below = round(rate * _STEPS)
        self._below = below - _STEPS // 2
        self.scale = _STEPS / (_STEPS - below)

    def kept(self, shape: torch.Size) -> Tensor:
        """What the next weights are multiplied by, in float32: 0 for what is dropped, else 1."""
        count = shape.numel()
        bits = torch.empty(-(-count // 4), dtype=torch.int64)
        bits.random_(-(2**63), None, generator=self._generator)
        kept = torch.empty(count)
        return torch.ge(bits.view(torch.int16)[:count], self._below, out=kept).view(shape)
