"""egs/whamr/local: stages 0 and 1 as run.sh calls them, on seconds of data."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from whamr_sources import MIXTURES, make_sources

from sepasr.data.datadir import MixtureDir, NoiseDir
from sepasr.data.validate import validate

REPOSITORY = Path(__file__).parents[1]
OPTIONS = {
    **{"num_speakers": "2", "fs": "16000", "cut": "max", "condition": "mix_both_reverb"},
    **{"reference": "anechoic", "sets": "tr cv tt", "styles": "nvp", "allow_partial": "true"},
    **{"wsj0": "", "whamr": "", "wham_noise": "", "whamr_scripts": "", "num_rooms": "2"},
    **{"jobs": "1", "cluster": "", "dynamic_mixing": "true"},
}


def run(script: str, **options: str | Path) -> subprocess.CompletedProcess[str]:
    variables = OPTIONS | {name: str(value) for name, value in options.items()}
    return subprocess.run(
        ["bash", "-c", f". tools/activate.sh && egs/whamr/local/{script}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ | variables | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_from_sources_to_data_directories(tmp_path: Path) -> None:
    sources = make_sources(tmp_path)
    corpus, data = tmp_path / "corpus", tmp_path / "data"
    made = {"wham_noise": sources.noise, "whamr_scripts": sources.scripts, "corpus": corpus}
    for script in ("corpus.sh", "data.sh"):
        done = run(script, wsj0=sources.wsj0, data=data, **made)
        assert done.returncode == 0, done.stderr
    assert sorted(directory.name for directory in data.iterdir()) == [
        "cv", "cv_utterances", "tr", "tr_noise", "tr_rooms", "tr_utterances", "tt", "tt_nvp",
    ]  # fmt: skip
    for directory in data.iterdir():
        assert validate(directory, samples=True) == []
    assert MixtureDir.load(data / "tr").info.corpus == "whamr"

    # Where mixtures have neither rooms nor noise, none are made or mixed.
    dry = {**made, "condition": "mix_clean_anechoic", "corpus": tmp_path / "dry", "sets": "cv tt"}
    for script in ("corpus.sh", "data.sh"):
        done = run(script, wsj0=sources.wsj0, data=tmp_path / "dry_data", **dry)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "dry" / "rirs").exists()
    assert not [d for d in (tmp_path / "dry_data").iterdir() if d.name in ("tr_noise", "tr_rooms")]

    # Where there is no set tr, its noise is WHAM's, of which the folder above will do, too.
    above = {**made, "wham_noise": tmp_path, "sets": "cv tt"}
    for script in ("corpus.sh", "data.sh"):
        done = run(script, wsj0=sources.wsj0, data=tmp_path / "above", **above)
        assert done.returncode == 0, done.stderr
    noises = NoiseDir.load(tmp_path / "above" / "tr_noise").noises
    assert {noise.path.parent for noise in noises} == {sources.noise / "tr"}

    # Where training takes mixtures as they are, no rooms are made, and nothing is listed to mix.
    fixed = {"whamr": corpus / "whamr", "corpus": tmp_path / "fixed", "dynamic_mixing": "false"}
    for script in ("corpus.sh", "data.sh"):
        done = run(script, wsj0=sources.wsj0, data=tmp_path / "fixed_data", **fixed)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "fixed").exists()
    listed = {directory.name for directory in (tmp_path / "fixed_data").iterdir()}
    assert listed == {"tr", "cv", "tt", "tt_nvp"}

    # The tree that was made is one that can be given.
    given = {"whamr": corpus / "whamr", "corpus": tmp_path / "more"}
    (corpus / "whamr/wav16k/max/cv/noise" / f"{MIXTURES['cv'][0]}.wav").unlink()
    refused = run("corpus.sh", wsj0=sources.wsj0, data=data, **given)
    assert refused.returncode == 2
    assert "cv/noise/011c0203_0.071_01ta010a_-0.071.wav: no such file" in refused.stderr
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "whamr: --wsj0 is not given (a folder above all discs of LDC93S6A)"),
        ({"wsj0": "x"}, "whamr: give --whamr, or to make it --wham_noise and --whamr_scripts"),
        ({"num_speakers": "3"}, "whamr: --num_speakers is 3, but mix_both_reverb has 2"),
        (
            {"wsj0": "x", "whamr": "y", "sets": "cv tt"},
            "whamr: mixtures of mix_both_reverb have noise to train with, and --sets 'cv tt' has "
            "none (add tr, or give --wham_noise)",
        ),
        (
            {"wsj0": "x", "whamr_scripts": "y", "sets": "cv tt", "wham_noise": "z"},
            "whamr: there is no z/tr (--wham_noise is the folder wham_noise, or the one that holds",
        ),
    ],
)
def test_what_is_not_given_is_named(options: dict[str, str], message: str, tmp_path: Path) -> None:
    refused = run("corpus.sh", corpus=tmp_path / "corpus", data=tmp_path / "data", **options)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not any(tmp_path.iterdir())
