"""Every distance against a slow loop, and what no distance may depend on."""

from __future__ import annotations

import math

import pytest
import torch

from sepasr.errors import UserError
from sepasr.loss.distance import DISTANCES, GAMMA, named_distance
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.soft_dtw import soft_alignment_cost

LENGTHS = torch.tensor([7, 4, 1])
every_distance = pytest.mark.parametrize("name", list(DISTANCES))


def frames(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (3, 7, 5)), generator=torch.Generator().manual_seed(seed))


def speechlike(count: int) -> torch.Tensor:
    """Frames that change slowly, as an encoder's do: (1, count, 8)."""
    steps = frames(3, 1, count + 8, 8)
    return torch.stack([steps[:, k : k + count] for k in range(8)]).mean(0)


def by_hand(name: str, estimate: torch.Tensor, reference: torch.Tensor) -> float:
    """The definition for one utterance, frame by frame, in plain numbers."""
    x, y = estimate.double().tolist(), reference.double().tolist()
    mean = torch.stack([reference.double().mean(0)] * len(y)).tolist()
    each = {
        "mse": lambda a, b: sum((p - q) ** 2 for p, q in paired(a, b)) / len(a),
        "l1": lambda a, b: sum(abs(p - q) for p, q in paired(a, b)) / len(a),
        "cosine": lambda a, b: (
            1 - sum(p * q for p, q in paired(a, b)) / (math.hypot(*a) * math.hypot(*b))
        ),
    }
    if name != "soft_dtw":
        return sum(each[name](a, b) for a, b in paired(x, y)) / len(x)
    square = each["mse"]
    gamma = GAMMA * max(sum(square(b, m) for b, m in paired(y, mean)) / len(y), 1e-8)

    def warped(first: list[list[float]], second: list[list[float]]) -> float:
        return gamma * naive_soft_dtw([[square(a, b) / gamma for b in second] for a in first])

    return (warped(x, y) - (warped(x, x) + warped(y, y)) / 2) / len(x)


def paired(first: list, second: list) -> zip:
    return zip(first, second, strict=True)


def naive_soft_dtw(cost: list[list[float]]) -> float:
    table: dict[tuple[int, int], float] = {(-1, -1): 0.0}
    for i, row in enumerate(cost):
        for j, value in enumerate(row):
            before = [
                table.get(cell, math.inf) for cell in ((i - 1, j), (i, j - 1), (i - 1, j - 1))
            ]
            least = min(before)
            soft = least - math.log(sum(math.exp(least - b) for b in before))
            table[i, j] = value + soft
    return table[len(cost) - 1, len(cost) - 1]


@every_distance
def test_each_is_what_its_definition_says(name: str) -> None:
    estimate, reference = frames(0), frames(1)
    found = DISTANCES[name](estimate, reference, LENGTHS)
    assert found.dtype == torch.float32
    for value, x, y, length in zip(found, estimate, reference, LENGTHS, strict=True):
        expected = by_hand(name, x[:length], y[:length])
        assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@every_distance
def test_equal_frames_have_no_distance_and_no_gradient(name: str) -> None:
    reference = frames(0)
    estimate = reference.clone().requires_grad_()
    value = DISTANCES[name](estimate, reference, LENGTHS)
    torch.testing.assert_close(value, torch.zeros(3), atol=1e-6, rtol=0)
    value.sum().backward()
    torch.testing.assert_close(estimate.grad, torch.zeros(3, 7, 5), atol=1e-6, rtol=0)


@every_distance
def test_different_frames_have_a_distance_above_zero(name: str) -> None:
    for seed in range(20):
        estimate = frames(seed) + 0.3 * frames(seed + 100)
        assert (DISTANCES[name](estimate, frames(seed), LENGTHS) > 0).all()


@every_distance
def test_what_lies_beyond_an_utterance_changes_nothing(name: str) -> None:
    beyond = torch.arange(7) >= LENGTHS[:, None]
    estimate, reference = frames(0), frames(1)
    clean = estimate.clone().requires_grad_()
    expected = DISTANCES[name](clean, reference, LENGTHS)
    expected.sum().backward()
    for rubbish in (1e3, torch.nan):
        dirty = estimate.masked_fill(beyond[..., None], rubbish).requires_grad_()
        other = reference.masked_fill(beyond[..., None], -rubbish)
        value = DISTANCES[name](dirty, other, LENGTHS)
        value.sum().backward()
        assert torch.equal(value, expected)
        assert torch.equal(dirty.grad, clean.grad)
        assert not dirty.grad[beyond].any()
        assert dirty.grad[~beyond].any()


@every_distance
def test_an_utterance_does_not_depend_on_its_batch(name: str) -> None:
    estimate, reference = frames(0).requires_grad_(), frames(1)
    batch = DISTANCES[name](estimate, reference, LENGTHS)
    (gradient,) = torch.autograd.grad(batch.sum(), estimate)
    for row, length in enumerate(LENGTHS):
        alone = estimate[row, :length].detach().requires_grad_()
        value = DISTANCES[name](alone, reference[row, :length], length)
        value.backward()
        torch.testing.assert_close(value, batch[row])
        torch.testing.assert_close(alone.grad, gradient[row, :length], atol=1e-6, rtol=1e-4)


@every_distance
def test_pairs_are_those_of_one_at_a_time(name: str) -> None:
    estimates, references = frames(0, 2, 3, 6, 4), frames(1, 2, 3, 6, 4)
    counts = torch.tensor([[6, 6, 6], [4, 4, 4]])
    distance = DISTANCES[name]
    pairwise = distance(estimates[:, None], references[:, :, None], counts[:, :, None])
    assert pairwise.shape == (2, 3, 3)
    for i in range(3):
        for j in range(3):
            alone = distance(estimates[:, j], references[:, i], counts[:, 0])
            torch.testing.assert_close(pairwise[:, i, j], alone)


