"""What a loss refuses, where it would give a number that looks right."""

from __future__ import annotations

import pytest
import torch
from frame_squares import FrameSquares

from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.signal import SignalLoss
from sepasr.loss.spectral import SpectralLoss

SIGNALS = torch.randn(2, 2, 800, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([800, 600])


def losses():
    return [SignalLoss(), SpectralLoss(16000), EmbeddingLoss(FrameSquares(), 16000)]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ((SIGNALS[0], SIGNALS[0]), ValueError, r"\(2, 800\); \(batch, speakers, samples\) is"),
        ((SIGNALS.mT, SIGNALS.mT), ValueError, "800 speakers and 2 samples"),
        ((SIGNALS[..., :0], SIGNALS[..., :0]), ValueError, "2 speakers and 0 samples"),
        ((SIGNALS, SIGNALS[:1]), ValueError, "batch and samples differ"),
        ((SIGNALS, SIGNALS[..., :700]), ValueError, "batch and samples differ"),
        ((SIGNALS, SIGNALS[:, :1]), ValueError, "2 estimates for 1 references"),
        ((SIGNALS.numpy(), SIGNALS), TypeError, "estimates of ndarray"),
        ((SIGNALS, SIGNALS.to(torch.int16)), TypeError, "references of torch.int16"),
        ((SIGNALS, SIGNALS, LENGTHS / 800), TypeError, "not of shares"),
        ((SIGNALS, SIGNALS, LENGTHS.tolist()), TypeError, "lengths of list"),
        ((SIGNALS, SIGNALS, LENGTHS > 700), TypeError, "lengths of torch.bool"),
        ((SIGNALS, SIGNALS, LENGTHS[:1]), ValueError, r"\(1,\) for a batch of 2"),
        ((SIGNALS, SIGNALS, LENGTHS + 1), ValueError, r"\[801, 601\]: from 1 to the 800"),
        ((SIGNALS, SIGNALS, LENGTHS - 600), ValueError, r"\[200, 0\]: from 1"),
    ],
)
def test_what_would_be_broadcast_or_misread_is_refused(given, error, said):
    for loss in losses():
        with pytest.raises(error, match=said):
            loss(*given)


def test_what_fits_is_compared():
    for loss in losses():
        assert loss(SIGNALS, SIGNALS.flip(1), LENGTHS).permutation.tolist() == [[1, 0], [1, 0]]
