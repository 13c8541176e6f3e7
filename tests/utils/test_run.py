"""run.sh, with a sepasr that only says what it is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def bash(tmp_path: Path):
    """Runs a script of the repository in a folder of its own."""
    for name in ("run.sh", "utils", "conf", "egs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "tools").mkdir()
    for name, text in {"install.sh": "", "activate.sh": "", "sepasr": 'echo "sepasr $*"\n'}.items():
        (tmp_path / "tools" / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (tmp_path / "tools" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/tools{os.pathsep}{os.environ['PATH']}"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return call


@pytest.fixture
def run(bash, tmp_path: Path):
    """Runs stages of run.sh; returns the commands it gives sepasr."""

    def stages(first: int, last: int, *options: str, done: tuple[str, ...] = ()) -> list[str]:
        for name in done:
            marker = tmp_path / "exp/.done" / name
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        for name in ("start/separator", "finetune/sisdr/seed1/final"):  # what trainings would leave
            (tmp_path / "exp" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "exp" / name / "model.safetensors").touch()
        given = ["--exp", "exp", "--encoders", "", "--recognisers", "pocketsphinx", *options]
        ran = bash("run.sh", "--stage", str(first), "--stop_stage", str(last), *given)
        assert ran.returncode == 0, ran.stderr
        return [line for line in ran.stdout.splitlines() if line.startswith("sepasr ")]

    return stages


@pytest.mark.parametrize("sets", ["tt", "tt_espeak", "tt tt_espeak"])
def test_each_test_set_is_shown(run, sets: str) -> None:
    markers = ("decode/pocketsphinx", "espeak/decode/pocketsphinx")
    commands = run(5, 5, "--test_sets", sets, "--extra_sets", "espeak", done=markers)
    folders = [f"exp/results{name.removeprefix('tt').replace('_', '/')}" for name in sets.split()]
    shown = [f"sepasr show {folder}/results.json" for folder in folders]
    assert [command for command in commands if " show " in command] == shown


def test_each_seed_is_a_training_of_its_own(run) -> None:
    trained = run(3, 3, "--seeds", "1 2", done=("data", "start"))
    expected = [[f"exp/finetune/sisdr/seed{seed}"] for seed in (1, 2)]
    assert [files_of(command, "--out") for command in trained] == expected
    seeds = [[x for x in files_of(command, "--set") if "seed" in x] for command in trained]
    assert seeds == [["fit.seed=1"], ["fit.seed=2"]]


def test_the_starting_points_are_those_of_the_repository(run, tmp_path: Path) -> None:
    assert run(2, 2, "--recognisers", "wav2vec2_mini", done=("data",)) == []
    for name in ("separator", "wav2vec2_mini"):
        files = list((REPOSITORY / "egs/mini_whamr/pretrained" / name).iterdir())
        assert files
        for file in files:
            assert (tmp_path / "exp/start" / name / file.name).read_bytes() == file.read_bytes()


def test_a_page_is_of_the_results_and_their_test_set(run, tmp_path: Path) -> None:
    (tmp_path / "exp/results").mkdir(parents=True)
    (tmp_path / "exp/results/.done").touch()
    assert run(7, 7) == [
        "sepasr report --results exp/results --exp exp --data exp/data/tt "
        "--studies exp/results --out exp/page"
    ]


def test_the_recogniser_is_trained_by_what_it_knows(run, tmp_path: Path) -> None:
    given = ("--from_scratch", "true", "--recognisers", "wav2vec2_mini", "--ngpu", "0")
    train_set = "fit.steps=2 mixing.lone_share=0.15"
    for name in ("separator", "wav2vec2_mini"):
        (tmp_path / f"exp/scratch/{name}/final").mkdir(parents=True)
        (tmp_path / f"exp/scratch/{name}/final/model").touch()
    separator, recogniser = run(2, 2, *given, "--train_set", train_set, done=("data",))
    assert "fit.steps=2 mixing.lone_share=0.15" in separator
    assert "--set fit.num_nodes=1 fit.steps=2 fit.accelerator=cpu --utterances" in recogniser


def test_a_cluster_of_the_recipe_or_experiment_is_found(run, tmp_path: Path) -> None:
    (tmp_path / "exp/conf/cluster").mkdir(parents=True)
    (tmp_path / "exp/conf/cluster/mine.yaml").touch()
    given = ("--train_cluster", "mine", "--cluster", "mine")
    trained, separated, *_ = run(3, 4, *given, done=("data", "start"))
    assert trained.startswith("sepasr submit --cluster exp/conf/cluster/mine.yaml")
    assert "--cluster exp/conf/cluster/mine.yaml --jobs " in separated


def test_a_study_of_the_recipe_or_experiment_is_found(run, tmp_path: Path) -> None:
    (tmp_path / "exp/conf/study").mkdir(parents=True)
    for path in ("exp/conf/study/mine.yaml", "own.yaml"):
        (tmp_path / path).touch()
    (study,) = run(6, 6, "--study", "mine layer own.yaml", done=("start",))
    files = "exp/conf/study/mine.yaml conf/study/layer.yaml own.yaml"
    assert study.startswith(f"sepasr study {files} --recipe mini_whamr")


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ("sisdr ae_nothing", "unknown encoder 'nothing'"),
        ("sisdr whisper_tiny_en", "unknown system 'whisper_tiny_en'"),
    ],
)
def test_all_systems_are_looked_up_before_one_is_tuned(bash, systems: str, message: str) -> None:
    refused = bash("utils/tune.sh", "--exp", "exp", "--systems", systems)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr


def test_tuning_has_the_defaults_of_the_recipe(bash, tmp_path: Path) -> None:
    (tmp_path / "exp/.done").mkdir(parents=True)
    (tmp_path / "exp/.done/start").touch()
    given = ("--exp", "exp", "--choices", "choices", "--num_speakers", "3")
    tuned = bash("utils/tune.sh", "--recipe", "whamr", *given).stdout
    commands = [line for line in tuned.splitlines() if line.startswith("sepasr tune")]
    named = [line.rsplit("finetune_", 1)[1].split(".")[0] for line in commands]
    assert named == ["sisdr", "ae_wav2vec2_base", "ae_whisper_small_en"]
    for line in commands:
        assert "mixing.num_speakers=3 mixing.reference=anechoic fit.seed=0" in line
        assert "--asr-source auto" in line


def files_of(command: str, option: str) -> list[str]:
    """The files that a command is given as an option."""
    after = command.split(f" {option} ", 1)[1].split()
    return after[: next((i for i, word in enumerate(after) if word.startswith("--")), len(after))]


def test_no_file_of_settings_is_laid_over_itself(run) -> None:
    (trained,) = run(3, 3, done=("data", "start"))
    assert files_of(trained, "--config") == [
        *("conf/train/finetune.yaml", "egs/mini_whamr/conf/train/finetune.yaml"),
        *("conf/train/finetune_sisdr.yaml", "egs/mini_whamr/conf/train/finetune_sisdr.yaml"),
    ]


def test_tuning_heeds_what_else_a_system_is_given(bash, tmp_path: Path) -> None:
    (tmp_path / "exp/.done").mkdir(parents=True)
    (tmp_path / "exp/.done/start").touch()
    tuned = bash("utils/tune.sh", "--exp", "exp", "--choices", "choices").stdout.splitlines()
    commands = [line for line in tuned if line.startswith("sepasr tune")]
    assert len(commands) == 3
    egs = "egs/mini_whamr/conf/train"
    systems = "sisdr", "ae_whisper_tiny_en", "ae_wav2vec2_mini"
    for command, name in zip(commands, systems, strict=True):
        own = ["conf/train/finetune_sisdr.yaml"] if name == "sisdr" else []
        own = [
            "conf/train/finetune.yaml",
            f"{egs}/finetune.yaml",
            *own,
            f"{egs}/finetune_{name}.yaml",
        ]
        assert files_of(command, "--config") == own


def test_growing_heeds_the_reference(bash, tmp_path: Path) -> None:
    for name in ("exp/.done", "exp/data/cv_3speakers", "exp/data/tr_noise", "exp/data/tr_rooms"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data", "start"):
        (tmp_path / "exp/.done" / name).touch()
    (tmp_path / "exp/grow/3speakers/final").mkdir(parents=True)
    given = ("--exp", "exp", "--num_speakers", "3")
    for reference in ("anechoic", "reverb"):
        grown = bash("utils/grow.sh", *given, "--reference", reference)
        assert grown.returncode == 0, grown.stderr
        assert f" mixing.num_speakers=3 mixing.reference={reference} " in grown.stdout


def test_paths_are_of_the_folder_where_the_command_is_given(bash, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for script in ("run.sh", "egs/librimix/run.sh"):
        refused = bash(
            "-c", f"cd elsewhere && bash ../{script} --exp runs/1 --stage 3 --encoders ''"
        )
        assert f"there is no {tmp_path}/elsewhere/runs/1/.done/start" in refused.stderr


def test_a_dry_run_does_without_an_environment(bash, tmp_path: Path) -> None:
    (tmp_path / "tools/sepasr").unlink()
    (tmp_path / "tools/activate.sh").write_text("PATH=/usr/bin:/bin\n")
    stages = ("--stage", "6", "--stop_stage", "7", "--study", "layer")
    told = bash("run.sh", *stages, "--dry_run", "true")
    assert (told.returncode, told.stderr) == (0, "")
    to_do = [line.split("] ")[1] for line in told.stdout.splitlines()]
    assert to_do == ["stage 6: to do: the study layer", "stage 7: to do: a page of the results"]


@pytest.mark.parametrize(
    ("script", "given", "message"),
    [
        ("utils/tune.sh", ["--lr", "1e-5", "3e-5"], "unexpected '3e-5'"),
        ("utils/grow.sh", ["--num_speakers", "3", "4"], "unexpected '4'"),
        ("run.sh", ["--test_sets", "tt tt_espaek"], "unknown test set 'tt_espaek'"),
        ("run.sh", ["--asr_source", "hbu"], "--asr_source is auto, package or hub, not 'hbu'"),
        ("run.sh", ["--recognisers", "twin"], "twin.yaml calls itself 'whisper_base'"),
        ("run.sh", ["--encoders", "twin"], "twin.yaml calls itself 'whisper_base'"),
        (
            "run.sh",
            ["--stage", "6", "--study", "layer", "--dynamic_mixing", "false"],
            "studies mix dynamically",
        ),
        ("run.sh", ["--stage", "6", "--study", "layer", "--cluster", "mine"], "not by --cluster"),
    ],
)
def test_mistakes_are_found_before_anything_starts(
    bash, tmp_path: Path, script: str, given: list[str], message: str
) -> None:
    for kind, name in (("asr", "twin"), ("encoder", "twin"), ("cluster", "mine")):
        (tmp_path / f"exp/conf/{kind}").mkdir(parents=True)
        (tmp_path / f"exp/conf/{kind}/{name}.yaml").write_text("name: 'whisper_base' # copied\n")
    (tmp_path / "exp/.done").mkdir()
    (tmp_path / "exp/.done/start").touch()
    sets = ["--sets", "tr cv tt"] if "--dynamic_mixing" in given else []
    recipe = ["--recipe", "whamr", "--from_scratch", "true"] if sets else []
    refused = bash(script, "--exp", "exp", *recipe, *sets, *given)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["run #2", "a: b", "it's"])
def test_starting_points_are_found_whatever_the_path(bash, tmp_path: Path, name: str) -> None:
    for start in ("separator", "wav2vec2_mini"):
        (tmp_path / start).mkdir()
    assert bash("utils/take_start.sh", name, "separator", "wav2vec2_mini").returncode == 0
    for kind in ("asr", "encoder"):
        written = tmp_path / name / "conf" / kind / "wav2vec2_mini.yaml"
        assert yaml.safe_load(written.read_text()) == {"model": f"{name}/start/wav2vec2_mini"}
    # Without it, what the repository has is taken again.
    assert bash("utils/take_start.sh", name, "separator").returncode == 0
    assert not list((tmp_path / name / "conf").rglob("*.yaml"))


def test_subsets_are_scored_where_the_whole_was_read(run, tmp_path: Path) -> None:
    for name in ("tt", "tt_nvp", "tt_vp", "tt_espeak"):
        (tmp_path / f"exp/data/{name}").mkdir(parents=True)
        line = "b other\n" if name == "tt_espeak" else "a path\n"
        (tmp_path / f"exp/data/{name}/wav.scp").write_text(line)
    markers = ("decode/pocketsphinx", "espeak/decode/pocketsphinx")

    def scored(sets: str) -> list[str]:
        commands = run(5, 5, "--test_sets", sets, done=markers)
        return [c.split("--data exp/data/")[1].split()[0] for c in commands if " score " in c]

    assert scored("tt") == ["tt", "tt_nvp", "tt_vp"]
    assert scored("tt_espeak") == ["tt_espeak"]
