"""The best of a grid, by the mean over families."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sepasr.config import load_config
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.scp import write_table
from sepasr.data.segments import SEGMENT_TEXT, SEGMENTS
from sepasr.study.tune import (
    Candidate,
    Outcome,
    _rate,
    family_mean,
    write_choice,
)
from sepasr.train.recipe import TrainConfig


def outcome(lr: float, steps: int, **cpwer: float) -> Outcome:
    families = {"tiny": "whisper", "base": "whisper", "sphinx": "gmm"}
    mean = family_mean(cpwer, families)
    return Outcome(Candidate(lr, steps, Path("/x")), cpwer, mean)


def test_a_family_counts_once_however_many_members_have_read() -> None:
    one = outcome(1e-4, 100, tiny=0.2, base=0.2, sphinx=0.8)
    assert one.family_mean == pytest.approx(0.5)


def test_words_are_counted_as_a_scoring_counts_them(tmp_path: Path) -> None:
    """Utterance by utterance: the numbers of two are not brought together to 25."""
    said = {"m_spk1_1": "we counted twenty", "m_spk1_2": "five cats came", "m_spk2_1": "yes"}
    audio = tmp_path / "m.wav"
    texts = ("we counted twenty five cats came", "yes")
    mixture = Mixture("m", audio, (audio, audio), None, texts, ("x", "y"), 9.0)
    data = MixtureDir(tmp_path, Info("toy", 16_000, "max", "mix", "anechoic"), (mixture,))
    write_table(tmp_path / SEGMENTS, {key: f"m {n} {n + 1}" for n, key in enumerate(said)})
    write_table(tmp_path / SEGMENT_TEXT, said)
    write_table(tmp_path / "read/text_spk1", {"m": "we counted twenty, and five cats came"})
    write_table(tmp_path / "read/text_spk2", {"m": "yes"})
    assert _rate(data, tmp_path / "read") == 1 / 7  # "and" alone is too much


def test_the_best_over_families_is_written_as_a_delta(tmp_path: Path) -> None:
    grid = [
        outcome(1e-3, 200, tiny=0.1, base=0.1, sphinx=0.9),
        outcome(3e-5, 200, tiny=0.3, base=0.3, sphinx=0.3),
        outcome(3e-5, 100, tiny=0.3, base=0.3, sphinx=0.3),
    ]
    best = write_choice(grid, tmp_path / "grid.csv", tmp_path / "best.yaml")
    assert best is grid[2]
    config = load_config(TrainConfig, [tmp_path / "best.yaml"])
    assert config.fit.steps == 100
    assert config.fit.optimizer.lr == 3e-5
    lines = (tmp_path / "grid.csv").read_text().splitlines()
    assert lines[0] == "lr,steps,family_mean,tiny,base,sphinx"
    assert lines[1] == "0.001,200,0.5000,0.1000,0.1000,0.9000"
    assert len(lines) == 4


def test_other_settings_stay(tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text("loss: {keep_mb: 5}\nfit: {steps: 7, batch: 2}\n")
    write_choice([outcome(0.1, 100, tiny=0.1)], tmp_path / "grid.csv", tmp_path / "best.yaml")
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {
        "loss": {"keep_mb": 5},
        "fit": {"steps": 100, "batch": 2, "optimizer": {"lr": 0.1}},
    }


@pytest.mark.parametrize("lr", [1e-5, 3e-5, 1.25e-4, 3.16e-5, 2e-7, 0.001, 1.0])
def test_the_rate_that_is_written_is_the_one_that_was_chosen(tmp_path: Path, lr: float) -> None:
    write_choice([outcome(lr, 100, tiny=0.1)], tmp_path / "grid.csv", tmp_path / "best.yaml")
    written = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert written["fit"]["optimizer"] == {"lr": lr}
