"""utils/tests.sh: where what belongs to a test set lies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def bash(script: str) -> str:
    text = f"set -euo pipefail\ncd {REPOSITORY}\n. utils/tests.sh\n{script}"
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_subset_lists_nothing_else(tmp_path: Path) -> None:
    lists = {"tt": "a x.wav\nb y.wav\n", "tt_some": "b y.wav\n", "tt_other": "b z.wav\n"}
    for name, text in lists.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "wav.scp").write_text(text)
    (tmp_path / "tt_more").mkdir()
    (tmp_path / "tt_more" / "wav.scp").write_text(lists["tt"] + "c z.wav\n")
    script = (
        f"for name in tt_some tt_other tt_more tt_none; do if is_subset {tmp_path}/$name "
        f"{tmp_path}/tt; then echo $name; fi; done"
    )
    assert bash(script) == "tt_some"


@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("tt", "[] exp exp/.done exp/.done/data"),
        ("tt_espeak", "[espeak] exp/espeak exp/.done/espeak exp/.done/data"),
        ("tt_nvp", "[nvp] exp exp/.done exp/.done/data"),  # a subset, read with tt
    ],
)
def test_what_belongs_to_a_set(test: str, found: str) -> None:
    script = f"exp=exp done=exp/.done test_sets='tt tt_espeak'; test_place {test}\n"
    assert bash(script + 'echo "[$part] $work $marks $listed"') == found


@pytest.mark.parametrize("device", ["", "cuda"])
def test_a_device_is_named_only_when_it_is_asked_for(device: str) -> None:
    """Else the YAML of a recogniser has its say."""
    script = f"""
        exp=exp done=exp/.done test_sets=tt data=exp/data asr_source=package device={device}
        folders=(sisdr/seed1) models=() recognisers=pocketsphinx
        once() {{ printf '%s\\n' "$*"; }}
        layers() {{ config=(conf/asr/pocketsphinx.yaml); }}
        test_place tt; separate_test tt; read_test tt"""
    commands = bash(script).splitlines()
    assert [c.split(" sepasr ")[1].split()[0] for c in commands] == [*["separate"] * 2, "recognise"]
    assert all((f"--device {device}" in c) if device else ("--device" not in c) for c in commands)


def test_a_model_that_was_trained_again_separates_again(tmp_path: Path) -> None:
    script = f"""
        exp={tmp_path} done=$exp/.done test_sets=tt data=$exp/data asr_source=package device=
        stage_number= folders=(sisdr/seed1) models=() recognisers=
        mkdir -p $done/finetune/sisdr $exp/start/separator $exp/finetune/sisdr/seed1/final
        touch $done/data $done/start $done/finetune/sisdr/seed1
        weights=$exp/finetune/sisdr/seed1/final/model.safetensors
        echo 1 >$exp/start/separator/model.safetensors; echo 1 >$weights
        . utils/stage.sh
        sepasr() {{ echo "$1 $4"; mkdir -p "$6"; }}
        test_place tt; separate_test tt; echo; separate_test tt; echo
        echo 2 >$weights; separate_test tt; echo
        rm -r $exp/separate/pretrained; separate_test tt"""
    models = f"{tmp_path}/start/separator", f"{tmp_path}/finetune/sisdr/seed1/final"
    runs = [
        [line for line in run.splitlines() if line.startswith("separate ")]
        for run in bash(script).split("\n\n")
    ]
    assert runs == [
        [f"separate {model}" for model in models],
        [],
        [f"separate {models[1]}"],
        [f"separate {models[0]}"],
    ]


def test_audio_that_is_made_anew_is_separated_again(tmp_path: Path) -> None:
    files = [tmp_path / f"mix {n}.wav" for n in range(20)]
    listed = "".join(f"m{n:02} {file}\n" for n, file in enumerate(files))
    (tmp_path / "wav.scp").write_text(listed)
    digests = [bash(f". utils/stage.sh; mixtures_digest {tmp_path}/wav.scp")]
    for content in ("1", "1", "2"):
        for file in files:
            file.write_text(content)
        digests.append(bash(f". utils/stage.sh; mixtures_digest {tmp_path}/wav.scp"))
    assert digests[1] == digests[2] != digests[3]
    assert len(digests[1]) == 16
    (tmp_path / "few.scp").write_text("".join(listed.splitlines(keepends=True)[:3]))
    for file in files[:3]:  # of few each counts, also one that is gone
        before = bash(f". utils/stage.sh; mixtures_digest {tmp_path}/few.scp")
        file.unlink()
        assert bash(f". utils/stage.sh; mixtures_digest {tmp_path}/few.scp") != before
    assert bash(f". utils/stage.sh; mixtures_digest {tmp_path}/none") == ""


def test_what_is_made_on_request_is_listed_apart(tmp_path: Path) -> None:
    (tmp_path / "extra_data").touch()
    script = f"exp=exp done={tmp_path} test_sets='tt tt_espeak'\n"
    for test, marker in (("tt", "data"), ("tt_espeak", "extra_data")):
        assert bash(f"{script}test_place {test}; echo $listed") == f"{tmp_path}/{marker}"


def test_other_sets_on_request_are_made_anew() -> None:
    """They are among the keys: what comes before the command."""
    script = "done=exp/.done egs=egs/mini_whamr; once() { printf '%s\\n' \"$@\"; }\n"
    made = bash(script + "extra_sets='3speakers long'; make_extra_corpus").splitlines()
    assert "extra_sets=3speakers long" in made[: made.index("--")]
    assert bash(script + "extra_sets=; make_extra_corpus") == ""
