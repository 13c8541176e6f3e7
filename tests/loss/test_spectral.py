"""The spectral loss against a spectrum made sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss
from sepasr.loss.spectral import WINDOWS_S, SpectralLoss

FS = 4000


def signals(speakers: int = 2, batch: int = 3, samples: int = 900) -> tuple:
    generator = torch.Generator().manual_seed(speakers)
    references = torch.randn(batch, speakers, samples, generator=generator)
    noise = torch.randn(batch, speakers, samples, generator=generator)
    return (references.roll(1, 1) + 0.5 * noise).requires_grad_(), references


def magnitudes(signal: np.ndarray, size: int) -> np.ndarray:
    """Of windows centred on samples 0, size / 4, ..., by a Fourier transform written out."""
    hop = size // 4
    padded = np.pad(signal, (size // 2, size))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size)
    starts = range(0, len(signal) + 1, hop)
    return np.stack([np.abs(waves @ (window * padded[t : t + size])) for t in starts])


def by_hand(estimate: np.ndarray, reference: np.ndarray) -> float:
    values = []
    pair = [x / np.sqrt(np.mean(x**2)) * 10 ** (-25 / 20) for x in (estimate, reference)]
    for seconds in WINDOWS_S:
        e, r = (magnitudes(x, round(seconds * FS)) for x in pair)
        values.append(np.abs(e - r).mean() / r.mean())
    return float(np.mean(values))


@pytest.mark.parametrize("speakers", [2, 3])
def test_it_is_the_relative_difference_under_the_permutation_of_si_sdr(speakers: int) -> None:
    estimates, references = signals(speakers)
    result = SpectralLoss(FS)(estimates, references)
    assert result.permutation.tolist() == SignalLoss()(estimates, references).permutation.tolist()
    for value, e, r in zip(result.value, estimates.detach().roll(-1, 1), references, strict=True):
        pairs = zip(e.double().numpy(), r.double().numpy(), strict=True)
        assert value.item() == pytest.approx(np.mean([by_hand(*pair) for pair in pairs]), rel=1e-4)


def test_it_hears_neither_scale_nor_sign_nor_what_is_padded() -> None:
    estimates, references = signals(batch=1)
    loss = SpectralLoss(FS)
    whole = loss(estimates, references).value
    torch.testing.assert_close(loss(-3 * estimates, 0.1 * references).value, whole)
    padding = 100 * torch.randn(1, 2, 333)
    longer = (torch.cat([x, sign * padding], -1) for x, sign in ((estimates, 1), (references, -1)))
    torch.testing.assert_close(loss(*longer, torch.tensor([900])).value, whole)


def test_it_is_zero_for_equal_ones_and_finite_for_silence() -> None:
    _, references = signals()
    assert SpectralLoss(FS)(references, references).value.abs().max() < 1e-6
    silence = torch.zeros(3, 2, 900, requires_grad=True)
    value = SpectralLoss(FS)(silence, references).value
    value.sum().backward()
    torch.testing.assert_close(value.detach(), torch.ones(3))
    assert silence.grad.isfinite().all()
    assert SpectralLoss(FS)(references, torch.zeros(3, 2, 900)).value.isfinite().all()


def test_descending_it_brings_magnitudes_nearer() -> None:
    estimates, references = signals()
    loss = SpectralLoss(FS)
    before = loss(estimates, references).value
    before.sum().backward()
    step = estimates.detach() - 0.05 * estimates.grad / estimates.grad.norm()
    assert (loss(step, references).value < before).all()


def test_added_signal_loss_is_weighted() -> None:
    estimates, references = signals()
    result = SpectralLoss(FS, signal_weight=0.5)(estimates, references)
    parts = result.parts
    torch.testing.assert_close(result.value.detach(), parts["spectral"] - 0.5 * parts["si_sdr"])
    result.value.sum().backward()
    alone, spectral = (estimates.detach().clone().requires_grad_() for _ in range(2))
    (-0.5 * si_sdr(alone.flip(1), references).mean(-1)).sum().backward()
    SpectralLoss(FS)(spectral, references).value.sum().backward()
    torch.testing.assert_close(estimates.grad, alone.grad + spectral.grad)
