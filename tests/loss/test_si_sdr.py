"""SI-SDR against the library, and what the library does not promise."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from sepasr.lengths import within
from sepasr.loss.si_sdr import pairwise_si_sdr, si_sdr, zero_mean


def signals(snr_db: float, shape=(3, 2, 4000)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    return reference + 10 ** (-snr_db / 20) * noise, reference


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 20.0, 40.0])
def test_equals_torchmetrics(snr_db: float) -> None:
    estimate, reference = signals(snr_db)
    expected = scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True)
    torch.testing.assert_close(si_sdr(estimate, reference), expected, atol=2e-3, rtol=0)


def test_scale_and_offset_of_both_signals_are_free() -> None:
    estimate, reference = signals(10.0)
    expected = si_sdr(estimate, reference)
    torch.testing.assert_close(si_sdr(-3 * estimate + 2, reference / 100 - 1), expected)


def test_orthogonal_noise_gives_the_ratio_of_energies() -> None:
    reference = torch.tensor([1.0, -1.0, 1.0, -1.0])
    noise = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert si_sdr(reference + 0.1 * noise, reference).item() == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize("silent", ["estimate", "reference", "both"])
def test_silence_gives_minus_80_db_and_a_finite_gradient(silent: str) -> None:
    estimate, reference = signals(10.0)
    estimate = estimate * (silent == "reference")
    reference = reference * (silent == "estimate")
    estimate.requires_grad_()
    value = si_sdr(estimate, reference)
    torch.testing.assert_close(value, torch.full_like(value, -80.0), atol=1e-3, rtol=0)
    value.sum().backward()
    assert torch.isfinite(estimate.grad).all()


def test_a_perfect_estimate_is_finite() -> None:
    _, reference = signals(0.0)
    estimate = reference.clone().requires_grad_()
    value = si_sdr(estimate, reference)
    assert (value > 79).all()
    value.sum().backward()
    assert torch.isfinite(estimate.grad).all()


def test_float32_inside_autocast() -> None:
    estimate, reference = signals(30.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = si_sdr(estimate, reference)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, si_sdr(estimate, reference))


def test_only_valid_samples_count() -> None:
    estimate, reference = signals(5.0)
    lengths = torch.tensor([4000, 3000, 10])
    pairwise = pairwise_si_sdr(estimate, reference, lengths)
    for item, length in enumerate(lengths):
        short = pairwise_si_sdr(
            estimate[item : item + 1, :, :length], reference[item : item + 1, :, :length]
        )
        torch.testing.assert_close(pairwise[item], short[0], atol=1e-4, rtol=1e-4)


def test_pairwise_has_references_in_rows_and_estimates_in_columns() -> None:
    estimate, reference = signals(5.0)
    pairwise = pairwise_si_sdr(estimate, reference)
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(
                pairwise[:, i, j], si_sdr(estimate[:, j], reference[:, i]), atol=1e-4, rtol=1e-4
            )


def test_gradient_is_that_of_autograd_in_double() -> None:
    estimate, reference = (s.double()[0, :, :20] for s in signals(0.0))
    estimate.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: si_sdr(e, reference), estimate)


def test_zero_mean_ignores_what_is_padded() -> None:
    mask = within(torch.tensor([2]), 4)
    assert zero_mean(torch.tensor([[1.0, 3.0, 9.0, 9.0]]), mask).tolist() == [[-1, 1, 0, 0]]
