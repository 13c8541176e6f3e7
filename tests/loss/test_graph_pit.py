"""Colourings against all that there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from sepasr.loss.graph_pit import best_colouring, coloured


def overlap(a, b) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


def proper(colours, spans) -> bool:
    numbers = range(len(spans))
    return not any(
        colours[a] == colours[b] and overlap(spans[a], spans[b])
        for a in numbers
        for b in numbers
        if a < b
    )


def draw_spans(rng: np.random.Generator, channels: int, utterances: int) -> np.ndarray:
    """Of as many speakers as channels, in any order, some of them silent."""
    spans = []
    for _ in range(channels):
        ends = np.sort(rng.choice(60, 2 * utterances, replace=True)).reshape(-1, 2)
        spans.extend(ends)
    return rng.permutation(np.array(spans))


@pytest.mark.parametrize(("channels", "utterances"), [(2, 1), (2, 3), (3, 2), (4, 1)])
def test_it_is_the_best_of_all_proper_colourings(channels: int, utterances: int) -> None:
    rng = np.random.default_rng(channels)
    for _ in range(40):
        spans = draw_spans(rng, channels, utterances)
        similarity = rng.standard_normal((len(spans), channels))
        found = best_colouring(similarity.tolist(), spans.tolist())
        every = [c for c in product(range(channels), repeat=len(spans)) if proper(c, spans)]
        sums = [sum(similarity[u, c] for u, c in enumerate(colours)) for colours in every]
        assert proper(found, spans)
        assert tuple(found) == every[int(np.argmax(sums))]


def test_neighbours_that_touch_do_not_overlap() -> None:
    assert best_colouring([[1.0, 0.0], [1.0, 0.0]], [[0, 5], [5, 9]]) == [0, 0]
    assert best_colouring([[1.0, 0.0], [1.0, 0.0]], [[0, 6], [5, 9]]) in ([0, 1], [1, 0])


def test_more_at_a_time_than_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 2 utterances at a time"):
        best_colouring([[0.0, 0.0]] * 3, [[0, 9], [1, 9], [2, 9]])


def signals(batch: int = 5, channels: int = 2, utterances: int = 3):
    """Noise within its span alone."""
    rng = np.random.default_rng(0)
    spans = np.stack([draw_spans(rng, channels, utterances) for _ in range(batch)])
    inside = (np.arange(60) >= spans[..., :1]) & (np.arange(60) < spans[..., 1:])
    said = rng.standard_normal((*spans.shape[:2], 60)) * inside
    estimates = rng.standard_normal((batch, channels, 60))
    return tuple(torch.from_numpy(x) for x in (estimates, said, spans))


def test_references_are_the_nearest_that_a_colouring_can_give() -> None:
    """By the squared error itself, over every proper colouring."""
    estimates, said, spans = signals()
    found = coloured(estimates, said, spans)
    for e, u, s, reference in zip(estimates, said, spans, found, strict=True):
        candidates = [
            torch.stack([u[[c == channel for c in colours]].sum(0) for channel in range(2)])
            for colours in product(range(2), repeat=len(s))
            if proper(colours, s.tolist())
        ]
        errors = torch.stack([(e - candidate).square().sum() for candidate in candidates])
        assert (e - reference).square().sum().item() == pytest.approx(errors.min().item())
        torch.testing.assert_close(reference.sum(0), u.sum(0))


def test_with_one_utterance_each_it_is_the_permutation() -> None:
    rng = torch.Generator().manual_seed(0)
    said = torch.randn(4, 2, 60, generator=rng)
    spans = torch.tensor([[[0, 60], [0, 60]]] * 4)
    estimates = said.flip(1) + 0.1 * torch.randn(4, 2, 60, generator=rng)
    assert torch.equal(coloured(estimates, said, spans), said.flip(1))


def test_nan_is_refused_and_no_gradient_flows() -> None:
    estimates, said, spans = signals()
    assert not coloured(estimates.requires_grad_(), said.requires_grad_(), spans).requires_grad
    with pytest.raises(ValueError, match="not finite"):
        coloured(estimates * float("nan"), said, spans)
