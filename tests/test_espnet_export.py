"""A separator exported to ESPnet gives the same output there, and only its own weights pass."""

from __future__ import annotations

import math
import os
from itertools import permutations
from pathlib import Path

import pytest
import torch
import yaml

from sepasr.bin.main import main
from sepasr.bin.separate import PRETRAINED
from sepasr.errors import UserError
from sepasr.loss.si_sdr import si_sdr
from sepasr.separator.espnet import EspnetSeparator, export_espnet, train_config
from sepasr.separator.model import Provenance, Separator, SeparatorConfig

SMALL = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 2}
# The proportions of conf/separator/s.yaml and mini.yaml, with few channels and layers.
SHAPES = {
    "s": {**SMALL, "kernel": 16, "stride": 8, "depthwise_kernel": 64},
    "mini": {**SMALL, "kernel": 256, "stride": 64, "depthwise_kernel": 31, "dropout": 0.0},
    "three speakers": {**SMALL, "num_speakers": 3, "fs": 8000},
}


TCN = {"layer": 2, "stack": 1, "bottleneck_dim": 8, "hidden_dim": 8}
SHAPES["espnet's tcn"] = {"channels": 16, "network": "tcn", "arguments": TCN}
SHAPES["on an stft"] = {
    "kernel": 64,
    "stride": 32,
    "network": "tcn",
    "filterbank": "stft",
    "arguments": TCN,
}


def separator_of(shape: str) -> Separator:
    torch.manual_seed(0)
    config = SeparatorConfig(**SHAPES[shape])
    return Separator(config, Provenance("anechoic", ({"seed": 3, "steps": 10},))).eval()


def exported(separator: Separator, folder: Path) -> Path:
    separator.save_pretrained(folder / "separator")
    return export_espnet(folder / "separator", folder / "exported")


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def sepasr_espnet():
    """``sepasr.espnet``, and with it ESPnet's tasks, which take many seconds to import."""
    import sepasr.espnet

    return sepasr.espnet


def test_the_class_gives_what_the_separator_gives() -> None:
    separator = separator_of("mini")
    wrapped = EspnetSeparator(1, **train_config(separator)["separator_conf"]).eval()
    wrapped.model.load_state_dict(separator.state_dict())
    mixture = noise(2, 1003)
    streams, lengths, others = wrapped(mixture, torch.tensor([1003, 1003]))
    assert torch.equal(torch.stack(streams, 1), separator(mixture))
    assert (lengths.tolist(), len(others), wrapped.num_spk) == ([1003, 1003], 0, 2)


def test_padding_takes_no_part() -> None:
    wrapped = EspnetSeparator(1, **SHAPES["s"]).eval()
    mixture = noise(2, 1003)
    mixture[1, 700:] = 5.0
    streams, _, _ = wrapped(mixture, torch.tensor([1003, 700]))
    separated = torch.stack(streams, 1)
    assert torch.equal(separated[:1], wrapped.model(mixture[:1]))
    assert torch.equal(separated[1, :, :700], wrapped.model(mixture[1, :700]))
    assert not separated[1, :, 700:].any()


def test_what_it_cannot_hear_is_refused() -> None:
    with pytest.raises(UserError, match="encoder: same"):
        EspnetSeparator(257, **SHAPES["s"])
    with pytest.raises(UserError, match="does not describe a separator"):
        EspnetSeparator(1, depth=3)
    with pytest.raises(UserError, match="one channel"):
        EspnetSeparator(1, **SHAPES["s"])(torch.zeros(1, 100, 2), torch.tensor([100]))


