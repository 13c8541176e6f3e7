"""Attention with dropout is what its description says, for what it drops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

from sepasr.separator import attention
from sepasr.separator.attention import attention_with_dropout
from sepasr.separator.tdconformer import SelfAttention

FRAMES, RATE = 23, 0.3


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SCORES", 3 * 4 * FRAMES)  # four queries, and once three


def inputs(width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(1)
    drawn = torch.randn(3, 2, FRAMES, 3, width).to(dtype)
    return [part.transpose(1, 2).requires_grad_() for part in drawn]  # as the network gives them


def what_is_kept(seed: int) -> Tensor:
    """The mask of a seed, (batch, heads, queries, keys): seen by values that are unit vectors."""
    query, key, _ = inputs(FRAMES)
    value = torch.eye(FRAMES).expand(2, 3, FRAMES, FRAMES)
    torch.manual_seed(seed)
    return (attention_with_dropout(query, key, value, RATE) != 0).float()


def written_out(query: Tensor, key: Tensor, value: Tensor, kept: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    share = round(RATE * 2**16) / 2**16
    return (scores.softmax(-1) * kept / (1 - share)) @ value


def test_output_and_gradients_are_those_of_the_formula() -> None:
    kept = what_is_kept(seed=5)
    found, expected = inputs(8), inputs(8)
    torch.manual_seed(5)
    outputs = attention_with_dropout(*found, RATE), written_out(*expected, kept)
    torch.testing.assert_close(*outputs)
    probe = torch.randn_like(outputs[0])
    for output in outputs:
        (output * probe).sum().backward()
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.grad, other.grad)


def test_bfloat16_is_near_float32() -> None:
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        tensors = inputs(8, dtype)
        torch.manual_seed(5)
        output = attention_with_dropout(*tensors, RATE)
        assert output.dtype == dtype
        output.float().square().sum().backward()
        results.append([output, *(x.grad for x in tensors)])
    for exact, rounded in zip(*results, strict=True):
        assert (exact - rounded).abs().max() < 0.03 * exact.abs().max()


def test_the_rate_is_kept_and_every_call_draws_anew() -> None:
    first, second = what_is_kept(1), what_is_kept(2)
    assert abs(float(first.mean()) - (1 - RATE)) < 0.03
    assert not torch.equal(first, second)
    assert torch.equal(first, what_is_kept(1))
    assert len({tuple(row.flatten().tolist()) for row in first.flatten(0, 2)}) == 2 * 3 * FRAMES


def test_without_dropout_it_is_pytorchs() -> None:
    tensors = inputs(8)
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors)
    torch.testing.assert_close(attention_with_dropout(*tensors, 0.0), expected)


def test_few_frames_in_bfloat16_have_their_scores_written_out() -> None:
    """The way that training takes there is PyTorch's, to that precision; and it is taken."""
    torch.manual_seed(3)
    layer = SelfAttention(16, 2, 0.0, 0.0)
    x, results = torch.randn(2, FRAMES, 16), []
    for dtype in (torch.float32, torch.bfloat16):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", enabled=dtype == torch.bfloat16), profile() as record:
            output = layer(given)
        output.float().square().sum().backward()
        called = {event.key for event in record.key_averages()}
        assert ("aten::scaled_dot_product_attention" in called) == (dtype == torch.float32)
        results.append([output.float(), given.grad])
    for exact, rounded in zip(*results, strict=True):
        assert (exact - rounded).abs().max() < 0.03 * exact.abs().max()
