"""Speech of one's own, a folder per speaker, to mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from sepasr.bin.main import main
from sepasr.data.datadir import MixtureDir, UtteranceDir
from sepasr.data.utterances import NO_WORDS

FS = 16000


@pytest.fixture
def speech(tmp_path):
    """Two files of one speaker, one deeper than the other, and one of another speaker."""
    for number, name in enumerate(["ann/1.wav", "ann/b/2.flac", "bob_b/1.WAV"]):
        path = tmp_path / "my" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 3200)
        soundfile.write(path, noise, FS, format=path.suffix[1:].upper())
    (tmp_path / "my/ann/notes.txt").write_text("not audio")
    return tmp_path / "my"


def prepare(speech, *more: object) -> int:
    given = ["--speech", speech, "--corpus", "my", "--out", speech.parent / "data", *more]
    return main(["prepare", "speech", *map(str, given)])


def test_a_folder_becomes_utterances_and_these_mixtures(speech, tmp_path):
    assert prepare(speech) == 0
    found = UtteranceDir.load(tmp_path / "data").utterances
    assert [(u.id, u.speaker, u.text, u.duration_s) for u in found] == [
        ("ann-1", "ann", NO_WORDS, 0.2),
        ("ann-b-2", "ann", NO_WORDS, 0.2),
        ("bob-b-1", "bob-b", NO_WORDS, 0.2),
    ]
    assert found[1].path == speech / "ann/b/2.flac"
    mixtures = ["--utterances", tmp_path / "data", "--set", "utterances=1", "--count", 3]
    mixtures += ["--corpus", "my", "--audio", tmp_path / "audio", "--out", tmp_path / "cv"]
    assert main(["lengthen", *map(str, mixtures)]) == 0
    assert {m.speakers for m in MixtureDir.load(tmp_path / "cv").mixtures} <= {
        ("ann", "bob-b"),
        ("bob-b", "ann"),
    }


def test_words_and_genders_are_taken_where_they_are_known(speech, tmp_path):
    (tmp_path / "text").write_text("ann-1 ONE\nann-b-2 TWO\nbob-b-1 THREE\n")
    (tmp_path / "genders").write_text("ann f\nbob-b m\nzoe f\n")
    assert prepare(speech, "--text", tmp_path / "text", "--genders", tmp_path / "genders") == 0
    data = UtteranceDir.load(tmp_path / "data")
    assert [u.text for u in data.utterances] == ["ONE", "TWO", "THREE"]
    assert data.genders == {"ann": "f", "bob-b": "m"}


def test_what_is_wrong_is_named(speech, tmp_path, capsys):
    (tmp_path / "text").write_text("ann-1 ONE\nann-b-2 TWO\n")
    assert prepare(speech, "--text", tmp_path / "text") == 2
    assert "text: no words of 'bob-b-1' (add a line)" in capsys.readouterr().err
    (speech / "ann/1.flac").write_bytes((speech / "ann/b/2.flac").read_bytes())
    assert prepare(speech) == 2
    assert "the same id 'ann-1' as " in capsys.readouterr().err
    assert prepare(tmp_path / "nowhere") == 2
    assert "no audio in any SPEAKER/ of this folder" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
