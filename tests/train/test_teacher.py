"""Targets that a teacher gives: which, from what, and that references play no part."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_loop import LR, assert_near, plain, seed_of
from tiny_training import TINY, Recorded, Tones, config, weights
from torch import Tensor
from torch.utils.data import DataLoader

from sepasr.data.batch import MixtureBatch, MixtureItem, collate
from sepasr.errors import UserError
from sepasr.loss.pit import best_permutation
from sepasr.loss.si_sdr import pairwise_si_sdr
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator
from sepasr.train.checkpoint import LAST
from sepasr.train.fit import fit
from sepasr.train.objective import LossConfig, build_teacher
from sepasr.train.schedule import OptimizerConfig
from sepasr.train.teacher import Teacher, remixed

DROPOUT = replace(TINY, dropout=0.1, attention_dropout=0.1)
KINDS = ("teacher", "ema", "remix")


class OtherReferences(Tones):
    """The same mixtures, with references that have nothing to do with them."""

    def __getitem__(self, index: int) -> MixtureItem:
        item = super().__getitem__(index)
        return MixtureItem(item.mixture, super().__getitem__(index + 1000).references)


def taught(out: Path, kind: str, decay: float = 0.5, dataset=None, **changes) -> Recorded:
    torch.manual_seed(0)
    separator = Separator(DROPOUT)
    settings = config(optimizer=OptimizerConfig(lr=LR), **changes)
    teacher = Teacher(separator, kind, decay)
    module = Recorded(separator, SignalLoss(), settings, teacher=teacher)
    valid = DataLoader(Tones(), batch_sampler=[[0], [1]], collate_fn=collate)
    fit(module, dataset or Tones(), collate, valid, out)
    return module


class ByHand:
    """What a batch is replaced by, with the teacher's weights as a recursion over state dicts."""

    def __init__(self, kind: str, decay: float) -> None:
        self.kind, self.decay = kind, decay
        self.teacher: Separator | None = None

    def __call__(self, student: Separator, number: int, batch: MixtureBatch) -> MixtureBatch:
        if self.teacher is None:
            self.teacher = deepcopy(student).eval()
        elif self.kind != "teacher":
            state = {
                name: self.decay * old + (1 - self.decay) * student.state_dict()[name]
                for name, old in self.teacher.state_dict().items()
            }
            self.teacher.load_state_dict(state)
        with torch.no_grad():
            targets = self.teacher(batch.mixture)
        if self.kind != "remix":
            return MixtureBatch(batch.mixture, targets)
        generator = torch.Generator().manual_seed(seed_of(number, 2))
        first, second, left = (torch.randperm(2, generator=generator) for _ in range(3))
        noise = batch.mixture - targets.sum(1)
        targets = torch.stack([targets[first, 0], targets[second, 1]], 1)
        return MixtureBatch(targets[:, 0] + targets[:, 1] + noise[left], targets)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_that_of_a_loop_with_these_targets(tmp_path: Path, kind: str) -> None:
    taught(tmp_path, kind, steps=5)
    assert_near(weights(tmp_path), plain(5, DROPOUT, lesson=ByHand(kind, 0.5)))


@pytest.mark.parametrize("kind", KINDS)
def test_true_references_change_the_log_alone(tmp_path: Path, kind: str) -> None:
    module = taught(tmp_path / "a", kind, steps=3)
    other = taught(tmp_path / "b", kind, steps=3, dataset=OtherReferences())
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    logged = [m.trainer.callback_metrics for m in (module, other)]
    assert logged[0]["train/loss"] == logged[1]["train/loss"]
    assert logged[0]["train/teacher_si_sdr"] != logged[1]["train/teacher_si_sdr"]
    assert ("train/true_si_sdr" in logged[0]) == (kind != "remix")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_an_interruption_changes_nothing(tmp_path: Path, kind: str, accumulation: int) -> None:
    taught(tmp_path / "whole", kind, steps=5, accumulation=accumulation)
    for steps in (3, 5):
        taught(tmp_path / "parts", kind, steps=steps, accumulation=accumulation)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert bool(torch.load(tmp_path / "parts" / LAST)["teacher"]) == (kind != "teacher")


def test_the_teacher_follows_once_for_each_step(tmp_path: Path) -> None:
    """Not for each batch of a step; and of decay 1 it stays."""
    module = taught(tmp_path / "a", "ema", steps=1, accumulation=2)
    torch.manual_seed(0)
    start = Separator(DROPOUT).state_dict()
    now, teacher = weights(tmp_path / "a"), module.teacher.separator.state_dict()
    for name, value in teacher.items():
        torch.testing.assert_close(value, (start[name] + now[name]) / 2)
    still = taught(tmp_path / "b", "ema", decay=1.0, steps=2).teacher.separator.state_dict()
    assert all(torch.equal(still[name], value) for name, value in start.items())


