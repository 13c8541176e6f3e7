"""Permutations against brute force."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from sepasr.loss.loss import items_above
from sepasr.loss.pit import assigned, best_permutation, reorder
from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss


@pytest.mark.parametrize("speakers", [1, 2, 3, 4, 5])
def test_best_permutation_is_that_of_brute_force(speakers: int) -> None:
    cost = torch.randn(50, speakers, speakers, generator=torch.Generator().manual_seed(speakers))
    found = best_permutation(cost)
    for matrix, permutation in zip(cost, found, strict=True):
        means = {
            order: sum(matrix[c, e].item() for c, e in enumerate(order)) / speakers
            for order in permutations(range(speakers))
        }
        assert tuple(permutation.tolist()) == min(means, key=means.get)


@pytest.mark.parametrize("speakers", [2, 3, 4, 5])
def test_signal_loss_is_the_minimum_over_all_orders(speakers: int) -> None:
    generator = torch.Generator().manual_seed(speakers)
    references = torch.randn(4, speakers, 300, generator=generator)
    estimates = references.roll(1, 1) + torch.randn(references.shape, generator=generator)
    result = SignalLoss()(estimates, references)
    for b in range(4):
        losses = [
            -sum(si_sdr(estimates[b, e], references[b, c]) for c, e in enumerate(order)) / speakers
            for order in permutations(range(speakers))
        ]
        torch.testing.assert_close(result.value[b], torch.stack(losses).min())
    ordered = reorder(estimates, result.permutation)
    torch.testing.assert_close(result.value, -si_sdr(ordered, references).mean(-1))


def test_gradient_flows_through_the_chosen_order_only() -> None:
    references = torch.randn(2, 2, 100)
    estimates = (references.roll(1, 1) + 0.1 * torch.randn(2, 2, 100)).requires_grad_()
    SignalLoss()(estimates, references).value.sum().backward()
    expected = estimates.detach().clone().requires_grad_()
    (-si_sdr(expected.roll(-1, 1), references).mean(-1)).sum().backward()
    torch.testing.assert_close(estimates.grad, expected.grad)


def test_assigned_selects_the_entries() -> None:
    pairwise = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert assigned(pairwise, torch.tensor([[1, 0]])).tolist() == [[2.0, 3.0]]
    three = torch.arange(9.0).view(1, 3, 3)
    assert assigned(three, torch.tensor([[1, 2, 0]])).tolist() == [[1.0, 5.0, 6.0]]


@pytest.mark.parametrize("speakers", [2, 4])
def test_what_has_no_answer_is_refused(speakers: int) -> None:
    cost = torch.zeros(1, speakers, speakers)
    cost[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        best_permutation(cost)
    with pytest.raises(ValueError, match="2 estimates for 3 references"):
        best_permutation(torch.zeros(1, 3, 2))


def test_items_under_the_threshold_are_left_out() -> None:
    value = torch.tensor([-40.0, -20.0, -10.0], requires_grad=True)
    kept = items_above(value, -30.0)
    assert kept.tolist() == [-20.0, -10.0]
    kept.sum().backward()
    assert value.grad.tolist() == [0.0, 1.0, 1.0]
    assert items_above(value, None) is value


def test_a_batch_with_every_item_left_out_has_a_zero_gradient() -> None:
    value = torch.tensor([-40.0, -50.0], requires_grad=True)
    total = items_above(value, -30.0).sum()
    total.backward()
    assert total.item() == 0.0
    assert value.grad.tolist() == [0.0, 0.0]
