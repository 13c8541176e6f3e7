"""utils/settings.sh: what the options of run.sh come to, and what is refused at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OPTIONS = """
recipe=mini_whamr stage=3 stop_stage=5 dry_run=false num_speakers=2 fs=16000 cut=max
condition=mix_both_reverb reference=anechoic from_scratch=false dynamic_mixing=true separator=mini
encoders=whisper_tiny_en pit_encoders= seeds=1 train_set= recognisers=pocketsphinx study= exp=exp
results= jobs=1 cluster= device= ngpu= num_nodes=1 train_cluster= asr_source=package test_sets=tt
option_names=() option_names_more=()
"""

DEFAULTS = "option_default() { case $1 in fs) echo 16000 ;; separator) echo mini ;; esac; }"


def bash(script: str, folder: Path = REPOSITORY) -> str:
    sourced = f". {REPOSITORY}/utils/stage.sh; . {REPOSITORY}/utils/settings.sh"
    text = f"set -euo pipefail\n{sourced}\nrecipe=mini_whamr\n{script}"
    command = ["bash", "-c", text]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


def test_files_are_hashed_wherever_experiments_lie(tmp_path: Path) -> None:
    changes = """
        find_folders; mkdir -p $done; echo 1 >$done/data; before=$(stage_keys "$done/data")
        echo 2 >$done/data; stage_change "$before" "$(stage_keys "$done/data")"
    """
    for exp in ("", "lr=3", "runs/lr=3", f"{tmp_path}/lr=4", "x=1/lr=3"):
        assert bash(f"exp={exp}; {changes}", tmp_path).endswith("/.done/data has changed\n")


def test_an_unknown_name_is_told_those_of_all_folders(tmp_path: Path) -> None:
    (tmp_path / "conf/separator").mkdir(parents=True)
    (tmp_path / "conf/separator/tiny.yaml").touch()
    told = bash(f"exp={tmp_path}; find_folders; (layers list separator/none) 2>&1 || true")
    names = [path.stem for path in (REPOSITORY / "conf/separator").glob("*.yaml")]
    assert told.endswith(
        f"unknown separator 'none' (there are: {' '.join(sorted([*names, 'tiny']))})\n"
    )


def test_paths_are_of_the_folder_where_they_were_given(tmp_path: Path) -> None:
    """Defaults are of the repository, and so is what is given in it."""
    script = """
        option_default() { case $1 in corpus) echo egs/mini_whamr/corpus ;; esac; }
        exp=runs/1 wsj0=/corpora/wsj0 corpus=egs/mini_whamr/corpus librimix= whamr=../whamr
        study="layer mine.yaml" option_folder=FOLDER Paths="whamr wsj0 librimix"
        find_folders; echo "$data $wsj0 $corpus [$librimix] $whamr $study"
    """
    (tmp_path / "mine.yaml").touch()
    rest = "/corpora/wsj0 egs/mini_whamr/corpus []"
    assert bash(script.replace("FOLDER", str(tmp_path))).strip() == (
        f"{tmp_path}/runs/1/data {rest} {tmp_path}/../whamr layer {tmp_path}/mine.yaml"
    )
    here = bash(script.replace("FOLDER", "$PWD")).strip()
    assert here == f"runs/1/data {rest} ../whamr layer mine.yaml"


@pytest.mark.parametrize(
    ("condition", "there", "found"),
    [
        ("mix_both_reverb", "tr_noise tr_rooms", "--noise D/tr_noise --rooms D/tr_rooms"),
        ("mix_both_reverb", "tr_rooms", "there is no D/tr_noise"),
        ("mix_both_reverb", "tr_noise", "there is no D/tr_rooms"),
        ("mix_single_anechoic", "tr_noise", "--noise D/tr_noise"),
        ("mix_clean_reverb", "tr_rooms", "--rooms D/tr_rooms"),
        ("mix_clean_anechoic", "", ""),
        ("mix_both", "tr_noise", "--noise D/tr_noise"),
        ("mix_both", "", "there is no D/tr_noise"),
        ("mix_clean", "", ""),
    ],
)
def test_what_is_mixed_is_all_that_the_condition_has(
    tmp_path: Path, condition: str, there: str, found: str
) -> None:
    data = tmp_path / "data"
    for name in ("cv", "tr_utterances", *there.split()):
        (data / name).mkdir(parents=True)
    (data / "cv/info.yaml").write_text(f"corpus: whamr\ncondition: {condition}\nfs: 16000\n")
    told = bash(
        f'exp={tmp_path}; find_folders; (find_material; echo "${{material[*]}}") 2>&1 || true'
    )
    found = found.replace("D/", f"{data}/")
    expected = f"--utterances {data}/tr_utterances {found}".strip()
    assert told.strip() == expected if "there is no" not in found else found in told


def settled(options: str, script: str) -> str:
    return bash(f"{OPTIONS}\n{options}\nsettle\n{script}").strip()


@pytest.mark.parametrize(
    ("ngpu", "expected"),
    [
        ("", ""),
        ("0", " fit.accelerator=cpu"),
        ("2", " fit.accelerator=gpu fit.devices=2"),
    ],
)
def test_what_every_training_is_given(ngpu: str, expected: str) -> None:
    options = f"ngpu={ngpu} num_nodes=3 MASTER_ADDR=here train_set='fit.steps=5 fit.batch=1'"
    found = settled(options, 'echo "${training[*]}"')
    assert found == "fit.num_nodes=3 fit.steps=5 fit.batch=1" + expected


@pytest.mark.parametrize(
    ("options", "gpu", "torch", "expected"),
    [
        ("device=auto", "GPU 0: H200", "0", "cuda"),
        ("device=auto", "GPU 0: H200", "1", ""),  # the build for CPUs
        ("device=auto", "GPU 0: H200", "", "cuda"),  # to be installed
        ("device=auto cluster=slurm", "GPU 0: H200", "0", ""),  # others do the work
        ("device=auto", "No devices were found", "0", ""),
        ("device=cpu", "GPU 0: H200", "0", "cpu"),
        ("device=", "GPU 0: H200", "0", ""),
    ],
)
def test_the_device_that_is_there(
    tmp_path: Path, options: str, gpu: str, torch: str, expected: str
) -> None:
    programs = {"nvidia-smi": f"echo '{gpu}'"}
    if torch:
        programs["venv/bin/python"] = f"exit {torch}"
    for name, line in programs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    places = f"PATH={tmp_path}:$PATH SEPASR_VENV={tmp_path}/venv"
    assert settled(f"{places} {options}", 'echo "[$device]"') == f"[{expected}]"


def test_what_is_only_listed_is_no_matter_of_the_corpus() -> None:
    options = "option_names_more=(whamr num_test) Of_stage_1=num_test whamr=/w num_test=5"
    found = settled(options, 'echo "${task[*]: -1} - ${listing[*]}"')
    assert found == "whamr=/w - num_test=5"
    assert settled(f"{options} num_test=", 'echo "[${listing[*]}]"') == "[]"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("ngpu=2", "sepasr train"),
        (
            "ngpu=2 num_nodes=3 train_cluster=slurm_train",
            "sepasr submit --cluster conf/cluster/slurm_train.yaml --set nodes=3 gpus=2 "
            "--script exp/slurm/finetune_sisdr_seed1.sh -- train",
        ),
        (
            "train_cluster=slurm_train",
            "sepasr submit --cluster conf/cluster/slurm_train.yaml --set nodes=1 "
            "--script exp/slurm/finetune_sisdr_seed1.sh -- train",
        ),
    ],
)
def test_where_a_training_runs(options: str, expected: str) -> None:
    assert settled(options, 'train_by finetune/sisdr/seed1; echo "${train[*]}"') == expected


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ("num_nodes=2", "--num_nodes 2 is for jobs of several machines"),
        ("fs=8000", "--fs was '16000' in stage 0, and is '8000' now"),
        (
            "option_names_more=(num_test) Of_stage_1=num_test num_test=5",
            "--num_test was '9' in stage 1, and is '5' now (begin with --stage 1, or leave it out)",
        ),
        (
            "option_names_more=(num_valid) Of_stage_1=num_valid num_valid=5",
            "--num_valid was '' in stage 1, and is '5' now",
        ),
        ("separator=s", "--separator s is not what stage 2 has trained"),
    ],
)
def test_what_comes_too_late_is_refused(tmp_path: Path, options: str, cause: str) -> None:
    (tmp_path / ".done").mkdir()
    task = "fs=16000\nnum_speakers=2\ncut=max\ncondition=mix_both_reverb\nreference=anechoic\n"
    for name, text in (("corpus", task), ("data", "num_test=9\n"), ("start", "")):
        (tmp_path / ".done" / name).write_text(text)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        settled(f"{DEFAULTS}; exp={tmp_path} {options}", "")
    assert cause in refused.value.stderr
    assert refused.value.returncode == 2


def test_what_is_left_out_goes_on_with_what_there_is(tmp_path: Path) -> None:
    """Defaults are no wishes; and what the stages that run do anew may be another."""
    (tmp_path / ".done").mkdir()
    named = "fs=8000 num_speakers=2 cut=max condition=mix_both_reverb reference=anechoic"
    (tmp_path / ".done/corpus").write_text(f"{named} corpus={tmp_path}".replace(" ", "\n") + "\n")
    assert settled(f"exp={tmp_path}; {DEFAULTS}", "echo $fs") == "16000"
    other = f"option_names_more=(corpus) corpus={tmp_path}/.done/.."
    assert settled(f"exp={tmp_path} {other}; {DEFAULTS}", "echo $fs") == "16000"
    assert settled(f"exp={tmp_path}; {DEFAULTS}; stage=0 fs=44100", "echo $fs") == "44100"


def test_more_gpus_than_one_are_said_to_take_more() -> None:
    options = ("ngpu=2", "ngpu=2 train_set=fit.batch=2", "ngpu=2 stage=4", "ngpu=1")
    script = "\n".join(f"({option}; settle; echo; echo) 2>&1" for option in options)
    told = bash(f"{OPTIONS}option_default() {{ :; }}\n{script}").split("\n\n")
    assert ["each GPU takes fit.batch mixtures" in text for text in told[:4]] == [
        *(True, False, False, False),
    ]
