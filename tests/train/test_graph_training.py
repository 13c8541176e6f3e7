"""Graph-PIT in training: references are coloured before the loss hears them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from plain_loop import LR, assert_near, plain
from tiny_training import TINY, Recorded, Tones, config, weights
from torch.utils.data import DataLoader

from sepasr.bin.main import main
from sepasr.data.batch import MixtureBatch, MixtureItem, collate
from sepasr.loss.graph_pit import coloured
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator
from sepasr.train.fit import fit
from sepasr.train.schedule import OptimizerConfig

SPANS = np.array([[0, 300], [400, 800], [100, 350], [500, 700]])


class Talks(Tones):
    """The two tones of an item, each cut into two utterances."""

    def __getitem__(self, index: int) -> MixtureItem:
        tones = super().__getitem__(index).references[[0, 0, 1, 1]]
        inside = (np.arange(800) >= SPANS[:, :1]) & (np.arange(800) < SPANS[:, 1:])
        said = tones * inside
        return MixtureItem(said.sum(0), said.reshape(2, 2, 800).sum(1), said, SPANS)


def test_training_is_that_of_a_loop_with_coloured_references(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = config(steps=4, optimizer=OptimizerConfig(lr=LR))
    module = Recorded(Separator(TINY), SignalLoss(), settings, graph=True)
    valid = DataLoader(Talks(), batch_sampler=[[0]], collate_fn=collate)
    fit(module, Talks(), collate, valid, tmp_path)
    swapped = []

    def lesson(separator: Separator, number: int, _: MixtureBatch) -> MixtureBatch:
        batch = collate([Talks()[index] for index in (2 * number, 2 * number + 1)])
        with torch.no_grad():
            references = coloured(separator(batch.mixture), batch.utterances, batch.spans)
        for one, own in zip(references, batch.references, strict=True):
            swapped.append(not torch.equal(one, own) and not torch.equal(one, own.flip(0)))
        return MixtureBatch(batch.mixture, references)

    assert_near(weights(tmp_path), plain(4, lesson=lesson))
    assert any(swapped)  # else it would be plain PIT


SEPARATOR = {
    "channels": 16,
    "width": 8,
    "hidden": 8,
    "heads": 2,
    "layers": 1,
    "depthwise_kernel": 3,
}
TRAINING = {
    "loss": {"kind": "graph_pit"},
    "mixing": {"segment_s": 0.3, "utterances": 2, "pause_s": [0.0, 0.05]},
    "fit": {"steps": 1, "batch": 2, "workers": 0, "valid_every": 1, "accelerator": "cpu"},
}


@pytest.fixture
def train(data_dirs, tmp_path, capsys):
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(TRAINING))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SEPARATOR))

    def run(*options: object) -> tuple[int, str]:
        given = ["--config", tmp_path / "train.yaml", "--separator", tmp_path / "tiny.yaml"]
        given += ["--valid", data_dirs.mixtures.path, "--out", tmp_path / "out", *options]
        return main(["train", *map(str, given)]), capsys.readouterr().err

    return run


def test_from_the_command_line(train, data_dirs, tmp_path):
    utterances = ("--utterances", data_dirs.utterances.path)
    assert train(*utterances)[0] == 0
    entry = json.loads((tmp_path / "out/final/config.json").read_text())["history"][-1]
    assert (entry["loss"], entry["utterances"]) == ("graph_pit", 2)
    for change, message in (
        (("mixing.utterances=1",), "mixing.utterances is 1"),
        (("loss.references=ema",), "graph_pit needs true references"),
        (("mixing.utterances=3",), "mixing.utterances was 2 and is 3"),
        (("loss.kind=signal",), "loss.kind was graph_pit and is signal"),
    ):
        status, said = train(*utterances, "--set", *change)
        assert status == 2
        assert message in said
    status, said = train("--mixtures", data_dirs.mixtures.path)
    assert status == 2
    assert "mixing.utterances is for mixing" in said
