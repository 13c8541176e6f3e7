from __future__ import annotations

import pytest
from hand_made import FS, NOISES, TEXTS, write_wav

from sepasr.data.datadir import (
    Info,
    Noise,
    NoiseDir,
    Room,
    RoomDir,
    Utterance,
    UtteranceDir,
)
from sepasr.data.utterances import read_noise, read_rirs, read_subset
from sepasr.data.validate import validate
from sepasr.errors import UserError


def test_every_value_of_a_directory_of_single_speakers(corpora, tmp_path):
    read = read_subset(corpora.wsj0, "si_et_05", tmp_path / "d")
    read.write()
    wsj0 = corpora.wsj0
    expected = UtteranceDir(
        tmp_path / "d",
        Info("wsj0", FS),
        (
            Utterance(
                "22gc0105", wsj0 / "wsj0/si_et_05/22g/22gc0105.wav", TEXTS["22gc0105"], "22g", 0.05
            ),
            Utterance(
                "22go010b",
                wsj0 / "wsj0/si_et_05/22g/22go010b.wav",
                TEXTS["22go010b"],
                "22g",
                0.04375,
            ),
            Utterance(
                "445c0206",
                wsj0 / "11-1.1/wsj0/SI_ET_05/445/445C0206.WAV",
                TEXTS["445c0206"],
                "445",
                0.05625,
            ),
        ),
    )
    assert read == expected
    assert UtteranceDir.load(tmp_path / "d") == expected
    assert validate(tmp_path / "d", samples=True) == []


def test_similar_speakers_of_other_subsets_are_left_out(corpora, tmp_path):
    table = tmp_path / "spk2similar"
    table.write_text("22g 445 999\n445 22g\n998 445 999\n999 998\n")
    read_subset(corpora.wsj0, "si_et_05", tmp_path / "d", similar=table).write()
    assert UtteranceDir.load(tmp_path / "d").similar == {"22g": ("445",), "445": ("22g",)}


def test_utterances_of_another_rate_are_refused(corpora, tmp_path):
    with pytest.raises(UserError, match="16000 Hz where 8000 Hz"):
        read_subset(corpora.wsj0, "si_et_05", tmp_path / "d", 8000)


def test_noise_of_any_number_of_channels(corpora, tmp_path):
    noises = tuple(
        Noise(name, corpora.noise / f"{name}.wav", NOISES[name] / FS) for name in sorted(NOISES)
    )
    expected = NoiseDir(tmp_path / "d", Info("wham_noise", FS), noises)
    read = read_noise(corpora.noise, tmp_path / "d")
    assert read == expected
    read.write()
    assert NoiseDir.load(tmp_path / "d") == expected
    assert validate(tmp_path / "d", samples=True) == []


def test_rooms_are_pairs_of_files(corpora, tmp_path):
    rooms = tuple(
        Room(f"room{k}", *(corpora.rirs / f"room{k}_{kind}.wav" for kind in ("reverb", "anechoic")))
        for k in range(2)
    )
    expected = RoomDir(tmp_path / "d", Info("rirs", FS), rooms)
    read = read_rirs(corpora.rirs, tmp_path / "d")
    assert read == expected
    read.write()
    assert RoomDir.load(tmp_path / "d") == expected
    assert validate(tmp_path / "d", samples=True) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "room1_anechoic.wav").unlink(), r"room1_anechoic\.wav: no such file"),
        (lambda d: (d / "room0_reverb.wav").unlink(), r"room0_reverb\.wav: no such file"),
        (lambda d: write_wav(d / "room0_direct.wav", 10, 6), r"room0_direct\.wav: neither"),
        (lambda d: write_wav(d / "room0_anechoic.wav", 10, 5), r"room0_anechoic\.wav: 5 channels"),
        (lambda d: write_wav(d / "room0_anechoic.wav", 10, 6, fs=8000), "8000 Hz where 16000 Hz"),
    ],
)
def test_a_room_that_is_not_a_pair_is_named(corpora, tmp_path, damage, message):
    damage(corpora.rirs)
    with pytest.raises(UserError, match=message):
        read_rirs(corpora.rirs, tmp_path / "d")


@pytest.mark.parametrize("read", [read_noise, read_rirs])
def test_an_empty_or_missing_folder_is_named(tmp_path, read):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(UserError, match=f"{name}: no such folder, or no WAV files"):
            read(tmp_path / name, tmp_path / "d")
