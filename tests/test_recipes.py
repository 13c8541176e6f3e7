"""The recipes of the real corpora: run.sh from hand-made trees in their exact layout to a table."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from librimix_tree import make_librimix, make_librispeech
from whamr_sources import make_sources

REPOSITORY = Path(__file__).parents[1]
MODEL = "egs/mini_whamr/pretrained/wav2vec2_mini"
NAMED = f"{{name: tiny, family: wav2vec2, weights: tiny, model: {MODEL}"
TINY = {
    "separator": "{channels: 16, kernel: 64, stride: 32, width: 8, hidden: 8, heads: 2, layers: 1}",
    "asr": f"{NAMED}, kind: ctc}}",
    "encoder": f"{NAMED}, source: huggingface, layer: last, distance: mse, level: model, "
    "fs: 16000}",
}
TRAINING = "mixing.segment_s=0.4 fit.steps=2 fit.batch=2 fit.valid_every=2 fit.workers=0"


def run(recipe: str, exp: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """run.sh with a very small network, recogniser and encoder."""
    for kind, text in TINY.items():
        (exp / "conf" / kind).mkdir(parents=True, exist_ok=True)
        (exp / "conf" / kind / "tiny.yaml").write_text(text)
    small = ["--separator", "tiny", "--encoders", "tiny", "--recognisers", "tiny", "--jobs", 1]
    training = [*("--asr_source", "package", "--ngpu", 0, "--train_set", TRAINING)]
    arguments = ["--recipe", recipe, "--exp", exp, "--allow_partial", "true", *small, *training]
    return subprocess.run(
        ["bash", "run.sh", *map(str, [*arguments, *options])],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def table(exp: Path, part: str = "") -> dict:
    return json.loads((exp / "results" / part / "results.json").read_text())


@pytest.mark.slow
def test_whamr_from_its_sources_to_the_table(tmp_path: Path) -> None:
    sources, exp = make_sources(tmp_path, seconds=1.2), tmp_path / "exp"
    options = [
        *("--wsj0", sources.wsj0, "--wham_noise", sources.noise),
        *("--whamr_scripts", sources.scripts, "--corpus", tmp_path / "corpus", "--num_rooms", 2),
    ]
    run("whamr", exp, "--stage", 9)  # which writes the YAML of what is tiny
    before = sorted(tmp_path.rglob("*"))
    planned = run("whamr", exp, *options, "--dry_run", "true")
    assert planned.returncode == 0, planned.stderr
    assert "stage 5: to do: score tt" in planned.stdout
    assert sorted(tmp_path.rglob("*")) == before
    done = run("whamr", exp, *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = table(exp)
    assert [system["name"] for system in results["systems"]] == [
        *("mixture", "clean", "pretrained", "sisdr", "ae_tiny")
    ]
    assert (results["fs"], results["cut"], results["mixtures"]) == (16000, "max", 2)
    assert table(exp, "nvp")["mixtures"] == 1
    tried = tmp_path / "try"
    few = run("whamr", tried, *options, "--num_test", 1, "--num_valid", 1, "--stop_stage", 1)
    assert few.returncode == 0, few.stdout[-2000:] + few.stderr[-2000:]
    assert [
        len((tried / "data" / s / "wav.scp").read_text().splitlines()) for s in ("cv", "tt")
    ] == [1, 1]

    # Fixed mixtures, and another kind of system, from stage 3 on.
    more = ["--pit_encoders", "tiny", "--dynamic_mixing", "false", "--styles", "nvp"]
    later = run("whamr", exp, *options, *more, "--stage", 3, "--stop_stage", 5)
    assert later.returncode == 0, later.stdout[-2000:] + later.stderr[-2000:]
    assert [system["name"] for system in table(exp)["systems"]][-1] == "pit_tiny"
    history = json.loads((exp / "finetune/pit_tiny/seed1/final/config.json").read_text())["history"]
    assert history[-1]["loss"] == "embedding_pit"
    assert (history[0]["dynamic_mixing"], history[-1]["dynamic_mixing"]) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize(("num_speakers", "fs"), [(2, 16000), (3, 8000)])
def test_librimix_to_the_table(tmp_path: Path, num_speakers: int, fs: int) -> None:
    librispeech = make_librispeech(tmp_path, seconds=1.2)
    librimix = make_librimix(tmp_path, num_speakers, fs=fs, seconds=1.2)
    exp = tmp_path / "exp"
    options = [
        *("--librimix", librimix, "--librispeech", librispeech),
        *("--num_speakers", num_speakers, "--fs", fs),
    ]
    options += ["--num_test", 1]
    done = run("librimix", exp, *options, "--stop_stage", 2)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    later = run("librimix", exp, *options, "--stage", 3, "--stop_stage", 5)
    assert later.returncode == 0, later.stdout[-2000:] + later.stderr[-2000:]
    results = table(exp)
    assert (results["fs"], results["mixtures"]) == (fs, 1)
    for speaker in range(1, num_speakers + 1):
        assert (exp / f"decode/ae_tiny/seed1/tiny/text_spk{speaker}").is_file()
    assert not (exp / f"decode/ae_tiny/seed1/tiny/text_spk{num_speakers + 1}").exists()


def test_librimix_has_nothing_to_separate_in_single_speakers() -> None:
    given = {"librimix": "a", "librispeech": "b", "condition": "mix_single"}
    refused = subprocess.run(
        ["bash", "egs/librimix/local/corpus.sh"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, **given},
        check=False,
    )
    assert refused.returncode == 2
    assert "librimix: --condition mix_single has one speaker" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_words_are_not_counted_where_they_are_cut_off(tmp_path: Path) -> None:
    refused = run("librimix", tmp_path / "exp", "--cut", "min")
    assert refused.returncode == 2
    assert "--cut min cuts words off" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
