from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hand_made import FS, MIXTURES, write_wav

from sepasr.data.utterances import read_noise, read_rirs, read_subset
from sepasr.data.validate import main, validate
from sepasr.data.whamr import read_sets
from sepasr.data.whamr_tree import Whamr
from sepasr.data.wsj0 import Wsj0

SCRIPT = Path(__file__).parents[2] / "utils" / "validate_data_dir.sh"
FIRST, SECOND = sorted(MIXTURES)


@pytest.fixture
def mixtures(corpora, tmp_path):
    """A good directory of mixtures, and the folder of its audio."""
    whamr = Whamr(corpora.whamr)
    (directory,) = read_sets(whamr, Wsj0(corpora.wsj0), tmp_path, ["tt"], allow_partial=True)
    directory.write()
    return tmp_path / "tt", corpora.folder()


def messages(path, **options):
    return [str(problem).removeprefix(f"{path}/") for problem in validate(path, **options)]


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-4])


AUDIO = [
    (lambda a: (a / "mix_both_reverb" / f"{FIRST}.wav").unlink(), "wav.scp:1: ", "no such audio"),
    (lambda a: (a / "noise" / f"{SECOND}.wav").unlink(), "noise1.scp:2: ", "no such audio file"),
    (lambda a: cut_off(a / "s2_anechoic" / f"{SECOND}.wav"), "spk2.scp:2: ", "truncated"),
    (lambda a: (a / "s1_anechoic" / f"{FIRST}.wav").write_text("?"), "spk1.scp:1: ", "cannot be"),
    (
        lambda a: write_wav(a / "s1_anechoic" / f"{SECOND}.wav", MIXTURES[SECOND], fs=8000),
        "spk1.scp:2: ",
        "sampling rate is 8000 Hz where 16000 Hz",
    ),
    (
        lambda a: write_wav(a / "s1_anechoic" / f"{SECOND}.wav", MIXTURES[SECOND], channels=2),
        "spk1.scp:2: ",
        "2 channels where 1",
    ),
    (
        lambda a: write_wav(a / "s1_anechoic" / f"{SECOND}.wav", MIXTURES[SECOND] + 1),
        "spk1.scp:2: ",
        f"1601 samples of id '{SECOND}', its mixture has 1600",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "where", "what"), AUDIO)
def test_a_bad_audio_file_is_named_with_its_entry(mixtures, damage, where, what):
    path, audio = mixtures
    assert messages(path) == []
    damage(audio)
    (message,) = messages(path)
    assert message.startswith(where)
    assert what in message
    assert FIRST in message or SECOND in message


def test_durations_are_compared_with_the_audio(mixtures):
    path, _ = mixtures
    (path / "utt2dur").write_text(f"{FIRST} 0.150250\n{SECOND} 0.100063\n")
    assert messages(path) == [
        f"utt2dur:2: 0.100063 s of id '{SECOND}', its audio has 0.100000 s"
    ]  # one sample more


def test_samples_are_read_on_request(mixtures):
    path, audio = mixtures
    samples = np.zeros(MIXTURES[FIRST])
    samples[7] = np.inf
    soundfile.write(audio / "s2_anechoic" / f"{FIRST}.wav", samples, FS, subtype="FLOAT")
    assert messages(path) == []
    (message,) = messages(path, samples=True)
    assert message.startswith("spk2.scp:1: ")
    assert "sample 7 is not finite" in message


def test_all_problems_are_reported_at_once(mixtures):
    path, audio = mixtures
    (audio / "noise" / f"{FIRST}.wav").unlink()
    cut_off(audio / "s1_anechoic" / f"{SECOND}.wav")
    (path / "text_spk2").write_text(f"{SECOND} X\n{FIRST} Y\n")
    (path / "utt2dur").write_text(f"{FIRST} 0.150250\n")
    (path / "info.yaml").unlink()
    assert [message.split(" ")[0] for message in messages(path)] == [
        "info.yaml:",
        "text_spk2:2:",
        "utt2dur:",
        "spk1.scp:2:",
        "noise1.scp:1:",
    ]


@pytest.mark.parametrize("name", ["spk2.scp", "utt2spk", "spk2utt", "utt2dur", "text_spk1"])
def test_a_missing_table_is_reported_once(mixtures, name):
    path, _ = mixtures
    (path / name).unlink()
    assert messages(path) == [f"{name}: no such file (write it again)"]


def test_in_an_empty_directory_everything_is_missing(tmp_path):
    assert [message.partition(" (")[0] for message in messages(tmp_path)] == [
        "info.yaml: no such configuration",
        "wav.scp: no such file",
        "utt2dur: no such file",
    ]


def test_rooms_need_as_many_channels_in_both_files(corpora, tmp_path):
    read_rirs(corpora.rirs, tmp_path / "d").write()
    write_wav(corpora.rirs / "room1_anechoic.wav", 100, channels=5)
    assert messages(tmp_path / "d") == [
        "anechoic.scp:2: 5 channels of id 'room1', reverb.scp has 6"
    ]


def test_single_speakers_and_noise_are_checked_too(corpora, tmp_path):
    read_subset(corpora.wsj0, "si_et_05", tmp_path / "speech").write()
    read_noise(corpora.noise, tmp_path / "noise").write()
    write_wav(corpora.wsj0 / "wsj0/si_et_05/22g/22go010b.wav", 699)
    write_wav(corpora.noise / "noise_b.wav", 100, fs=8000)
    (speech,), (noise,) = messages(tmp_path / "speech"), messages(tmp_path / "noise")
    assert speech == "utt2dur:2: 0.043750 s of id '22go010b', its audio has 0.043687 s"
    assert noise.startswith("wav.scp:2: ")
    assert "8000 Hz" in noise


def test_the_command_prints_one_line_a_problem(mixtures, capsys):
    path, audio = mixtures
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: valid\n"
    (audio / "noise" / f"{FIRST}.wav").unlink()
    assert main([str(path), "--samples"]) == 1
    assert f"{path}/noise1.scp:1: " in capsys.readouterr().err


def test_a_flood_of_problems_is_counted(tmp_path, capsys):
    (tmp_path / "wav.scp").write_text("".join(f"{k:03d} /nowhere/{k}.wav\n" for k in range(250)))
    (tmp_path / "utt2dur").write_text("".join(f"{k:03d} 1.0\n" for k in range(250)))
    (tmp_path / "info.yaml").write_text("corpus: c\nfs: 16000\n")
    assert main([str(tmp_path)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if str(tmp_path) in line]
    assert len(lines) == 101
    assert lines[-1] == f"{tmp_path}: 150 more problems"


def test_the_script_from_another_folder(mixtures):
    path, _ = mixtures
    run = [SCRIPT, path.name, "--samples", "nowhere"]
    result = subprocess.run(run, cwd=path.parent, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == "tt: valid\n"
    assert result.stderr.endswith("nowhere: no such data directory (stage 1 makes it)\n")


def test_script_takes_the_environment_that_is_named(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    environment = {"SEPASR_VENV": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([str(SCRIPT), "a"], capture_output=True, text=True, env=environment)
    assert done.stdout == "-m sepasr.data.validate a\n"
