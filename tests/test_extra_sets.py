"""The embedded recipe's sets on request, by its own scripts, and what starts from them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sepasr.data.datadir import MixtureDir

REPOSITORY = Path(__file__).parents[1]
LOCAL = "egs/mini_whamr/local"
SIZES = (
    "num_train_hibari=8 num_train_joe=4 num_train_espeak=8 num_dev=1 num_rooms=2 "
    "num_noises_train=5 num_noises=5"
)


def run(script: str, *arguments: str, **variables: str) -> None:
    bin_folder = str(Path(sys.executable).parent)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", script, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_sets_on_request_and_a_start_for_three_speakers(tmp_path: Path) -> None:
    exp, corpus = tmp_path / "exp", tmp_path / "corpus"
    variables = {
        **{"corpus": str(corpus), "data": str(exp / "data"), "exp": str(exp)},
        **{"num_test": "1", "sizes": SIZES, "jobs": "2", "cluster": ""},
        **{"fs": "16000", "cut": "max", "condition": "mix_both_reverb", "reference": "anechoic"},
        "extra_sets": "3speakers espeak",
    }
    # What is left of larger extra sets is theirs, and in nobody's way.
    (exp / "data" / "tt_long").mkdir(parents=True)
    for script in ("corpus", "data", "extra_corpus", "extra_data"):
        run(f"{LOCAL}/{script}.sh", **variables)
    for name, speakers in (("cv_3speakers", 3), ("tt_3speakers", 3), ("tt_espeak", 2)):
        (mixture,) = MixtureDir.load(exp / "data" / name).mixtures
        assert len(mixture.references) == speakers
        assert (name == "tt_espeak") == (mixture.speakers[0][0] == "e")
    assert not (exp / "data/cv_espeak").exists()

    start = exp / "start" / "separator"
    shutil.copytree(REPOSITORY / "egs/mini_whamr/pretrained/separator", start)
    (exp / ".done").mkdir()
    for marker in ("data", "start"):
        (exp / ".done" / marker).touch()
    settings = "fit.steps=1 fit.batch=1 fit.valid_every=1 mixing.segment_s=0.5 fit.workers=0"
    options = ["--exp", str(exp), "--num_speakers", "3", "--train_set", settings]
    run("utils/grow.sh", *options)
    grown = json.loads((exp / "start_3speakers/separator/config.json").read_text())
    before = json.loads((start / "config.json").read_text())
    assert grown["config"] == {**before["config"], "num_speakers": 3}
    assert grown["history"][:-1] == before["history"]
    assert grown["history"][-1]["steps"] == 1