def test_the_directory_is_that_of_a_zoo_model(tmp_path: Path) -> None:
    out = exported(separator_of("three speakers"), tmp_path)
    assert sorted(path.name for path in out.iterdir()) == ["config.yaml", "meta.yaml", "model.pth"]
    meta = yaml.safe_load((out / "meta.yaml").read_text())
    assert meta["yaml_files"] == {"train_config": "config.yaml"}
    assert meta["files"] == {"model_file": "model.pth"}
    assert meta["sepasr"] == {"reference": "anechoic", "history": [{"seed": 3, "steps": 10}]}
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["num_spk"], config["sample_rate"]) == (3, 8000)
    weights = torch.load(out / "model.pth", weights_only=True)
    assert all(name.startswith("separator.") for name in weights)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_half_precision_weights_are_exported_as_they_are_loaded(tmp_path: Path) -> None:
    separator_of("s").save_pretrained(tmp_path / "half", torch.float16)
    weights = torch.load(export_espnet(tmp_path / "half", tmp_path / "out") / "model.pth")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    separator_of("s").save_pretrained(tmp_path / "separator")
    (tmp_path / "mine").mkdir()
    export_espnet(tmp_path / "separator", tmp_path / "mine")  # empty: it may be filled
    with pytest.raises(UserError, match="there is something already"):
        export_espnet(tmp_path / "separator", tmp_path / "mine")
    with pytest.raises(UserError, match=r"no config\.json"):
        export_espnet(tmp_path, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "separator"]


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_the_class_refuses_other_names_without_strict(change: str) -> None:
    wrapped = EspnetSeparator(1, **SHAPES["s"])
    weights = wrapped.state_dict()
    wrapped.load_state_dict(weights, strict=False)
    if change == "missing":
        del weights["model.separator.mask.bias"]
    else:
        weights["model.separator.mask.extra"] = torch.zeros(1)
    with pytest.raises(UserError, match="another network"):
        wrapped.load_state_dict(weights, strict=False)


def test_command_line(tmp_path: Path, capsys) -> None:
    separator_of("s").save_pretrained(tmp_path / "separator")
    model, out = str(tmp_path / "separator"), str(tmp_path / "out")
    assert main(["export", "--to", "espnet", model, "-o", out]) == 0
    assert capsys.readouterr().out.strip() == out
    for wrong in (["espnet", model], ["onnx", model, "--repo", "a/b"], ["hub", model, "-o", out]):
        assert main(["export", "--to", *wrong]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--to {wrong[0]} takes" in line


def test_command_line_of_the_hub(tmp_path: Path, capsys, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        "sepasr.separator.hub.push_to_hub",
        lambda *arguments, **options: asked.append((arguments, options)) or "https://hub/a/b",
    )
    command = ["export", "--to", "hub", str(tmp_path), "--repo", "a/b"]
    assert main(command) == 0
    assert main([*command, "--private", "--results", "results.json"]) == 0
    assert capsys.readouterr().out.splitlines() == ["https://hub/a/b"] * 2
    assert asked == [
        ((tmp_path, "a/b", None), {"private": None}),
        ((tmp_path, "a/b", Path("results.json")), {"private": True}),
    ]


@pytest.mark.parametrize("option", [("--private",), ("--results", "results.json")])
@pytest.mark.parametrize("form", ["espnet", "onnx"])
def test_options_of_the_hub_are_refused_elsewhere(form, option, tmp_path: Path, capsys) -> None:
    command = ["export", "--to", form, str(tmp_path), "--out", str(tmp_path / "out"), *option]
    assert main(command) == 2
    assert "--private and --results are for the hub" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*SHAPES, "pretrained"])
def test_separate_speech_gives_the_same_whole(shape: str, sepasr_espnet, tmp_path: Path) -> None:
    from espnet2.bin.enh_inference import SeparateSpeech

    if shape == "pretrained":
        separator = Separator.from_pretrained(PRETRAINED)
        out = export_espnet(PRETRAINED, tmp_path / "exported")
    else:
        separator = separator_of(shape)
        out = exported(separator, tmp_path)
    separate = SeparateSpeech(out / "config.yaml", out / "model.pth")
    for batch, samples in ((1, 1), (1, 4001), (2, 1003)):
        mixture = noise(batch, samples)
        with torch.inference_mode():
            expected = separator(mixture)
        streams = separate(mixture, fs=separator.fs)
        found = torch.stack([torch.from_numpy(stream) for stream in streams], 1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.std()))