@every_distance
@pytest.mark.parametrize("silent", ["estimate", "reference", "both"])
def test_silent_frames_have_a_finite_gradient(name: str, silent: str) -> None:
    estimate, reference = frames(0), frames(1)
    if silent != "reference":
        estimate = torch.zeros_like(estimate)
    if silent != "estimate":
        reference = torch.zeros_like(reference)
    estimate.requires_grad_()
    value = DISTANCES[name](estimate, reference, LENGTHS)
    value.sum().backward()
    assert value.isfinite().all()
    assert estimate.grad.isfinite().all()


@every_distance
def test_no_frames_at_all_count_nothing(name: str) -> None:
    estimate = frames(0).requires_grad_()
    value = DISTANCES[name](estimate, frames(1), torch.tensor([7, 0, 1]))
    value.sum().backward()
    assert value[1].item() == 0.0
    assert estimate.grad.isfinite().all()
    assert not estimate.grad[1].any()


@every_distance
def test_float32_inside_autocast(name: str) -> None:
    estimate, reference = frames(0), frames(1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = DISTANCES[name](estimate, reference, LENGTHS)
    assert torch.equal(inside, DISTANCES[name](estimate, reference, LENGTHS))


def test_cosine_leaves_scale_free_and_calls_a_silent_frame_a_right_angle() -> None:
    estimate, reference = frames(0), frames(1)
    expected = DISTANCES["cosine"](estimate, reference, LENGTHS)
    scaled = DISTANCES["cosine"](100 * estimate, reference / 100, LENGTHS)
    torch.testing.assert_close(scaled, expected)
    silence = torch.zeros(1, 2, 5, requires_grad=True)
    value = DISTANCES["cosine"](silence, torch.ones(1, 2, 5), torch.tensor([2]))
    value.sum().backward()
    assert value.tolist() == [1.0]
    assert not silence.grad.any()


def test_soft_dtw_forgives_a_delay_that_a_mean_square_does_not() -> None:
    whole = speechlike(60)
    delayed, on_time, other = whole[:, :50], whole[:, 4:54], speechlike(120)[:, 70:]
    lengths = torch.tensor([50])
    ratios = {}
    for name in ("mse", "soft_dtw"):
        distance = DISTANCES[name]
        ratios[name] = distance(delayed, on_time, lengths) / distance(other, on_time, lengths)
    assert ratios["soft_dtw"] < 0.5 * ratios["mse"]
    assert DISTANCES["soft_dtw"](delayed, on_time, lengths) < 0.5 * DISTANCES["mse"](
        delayed, on_time, lengths
    )


def test_soft_dtw_is_of_the_size_of_the_mean_square_where_frames_are_aligned() -> None:
    reference = frames(1, 1, 40, 200)
    estimate = reference + 0.2 * frames(2, 1, 40, 200)
    found = DISTANCES["soft_dtw"](estimate, reference, torch.tensor([40]))
    expected = DISTANCES["mse"](estimate, reference, torch.tensor([40]))
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)


def test_soft_dtw_scales_as_the_mean_square_does_and_ignores_an_offset() -> None:
    estimate, reference = frames(0), frames(1)
    lengths = torch.tensor([7, 4, 3])
    expected = DISTANCES["soft_dtw"](estimate, reference, lengths)
    found = DISTANCES["soft_dtw"](0.1 * estimate + 10, 0.1 * reference + 10, lengths)
    torch.testing.assert_close(found, expected / 100, rtol=1e-3, atol=1e-6)


def test_soft_alignment_s_gradient_is_that_of_finite_differences() -> None:
    cost = frames(0, 3, 5, 5).double().square().requires_grad_()
    for lengths in (torch.tensor([5, 3, 1]), torch.tensor([5, 5, 0])):
        assert torch.autograd.gradcheck(lambda c, n=lengths: soft_alignment_cost(c, n), cost)


def test_soft_alignment_is_the_naive_recursion_s_and_hard_for_large_costs() -> None:
    cost = frames(0, 2, 9, 9).double()
    found = soft_alignment_cost(cost, torch.tensor([9, 6]))
    assert found[0].item() == pytest.approx(naive_soft_dtw(cost[0].tolist()))
    assert found[1].item() == pytest.approx(naive_soft_dtw(cost[1, :6, :6].tolist()))
    # Of the alignments of two by two frames, the diagonal costs 2, the others 2 + 1000.
    hard = torch.tensor([[[1.0, 1000.0], [1000.0, 1.0]]], requires_grad=True)
    value = soft_alignment_cost(hard, torch.tensor([2]))
    value.sum().backward()
    assert value.tolist() == [2.0]
    assert hard.grad.tolist() == [[[1.0, 0.0], [0.0, 1.0]]]


class Named:
    """As much of an encoder as a loss asks for when it is built."""

    name, fs = "mine", 16000

    def __init__(self, distance: str) -> None:
        self.distance = distance


def test_the_loss_uses_the_encoder_s_distance_and_refuses_an_unknown_one() -> None:
    assert EmbeddingLoss(Named("l1"), 16000).listeners[0].distance is DISTANCES["l1"]
    message = "encoder mine: unknown distance 'taxi'.*mse, l1, cosine, soft_dtw"
    with pytest.raises(UserError, match=message):
        EmbeddingLoss(Named("taxi"), 16000)
    with pytest.raises(UserError, match="unknown distance ''"):
        named_distance("", where="here")
