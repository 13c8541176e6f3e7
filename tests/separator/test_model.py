"""The separator from waveform to waveforms, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sepasr.errors import UserError
from sepasr.separator.model import Provenance, Separator, SeparatorConfig, match_level

TINY = SeparatorConfig(channels=16, width=8, hidden=8, heads=2, layers=1, depthwise_kernel=3)


def tiny(**changes) -> Separator:
    torch.manual_seed(0)
    return Separator(SeparatorConfig(**{**TINY.__dict__, **changes})).eval()


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (32, 16), (256, 64), (10, 4)])
@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 1003])
def test_any_length_in_same_length_out(kernel: int, stride: int, samples: int) -> None:
    separator = tiny(kernel=kernel, stride=stride, num_speakers=3)
    assert separator(torch.randn(2, samples)).shape == (2, 3, samples)
    assert separator(torch.randn(samples)).shape == (3, samples)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (256, 64), (10, 4)])
def test_every_sample_is_seen_and_reached(kernel: int, stride: int) -> None:
    """Also the first and last samples carry gradient from the output to the input."""
    separator = tiny(kernel=kernel, stride=stride)
    mixture = torch.randn(1, 777, requires_grad=True)
    for end in (0, -1):
        (gradient,) = torch.autograd.grad(separator(mixture)[0, :, end].sum(), mixture)
        assert gradient[0, end] != 0


def test_level_is_the_least_squares_fit_of_the_sum() -> None:
    mixture, estimates = torch.randn(3, 500), torch.randn(3, 2, 500)
    estimates = estimates + mixture[:, None]
    matched = match_level(estimates, mixture)
    best = (matched.sum(1) - mixture).square().sum(-1)
    for factor in (0.99, 1.01):
        assert ((factor * matched.sum(1) - mixture).square().sum(-1) > best).all()
    torch.testing.assert_close(match_level(7 * estimates, mixture), matched)
    ratio = matched / estimates
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))


def test_opposite_sign_is_turned_back() -> None:
    sources = torch.randn(1, 2, 100)
    torch.testing.assert_close(match_level(-3 * sources, sources.sum(1)), sources)


def test_what_is_no_mixture_is_refused() -> None:
    separator = tiny()
    interleaved = torch.randn(500, 2)  # as soundfile reads two channels
    wrongs = (interleaved, interleaved[:, :1], interleaved.numpy())
    for wrong, said in zip(wrongs, (r"\(500, 2\), and", r"\(500, 1\)", "ndarray"), strict=True):
        with pytest.raises(UserError, match=said):
            separator(wrong)
    for rate in (0, -8000, 16, 8000.5, float("nan")):
        with pytest.raises(UserError, match="a sampling rate of"):
            separator(torch.randn(400), rate)
    assert torch.equal(separator(interleaved[:, 0], 8000.0), separator(interleaved[:, 0], 8000))
    assert separator(interleaved[:99]).shape == (99, 2, 2)


def test_silent_estimates_are_left_alone() -> None:
    estimates = torch.zeros(1, 2, 100, requires_grad=True)
    matched = match_level(estimates, torch.randn(1, 100))
    assert torch.equal(matched, estimates)
    matched.sum().backward()
    assert torch.isfinite(estimates.grad).all()
    silence = torch.zeros(1, 100)
    assert torch.isfinite(tiny()(silence)).all()


def test_output_follows_the_level_of_the_mixture() -> None:
    separator, mixture = tiny(), torch.randn(1, 4000) / 10
    for factor in (1e-4, 10):
        scaled = separator(mixture * factor) / factor
        torch.testing.assert_close(scaled, separator(mixture), atol=1e-4, rtol=0)


def test_other_rates_are_resampled_both_ways() -> None:
    separator = tiny()
    assert separator(torch.randn(44100), 44100).shape == (2, 44100)
    assert separator(torch.randn(3, 801), 8000).shape == (3, 2, 801)
    mixture = torch.randn(1, 100)
    assert torch.equal(separator(mixture, 16000), separator(mixture))


@pytest.mark.parametrize("sample_rate", [None, 8000])
def test_any_floating_point_type_is_heard_in_that_of_the_weights(sample_rate: int | None) -> None:
    separator, mixture = tiny(), torch.randn(2, 801).half()
    expected = separator(mixture.float(), sample_rate)
    assert expected.dtype == torch.float32
    for given in (mixture, mixture.double(), mixture[0].double()):
        estimates = separator(given, sample_rate)
        assert estimates.dtype == torch.float32
        torch.testing.assert_close(estimates, expected if given.ndim == 2 else expected[0])
    with pytest.raises(UserError, match=r"a mixture of torch\.int16 .*full scale 1\.0"):
        separator((1000 * mixture).short(), sample_rate)
    with pytest.raises(UserError, match=r"a mixture of \(2, 1, 801\), .* one channel"):
        separator(mixture[:, None], sample_rate)


def test_float64_weights_give_float64() -> None:
    shape = SeparatorConfig(
        channels=16, kernel=16, stride=8, width=16, hidden=16, heads=2, layers=1
    )
    separator = Separator(shape).eval().double()
    mixture = torch.randn(1, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        streams, nearly = separator(mixture), separator(mixture * (1 + 1e-12))
    assert streams.dtype == torch.float64
    assert 0 < (nearly - streams).abs().max() < 1e-10 * streams.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_hears_quiet_mixtures_as_loud_ones(dtype: torch.dtype) -> None:
    """The squares of such samples are zero in float16."""
    separator, mixture = tiny().to(dtype), torch.randn(2, 801) / 10
    with torch.inference_mode():
        loud, quiet = separator(mixture), separator(mixture * 2**-14)
    assert quiet.dtype == torch.float32
    torch.testing.assert_close(quiet * 2**14, loud, rtol=1e-4, atol=1e-6)


def test_round_trip_through_files(tmp_path: Path) -> None:
    separator = tiny()
    separator.provenance = Provenance("anechoic", ({"seed": 3, "steps": 10},))
    separator.save_pretrained(tmp_path)
    loaded = Separator.from_pretrained(tmp_path)
    mixture = torch.randn(1, 500)
    assert torch.equal(loaded(mixture), separator(mixture))
    assert loaded.config == separator.config
    assert loaded.provenance == separator.provenance
    assert not loaded.training


def test_the_package_offers_it() -> None:
    import sepasr

    assert sepasr.Separator is Separator


def test_float16_storage_loads_as_float32(tmp_path: Path) -> None:
    separator = tiny()
    separator.save_pretrained(tmp_path, torch.float16)
    loaded = Separator.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    mixture = torch.randn(1, 500)
    torch.testing.assert_close(loaded(mixture), separator(mixture), atol=0.02, rtol=0.02)
    assert not torch.equal(loaded(mixture), separator(mixture))


def test_what_is_not_a_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        Separator.from_pretrained(tmp_path)
    tiny().save_pretrained(tmp_path)
    tiny(layers=2).save_pretrained(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes(
        (tmp_path / "other" / "model.safetensors").read_bytes()
    )
    with pytest.raises(UserError, match=r"another network.*layers\.1"):
        Separator.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a safetensors file"):
        Separator.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        Separator.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"config": {"depth": 3}}))
    with pytest.raises(UserError, match="does not describe a separator"):
        Separator.from_pretrained(tmp_path)
