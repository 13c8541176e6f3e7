"""Soft dynamic time warping: the least cost of aligning two sequences, with a soft minimum.

Cuturi and Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series" (ICML 2017,
arXiv 1703.01541).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def soft_alignment_cost(cost: Tensor, lengths: Tensor) -> Tensor:
    """Soft minimum, at gamma = 1, of the cost over all monotonic alignments of two sequences.

    R(i, j) = cost(i, j) + softmin(R(i - 1, j), R(i, j - 1), R(i - 1, j - 1)), where softmin of some
    numbers is -log of the sum of exp(-x). For another gamma divide ``cost`` by it and multiply the
    result. The gradient is closed: the share of all alignments that pass through a cell.

    What is kept for the backward pass is twice as large as ``cost``.

    Args:
        cost: of pairing frame i with frame j, (batch, frames, frames), finite.
        lengths: valid frames of both sequences, (batch,) int64.

    Returns:
        (batch,), of the type of ``cost``; 0 where a length is 0. It may be negative: a soft minimum
        of many alignments is below the least of them.
    """
    return _SoftAlignment.apply(cost, lengths)


class _SoftAlignment(torch.autograd.Function):
    """The recursion over anti-diagonals: all cells of one, of all items, are computed at once.

    Tables are (diagonals + 2, batch, frames + 1): cell (i, j) is at [i + j + 2, :, i + 1], so that
    the first two diagonals and the first column are the border, and the three predecessors of a
    diagonal's cells are three slices.
    """

    @staticmethod
    def forward(ctx: Any, cost: Tensor, lengths: Tensor) -> Tensor:
        batch, frames, _ = cost.shape
        diagonals = _skew(cost)
        table = cost.new_full((len(diagonals) + 2, batch, frames + 1), torch.inf)
        table[0, :, 0] = 0.0
        for d, own in enumerate(diagonals):
            table[d + 2, :, 1:] = own - torch.logsumexp(-_predecessors(table, d), 0)
        ctx.save_for_backward(table, lengths)
        items = torch.arange(batch, device=cost.device)
        return table[2 * lengths, items, lengths]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        table, lengths = ctx.saved_tensors
        (gradient,) = gradients
        batch, frames = table.shape[1], table.shape[2] - 1
        share = torch.zeros_like(table)
        share[2 * lengths, torch.arange(batch, device=table.device), lengths] = gradient
        for d in reversed(range(len(table) - 2)):
            # Shares of the predecessors add up to one, whatever is lost to rounding in the table.
            # Cells outside the matrix have none, and no share to pass on.
            shares = torch.softmax(-_predecessors(table, d), 0).nan_to_num(0.0)
            left, above, before = share[d + 2, :, 1:] * shares
            share[d + 1, :, 1:] += left
            share[d + 1, :, :-1] += above
            share[d, :, :-1] += before
        return _unskew(share[2:, :, 1:], frames), None


def _predecessors(table: Tensor, d: int) -> Tensor:
    """Those of the cells of diagonal d, at (i, j - 1), (i - 1, j) and (i - 1, j - 1)."""
    return torch.stack([table[d + 1, :, 1:], table[d + 1, :, :-1], table[d, :, :-1]])


def _skew(matrices: Tensor) -> Tensor:
    """(batch, n, n) to its anti-diagonals (2n - 1, batch, n), by row, infinite where there is none.

    A row that is padded to 2n and read as one of 2n - 1 is shifted by its number.
    """
    batch, n, _ = matrices.shape
    padded = F.pad(matrices, (0, n), value=torch.inf).flatten(1)
    return padded[:, : n * (2 * n - 1)].reshape(batch, n, 2 * n - 1).permute(2, 0, 1).contiguous()


def _unskew(diagonals: Tensor, n: int) -> Tensor:
    """The inverse of ``_skew``."""
    batch = diagonals.shape[1]
    flat = F.pad(diagonals.permute(1, 2, 0).reshape(batch, -1), (0, n))
    return flat.reshape(batch, n, 2 * n)[..., :n].contiguous()
