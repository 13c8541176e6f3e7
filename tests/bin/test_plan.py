"""``sepasr plan``: what a subcommand would read, write and need; nothing is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from sepasr.bin.main import main
from sepasr.bin.plan import size
from sepasr.models import REPOSITORY

CONF = REPOSITORY / "conf"


def plan(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert main(["plan", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_inputs_that_are_there_or_not_yet_and_outputs(data_dirs, tmp_path, capsys) -> None:
    before = sorted(tmp_path.rglob("*"))
    data, model, out = data_dirs.mixtures.path, tmp_path / "model", tmp_path / "out"
    lines = plan(capsys, "separate", data, "--model", model, "--out", out)
    seconds = sum(2 * mixture.duration_s for mixture in data_dirs.mixtures.mixtures)
    assert lines == [
        f"    reads {data}",
        f"    reads, once it is there: {model}",
        f"    writes {out}",
        f"    disk: {size(4 * 16000 * seconds)} for {data}",
    ]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "reads", "writes"),
    [
        ("lengthen --corpus x --utterances u --out o --audio a", "u", "o a"),
        ("measure data streams --rows rows.csv", "data streams", "rows.csv"),
        ("report --results r --rows rows.csv --out o", "r rows.csv", "o"),
    ],
)
def test_what_one_writes_and_another_reads(
    monkeypatch, tmp_path, capsys, arguments: str, reads: str, writes: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = plan(capsys, *arguments.split())
    assert lines[:2] == [f"    reads, once it is there: {reads}", f"    writes {writes}"]


@pytest.mark.slow
def test_the_validations_of_a_training_count(data_dirs, tmp_path, capsys) -> None:
    """Twice as often is twice the operations, and mixtures that aren't there yet tell none."""
    given = ["--utterances", data_dirs.utterances.path, "--out", tmp_path / "out"]
    given += ["--separator", CONF / "separator/s.yaml", "--config", CONF / "train/pretrain.yaml"]
    valid = data_dirs.mixtures
    mean = sum(mixture.duration_s for mixture in valid.mixtures) / len(valid.mixtures)
    found = []
    for every in (50, 100):
        steps = ["fit.steps=1099", f"fit.valid_every={every}"]
        lines = plan(capsys, "train", *given, "--valid", valid.path, "--set", *steps)
        count = f"validations: {1099 // every} of {len(valid.mixtures)} mixtures of {mean:.1f} s"
        assert f"    {count}" in lines
        (line,) = [line for line in lines if line.startswith("    operations of the validations")]
        found.append(float(line.split()[4].rstrip(",")) / (1099 // every))
    assert found[0] == pytest.approx(found[1], rel=0.05) != 0
    lines = plan(capsys, "train", *given, "--valid", tmp_path / "cv", "--set", "fit.steps=10000")
    assert "    validations: 2" in lines
    assert not any(line.startswith("    operations of the validations") for line in lines)


def test_models_are_named_and_their_settings_checked(tmp_path, capsys) -> None:
    data = ["--data", tmp_path, "--exp", tmp_path, "--systems", "a"]
    train = ["--utterances", tmp_path, "--valid", tmp_path / "cv", "--out", tmp_path / "out"]
    train += ["--separator", CONF / "separator/s.yaml", "--config", CONF / "train/pretrain.yaml"]
    good = CONF / "asr/whisper_base.yaml", CONF / "encoder/wav2vec2_base.yaml"
    assert any(
        "recogniser: whisper_base, " in line
        for line in plan(capsys, "recognise", "--recogniser", good[0], *data)
    )
    lines = plan(capsys, "train", *train, "--encoder", good[1])
    assert "    encoder of the loss: wav2vec2_base, facebook/wav2vec2-base-960h" in lines
    for name, setting, cause in (
        ("kind", "ctcc", "unknown kind 'ctcc'"),
        ("distance", "msee", "msee"),
        ("layer", "-1", "layer -1: libraries differ"),
        ("source", "hugging", "unknown source 'hugging'"),
    ):
        (tmp_path / "delta.yaml").write_text(f"{name}: {setting}\n")
        if name == "kind":
            given = ["recognise", "--recogniser", good[0], tmp_path / "delta.yaml", *data]
        else:
            given = ["train", *train, "--encoder", good[1], tmp_path / "delta.yaml"]
        assert main(["plan", *map(str, given)]) == 2
        assert cause in capsys.readouterr().err


def test_mistakes_are_found(capsys, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["plan", "separate", "--outt", str(tmp_path)])
    assert refused.value.code == 2
    with pytest.raises(SystemExit):
        main(["plan", "plan"])
    capsys.readouterr()


@pytest.mark.parametrize(
    ("count", "text"),
    [(1_234_567, "1.2 MB"), (0.4e9, "0.40 GB"), (12.34e9, "12.3 GB")],
)
def test_sizes_for_people(count: float, text: str) -> None:
    assert size(count) == text
