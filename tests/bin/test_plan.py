"""``sepasr plan``: what a subcommand would read, write and need; nothing is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from sepasr.bin.main import main
from sepasr.bin.plan import size


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
