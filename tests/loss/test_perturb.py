"""What is added to what an encoder hears: the same to estimates and references."""

from __future__ import annotations

import pytest
import torch

from sepasr.encoder.base import AsrEncoder, FrameModel
from sepasr.encoder.config import EncoderConfig
from sepasr.encoder.level import LEVELS, RMS
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.loss import Moment
from sepasr.loss.perturb import Perturbation

FS, SAMPLES = 16000, 4000


class Samples(FrameModel):
    """Gives back what it hears, and remembers it."""

    shortest, equal_lengths = 1, False

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[torch.Tensor] = []
        self.lengths: list[list[int]] = []

    def frame_lengths(self, lengths):
        return lengths

    def forward(self, waveform, lengths):
        self.heard.append(waveform.detach())
        self.lengths.append(lengths.tolist())
        return waveform[..., None]


def encoder(level: str = "rms") -> AsrEncoder:
    conf = EncoderConfig("samples", "none", "none", "here", "", "last", "mse", level, FS)
    return AsrEncoder(conf, Samples())


def signals(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(batch, 2, SAMPLES, generator=generator)
    return references + 0.5 * torch.randn(batch, 2, SAMPLES, generator=generator), references


def heard(perturbation: Perturbation | None, level: str = "rms", seed: int = 1, lengths=None):
    """What the encoder heard of references and of estimates, (batch, speakers, samples)."""
    mine = encoder(level)
    loss = EmbeddingLoss(mine, FS, perturbation=perturbation)
    loss.begin(Moment(seed=seed))
    loss(*signals(), lengths)
    return [one.unflatten(0, (3, 2)) for one in mine.model.heard], mine.model.lengths


def test_a_validation_is_heard_as_it_is() -> None:
    mine = encoder()
    loss = EmbeddingLoss(mine, FS, perturbation=Perturbation(snr_db=6.0))
    loss.begin(Moment(seed=1, training=False))
    loss(*signals())
    plain, _ = heard(None)
    for with_, without in zip(mine.model.heard, plain, strict=True):
        assert torch.equal(with_.unflatten(0, (3, 2)), without)


@pytest.mark.parametrize("level", LEVELS)
def test_noise_is_the_same_for_all_of_a_mixture_and_as_strong_as_asked_for(level: str) -> None:
    plain, _ = heard(None, level)
    noisy, _ = heard(Perturbation(snr_db=6.0), level)
    noises = [b - a for a, b in zip(plain, noisy, strict=True)]
    first = noises[0][:, :1]
    for noise in noises:
        torch.testing.assert_close(noise, first.expand_as(noise), rtol=0, atol=1e-5)
    snr = 10 * torch.log10(plain[0].square().mean(-1) / noises[0].square().mean(-1))
    torch.testing.assert_close(snr, torch.full((3, 2), 6.0), rtol=0, atol=0.3)
    assert plain[0].square().mean(-1).sqrt().max() == pytest.approx(RMS[level], rel=1e-3)
    flat = first.flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(3)).abs().max() < 0.1  # another one for each mixture
    spectrum = torch.fft.rfft(flat).abs().square().unflatten(-1, (3, -1)).mean((0, -1))
    assert spectrum.max() / spectrum.min() < 1.2  # white


def test_beyond_the_length_of_a_mixture_there_is_no_noise() -> None:
    lengths = torch.tensor([SAMPLES, 3000, 2000])
    plain, _ = heard(None, lengths=lengths)
    noisy, _ = heard(Perturbation(snr_db=6.0), lengths=lengths)
    for before, after in zip(plain, noisy, strict=True):
        for length, added in zip(lengths.tolist(), after - before, strict=True):
            assert added[:, :length].ne(0).float().mean() > 0.99
            assert not added[:, length:].any()


def test_gain_is_one_factor_for_all_of_a_mixture_within_its_range() -> None:
    plain, _ = heard(None)
    gains = []
    for seed in range(20):
        changed, _ = heard(Perturbation(gain_db=5.0), seed=seed)
        ratios = torch.stack([b / a for a, b in zip(plain, changed, strict=True)], 1).flatten(1)
        torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))
        gains += (20 * ratios[:, 0].log10()).tolist()
    assert -5 <= min(gains) < -3 < 3 < max(gains) <= 5


def test_a_shift_delays_all_of_a_mixture_and_keeps_every_sample() -> None:
    lengths = torch.tensor([SAMPLES, SAMPLES - 100, SAMPLES])
    plain, _ = heard(None, lengths=lengths)
    shifts = set()
    for seed in range(20):
        shifted, counts = heard(Perturbation(shift=7), seed=seed, lengths=lengths)
        assert counts[0] == [SAMPLES + 7] * 2 + [SAMPLES - 93] * 2 + [SAMPLES + 7] * 2
        for mixture in range(3):
            start = int(shifted[0][mixture, 0].ne(0).float().argmax())
            shifts.add(start)
            for before, after in zip(plain, shifted, strict=True):
                expected = torch.zeros(2, SAMPLES + 7)
                expected[:, start : start + SAMPLES] = before[mixture]
                assert torch.equal(after[mixture], expected)
    assert shifts == set(range(8))


EVERYTHING = Perturbation(snr_db=10.0, gain_db=3.0, shift=5)


def test_equal_signals_stay_equal_and_others_are_compared_perturbed() -> None:
    estimates, references = signals()
    loss = EmbeddingLoss(encoder(), FS, perturbation=EVERYTHING)
    assert loss(references, references).value.tolist() == [0.0] * 3
    loss.begin(Moment(seed=1))
    value = loss(estimates, references).value
    of_references, of_estimates = heard(EVERYTHING)[0]
    expected = (of_estimates - of_references).square().mean((1, 2))
    torch.testing.assert_close(value, expected)


def test_a_seed_draws_the_same_again_and_another_one_something_else() -> None:
    once, again, other = (heard(EVERYTHING, seed=seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0], other[0])


def test_the_gradient_reaches_the_estimates_delayed_and_amplified() -> None:
    """Of the sum of what is heard at an RMS that is held: that of the level rule alone, times g."""
    estimates, references = signals()
    gradients = []
    for perturbation in (None, Perturbation(gain_db=3.0, shift=5)):
        leaf = estimates.clone().requires_grad_()
        loss = EmbeddingLoss(encoder(), FS, perturbation=perturbation)
        loss.begin(Moment(seed=1))
        loss(leaf, references).value.sum().backward()
        gradients.append(leaf.grad)
    ratio = gradients[1] / gradients[0]
    drawn = Perturbation(gain_db=3.0, shift=5).draw(3, SAMPLES, torch.Generator().manual_seed(1))
    expected = drawn.gains.square() * SAMPLES / (SAMPLES + 5)
    torch.testing.assert_close(ratio.flatten(1).median(1).values, expected, rtol=1e-4, atol=0)