def test_remixed_sources_are_those_of_the_batch_and_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    estimates = torch.randn(5, 3, 50, generator=generator)
    noise = torch.randn(5, 50, generator=generator)
    mixture, targets = remixed(estimates.sum(1) + noise, estimates, seed=1)
    orders = []
    for speaker in range(3):
        distances = torch.cdist(targets[:, speaker], estimates[:, speaker])
        orders.append(distances.argmin(1).tolist())
        assert distances.min(1).values.max() == 0
    left = mixture - targets.sum(1)
    orders.append(torch.cdist(left, noise).argmin(1).tolist())
    torch.testing.assert_close(left, noise[orders[-1]], rtol=0, atol=1e-5)
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    again = remixed(estimates.sum(1) + noise, estimates, seed=1)
    assert torch.equal(again[0], mixture)
    assert not torch.equal(remixed(estimates.sum(1) + noise, estimates, seed=2)[0], mixture)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_student_hears_the_noise(kind: str) -> None:
    torch.manual_seed(0)
    separator = Separator(TINY)
    mixture, references = torch.randn(3, 400), torch.randn(3, 2, 400)
    mixture[2] = 0
    plain = Teacher(separator, kind, 0.5).lesson(mixture, references, seed=1)
    noisy = Teacher(separator, kind, 0.5, 20.0).lesson(mixture, references, seed=1)
    assert torch.equal(noisy.targets, plain.targets)
    noise = noisy.mixture - plain.mixture
    levels = plain.mixture[:2].square().mean(-1) / noise[:2].square().mean(-1)
    assert (10 * levels.log10()).tolist() == pytest.approx([20, 20], abs=1)
    if kind != "remix":
        assert torch.equal(noise[2], torch.zeros(400))
    other = Teacher(separator, kind, 0.5, 20.0).lesson(mixture, references, seed=2)
    assert not torch.equal(other.mixture - plain.mixture, noise)


def test_padding_takes_no_part_in_the_level() -> None:
    torch.manual_seed(0)
    mixture, references = torch.randn(2, 8000), torch.randn(2, 2, 8000)
    mixture[1, 2000:] = 0
    teacher = Teacher(Separator(TINY), "teacher", 1.0, 10.0)
    lesson = teacher.lesson(mixture, references, 1, torch.tensor([8000, 2000]))
    noise = (lesson.mixture - mixture)[:, :2000]
    levels = mixture[:, :2000].square().mean(-1) / noise.square().mean(-1)
    assert (10 * levels.log10()).tolist() == pytest.approx([10, 10], abs=0.3)


def test_a_training_tells_teacher_and_log_what_is_padding(tmp_path: Path) -> None:
    told: list[object] = []

    class Padded(Tones):
        def __getitem__(self, index: int) -> MixtureItem:
            return replace(super().__getitem__(index), length=500)

    class Listening(SignalLoss):
        def __call__(self, estimates, references, lengths=None):
            told.append(None if lengths is None else lengths.tolist())
            return super().__call__(estimates, references, lengths)

    separator = Separator(TINY)
    teacher = Teacher(separator, "teacher", 1.0)
    module = Recorded(separator, Listening(), config(steps=1), teacher=teacher)
    teacher.signal_loss = module.signal_loss = Listening()
    valid = DataLoader(Tones(), batch_sampler=[[0]], collate_fn=collate)
    fit(module, Padded(), collate, valid, tmp_path)
    # The teacher's own, the loss, and how far from the true references; then a validation.
    assert told[:3] == [[500, 500]] * 3


def test_the_log_says_how_good_the_teacher_is() -> None:
    torch.manual_seed(0)
    separator = Separator(DROPOUT)
    references = torch.randn(3, 2, 800)
    lesson = Teacher(separator, "teacher", 0.9).lesson(references.sum(1), references, 0)
    estimates: Tensor = separator.eval()(references.sum(1))
    assert torch.equal(lesson.targets, estimates)
    pairwise = pairwise_si_sdr(estimates, references)
    order = best_permutation(-pairwise)
    expected = [(p[0, o[0]] + p[1, o[1]]) / 2 for p, o in zip(pairwise, order, strict=True)]
    torch.testing.assert_close(lesson.si_sdr, torch.stack(expected))


def test_nothing_to_remix() -> None:
    separator = Separator(TINY)
    assert build_teacher(LossConfig(), separator, 1) is None
    with pytest.raises(UserError, match="batch is 1: nothing to remix"):
        build_teacher(LossConfig(references="remix"), separator, 1)
