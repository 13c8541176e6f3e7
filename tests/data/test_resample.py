"""Resampling is torchaudio's, however it is computed."""

from __future__ import annotations

import pytest
import torch
import torchaudio

from sepasr.data import audio
from sepasr.data.audio import change_speed, resample, resampled_length

RATES = [(97, 100), (19, 20), (103, 100), (44100, 16000), (16000, 8000), (8000, 16000), (7, 7)]


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (999,), (2, 3, 4001)], ids=str)
def test_it_is_torchaudios(rates, shape):
    source, target = rates
    waveform = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours = resample(waveform, source, target)
    theirs = torchaudio.transforms.Resample(source, target)(waveform)
    assert ours.shape == (*shape[:-1], resampled_length(shape[-1], source, target))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(made, waveform, weights)[0] for made in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 44100), (97, 100), (999, 1000)], ids=str)
@pytest.mark.parametrize("shape", [(1,), (999,), (2, 3, 4001)], ids=str)
def test_without_kernels_for_a_whole_period_it_is_torchaudios_too(rates, shape, monkeypatch):
    waveform = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    # In float32 torchaudio's kernels themselves are off by 1e-4 where the period is long.
    exact = torchaudio.transforms.Resample(*rates, dtype=torch.float64)(waveform.double())
    monkeypatch.setattr(audio, "LARGEST_KERNELS", 0)
    ours = resample(waveform, *rates)
    torch.testing.assert_close(ours, exact.float(), rtol=0, atol=2e-6)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(made, waveform, weights)[0] for made in (ours, exact)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rates", [(44100 * 97, 16000 * 100), (15999, 16000)], ids=str)
def test_rates_without_a_common_period_take_no_more_memory(rates, monkeypatch):
    monkeypatch.setattr(audio, "_resampler", None)  # whose kernels would take gigabytes
    tone = torch.sin(0.1 * torch.arange(2 * 16000))
    played = resample(tone, *rates)
    assert resample(tone[:0], *rates).shape == (0,)
    ratio = rates[0] / rates[1]
    expected = torch.sin(0.1 * ratio * torch.arange(len(played)))
    assert len(played) == resampled_length(len(tone), *rates)
    torch.testing.assert_close(played[100:-100], expected[100:-100], rtol=0, atol=2e-3)


@pytest.mark.parametrize("rates", [(44100, 16000), (8000, 16000)], ids=str)
def test_it_stays_in_float32_and_can_be_trained_through(rates):
    audio._resampler.cache_clear()
    waveform = torch.randn(800, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = resample(waveform, *rates)
    with torch.autocast("cpu", torch.bfloat16):
        played = resample(waveform.requires_grad_(), *rates)
    assert torch.equal(played, expected)
    played.sum().backward()


def test_speed_of_44_khz_is_changed_at_the_rate_that_is_wanted():
    waveform = torch.randn(44100, generator=torch.Generator().manual_seed(0))
    played = change_speed(waveform, 97, 44100, 16000)
    assert torch.equal(played, change_speed(resample(waveform, 44100, 16000), 97))


@pytest.mark.parametrize("percent", [95, 97, 105])
def test_speed_moves_tempo_and_pitch_together(percent):
    fs, hz = 16000, 1000
    tone = torch.sin(2 * torch.pi * hz * torch.arange(2 * fs) / fs)
    played = change_speed(tone, percent)
    assert len(played) == pytest.approx(2 * fs * 100 / percent, abs=1)
    spectrum = torch.fft.rfft(played[:fs] * torch.hann_window(fs)).abs()
    assert int(spectrum.argmax()) == pytest.approx(hz * percent / 100, abs=1)
