"""Permutation invariant training: which estimate belongs to which reference."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

LARGEST_ENUMERATED = 3
"""Up to this many speakers all permutations are compared; beyond, the assignment is solved."""


class NotFinite(ValueError):
    """No assignment can be chosen by what holds NaN or an infinite value."""


def best_permutation(cost: Tensor) -> Tensor:
    """The assignment of the least mean cost; no gradient flows through the choice.

    Exact for any number of speakers: up to three by enumeration on the device, beyond by
    ``scipy.optimize.linear_sum_assignment``. Of equal assignments the first in lexicographic order
    is taken by the enumeration.

    Args:
        cost: (batch, references, estimates).

    Returns:
        (batch, speakers), int64: ``permutation[b, c]`` is the estimate assigned to reference ``c``.

    Raises:
        NotFinite: the matrices hold a value that is not finite.
        ValueError: they are not square.
    """
    cost = cost.detach()
    _, references, estimates = cost.shape
    if references != estimates:
        raise ValueError(f"{estimates} estimates for {references} references")
    if not torch.isfinite(cost).all():
        raise NotFinite("a pairwise loss is not finite: the estimates or references hold NaN")
    if references <= LARGEST_ENUMERATED:
        candidates = torch.tensor(list(permutations(range(references))), device=cost.device)
        rows = torch.arange(references, device=cost.device)
        return candidates[cost[:, rows, candidates].mean(-1).argmin(-1)]
    columns = [linear_sum_assignment(matrix)[1] for matrix in cost.cpu().double().numpy()]
    return torch.as_tensor(np.stack(columns), device=cost.device)


def assigned(pairwise: Tensor, permutation: Tensor) -> Tensor:
    """Entries that a permutation selects: (batch, references, estimates) to (batch, references)."""
    return pairwise.gather(-1, permutation[..., None]).squeeze(-1)


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """Put estimates (batch, speakers, ...) into the order of the references."""
    items = torch.arange(len(estimates), device=estimates.device)[:, None]
    return estimates[items, permutation]
