"""A gradient that is not finite ends a training before it spoils a weight."""

from __future__ import annotations

from pathlib import Path

import lightning
import pytest
import torch
from tiny_training import TINY, Tones, config, train, weights

from sepasr.data.batch import collate
from sepasr.errors import UserError
from sepasr.loss.loss import Loss
from sepasr.loss.pit import best_permutation
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator
from sepasr.train.checkpoint import steps_done
from sepasr.train.module import TrainingModule
from sepasr.train.schedule import OptimizerConfig
from sepasr.train.separation import SeparationModule
from sepasr.train.teacher import TEACHER, Teacher


class Spoilt(SignalLoss):
    """Has a finite value and, from some call on, a gradient that is not."""

    calls = 0

    def __call__(self, estimates, references, lengths=None) -> Loss:
        loss = super().__call__(estimates, references, lengths)
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls == 6:
                loss.value.register_hook(lambda gradient: gradient * torch.nan)
        return loss


@pytest.mark.parametrize(("norm", "fused"), [(5.0, True), (0.0, True), (5.0, False)])
def test_a_gradient_of_nan_is_refused_and_what_was_saved_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norm: float, fused: bool
) -> None:
    monkeypatch.setattr(TrainingModule, "_may_fuse", lambda _: fused)  # not on every device
    settings = {"optimizer": OptimizerConfig(lr=1e-3, gradient_norm=norm)}
    with pytest.raises(
        UserError, match=r"the gradient of step 6 is not finite \(run it again"
    ) as told:
        train(tmp_path / "a", Tones(), loss=Spoilt(), **settings)
    assert str(told.value).startswith(str(tmp_path / "a"))
    assert not (tmp_path / "a" / "final").exists()
    assert steps_done(tmp_path / "a") == 5
    train(tmp_path / "a", Tones(), loss=SignalLoss(), **settings)
    train(tmp_path / "b", Tones(), loss=SignalLoss(), **settings)
    whole = weights(tmp_path / "b")
    assert all(tensor.equal(whole[key]) for key, tensor in weights(tmp_path / "a").items())


@pytest.mark.parametrize(("training", "step"), [(True, 1), (False, 4)])
def test_an_estimate_of_nan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: bool, step: int
) -> None:
    plain = Separator.forward

    def spoilt(separator: Separator, mixture: torch.Tensor, *rest: int) -> torch.Tensor:
        factor = torch.nan if separator.training == training else 1.0
        return factor * plain(separator, mixture, *rest)

    monkeypatch.setattr(Separator, "forward", spoilt)
    with pytest.raises(UserError, match=rf"an estimate of step {step} is not finite"):
        train(tmp_path / "a", Tones(), loss=SignalLoss(), optimizer=OptimizerConfig(lr=1e-3))


class Infinite(SignalLoss):
    """As an encoder's distance may be, of estimates that are finite."""

    def __call__(self, estimates, references, lengths=None) -> Loss:
        best_permutation(torch.full((1, 2, 2), torch.inf))
        raise AssertionError


def test_float16_is_bfloat16_on_a_cpu_and_refused_likewise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the gradient of step 6 is not finite"):
        train(tmp_path, Tones(), loss=Spoilt(), precision="16-mixed")


def test_a_distance_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a distance of step 1 is not finite \(run it again"):
        train(tmp_path / "a", Tones(), loss=Infinite())


def test_an_estimate_of_a_teacher_of_nan_is_refused() -> None:
    separator = Separator(TINY)
    teacher = Teacher(separator, TEACHER, 1.0)
    for weight in teacher.separator.parameters():
        weight.fill_(torch.nan)
    module = SeparationModule(separator, SignalLoss(), config(), teacher=teacher)
    module.trainer = lightning.Trainer(accelerator="cpu", logger=False, barebones=True)
    with pytest.raises(UserError, match="an estimate of the teacher of step"):
        module.training_step(collate([Tones()[0]]), 0)
