"""Settings of the loss: which go together, what they come to, and what is another training."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from plain_loop import FS, Frames, batch_of
from tiny_training import TINY, Tones

from sepasr.config import load_config
from sepasr.data.batch import collate
from sepasr.errors import UserError
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.perturb import Perturbation
from sepasr.loss.signal import SignalLoss
from sepasr.loss.spectral import SpectralLoss
from sepasr.score.result import RecogniserInfo, SystemInfo, relation
from sepasr.separator.model import Separator
from sepasr.train.objective import LossConfig, build_loss, weigh_alike
from sepasr.train.recipe import TrainConfig
from sepasr.train.workdir import claim

A, B = Frames("a"), Frames("b")


def test_each_kind_is_built_with_its_settings() -> None:
    assert isinstance(build_loss(LossConfig(), [], FS), SignalLoss)
    spectral = build_loss(LossConfig("spectral", signal_weight=0.1), [], FS)
    assert isinstance(spectral, SpectralLoss)
    assert spectral.signal_weight == 0.1
    config = LossConfig(
        "embedding_pit", turns=True, perturb_db=10.0, perturb_shift=80, compare_every=20
    )
    loss = build_loss(config, [A, B], FS)
    assert isinstance(loss, EmbeddingLoss)
    assert (loss.guided, loss.turns, loss.compare_every) == (False, True, 20)
    assert loss.perturbation == Perturbation(10.0, 0.0, 80)
    assert isinstance(build_loss(LossConfig("graph_pit"), [], FS), SignalLoss)
    assert build_loss(LossConfig("graph_pit"), [A], FS).guided
    plain = build_loss(LossConfig("guided"), [A], FS)
    assert (plain.guided, plain.turns, plain.perturbation, plain.compare_every) == (
        True,
        False,
        None,
        0,
    )


@pytest.mark.parametrize(
    ("settings", "encoders", "message"),
    [
        ({}, [A], "the signal loss uses no encoder, but 'a' is given"),
        ({"kind": "spectral"}, [A], "the spectral loss uses no encoder"),
        ({"perturb_db": 10.0}, [], r"the signal loss has no use for loss\.perturb_db"),
        ({"kind": "spectral", "turns": True}, [], r"no use for loss\.turns"),
        ({"kind": "guided"}, [], "loss 'guided' needs an encoder"),
        ({"kind": "guided", "turns": True}, [A], r"loss\.turns is for several encoders"),
        ({"kind": "guided", "references": "ema"}, [A, B], r"give one --encoder, or set"),
        ({"signal_weight": 0.1}, [], r"the signal loss has no use for loss\.signal_weight"),
        ({"kind": "graph_pit", "signal_weight": 0.1}, [], r"no use for loss\.signal_weight"),
        ({"kind": "guided", "signal_weight": -1.0}, [A], r"loss\.signal_weight is -1"),
        ({"kind": "loud"}, [], r"unknown loss 'loud'.*signal, spectral, guided"),
        ({"references": "none"}, [], r"unknown references 'none'.*true, teacher, ema, remix"),
        ({"kind": "graph_pit", "turns": True}, [], r"no use for loss\.turns"),
        ({"ema_decay": 1.5}, [], r"loss\.ema_decay is 1\.5"),
        ({"perturb_shift": -1}, [], r"loss\.perturb_shift is -1"),
        ({"compare_every": 15}, [], "a multiple of 10"),
        ({"kind": "spectral", "threshold_db": -30.0}, [], "spectral loss is not in dB"),
        ({"kind": "guided", "threshold_db": -30.0}, [A], "guided loss is not in dB"),
        ({"keep_mb": 1}, [], r"no use for loss\.keep_mb"),
        ({"kind": "guided", "student_db": 9.0}, [A], "the student of a teacher"),
        ({"kind": "guided", "keep_mb": 1, "perturb_db": 9.0}, [A], "others at every step"),
        ({"kind": "guided", "keep_mb": 1, "references": "ema"}, [A], "others at every step"),
    ],
)
def test_what_does_not_go_together(settings: dict, encoders: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_loss(LossConfig(**settings), encoders, FS)


@pytest.mark.parametrize("written", ["true", "'true'"])
def test_true_may_be_written_as_yaml_has_it(written: str) -> None:
    assert load_config(LossConfig, [], [f"references={written}"]) == LossConfig()


def test_settings_are_those_that_are_on() -> None:
    assert LossConfig("guided").settings() == {}
    logged = {"compare_every": 10, "keep_mb": 5}
    assert LossConfig("guided", signal_weight=0.1, turns=True, **logged).settings() == {
        "signal_weight": 0.1,
        "turns": True,
    }
    assert LossConfig(references="teacher").settings() == {"references": "teacher"}
    # A default that has an effect is said as well.
    assert LossConfig(references="ema").settings() == {"references": "ema", "ema_decay": 0.99}


def test_several_encoders_weigh_alike_at_the_start() -> None:
    torch.manual_seed(0)
    separator = Separator(replace(TINY, dropout=0.5))
    B.weight *= 100
    loss = build_loss(LossConfig("guided"), [A, B], FS)
    scales = weigh_alike(loss, separator, Tones(), collate, batch=3)
    assert separator.training
    separator.eval()
    assert list(scales) == ["a", "b"]
    values = {name: [] for name in scales}
    for number in range(8):  # of two items each
        batch = batch_of(number)
        with torch.no_grad():
            result = loss(separator(batch.mixture), batch.references)
        for name in scales:
            values[name].append(result.parts[f"embedding_{name}"].mean())
    for name in scales:
        assert torch.stack(values[name]).mean().item() == pytest.approx(1.0, rel=1e-4)
    assert scales["b"] > 100 * scales["a"]


def test_one_encoder_is_left_as_it_is() -> None:
    loss = build_loss(LossConfig("guided"), [A], FS)
    assert weigh_alike(loss, Separator(TINY), Tones(), collate, 2) == {}
    assert loss.listeners[0].scale == 1.0
    assert weigh_alike(SignalLoss(), Separator(TINY), Tones(), collate, 2) == {}


def test_a_system_of_several_encoders_is_seen_or_kin_by_any_of_them() -> None:
    system = SystemInfo("ae", "ae", "a+b", "wav2vec2+whisper", "w1+w2")
    found = {
        (family, weights): relation(system, RecogniserInfo("r", family, weights))
        for family, weights in (("whisper", "w2"), ("wav2vec2", "w3"), ("hmm", "w1+w2"))
    }
    assert list(found.values()) == ["seen", "kin", "unseen"]


def begun(out: Path, inputs: dict, without: dict[str, tuple[str, ...]]) -> None:
    """A training with these inputs, of a time when some settings were not there yet."""
    plain = yaml.safe_load(yaml.safe_dump(inputs))
    for section, names in without.items():
        part = plain
        for key in section.split("."):
            part = part[key]
        for name in names:
            del part[name]
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump(plain))
    torch.save({"global_step": 5}, out / "last.ckpt")


NEW = {
    "loss": ("turns", "perturb_db", "references", "ema_decay", "compare_every"),
    "fit": ("average", "stay"),
    "fit.optimizer": ("layer_decay",),
}


def test_a_training_from_before_a_setting_goes_on_with_its_default(tmp_path: Path) -> None:
    inputs, defaults = {**asdict(TrainConfig()), "init": "abc"}, asdict(TrainConfig())
    begun(tmp_path / "a", inputs, NEW)
    claim(tmp_path / "a", inputs, overwrite=False, defaults=defaults)
    for section, name, value in (
        ("loss", "turns", True),
        ("loss", "perturb_db", 10.0),
        ("fit", "average", 0.9),
        ("fit", "stay", 1.0),
    ):
        changed = {**inputs, section: {**inputs[section], name: value}}
        begun(tmp_path / name, inputs, NEW)
        with pytest.raises(UserError, match=rf"holds another training: {section}\.{name} was"):
            claim(tmp_path / name, changed, overwrite=False, defaults=defaults)
