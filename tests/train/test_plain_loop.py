"""Training is a plain loop as long as none of its settings is on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_loop import FS, LR, Frames, plain
from tiny_training import TINY, Tones, train, weights

from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.loss import SeparationLoss
from sepasr.loss.perturb import Perturbation
from sepasr.loss.signal import SignalLoss
from sepasr.loss.spectral import SpectralLoss
from sepasr.train.schedule import OptimizerConfig

DROPOUT = replace(TINY, dropout=0.1, attention_dropout=0.1)
ALL = Perturbation(10.0, 3.0, 20)
CONSTANT = OptimizerConfig(lr=LR)


def losses() -> dict[str, SeparationLoss]:
    frames = [Frames("a"), Frames("b")]
    return {
        "signal": SignalLoss(),
        "guided": EmbeddingLoss(frames[0], FS),
        "embedding_pit": EmbeddingLoss(frames[0], FS, guided=False),
        "both": EmbeddingLoss(frames[0], FS, signal_weight=0.1),
        "spectral": SpectralLoss(FS),
        "perturbed": EmbeddingLoss(frames[0], FS, perturbation=ALL, compare_every=10),
        "turns": EmbeddingLoss(frames, FS, turns=True),
    }


@pytest.mark.parametrize("kind", losses())
def test_steps_are_those_of_a_plain_loop(tmp_path: Path, kind: str) -> None:
    train(tmp_path, Tones(), DROPOUT, loss=losses()[kind], steps=5, optimizer=CONSTANT)
    expected, trained = plain(5, DROPOUT, loss=losses()[kind]), weights(tmp_path)
    assert expected.keys() == trained.keys()
    assert all(torch.equal(expected[name], trained[name]) for name in expected)


@pytest.mark.parametrize("kind", ["perturbed", "turns"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_what_a_loss_draws_is_the_same_after_an_interruption(
    tmp_path: Path, kind: str, accumulation: int
) -> None:
    settings = {"accumulation": accumulation, "optimizer": CONSTANT}
    train(tmp_path / "whole", Tones(), DROPOUT, loss=losses()[kind], steps=5, **settings)
    for steps in (3, 5):
        train(tmp_path / "parts", Tones(), DROPOUT, loss=losses()[kind], steps=steps, **settings)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_all_batches_of_a_step_are_heard_by_one_encoder(tmp_path: Path) -> None:
    loss = EmbeddingLoss([Frames("a"), Frames("b")], FS, turns=True)
    train(tmp_path, Tones(), loss=loss, steps=3, accumulation=2, optimizer=CONSTANT)
    calls = [listener.encoder.calls for listener in loss.listeners]
    assert calls == [2 * 2 * 2, 1 * 2 * 2]  # steps, batches, estimates and references
