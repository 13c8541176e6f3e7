"""run.sh itself: all stages on seconds of data, skipped when done, refused when amiss."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from espnet_zoo import write_asr
from safetensors.torch import load_file

REPOSITORY = Path(__file__).parents[1]
SIZES = (
    "num_train_hibari=34 num_train_joe=12 num_train_espeak=6 num_dev=2 num_rooms=3 "
    "num_noises_train=5 num_noises=5"
)


def run(*arguments: str, script: str = "run.sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", script, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def options(folder: Path) -> list[str]:
    return [
        *("--exp", str(folder / "exp"), "--corpus", str(folder / "corpus")),
        *("--sizes", SIZES, "--num_test", "3", "--jobs", "2"),
        *("--from_scratch", "true", "--recognisers", "wav2vec2_mini pocketsphinx"),
        *("--train_set", "fit.steps=2 fit.batch=2 fit.valid_every=2"),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    done = run(*options(folder))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Word errors" in done.stdout or "cpWER" in done.stdout
    return folder


@pytest.mark.slow
def test_the_table_can_be_recomputed_from_its_rows(finished: Path) -> None:
    results = json.loads((finished / "exp/results/results.json").read_text())
    names = [system["name"] for system in results["systems"]]
    assert names == [
        *("mixture", "clean", "pretrained", "sisdr"),
        *("ae_whisper_tiny_en", "ae_wav2vec2_mini"),
    ]
    assert (results["fs"], results["cut"], results["reference"]) == (16000, "max", "anechoic")
    assert results["mixtures"] == 3
    with open(finished / "exp/results/utterances.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 * 2 * 3
    for system in results["systems"]:
        for name, errors in system["wer"].items():
            mine = [r for r in rows if (r["system"], r["recogniser"]) == (system["name"], name)]
            rate = sum(int(r["cp_errors"]) for r in mine) / sum(int(r["words"]) for r in mine)
            assert errors["cpwer"]["value"] == pytest.approx(rate)
    relations = {(c["system"], c["recogniser"]): c["relation"] for c in results["comparisons"]}
    assert relations["ae_wav2vec2_mini", "wav2vec2_mini"] == "seen"
    assert relations["ae_wav2vec2_mini", "pocketsphinx"] == "unseen"
    assert relations["ae_whisper_tiny_en", "wav2vec2_mini"] == "unseen"


@pytest.mark.slow
def test_the_control_differs_in_the_loss_and_the_rate_chosen_for_it(finished: Path) -> None:
    described = {}
    for system in ("sisdr", "ae_whisper_tiny_en"):
        config = finished / f"exp/finetune/{system}/seed1/final/config.json"
        described[system] = json.loads(config.read_text())
    control, ae = (described[s]["history"][-1] for s in ("sisdr", "ae_whisper_tiny_en"))
    assert control["loss"] == "signal"
    assert ae["loss"] == "guided"
    assert ae["encoder"]["weights"] == "whisper-tiny.en"
    assert control["seed"] == ae["seed"] == 1
    differing = {key for key in control.keys() | ae.keys() if control.get(key) != ae.get(key)}
    assert differing == {"loss", "encoder", "lr"}
    assert described["sisdr"]["history"][:-1] == described["ae_whisper_tiny_en"]["history"][:-1]


@pytest.mark.slow
def test_systems_choose_their_length_and_rate_on_dev(finished: Path, tmp_path: Path) -> None:
    tuned = run(
        *("--exp", str(finished / "exp"), "--choices", str(tmp_path)),
        *("--systems", "sisdr ae_wav2vec2_mini", "--lr", "1e-4 1e-1", "--steps", "1 2"),
        *("--recognisers", "pocketsphinx wav2vec2_mini"),
        *("--train_set", "fit.batch=2 fit.valid_every=2"),
        script="utils/tune.sh",
    )
    assert tuned.returncode == 0, tuned.stdout[-3000:] + tuned.stderr[-3000:]
    for system in ("sisdr", "ae_wav2vec2_mini"):
        with open(finished / "exp/tune" / system / "grid.csv", newline="") as stream:
            grid = list(csv.DictReader(stream))
        points = [(float(row["lr"]), int(row["steps"])) for row in grid]
        assert points == [(1e-4, 1), (1e-4, 2), (0.1, 1), (0.1, 2)]
        assert {"pocketsphinx", "wav2vec2_mini"} <= set(grid[0])
        chosen = yaml.safe_load((tmp_path / f"finetune_{system}.yaml").read_text())["fit"]
        best = min(grid, key=lambda row: (float(row["family_mean"]), int(row["steps"])))
        mean = float(best["family_mean"])
        assert (chosen["optimizer"]["lr"], chosen["steps"]) in [
            point
            for point, row in zip(points, grid, strict=True)
            if float(row["family_mean"]) == mean
        ]
    history = [
        json.loads((finished / f"exp/tune/sisdr/train/lr0.0001/{folder}/config.json").read_text())
        for folder in ("step1", "final")
    ]
    assert [h["history"][-1]["steps"] for h in history] == [1, 2]


def tiny_encoders(folder: Path) -> dict[str, dict[str, str]]:
    """Models with random weights, of the classes that the hub's have, and what their YAML says."""
    import transformers as t

    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    convolutions = {
        "conv_dim": (8, 8),
        "conv_kernel": (10, 8),
        "conv_stride": (80, 4),
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
    models = {
        "wav2vec2": t.Wav2Vec2Model(t.Wav2Vec2Config(**shape, **convolutions)),
        "hubert": t.HubertModel(t.HubertConfig(**shape, **convolutions)),
        "wavlm": t.WavLMModel(t.WavLMConfig(**shape, **convolutions)),
        "data2vec": t.Data2VecAudioModel(
            t.Data2VecAudioConfig(**shape, **convolutions, conv_pos_kernel_size=5)
        ),
        "wav2vec2_bert": t.Wav2Vec2BertModel(t.Wav2Vec2BertConfig(**shape)),
    }
    for family, model in models.items():
        model.save_pretrained(folder / family)
    write_asr(folder / "conformer")
    said = {family: {"source": "huggingface", "family": family} for family in models}
    # Whisper's, and s3prl's, are the recipe's own.
    return said | {"conformer": {"source": "espnet", "family": "conformer"}}


def write_encoders(finished: Path, folder: Path, said: dict[str, dict[str, str]]) -> list[str]:
    """YAML where the recipe looks for it; their names."""
    conf = finished / "exp/conf/encoder"
    conf.mkdir(parents=True, exist_ok=True)
    rest = {"layer": "last", "distance": "mse", "level": "model", "fs": 16000}
    for family, fields in said.items():
        content = {"name": family, "weights": family, "model": f"{folder / family}"}
        (conf / f"{family}.yaml").write_text(yaml.safe_dump(content | fields | rest))
    return list(said)


@pytest.mark.slow
def test_an_encoder_of_each_family(finished: Path, tmp_path: Path) -> None:
    names = write_encoders(finished, tmp_path, tiny_encoders(tmp_path))
    trained = options(finished)
    done = run(*trained, "--encoders", " ".join(names), "--stage", "3", "--stop_stage", "3")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    start = load_file(finished / "exp/start/separator/model.safetensors")
    for name in names:
        final = finished / f"exp/finetune/ae_{name}/seed1/final"
        last = json.loads((final / "config.json").read_text())["history"][-1]
        assert (last["loss"], last["encoder"]["family"]) == ("guided", name)
        weights = load_file(final / "model.safetensors")
        assert any(not weights[key].equal(value) for key, value in start.items())


@pytest.mark.slow
def test_an_encoder_without_gradient_stops_before_the_first_step(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deaf.py").write_text(
        "from sepasr.encoder.whisper import WhisperFrames, build_model as build\n"
        "class Deaf(WhisperFrames):\n"
        "    def forward(self, waveform, lengths):\n"
        "        return super().forward(waveform.detach(), lengths)\n"
        "def build_model(conf):\n"
        "    model = build(conf)\n"
        "    model.__class__ = Deaf\n"
        "    return model\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    deaf = {"source": "deaf", "family": "whisper", "model": "package:whisper-tiny.en"}
    write_encoders(finished, tmp_path, {"deaf": deaf})
    refused = run(*options(finished), "--encoders", "deaf", "--stage", "3", "--stop_stage", "3")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(
        "sepasr train: encoder deaf: no gradient reaches the waveform: the model computes under "
        "no_grad or detaches its input"
    )
    assert not (finished / "exp/finetune/ae_deaf").exists()


@pytest.mark.slow
def test_a_second_run_does_nothing_twice(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "exp").rglob("*") if p.is_file()}
    again = run(*options(finished))
    assert again.returncode == 0
    after = {p: p.stat().st_mtime_ns for p in (finished / "exp").rglob("*") if p.is_file()}
    assert before == after


@pytest.mark.slow
def test_a_changed_option_runs_again_what_depends_on_it(finished: Path) -> None:
    changed = options(finished)
    changed[changed.index("wav2vec2_mini pocketsphinx")] = "pocketsphinx"
    again = run(*changed, "--stage", "4", "--stop_stage", "5")
    assert again.returncode == 0
    results = json.loads((finished / "exp/results/results.json").read_text())
    assert list(results["systems"][0]["wer"]) == ["pocketsphinx"]


@pytest.mark.slow
def test_later_stages_say_what_comes_first(tmp_path: Path) -> None:
    refused = run("--exp", str(tmp_path / "exp"), "--stage", "3", "--stop_stage", "5")
    assert refused.returncode != 0
    assert "stages 0-2 come first" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "nowhere"], "unknown recipe 'nowhere'"),
        (["--encoders", "nothing"], "unknown encoder 'nothing'"),
        (["--recognisers", "nobody"], "unknown asr 'nobody'"),
        (["--stages", "3"], "unknown option --stages"),
        (["--from_scratch", "maybe"], "true or false"),
        (["3"], "unexpected '3'"),
        (["--stage", "6", "--study", "permutation nothing"], "unknown study 'nothing'"),
        (["--stage", "6"], "--study names none"),
        (["--stage", "8"], "there is no stage 8"),
        (["--stage", "3", "--stop_stage", "2"], "--stop_stage 2 is before --stage 3"),
        (["--ngpu", "two"], "--ngpu is a number of GPUs, not 'two'"),
        (["--seeds", "1 x"], "--seeds are integers, not 'x'"),
        (["--recognisers", ""], "--recognisers is empty"),
        (["--dynamic_mixing", "false"], "trains on the set tr"),
        (["--recipe", "whamr", "--from_scratch", "false"], "pretrained/separator to start from"),
        (
            ["--recipe", "whamr", "--sets", "tr tt"],
            "validate on the set cv, which is not in --sets",
        ),
        (["--recipe", "whamr", "--sets", "tr cv"], "stage 4 separates the set tt, which is not in"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    refused = run("--exp", str(tmp_path / "exp"), *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "exp").exists()


def test_help_lists_the_options() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for option in ("--recipe", "--stage", "--stop_stage", "--encoders", "--recognisers"):
        assert option in shown.stdout


def test_run_sh_stays_a_table_of_contents() -> None:
    assert len((REPOSITORY / "run.sh").read_text().splitlines()) <= 150
    for script in REPOSITORY.glob("egs/*/run.sh"):
        assert len(script.read_text().splitlines()) <= 40
