"""The examples of ``docs/encoders.md`` are run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sepasr.config import load_config
from sepasr.encoder.base import EncoderConfig, load_encoder
from sepasr.encoder.layers import Layers
from sepasr.errors import UserError
from sepasr.loss.distance import DISTANCES
from sepasr.loss.embedding import EmbeddingLoss

PAGE = (Path(__file__).parents[1] / "docs" / "encoders.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module, its weights and its YAML in a folder that can be imported from."""
    (code,), (_, configuration) = blocks("python"), blocks("yaml")
    (tmp_path / "my_encoder.py").write_text(code, encoding="utf-8")
    (tmp_path / "my_encoder.yaml").write_text(configuration, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_encoder", raising=False)
    import my_encoder  # type: ignore[import-not-found]

    torch.manual_seed(0)
    model = my_encoder.MyFrames(Layers(("last",), None, 4))
    save_file(model.state_dict(), tmp_path / "my_encoder.safetensors")
    yield tmp_path / "my_encoder.yaml"
    sys.modules.pop("my_encoder", None)


def test_the_class_of_the_page_is_short_and_trains_a_separator(mine: Path) -> None:
    assert len(blocks("python")[0].splitlines()) < 40
    encoder = load_encoder(mine)
    estimates = torch.randn(2, 2, 8000, requires_grad=True)
    value = EmbeddingLoss(encoder, 16000)(estimates, torch.randn(2, 2, 8000)).value
    value.mean().backward()
    assert encoder.conf.distance == "cosine"
    assert (estimates.grad.abs().sum(-1) > 0).all()


def test_a_fault_in_such_a_class_is_found_when_it_is_built(mine: Path) -> None:
    module = mine.with_suffix(".py")
    code = module.read_text(encoding="utf-8")
    module.write_text(code.replace("waveform[:, None]", "waveform[:, None].detach()"))
    sys.modules.pop("my_encoder")
    with pytest.raises(UserError, match="encoder my_encoder: no gradient reaches the waveform"):
        load_encoder(mine)


def test_every_configuration_of_the_page_is_read(tmp_path: Path) -> None:
    for text in blocks("yaml"):
        (tmp_path / "one.yaml").write_text(text, encoding="utf-8")
        conf = load_config(EncoderConfig, [tmp_path / "one.yaml"])
        assert conf.distance in DISTANCES


def test_the_page_names_every_field_and_distance() -> None:
    for name in (*EncoderConfig.__dataclass_fields__, *DISTANCES):
        assert f"`{name}`" in PAGE
