"""The examples of ``docs/library.md`` are run as they stand; it names what the package gives."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sepasr
from sepasr.bin.main import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dirs) -> None:
    """A folder in which the page's files are."""
    (tmp_path / "egs").symlink_to(ROOT / "egs")
    soundfile.write(tmp_path / "meeting.wav", np.random.default_rng(0).normal(0, 0.1, 4000), 8000)
    for name, directory in (
        ("tr_utterances", data_dirs.utterances),
        ("tr_noise", data_dirs.noise),
        ("tr_rooms", data_dirs.rooms),
        ("cv", data_dirs.mixtures),
    ):
        replace(directory, path=tmp_path / "data" / name).write()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(number: int) -> None:
    exec(compile(EXAMPLES[number], f"example {number} of library.md", "exec"), {})


def test_there_are_examples_of_all_parts() -> None:
    assert len(EXAMPLES) == PAGE.count("\n## ") == 4


def test_what_the_package_gives_is_on_the_page_and_is_there() -> None:
    for name in sepasr.__all__:
        assert f"`{name}`" in PAGE
        assert callable(getattr(sepasr, name))
        assert name in dir(sepasr)
    with pytest.raises(AttributeError, match="no attribute 'separator_of'"):
        sepasr.separator_of  # noqa: B018


def test_it_is_imported_without_what_only_parts_of_it_need() -> None:
    code = "import sepasr, sys; print('torch' in sys.modules, 'Separator' in dir(sepasr))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert said.split() == ["False", "True"]


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"sepasr {sepasr.__version__}\n")
