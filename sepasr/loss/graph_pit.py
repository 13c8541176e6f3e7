"""Graph-PIT: which channel each of many utterances belongs to.

Von Neumann et al., "Graph-PIT: Generalized permutation invariant training for continuous separation
of arbitrary numbers of speakers" (Interspeech 2021, arXiv 2107.14446). Utterances are the vertices
of a graph, those that overlap in time are joined, and channels are colours: every proper colouring
is allowed, so that a channel may take up another speaker once the first has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sepasr.loss.pit import NotFinite


def best_colouring(
    similarity: Sequence[Sequence[float]], spans: Sequence[Sequence[int]]
) -> list[int]:
    """The proper colouring of the greatest sum of similarities, exactly.

    Utterances are intervals of time, so that it is enough to remember, in the order of their
    starts, which one each channel had last: what remains is a shortest path.

    Args:
        similarity: of each utterance to each channel.
        spans: first sample of each utterance and the one after its last; an empty one overlaps
            none, and may have any channel.

    Returns:
        The channel of each utterance.

    Raises:
        ValueError: more utterances overlap than there are channels.
    """
    channels = range(len(similarity[0]))
    order = sorted(range(len(spans)), key=lambda u: (spans[u][0], spans[u][1]))
    # By the end of the last utterance on each channel: the best sum, and how it came about.
    best: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {(0,) * len(channels): (0.0, ())}
    for utterance in order:
        start, end = spans[utterance]
        reached: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
        for ends, (total, chosen) in best.items():
            for channel in channels:
                if ends[channel] > start and end > start:
                    continue
                now = list(ends)
                now[channel] = max(ends[channel], end)
                candidate = (total + similarity[utterance][channel], (*chosen, channel))
                if candidate[0] > reached.get(tuple(now), (-float("inf"), ()))[0]:
                    reached[tuple(now)] = candidate
        best = reached
        if not best:
            raise ValueError(f"more than {len(channels)} utterances at a time")
    chosen = max(best.values())[1]
    return [channel for _, channel in sorted(zip(order, chosen, strict=True))]


def coloured(estimates: Tensor, utterances: Tensor, spans: Tensor) -> Tensor:
    """References for channels: the sum of the utterances that are best assigned to each.

    The colouring is the one of the least sum of squared errors over all channels, that of the
    source-aggregated SDR (von Neumann et al., arXiv 2110.15581). As utterances of one channel don't
    overlap, it is that of the greatest sum of inner products between utterances and their channels.

    Args:
        estimates: (batch, channels, samples).
        utterances: (batch, utterances, samples).
        spans: (batch, utterances, 2), see :func:`best_colouring`.

    Returns:
        (batch, channels, samples), in the order of the estimates.

    Raises:
        ValueError: see :func:`best_colouring`.
        NotFinite: the estimates or utterances hold NaN.
    """
    with torch.no_grad(), torch.autocast(estimates.device.type, enabled=False):
        products = utterances.float() @ estimates.detach().float().transpose(1, 2)
        if not torch.isfinite(products).all():
            raise NotFinite("a similarity is not finite: the estimates or references hold NaN")
        colours = [
            best_colouring(*pair) for pair in zip(products.tolist(), spans.tolist(), strict=True)
        ]
        channels = torch.arange(estimates.shape[1], device=estimates.device)
        chosen = torch.tensor(colours, device=estimates.device)[:, None] == channels[:, None]
        return chosen.to(utterances.dtype) @ utterances
