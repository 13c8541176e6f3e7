"""A separator in ONNX: onnxruntime gives what torch gives, for any length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sepasr.bin.main import main
from sepasr.bin.separate import PRETRAINED
from sepasr.errors import UserError
from sepasr.separator import onnx as export
from sepasr.separator.model import Provenance, Separator, SeparatorConfig
from sepasr.separator.onnx import TraceableSeparator, export_onnx, longest, shortest

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SMALL = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1}
SHAPES = {
    "s": {**SMALL, "kernel": 16, "stride": 8, "depthwise_kernel": 64},
    "unpadded": {**SMALL, "kernel": 16, "stride": 8, "subsampling_padding": 0},
    "mini": {**SMALL, "kernel": 256, "stride": 64, "depthwise_kernel": 31},
    "uneven": {**SMALL, "kernel": 10, "stride": 4, "depthwise_kernel": 3, "subsamplings": 2},
}


def separator_of(shape: str) -> Separator:
    torch.manual_seed(0)
    return Separator(SeparatorConfig(**SHAPES[shape]), Provenance("reverb")).eval()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def assert_equal(session, separator: Separator, mixture: torch.Tensor) -> None:
    with torch.inference_mode():
        expected = separator(mixture)
    (found,) = session.run(None, {"mixture": mixture.numpy()})
    scale = float(expected.abs().max())
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_traced_is_the_separator(shape: str) -> None:
    separator = separator_of(shape)
    traceable = TraceableSeparator(separator)
    for samples in (shortest(separator), 1003, 1004):
        mixture = noise(2, samples)
        torch.testing.assert_close(traceable(mixture), separator(mixture))
    assert torch.isfinite(traceable(torch.zeros(1, 1003))).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["s", "unpadded", "uneven"])  # the pretrained one has mini's
def test_onnxruntime_gives_what_torch_gives(shape: str, tmp_path: Path) -> None:
    separator = separator_of(shape)
    separator.save_pretrained(tmp_path / "separator")
    path = export_onnx(tmp_path / "separator", tmp_path / "out" / "model.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path))
    least = shortest(separator)
    for samples in (least, least + 1, 801, 1000, 1001, 4007, 16000):
        assert_equal(session, separator, noise(1, samples))
    assert_equal(session, separator, noise(3, 2001))
    assert_equal(session, separator, 1e-3 * noise(1, 2001))
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["sample_rate"] == "16000"
    assert metadata["num_speakers"] == "2"
    assert metadata["reference"] == "reverb"
    assert metadata["min_samples"] == str(least)
    assert json.loads(metadata["description"])["config"]["channels"] == 16


@pytest.mark.slow
def test_the_pretrained_one_by_the_command(tmp_path: Path, capsys) -> None:
    out = tmp_path / "model.onnx"
    assert main(["export", "--to", "onnx", str(PRETRAINED), "-o", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    session = onnxruntime.InferenceSession(str(out))
    assert_equal(session, Separator.from_pretrained(PRETRAINED), noise(1, 12345))


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch) -> None:
    separator_of("s").save_pretrained(tmp_path / "separator")
    forward = TraceableSeparator.forward
    monkeypatch.setattr(
        TraceableSeparator, "forward", lambda self, mixture: 1.001 * forward(self, mixture)
    )
    with pytest.raises(UserError, match=r"onnxruntime and torch differ by 1\.0e-03"):
        export_onnx(tmp_path / "separator", tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["separator"]


def espnet_network(folder: Path, **settings: object) -> Path:
    Separator(SeparatorConfig(kernel=16, stride=8, **settings)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_network_that_onnx_cannot_hold_is_refused(tmp_path: Path) -> None:
    arguments = {"layer": 1, "unit": 8}
    model = espnet_network(tmp_path / "model", channels=16, network="rnn", arguments=arguments)
    with pytest.raises(UserError, match="can't be expressed in ONNX"):
        export_onnx(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["transformer", "conformer"])
def test_tables_of_positions_reach_as_far_as_the_file_says(
    network: str, tmp_path: Path, monkeypatch
) -> None:
    """They come with 5000 positions; twice the limit here would take minutes."""
    monkeypatch.setattr(export, "LONGEST_FRAMES", 6000)
    arguments = {"adim": 4, "aheads": 1, "layers": 1, "linear_units": 4}
    model = espnet_network(tmp_path / "model", channels=4, network=network, arguments=arguments)
    session = onnxruntime.InferenceSession(str(export_onnx(model, tmp_path / "model.onnx")))
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["max_samples"] == str(longest(Separator.from_pretrained(model))) == "47992"
    assert_equal(session, Separator.from_pretrained(model), noise(1, 47992))


def test_only_tables_of_positions_limit_the_length() -> None:
    assert longest(separator_of("s")) is None
    arguments = {"adim": 8, "aheads": 2, "layers": 1, "linear_units": 8}
    config = SeparatorConfig(
        channels=8, kernel=16, stride=8, network="transformer", arguments=arguments
    )
    separator = Separator(config)
    limit = longest(separator)
    left, right = separator.framing.padding(limit)
    assert (left + limit + right - 16) // 8 + 1 == export.LONGEST_FRAMES
    left, right = separator.framing.padding(limit + 1)
    assert (left + limit + 1 + right - 16) // 8 + 1 == export.LONGEST_FRAMES + 1


def test_a_file_that_onnxruntime_refuses_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="fails on 1 x 32 samples"):
        export._verify(separator_of("s"), tmp_path / "model.onnx", where=tmp_path)


def test_other_filterbanks_are_refused(tmp_path: Path) -> None:
    arguments = {"layer": 1, "stack": 1, "bottleneck_dim": 8, "hidden_dim": 8}
    model = espnet_network(
        tmp_path / "model", network="tcn", filterbank="stft", arguments=arguments
    )
    with pytest.raises(UserError, match="filterbank stft has no form in ONNX here"):
        export_onnx(model, tmp_path / "model.onnx")


def test_missing_packages_and_models_are_named(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        export_onnx(tmp_path, tmp_path / "model.onnx")
    separator_of("s").save_pretrained(tmp_path)
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match=r"not installed: onnxscript \(tools/install.sh --extras"):
        export_onnx(tmp_path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
