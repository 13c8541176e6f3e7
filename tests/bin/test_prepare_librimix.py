"""Stages 0 and 1 of librimix as run.sh calls them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from librimix_tree import make_librimix, make_librispeech

from sepasr.data.datadir import MixtureDir

REPOSITORY = Path(__file__).parents[2]


def call(script: str, folder: Path, **options: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the recipe with the variables that run.sh exports."""
    variables = {
        **{"librimix": str(folder), "librispeech": str(folder), "train_subset": "train-100"},
        **{"num_speakers": "3", "fs": "8000", "cut": "max", "condition": "mix_both"},
        **{"reference": "anechoic", "allow_partial": "true", "jobs": "1", "cluster": ""},
        "data": str(folder / "data"),
    }
    return subprocess.run(
        [f"egs/librimix/local/{script}"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"} | variables | options,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stages_of_three_speakers(tmp_path: Path) -> None:
    make_librispeech(tmp_path)
    make_librimix(tmp_path, 3, 8000, ["max"])
    checked = call("corpus.sh", tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert not (tmp_path / "data").exists()
    prepared = call("data.sh", tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert len(MixtureDir.load(tmp_path / "data/tr").mixtures[0].references) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"librispeech": ""}, "librimix: --librispeech is not given (https://github.com/JorisCos"),
        ({}, "Libri3Mix: no such folder (make it with https://github.com/JorisCos/LibriMix, and"),
        ({"reference": "reverb"}, "LibriMix has no reference 'reverb'"),
    ],
)
def test_stage_0_says_what_is_missing(tmp_path: Path, options: dict, message: str) -> None:
    make_librispeech(tmp_path)
    refused = call("corpus.sh", tmp_path, **options)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
