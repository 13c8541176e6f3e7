"""A separator that is given more speakers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sepasr.bin.main import main
from sepasr.errors import UserError
from sepasr.separator.config import Provenance, SeparatorConfig
from sepasr.separator.grow import grow
from sepasr.separator.model import Separator

SMALL = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}


@pytest.fixture
def two() -> Separator:
    torch.manual_seed(0)
    config = SeparatorConfig(**SMALL, kernel=32, stride=16)
    separator = Separator(config, Provenance("anechoic", ({"loss": "signal", "steps": 3},)))
    torch.nn.init.normal_(separator.separator.mask.bias)
    return separator.eval()


@pytest.mark.parametrize("count", [3, 4, 5])
def test_streams_are_repeated_speaker_by_speaker(two: Separator, count: int) -> None:
    grown = grow(two, count)
    assert grown.num_speakers == count
    assert grown.provenance == two.provenance
    assert not grown.training
    mixture = torch.randn(2, 800, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        encoded = two.encoder(mixture, torch.tensor([800, 800]))[0]
        before, after = two.separator.masks(encoded), grown.separator.masks(encoded)
        assert not torch.allclose(before[:, 0], before[:, 1])
        for speaker in range(count):
            torch.testing.assert_close(after[:, speaker], before[:, speaker % 2])
        assert grown(mixture).shape == (2, count, 800)


def test_all_else_is_taken_over_and_nothing_is_drawn(two: Separator) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    grown = grow(two, 3)
    assert torch.equal(torch.rand(1), expected)
    weights = grown.state_dict()
    for name, value in two.state_dict().items():
        if not name.startswith("separator.mask."):
            assert torch.equal(weights[name], value)
    grown.encoder.conv1d.weight.data.zero_()  # a copy: the other is as it was
    assert two.encoder.conv1d.weight.any()


def test_streams_that_begin_alike_part_in_training(two: Separator) -> None:
    from sepasr.loss.signal import SignalLoss

    grown = grow(two, 3).train()
    generator = torch.Generator().manual_seed(2)
    references = torch.randn(1, 3, 800, generator=generator)
    grown.zero_grad()
    SignalLoss()(grown(references.sum(1)), references).value.mean().backward()
    first, _, third = grown.separator.mask.weight.grad.unflatten(0, (3, -1))
    assert not torch.allclose(first, third)


def test_what_cannot_grow(two: Separator) -> None:
    assert grow(two, 2) is two
    with pytest.raises(UserError, match="of 2 speakers can't have 1"):
        grow(two, 1)
    rnn = Separator(SeparatorConfig(network="rnn", channels=8, arguments={"layer": 1, "unit": 4}))
    with pytest.raises(UserError, match="network rnn"):
        grow(rnn, 3)


def test_a_training_grows_what_it_starts_from(
    two: Separator, tmp_path: Path, capsys: pytest.CaptureFixture[str], data_dirs
) -> None:
    """Up to the point where the mixtures, of two speakers, are refused."""
    two.save_pretrained(tmp_path / "two")
    (tmp_path / "train.yaml").write_text("loss: {kind: signal}\nmixing: {num_speakers: 3}\n")
    common = ["train", "--config", tmp_path / "train.yaml", "--init", tmp_path / "two"]
    common += ["--utterances", data_dirs.utterances.path, "--out", tmp_path / "out"]
    common += ["--valid", data_dirs.mixtures.path]
    assert main([*map(str, common)]) == 2
    assert "set mixing.num_speakers, num_speakers of a new" in capsys.readouterr().err
    assert main([*map(str, common), "--grow-speakers"]) == 2
    assert "has mixtures of 2 speakers, training has 3" in capsys.readouterr().err
    assert json.loads((tmp_path / "two" / "config.json").read_text())["config"]["num_speakers"] == 2


def test_a_new_separator_is_not_grown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", "c.yaml", "--separator", "s.yaml", "--utterances", "u", "--valid", "v"]
    assert main(["train", *options, "--out", str(tmp_path / "o"), "--grow-speakers"]) == 2
    assert "--grow-speakers is for --init" in capsys.readouterr().err
