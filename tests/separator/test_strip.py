"""`sepasr strip`: from a training's checkpoint to the inference-only directory."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from sepasr.bin.main import main
from sepasr.errors import UserError
from sepasr.separator.model import Provenance, Separator, SeparatorConfig
from sepasr.separator.strip import load, rounded, strip, verify

SMALL = {"channels": 8, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
TCN = {"layer": 1, "stack": 1, "bottleneck_dim": 4, "hidden_dim": 4}


def tiny(**changes) -> Separator:
    torch.manual_seed(0)
    config = SeparatorConfig(**{**SMALL, **changes})
    return Separator(config, Provenance("anechoic", ({"seed": 1},))).eval()


def write(path: Path, separator: Separator, **changes) -> Path:
    """What a training saves, without what only training needs."""
    checkpoint = {
        "state_dict": {f"separator.{k}": v for k, v in separator.state_dict().items()},
        "separator": separator.description(),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        "global_step": 7,
        **changes,
    }
    torch.save(checkpoint, path)
    return path


def estimates(separator: Separator) -> torch.Tensor:
    mixture = torch.randn(1, 500, generator=torch.Generator().manual_seed(1))
    return separator.eval()(mixture)


@pytest.fixture(params=["checkpoint", "folder", "directory"])
def source(request, tmp_path):
    if request.param == "directory":
        tiny().save_pretrained(tmp_path / "in")
        return tmp_path / "in"
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "last.ckpt", tiny())
    return path if request.param == "checkpoint" else path.parent


def test_all_sources_give_the_same_directory(source, tmp_path, capsys):
    assert main(["strip", str(source), "-o", str(tmp_path / "out")]) == 0
    assert "td_conformer" in capsys.readouterr().out
    loaded = Separator.from_pretrained(tmp_path / "out")
    assert torch.equal(estimates(loaded), estimates(tiny()))
    assert loaded.provenance == tiny().provenance
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }


def test_float16_halves_the_file(source, tmp_path):
    strip(source, tmp_path / "full")
    strip(source, tmp_path / "half", "float16")
    full, half = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")
    )
    weights = sum(p.numel() for p in tiny().parameters())
    assert full - half >= 2 * weights
    loaded = Separator.from_pretrained(tmp_path / "half")
    assert torch.equal(estimates(loaded), estimates(rounded(tiny(), torch.float16)))
    torch.testing.assert_close(estimates(loaded), estimates(tiny()), atol=0.05, rtol=0.05)


def test_networks_of_espnet(tmp_path):
    separator = Separator(SeparatorConfig(channels=8, network="tcn", arguments=TCN)).eval()
    loaded = strip(write(tmp_path / "last.ckpt", separator), tmp_path / "out", "bfloat16")
    assert loaded.config == separator.config


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "foreign"])
def test_keys_are_strict(tmp_path, change):
    state = {f"separator.{k}": v for k, v in tiny().state_dict().items()}
    first = next(iter(state))
    if change == "missing":
        del state[first]
    elif change == "shape":
        state[first] = state[first][:-1]
    else:
        state["separator.surplus" if change == "extra" else "encoder.surplus"] = torch.zeros(1)
    path = write(tmp_path / "last.ckpt", tiny(), state_dict=state)
    with pytest.raises(UserError, match=r"last\.ckpt: weights of another network: 1 tensors"):
        strip(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["last.ckpt", "model.pth"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, name, capsys):
    ran = tmp_path / "ran"
    torch.save({"state_dict": {}, "payload": Code(ran)}, tmp_path / name)
    assert main(["strip", str(tmp_path / name), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert name in said[0]
    assert "pickle" in said[0]
    assert not ran.exists()
    (tmp_path / name).write_bytes(pickle.dumps(Code(ran)))
    with pytest.raises(UserError):
        load(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 1}, "no checkpoint of a training"),
        ({"state_dict": {}}, "does not say which separator it trains"),
        (
            {"state_dict": {}, "separator": {"config": {"depth": 1}}},
            "does not describe a separator",
        ),
        ({"state_dict": {}, "separator": 3}, "does not describe a separator"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=rf"other\.ckpt: {message}"):
        load(tmp_path / "other.ckpt")


def test_nothing_there_and_something_there(tmp_path):
    with pytest.raises(UserError, match="no such file or directory"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"neither a last\.ckpt nor a config\.json"):
        load(tmp_path)
    source = write(tmp_path / "last.ckpt", tiny())
    with pytest.raises(UserError, match="there is something already"):
        strip(source, tmp_path)


def test_what_is_not_equal_or_not_finite_is_found(tmp_path):
    changed = tiny()
    verify(tiny(), changed, tmp_path)
    changed.decoder.convtrans1d.weight.data[0] += 1e-3
    with pytest.raises(UserError, match="other estimates"):
        verify(tiny(), changed, tmp_path)
    changed.decoder.convtrans1d.weight.data[0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        strip(write(tmp_path / "last.ckpt", changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()
