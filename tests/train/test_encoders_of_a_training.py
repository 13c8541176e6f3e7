"""`sepasr train` with the settings of the loss, from the command line to what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from sepasr.bin.main import main

TINY = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
CONFIG = {
    "loss": {"kind": "guided"},
    "mixing": {"segment_s": 0.1},
    "fit": {"steps": 2, "batch": 2, "workers": 0, "valid_every": 2, "accelerator": "cpu"},
}
ENCODER = {
    "family": "spelt",
    "source": "spelt_encoder",
    "model": "none",
    "layer": "last",
    "distance": "mse",
    "level": "rms",
    "fs": 16000,
}
MODULE = """
import torch
from sepasr.encoder.base import FrameModel

class Spelt(FrameModel):
    shortest, equal_lengths = 40, False

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(8, 40, generator=generator))

    def frame_lengths(self, lengths):
        return lengths // 40

    def forward(self, waveform, lengths):
        return waveform.unfold(1, 40, 40) @ self.weight.T

def build_model(conf):
    return Spelt(len(conf.name))
"""


@pytest.fixture
def train(data_dirs, tmp_path, capsys, monkeypatch):
    """Runs `sepasr train` with these options; gives its status and what it says is wrong."""
    (tmp_path / "spelt_encoder.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for name in ("one", "three"):
        written = {**ENCODER, "name": name, "weights": f"{name}-weights"}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(written))
    (tmp_path / "delta.yaml").write_text("distance: l1\n")

    def run(*options: object) -> tuple[int, list[str]]:
        data = data_dirs.mixtures.path
        common = ["--config", tmp_path / "train.yaml", "--valid", data, "--mixtures", data]
        place = ["--separator", tmp_path / "tiny.yaml", "--out", tmp_path / "out"]
        status = main([str(option) for option in ["train", *common, *place, *options]])
        return status, capsys.readouterr().err.splitlines()[-1:]

    return run


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "final" / "model.safetensors")


def test_a_segment_that_an_encoder_does_not_hear_is_refused_before_anything_is_moved(
    train, tmp_path
):
    encoder = ("--encoder", tmp_path / "one.yaml")
    assert train(*encoder)[0] == 0
    short = ("mixing.segment_s=0.002", "fit.seed=1")
    status, said = train(*encoder, "--overwrite", "--set", *short)
    assert status == 2
    assert "an utterance of 32 samples" in said[0]
    assert (tmp_path / "out" / "final").is_dir()
    assert not list(tmp_path.glob("out.old-*"))


def test_kept_embeddings_change_nothing(train, tmp_path):
    often = ("--encoder", tmp_path / "one.yaml", "--set", "fit.steps=8", "mixing.grid_s=0.05")
    assert train(*often, "--out", tmp_path / "made")[0] == 0
    assert train(*often, "loss.keep_mb=1", "--out", tmp_path / "kept")[0] == 0
    expected = weights(tmp_path / "made")
    torch.testing.assert_close(weights(tmp_path / "kept"), expected, rtol=0, atol=1e-6)


def remembered(out: Path) -> dict:
    return json.loads((out / "final" / "config.json").read_text())["history"][-1]


def test_an_encoder_with_a_delta_and_another_one(train, tmp_path):
    one, three = tmp_path / "one.yaml", tmp_path / "three.yaml"
    encoders = ("--encoder", one, tmp_path / "delta.yaml", "--encoder", three)
    assert train(*encoders)[0] == 0
    entry = remembered(tmp_path / "out")
    expected = {
        "name": "one+three",
        "family": "spelt+spelt",
        "weights": "one-weights+three-weights",
    }
    assert entry["encoder"] == expected
    assert set(entry["encoder_scales"]) == {"one", "three"}
    assert min(entry["encoder_scales"].values()) > 0
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["encoder"]
    assert [encoder["distance"] for encoder in kept] == ["l1", "mse"]
    assert train(*encoders, "--set", "fit.steps=3")[0] == 0  # the same training, longer
    status, said = train("--encoder", one)
    assert status == 2
    assert "encoder was" in said[0]


def test_an_encoder_with_other_weights_is_another_training(train, tmp_path, monkeypatch):
    encoder, kept = ("--encoder", tmp_path / "one.yaml"), tmp_path / "out" / "config.yaml"
    assert train(*encoder)[0] == 0
    assert train(*encoder)[0] == 0
    import spelt_encoder

    monkeypatch.setattr(spelt_encoder, "build_model", lambda conf: spelt_encoder.Spelt(9))
    status, said = train(*encoder)
    assert status == 2
    assert "encoder_weights was" in said[0]
    # A training of before weights were part of it goes on.
    before = yaml.safe_load(kept.read_text())
    del before["encoder_weights"]
    kept.write_text(yaml.safe_dump(before))
    assert train(*encoder)[0] == 0
    assert yaml.safe_load(kept.read_text())["encoder_weights"]


SETTINGS = {
    "loss.signal_weight": 0.1,
    "loss.perturb_db": 10.0,
    "loss.references": "ema",
    "fit.average": 0.5,
    "fit.stay": 0.1,
    "fit.optimizer.layer_decay": 0.5,
}


def test_a_separator_remembers_every_setting(train, tmp_path):
    settings = [f"{name}={value}" for name, value in SETTINGS.items()]
    encoder = ("--encoder", tmp_path / "one.yaml")
    assert train(*encoder, "--set", *settings)[0] == 0
    entry = remembered(tmp_path / "out")
    assert entry["loss"] == "guided"
    assert entry["encoder"]["name"] == "one"
    assert entry["loss_settings"] == {
        "signal_weight": 0.1,
        "perturb_db": 10.0,
        "references": "ema",
        "ema_decay": 0.99,
    }
    assert entry["optimizer"] == {"layer_decay": 0.5}
    assert (entry["average"], entry["stay"]) == (0.5, 0.1)
    for setting in settings:
        rest = [other for other in settings if other != setting]
        status, said = train(*encoder, "--set", *rest)
        assert status == 2
        assert f"{setting.partition('=')[0]} was" in said[0]


def test_without_settings_it_remembers_what_it_always_has(train, tmp_path):
    assert train("--encoder", tmp_path / "one.yaml")[0] == 0
    names = ["loss", "encoder", "seed", "lr", "batch", "segment_s", "dynamic_mixing", "steps"]
    assert list(remembered(tmp_path / "out")) == names


@pytest.mark.parametrize("kind", ["guided", "embedding_pit"])
def test_the_log_says_how_often_permutations_differ(train, tmp_path, kind):
    settings = [f"loss.kind={kind}", "loss.compare_every=10", "fit.steps=20", "fit.valid_every=20"]
    assert train("--encoder", tmp_path / "one.yaml", "--set", *settings)[0] == 0
    (file,) = (tmp_path / "out").glob("csv/*/metrics.csv")
    rows = list(csv.DictReader(file.open()))
    found = [row for row in rows if row.get("train/permutations_differ")]
    assert [int(row["step"]) for row in found] == [9, 19]
    assert all(float(row["train/permutations_differ"]) in (0.0, 0.5, 1.0) for row in found)
