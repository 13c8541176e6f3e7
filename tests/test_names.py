"""Names with spaces, accents and what a shell would heed, in places and in ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from good_inputs import World

from sepasr.bin.main import main

IDS = (
    *("a;touch${IFS}pwned", "$(touch${IFS}pwned)", "`touch${IFS}pwned`", "x|touch${IFS}pwned|"),
    *(
        "--set",
        "-rf",
        "*",
        "~",
        "%s%n",
        "a'b\"c",
        "mixé",
        "混ぜる",
        "&&touch${IFS}pwned",
        "..",
        "\\n",
    ),
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs commands where something that is touched would be seen."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def command(*arguments: object) -> None:
        assert main([str(argument) for argument in arguments]) == 0

    yield command
    assert not list(tmp_path.rglob("pwned*"))
    assert not list((tmp_path / "here").iterdir())


def pipeline(run, folder: Path, world: World) -> list[str]:
    """Prepare a set, separate, recognise and score it; the ids in the rows."""
    data, exp = folder / "data set", folder / "exp"
    prepare = ["prepare", "mixtures", "--corpus", "x", "--fs", "16000", "--mixtures"]
    run(*prepare, folder / "corpus", "--out", data)
    run("separate", data, "--model", world.model, "--out", exp / "separate/tiny")
    systems = ["--data", data, "--exp", exp, "--systems", "mixture", "clean", "tiny"]
    run("recognise", "--recogniser", world.folder / "reader.yaml", *systems)
    results = folder / "results ü"
    run("score", "--recipe", "x", *systems, "--recognisers", "mine", "--out", results)
    assert json.loads((results / "results.json").read_text())["mixtures"] > 0
    rows = (results / "utterances.csv").read_text(encoding="utf-8").splitlines()
    return rows[1:]


def corpus(world: World, folder: Path, ids: list[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ids:
        parts = 0.1 * rng.standard_normal((3, 8000))
        signals = dict(zip(("noise", "s1_anechoic", "s2_anechoic"), parts, strict=True))
        signals["mix_both_reverb"] = parts.sum(0)
        for signal, samples in signals.items():
            world.wav(f"{folder.name}/corpus/{signal}/{name}.wav", samples)
    lines = {"utt2spk": "a_b", "text_spk1": "ONE", "text_spk2": "TWO"}
    for table, value in lines.items():
        text = "".join(f"{name} {value}\n" for name in sorted(ids))
        world.write(f"{folder.name}/corpus/{table}", text)


@pytest.mark.slow
def test_places_with_spaces_and_accents(run, data_dirs, tmp_path: Path) -> None:
    folder = tmp_path / "ein Ordner für Töne; $(x) 'é'"
    world = World(tmp_path, data_dirs)
    corpus(world, folder, ["m1", "m2"])
    assert len(pipeline(run, folder, world)) == 6
    talk = world.wav(f"{folder.name}/my tälk.wav", np.full(900, 0.1))
    run("separate", talk, "--model", world.model, "-o", folder / "out put")
    assert (folder / "out put" / "my tälk_spk1.wav").is_file()
    assert (folder / "out put" / "spk1.scp").is_file()


@pytest.mark.slow
def test_no_id_reaches_a_shell(run, data_dirs, tmp_path: Path) -> None:
    world = World(tmp_path, data_dirs)
    corpus(world, tmp_path / "hostile", list(IDS))
    rows = pipeline(run, tmp_path / "hostile", world)
    assert len(rows) == 3 * len(IDS)
    audio = data_dirs.mixtures.mixtures[0].mixture
    scp = world.write("list.scp", "".join(f"{name} {audio}\n" for name in sorted(IDS)))
    run("separate", scp, "--model", world.model, "-o", tmp_path / "streams")
    streams = {path.name for path in (tmp_path / "streams").glob("*_spk1.wav")}
    assert streams == {f"{name}_spk1.wav" for name in IDS}