def stitched(
    separator: Separator, mixture: torch.Tensor, segment_s: float, hop_s: float
) -> torch.Tensor:
    """Separate (samples,) in segments: each put into the order of the one before it, averaged
    where they overlap. What ESPnet says it does, written anew for one mixture."""
    samples, segment = len(mixture), int(segment_s * separator.fs)
    overlap = round(separator.fs * (segment_s - hop_s))
    count = math.ceil((samples - overlap) / (hop_s * separator.fs))
    whole = torch.zeros(separator.num_speakers, 0)
    for start in (int(i * hop_s * separator.fs) for i in range(count)):
        part = mixture[start : start + segment]
        padded = torch.nn.functional.pad(part, (0, segment - len(part)))
        estimates = separator(padded)[:, : len(part)]
        if start:
            last = whole[:, -overlap:]
            order = max(
                permutations(range(len(estimates))),
                key=lambda order: float(si_sdr(estimates[list(order), :overlap], last).mean()),
            )
            estimates = estimates[list(order)]
            mean = (last + estimates[:, :overlap]) / 2
            whole = torch.cat([whole[:, :-overlap], mean], dim=1)
            estimates = estimates[:, overlap:]
        whole = torch.cat([whole, estimates], dim=1)
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["s", "mini"])
def test_separate_speech_gives_the_same_in_segments(
    shape: str, sepasr_espnet, tmp_path: Path
) -> None:
    separator = separator_of(shape)
    separate = sepasr_espnet.load(exported(separator, tmp_path), segment_size=0.5, hop_size=0.4)
    mixture = noise(int(1.7 * separator.fs) + 3)
    with torch.inference_mode():
        expected = stitched(separator, mixture, 0.5, 0.4)
        whole = separator(mixture)
    found = torch.stack(
        [torch.from_numpy(stream[0]) for stream in separate(mixture[None], fs=separator.fs)]
    )
    scale = float(expected.std())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)
    assert (found - whole).abs().max() > 1e-3 * scale  # or nothing was segmented


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("missing", "separator.model.separator.mask.bias"),
        ("foreign", "separator.model.separator.mask.extra"),
        ("foreign", "encoder.conv1d.weight"),
        ("foreign", "postdecoder.weight"),  # ESPnet then tries once more, strict=False again
    ],
)
def test_espnet_itself_refuses_other_names(
    change: str, name: str, sepasr_espnet, tmp_path: Path
) -> None:
    from espnet2.bin.enh_inference import SeparateSpeech

    out = exported(separator_of("s"), tmp_path)
    weights = torch.load(out / "model.pth", weights_only=True)
    if change == "missing":
        del weights[name]
    else:
        weights[name] = torch.zeros(1)
    torch.save(weights, out / "model.pth")
    with pytest.raises(UserError, match=f"another network.*{name}"):
        SeparateSpeech(out / "config.yaml", out / "model.pth")


class Runs:
    """Unpickled, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.slow
def test_a_pickle_that_runs_is_not_handed_to_espnet(sepasr_espnet, tmp_path: Path) -> None:
    out = exported(separator_of("s"), tmp_path)
    torch.save({"separator": Runs(tmp_path / "ran")}, out / "model.pth")
    with pytest.raises(UserError, match="no pickle is executed"):
        sepasr_espnet.load(out)
    assert not (tmp_path / "ran").exists()
    settings = yaml.safe_load((out / "config.yaml").read_text())
    for name, other in (("encoder", "conv"), ("separator", "asteroid"), ("decoder", "conv")):
        (out / "config.yaml").write_text(yaml.safe_dump(settings | {name: other}))
        with pytest.raises(UserError, match=rf"config\.yaml: its {name} is {other}, not s"):
            sepasr_espnet.load(out)
    with pytest.raises(UserError, match=r"no config\.yaml"):
        sepasr_espnet.load(tmp_path)
