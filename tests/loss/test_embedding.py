"""Guided PIT by hand, with an encoder one can differentiate on paper."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from frame_squares import FS, HOP, FrameSquares

from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss


def signals(speakers: int = 2, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(speakers)
    references = torch.randn(batch, speakers, 200, generator=generator)
    noise = torch.randn(batch, speakers, 200, generator=generator)
    return (references.roll(1, 1) + 0.5 * noise).requires_grad_(), references


@pytest.mark.parametrize("speakers", [2, 3])
def test_guided_permutation_is_the_signal_s_and_the_value_the_embedding_s(speakers: int) -> None:
    estimates, references = signals(speakers)
    result = EmbeddingLoss(FrameSquares(), FS)(estimates, references)
    assert result.permutation.tolist() == SignalLoss()(estimates, references).permutation.tolist()
    expected = (estimates.roll(-1, 1).square() - references.square()).square().mean((1, 2))
    torch.testing.assert_close(result.value, expected)
    torch.testing.assert_close(
        result.parts["si_sdr"], si_sdr(estimates.roll(-1, 1), references).mean(-1).detach()
    )


def test_guided_gradient_is_that_worked_out_by_hand() -> None:
    """d/de mean((e^2 - r^2)^2) = 4 e (e^2 - r^2) / n for the assigned reference."""
    estimates, references = signals()
    EmbeddingLoss(FrameSquares(), FS)(estimates, references).value.sum().backward()
    e, r = estimates.detach(), references.roll(1, 1)
    expected = 4 * e * (e.square() - r.square()) / (2 * 200)
    torch.testing.assert_close(estimates.grad, expected)


def test_embedding_may_choose_another_permutation_than_the_signal() -> None:
    """The encoder can't tell a sign, the signal is all but orthogonal to what it fits."""
    references = torch.tensor([[1.0, -1.0] * 10, [2.0, 2.0, -2.0, -2.0] * 5])[None]
    estimates = torch.stack([references[0, 1] / 2, references[0, 0] * 2])[None]
    guided = EmbeddingLoss(FrameSquares(), FS)(estimates, references)
    plain = EmbeddingLoss(FrameSquares(), FS, guided=False)(estimates, references)
    assert guided.permutation.tolist() == [[1, 0]]
    assert plain.permutation.tolist() == [[0, 1]]
    assert plain.value.item() == 0.0
    assert guided.value.item() == pytest.approx(9.0)
    both = EmbeddingLoss(FrameSquares(), FS, guided=False, signal_weight=0.5)(estimates, references)
    assert both.permutation.tolist() == [[0, 1]]
    assert both.value.item() == pytest.approx(0.0 - 0.5 * -80, abs=1e-3)  # that of orthogonal ones


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("speakers", [2, 3])
def test_the_encoder_runs_once_per_signal_never_per_pair(guided: bool, speakers: int) -> None:
    estimates, references = signals(speakers, batch=4)
    encoder = FrameSquares()
    EmbeddingLoss(encoder, FS, guided=guided)(estimates, references)
    assert encoder.calls == [4 * speakers] * 2


def test_signals_of_another_rate_are_resampled_for_the_encoder_alone() -> None:
    """Against the same worked out by hand with torchaudio's function, values and gradients."""
    estimates, references = signals(3)
    lengths = torch.tensor([200, 151, 90])
    result = EmbeddingLoss(FrameSquares(), 8000)(estimates, references, lengths)
    result.value.sum().backward()

    by_hand = estimates.detach().clone().requires_grad_()
    expected = []
    for e, r, length in zip(by_hand.roll(-1, 1), references, lengths, strict=True):
        e, r = (torchaudio.functional.resample(x[:, :length], 8000, FS) for x in (e, r))
        frames = 2 * int(length) // HOP * HOP
        expected.append((e[:, :frames].square() - r[:, :frames].square()).square().mean())
    torch.stack(expected).sum().backward()
    torch.testing.assert_close(result.value, torch.stack(expected))
    torch.testing.assert_close(estimates.grad, by_hand.grad)
    mask = torch.arange(200) < lengths[:, None, None]
    si_sdrs = si_sdr(estimates.detach().roll(-1, 1), references, mask).mean(-1)
    torch.testing.assert_close(result.parts["si_sdr"], si_sdrs)


def test_no_gradient_through_the_references() -> None:
    estimates, references = signals()
    references.requires_grad_()
    EmbeddingLoss(FrameSquares(), FS)(estimates, references).value.sum().backward()
    assert references.grad is None
    assert estimates.grad.abs().sum() > 0


def test_what_is_padded_changes_nothing() -> None:
    estimates, references = signals(batch=1)
    whole = EmbeddingLoss(FrameSquares(), FS)(estimates, references)
    padding = 100 * torch.randn(1, 2, 60)
    padded = EmbeddingLoss(FrameSquares(), FS)(
        torch.cat([estimates, padding], -1),
        torch.cat([references, -padding], -1),
        torch.tensor([200]),
    )
    torch.testing.assert_close(padded.value, whole.value)


def test_added_signal_loss_is_weighted() -> None:
    estimates, references = signals()
    result = EmbeddingLoss(FrameSquares(), FS, signal_weight=0.5)(estimates, references)
    expected = result.parts["embedding"] - 0.5 * result.parts["si_sdr"]
    torch.testing.assert_close(result.value.detach(), expected)
    result.value.sum().backward()
    alone = estimates.detach().clone().requires_grad_()
    (-0.5 * si_sdr(alone.flip(1), references).mean(-1)).sum().backward()
    embedding_only = estimates.detach().clone().requires_grad_()
    EmbeddingLoss(FrameSquares(), FS)(embedding_only, references).value.sum().backward()
    torch.testing.assert_close(estimates.grad, alone.grad + embedding_only.grad)
