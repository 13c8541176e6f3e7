"""Several encoders in one loss, at once or in turn, and how often permutations differ."""

from __future__ import annotations

import pytest
import torch

from sepasr.errors import UserError
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.loss import Moment
from sepasr.loss.pit import assigned

FS, HOP = 16000, 10


class Powers(torch.nn.Module):
    """Frames of ten samples, each to some power."""

    fs, distance = FS, "mse"

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power, self.name = power, f"power{power}"
        self.calls = 0

    def forward(self, waveform, lengths):
        self.calls += 1
        return waveform.unfold(-1, HOP, HOP) ** self.power, lengths // HOP


def signals(batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(batch, 2, 200, generator=generator)
    noise = torch.randn(batch, 2, 200, generator=generator)
    return (references.flip(1) + 0.5 * noise).requires_grad_(), references


def scaled(*powers: int, scales: tuple[float, ...], **settings) -> EmbeddingLoss:
    loss = EmbeddingLoss([Powers(power) for power in powers], FS, **settings)
    for listener, scale in zip(loss.listeners, scales, strict=True):
        listener.scale = scale
    return loss


@pytest.mark.parametrize("guided", [True, False])
def test_distances_are_divided_by_their_scales_and_added(guided: bool) -> None:
    estimates, references = signals()
    loss = scaled(2, 3, scales=(4.0, 0.5), guided=guided)
    result = loss(estimates, references)
    e, r = estimates.detach()[:, None], references[:, :, None]
    pairwise = [((e**p - r**p) ** 2).mean(-1) for p in (2, 3)]
    total = pairwise[0] / 4 + pairwise[1] / 0.5
    torch.testing.assert_close(result.value, assigned(total, result.permutation).mean(-1))
    if guided:
        assert result.permutation.tolist() == [[1, 0]] * 4
    else:
        best = [min(t[0, 0] + t[1, 1], t[0, 1] + t[1, 0]) / 2 for t in total]
        torch.testing.assert_close(result.value, torch.stack(best))
    for name, scale, pairs in (("power2", 4.0, pairwise[0]), ("power3", 0.5, pairwise[1])):
        expected = assigned(pairs, result.permutation).mean(-1) / scale
        torch.testing.assert_close(result.parts[f"embedding_{name}"], expected)


def test_measure_is_each_encoder_by_itself() -> None:
    estimates, references = signals()
    measured = EmbeddingLoss([Powers(2), Powers(3)], FS).measure(estimates, references)
    for value, power in zip(measured, (2, 3), strict=True):
        difference = estimates.flip(1) ** power - references**power
        torch.testing.assert_close(value, difference.square().mean())
    assert not measured.requires_grad


def test_padding_is_not_measured() -> None:
    estimates, references = signals()
    whole, loss = estimates.shape[-1], EmbeddingLoss([Powers(2), Powers(3)], FS)
    lengths = torch.full((len(estimates),), whole // 2)
    cut = loss.measure(estimates[..., : whole // 2], references[..., : whole // 2])
    torch.testing.assert_close(loss.measure(estimates, references, lengths), cut)
    assert not torch.allclose(loss.measure(estimates, references), cut)


def test_in_turn_there_is_one_encoder_at_each_step() -> None:
    estimates, references = signals()
    loss = scaled(2, 3, scales=(4.0, 0.5), turns=True)
    alone = [scaled(2, scales=(4.0,)), scaled(3, scales=(0.5,))]
    for step in (0, 1, 2, 3, 3):
        loss.begin(Moment(step))
        value = loss(estimates, references).value
        assert torch.equal(value, alone[step % 2](estimates, references).value)
    assert [listener.encoder.calls for listener in loss.listeners] == [4, 6]
    loss.begin(Moment(3, training=False))  # a validation is of all
    both = scaled(2, 3, scales=(4.0, 0.5))
    assert torch.equal(loss(estimates, references).value, both(estimates, references).value)


def test_two_encoders_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="two encoders of one name: power2, power2"):
        EmbeddingLoss([Powers(2), Powers(2)], FS)


def pairs_of_two_minds() -> tuple[torch.Tensor, torch.Tensor]:
    """In the first mixture squares choose another permutation than SI-SDR, in the second not."""
    references = torch.tensor([[1.0, -1.0] * 10, [2.0, 2.0, -2.0, -2.0] * 5])
    estimates = torch.stack([references[1] / 2, references[0] * 2])
    return torch.stack([estimates, references]), torch.stack([references, references])


def test_permutations_are_compared_now_and_then_and_change_nothing() -> None:
    pair = pairs_of_two_minds()
    loss = EmbeddingLoss(Powers(2), FS, compare_every=10)
    silent = EmbeddingLoss(Powers(2), FS)
    for step in range(25):
        loss.begin(Moment(step))
        result = loss(*pair)
        assert torch.equal(result.value, silent(*pair).value)
        if step in (9, 19):
            assert result.parts["permutations_differ"].tolist() == [1.0, 0.0]
        else:
            assert result.parts["permutations_differ"].isnan().tolist() == [True, True]
    assert "permutations_differ" not in silent(*pair).parts


def test_plain_pit_knows_both_permutations_at_every_step() -> None:
    result = EmbeddingLoss(Powers(2), FS, guided=False)(*pairs_of_two_minds())
    assert result.permutation.tolist() == [[0, 1], [0, 1]]
    assert result.parts["permutations_differ"].tolist() == [1.0, 0.0]
