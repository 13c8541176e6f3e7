"""Embeddings of references that come again: the same loss, from fewer passes of the encoder."""

from __future__ import annotations

import pytest
import torch
from frame_squares import FS, FrameSquares

from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.kept import KeptEmbeddings

BATCH, SPEAKERS, SAMPLES = 3, 2, 200


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    estimates, references = torch.randn(2, BATCH, SPEAKERS, SAMPLES, generator=generator)
    return estimates.requires_grad_(), references, torch.tensor([SAMPLES, 151, 90])


def test_loss_and_gradient_are_those_without() -> None:
    plain, keeping = FrameSquares(), FrameSquares()
    losses = EmbeddingLoss(plain, FS), EmbeddingLoss(keeping, FS, keep_bytes=2**20)
    for seed in (0, 1, 0, 1):
        estimates, references, lengths = drawn(seed)
        results = [loss(estimates, references, lengths) for loss in losses]
        torch.testing.assert_close(results[1].value, results[0].value)
        gradients = [torch.autograd.grad(one.value.sum(), estimates)[0] for one in results]
        torch.testing.assert_close(gradients[1], gradients[0])
    both = [BATCH * SPEAKERS] * 2
    assert plain.calls == both * 4
    first = [SPEAKERS] * BATCH + [BATCH * SPEAKERS]  # each mixture's references by themselves
    assert keeping.calls == first * 2 + [BATCH * SPEAKERS] * 2


def test_what_is_kept_is_found_in_any_batch_and_only_if_equal() -> None:
    _, references, lengths = drawn(0)
    kept, asked = KeptEmbeddings(2**20), []

    def encode(signals, lengths):
        asked.append(len(signals))
        return signals[..., None] + 0, lengths[:, None].expand(-1, SPEAKERS)

    first = kept.embed(references, lengths, encode)
    assert asked == [1] * BATCH
    again = kept.embed(references.flip(0), lengths.flip(0), encode)
    assert asked == [1] * BATCH
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(other.flip(0), one, rtol=0, atol=0)
    other_lengths = lengths - torch.tensor([0, 1, 0])
    kept.embed(references, other_lengths, encode)
    assert asked == [1] * (BATCH + 1)
    references[2, 1, 5] += 1e-7
    kept.embed(references, other_lengths, encode)
    assert asked == [1] * (BATCH + 2)


@pytest.mark.parametrize("room_for", [0, 1, 2, 3])
def test_what_finds_no_room_is_made_each_time(room_for: int) -> None:
    asked: list[float] = []

    def encode(signals, lengths):
        asked.append(signals[0, 0, 0].item())
        return signals[..., None] + 0, torch.ones(1, SPEAKERS, dtype=torch.long)

    one = SPEAKERS * SAMPLES * 4 + SPEAKERS * 8
    kept = KeptEmbeddings(room_for * one)
    for value in (1, 2, 1, 3, 1, 2):
        kept.embed(torch.full((1, SPEAKERS, SAMPLES), float(value)), torch.tensor([9]), encode)
        assert kept.bytes <= room_for * one
    made = {0: [1, 2, 1, 3, 1, 2], 1: [1, 2, 3, 2], 2: [1, 2, 3], 3: [1, 2, 3]}
    assert asked == made[room_for]


def test_frames_may_differ_in_number() -> None:
    """As those of an encoder that cuts to the longest of a call."""
    _, references, lengths = drawn(0)

    def encode(signals, lengths):
        longest = int(lengths.max())
        return signals[..., :longest, None] + 0, lengths[:, None].expand(-1, SPEAKERS)

    made = encode(references, lengths)
    kept = KeptEmbeddings(2**20)
    for encoded in (encode, None):  # the second time nothing is asked for
        found = kept.embed(references, lengths, encoded)
        assert found[0].shape == made[0].shape
        torch.testing.assert_close(found[1], made[1])
        for one, other, length in zip(found[0], made[0], lengths, strict=True):
            torch.testing.assert_close(one[:, :length], other[:, :length])
