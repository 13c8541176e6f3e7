from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from sepasr.data.audio import read_audio, write_audio
from sepasr.data.datadir import (
    Info,
    Mixture,
    MixtureDir,
    Noise,
    NoiseDir,
    Room,
    RoomDir,
    Utterance,
    UtteranceDir,
    fingerprint,
)
from sepasr.errors import UserError


def random_mixtures(path, rng, count, speakers, noise=True, texts=True):
    def mixture(name):
        files = [Path(f"/corpus of {rng.integers(9)}/{k}/{name}.wav") for k in range(speakers + 2)]
        return Mixture(
            id=name,
            mixture=files[0],
            references=tuple(files[2:]),
            noise=files[1] if noise else None,
            texts=tuple(f"WORD {k} OF {name}" for k in range(speakers)) if texts else None,
            speakers=tuple(f"s{rng.integers(9)}" for _ in range(speakers)),
            duration_s=round(int(rng.integers(1, 10**6)) / 16000, 6),
        )

    names = sorted({f"{rng.integers(10**6)}_A-{rng.integers(9)}.5" for _ in range(count)})
    info = Info("corpus", 16000, "max" if texts else "min", "mix_both_reverb", "anechoic")
    return MixtureDir(path, info, tuple(map(mixture, names)))


@pytest.mark.parametrize("speakers", [1, 2, 3, 11])
@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("texts", [True, False])
def test_mixtures_are_loaded_as_written(tmp_path, speakers, noise, texts):
    rng = np.random.default_rng(speakers)
    written = random_mixtures(tmp_path / "tt", rng, 20, speakers, noise, texts)
    written.write()
    assert MixtureDir.load(tmp_path / "tt") == written


def test_the_other_kinds_are_loaded_as_written(tmp_path):
    utterances = UtteranceDir(
        tmp_path / "tr",
        Info("wsj0", 16000),
        (
            Utterance("a1", Path("/x/a1.wav"), "ONE", "a", 1.0),
            Utterance("a2", Path("/x/a2.wav"), "TWO WORDS", "a", 2.5),
            Utterance("b1", Path("/x/b1.wav"), "THREE", "b", 0.000063),
        ),
    )
    similar = dataclasses.replace(
        utterances, path=tmp_path / "similar", similar={"a": ("b",), "b": ("a",)}
    )
    noises = (Noise("n0", Path("/n/n0.wav"), 12.25), Noise("n1", Path("/n/n1.wav"), 13.0))
    noise = NoiseDir(tmp_path / "tr_noise", Info("wham_noise", 8000), noises)
    room = Room("r", Path("/r/r_reverb.wav"), Path("/r/r_anechoic.wav"))
    rooms = RoomDir(tmp_path / "tr_rirs", Info("rirs", 16000), (room,))
    for directory in (utterances, similar, noise, rooms):
        directory.write()
        assert type(directory).load(directory.path) == directory


def test_the_files_are_kaldis(tmp_path):
    mixtures = (
        Mixture(
            "B_1", Path("m/B"), (Path("1/B"), Path("2/B")), None, ("X", "Y Z"), ("p", "q"), 2.0
        ),
        Mixture("a_1", Path("m/a"), (Path("1/a"), Path("2/a")), None, ("V", "W"), ("p", "q"), 1.5),
    )
    MixtureDir(
        tmp_path / "tt", Info("c", 8000, "max", "mix_clean_reverb", "reverb"), mixtures
    ).write()
    assert {file.name: file.read_text() for file in (tmp_path / "tt").iterdir()} == {
        "wav.scp": "B_1 m/B\na_1 m/a\n",
        "spk1.scp": "B_1 1/B\na_1 1/a\n",
        "spk2.scp": "B_1 2/B\na_1 2/a\n",
        "text_spk1": "B_1 X\na_1 V\n",
        "text_spk2": "B_1 Y Z\na_1 W\n",
        "utt2spk": "B_1 p_q\na_1 p_q\n",
        "spk2utt": "p_q B_1 a_1\n",
        "utt2dur": "B_1 2.000000\na_1 1.500000\n",
        "info.yaml": "corpus: c\nfs: 8000\ncut: max\ncondition: mix_clean_reverb\n"
        "reference: reverb\n",
    }
    assert list(kaldiio.load_scp(str(tmp_path / "tt" / "spk2.scp"))) == ["B_1", "a_1"]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


BROKEN = [
    (lambda d: (d / "spk2.scp").unlink(), "spk2.scp: no such file"),
    (lambda d: (d / "text_spk1").unlink(), "text_spk1: no such file"),
    (lambda d: (d / "utt2dur").unlink(), "utt2dur: no such file"),
    (lambda d: (d / "info.yaml").unlink(), "info.yaml: no such configuration"),
    (lambda d: edit(d / "info.yaml", "fs: 16000", "fs: fast"), "info.yaml: "),
    (lambda d: edit(d / "info.yaml", "cut: max", "cut: min"), "text_spk1: transcripts do"),
    (lambda d: edit(d / "spk1.scp", "m2 /1/m2.wav\n", ""), "spk1.scp: no entry for id 'm2', which "
     "wav.scp has in line 2"),
    (lambda d: edit(d / "wav.scp", "m2 /m/m2.wav\n", ""), "spk1.scp:2: id 'm2' is not in wav.scp"),
    (lambda d: edit(d / "wav.scp", "m2 /m/m2.wav", "m2"), "wav.scp:2: no value for id 'm2'"),
    (lambda d: edit(d / "text_spk2", "m1", "m3"), "text_spk2:2: id 'm2' is out of order"),
    (lambda d: edit(d / "utt2spk", "m3 p_q", "m3 p"), "utt2spk:3: 'p' of id 'm3' is not 2"),
    (lambda d: edit(d / "utt2spk", "m3 p_q", "m3 p_"), "utt2spk:3: 'p_' of id 'm3' is not 2"),
    (lambda d: edit(d / "utt2spk", "m1 p_q", "m1 q_p"), "spk2utt:1: 'm1' is listed for 'p_q'"),
    (lambda d: edit(d / "spk2utt", "m1 ", ""), "utt2spk:1: 'm1' of 'p_q' is not in spk2utt"),
    (lambda d: edit(d / "spk2utt", "m3", "m3 m4"), "spk2utt:1: 'm4' is listed for 'p_q'"),
    (lambda d: edit(d / "utt2dur", "m1 1.000000", "m1 x"), "utt2dur:1: duration 'x' of id 'm1'"),
    (lambda d: edit(d / "utt2dur", "m2 2.000000", "m2 -2"), "utt2dur:2: duration '-2' of id 'm2'"),
    (lambda d: edit(d / "utt2dur", "m2 2.000000", "m2 nan"), "utt2dur:2: duration 'nan'"),
    (lambda d: (d / "text_spk3").write_text("m1 X\n"), "spk3.scp: no such file"),
]  # fmt: skip


@pytest.fixture
def small(tmp_path):
    mixtures = tuple(
        Mixture(
            f"m{k}",
            Path(f"/m/m{k}.wav"),
            (Path(f"/1/m{k}.wav"), Path(f"/2/m{k}.wav")),
            Path(f"/n/m{k}.wav"),
            (f"A {k}", f"B {k}"),
            ("p", "q"),
            float(k),
        )
        for k in (1, 2, 3)
    )
    info = Info("corpus", 16000, "max", "mix_both_reverb", "anechoic")
    directory = MixtureDir(tmp_path / "tt", info, mixtures)
    directory.write()
    return directory


@pytest.mark.parametrize(("damage", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_loading_refuses_a_broken_directory_with_file_and_line(small, damage, message):
    damage(small.path)
    with pytest.raises(UserError) as error:
        MixtureDir.load(small.path)
    assert str(error.value).startswith(f"{small.path}/{message}")


def test_a_speaker_who_is_not_there_cannot_be_similar(tmp_path):
    utterance = Utterance("a1", Path("/x/a1.wav"), "ONE", "a", 1.0)
    UtteranceDir(tmp_path / "d", Info("c", 16000), (utterance,)).write()
    (tmp_path / "d/spk2similar").write_text("a b\n")
    with pytest.raises(UserError, match="d/spk2similar:1: speaker 'b' is not in spk2utt"):
        UtteranceDir.load(tmp_path / "d")


@pytest.mark.parametrize(
    ("speaker", "more", "message"),
    [
        ("a", {"similar": {"a": ("b",)}}, "d/spk2similar:1: speaker 'b' is not in spk2utt"),
        ("a", {"genders": {"b": "f"}}, "d/spk2gender: no entry for id 'a', which spk2utt has"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(tmp_path, speaker, more, message):
    utterance = Utterance("a1", Path("/x/a1.wav"), "ONE", speaker, 1.0)
    before = UtteranceDir(tmp_path / "d", Info("c", 16000), (utterance,))
    before.write()
    with pytest.raises(UserError) as error:
        replace(before, **more).write()
    assert str(error.value).startswith(f"{tmp_path}/{message}")
    assert UtteranceDir.load(tmp_path / "d") == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_speakers_whose_names_hold_what_joins_them_are_not_written(data_dirs, tmp_path):
    mixture = replace(data_dirs.mixtures.mixtures[0], speakers=("a", "b_c"))
    with pytest.raises(UserError, match=r"'a_b_c' of id '.*' is not 2 speakers joined by '_'"):
        replace(data_dirs.mixtures, path=tmp_path / "new", mixtures=(mixture,)).write()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", [MixtureDir, UtteranceDir, NoiseDir, RoomDir])
def test_a_missing_directory_is_named(tmp_path, kind):
    with pytest.raises(UserError, match="nowhere: no such data directory"):
        kind.load(tmp_path / "nowhere")


def test_a_directory_of_another_kind_is_refused(small):
    with pytest.raises(UserError, match=r"text: no such file"):
        UtteranceDir.load(small.path)


def test_writing_replaces_the_whole_directory(small):
    (small.path / "text_spk3").write_text("left over\n")
    less = dataclasses.replace(small, mixtures=small.mixtures[:1])
    less.write()
    assert MixtureDir.load(small.path) == less
    assert list(small.path.parent.iterdir()) == [small.path]


def test_writing_spares_what_is_not_a_data_directory(small, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not a data directory"):
        dataclasses.replace(small, path=home).write()
    assert (home / "thesis.tex").read_text() == "years of work"


def test_a_directory_that_cannot_be_written_leaves_the_old_one(small):
    bad = dataclasses.replace(small.mixtures[2], texts=("", "B"))
    with pytest.raises(UserError, match="id 'm3'"):
        dataclasses.replace(small, mixtures=(*small.mixtures[:2], bad)).write()
    assert MixtureDir.load(small.path) == small
    assert list(small.path.parent.iterdir()) == [small.path]


@pytest.mark.parametrize("order", [(1, 0), (0, 0)])
def test_records_must_be_sorted_and_unique(small, order):
    with pytest.raises(ValueError, match="sorted"):
        dataclasses.replace(small, mixtures=tuple(small.mixtures[k] for k in order)).write()


def test_records_must_have_the_same_files(small):
    odd = dataclasses.replace(small.mixtures[1], noise=None)
    with pytest.raises(ValueError, match="same files"):
        dataclasses.replace(small, mixtures=(small.mixtures[0], odd)).write()


@pytest.mark.slow
def test_28_000_mixtures_load_in_seconds(small):
    (model,) = small.mixtures[:1]
    names = [f"{k:05d}" for k in range(28_000)]
    many = tuple(dataclasses.replace(model, id=name) for name in names)
    dataclasses.replace(small, mixtures=many).write()
    start = time.process_time()
    assert [mixture.id for mixture in MixtureDir.load(small.path).mixtures] == names
    assert time.process_time() - start < 10  # about 1.5


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE", "PCM_16"])
def test_a_fingerprint_is_not_of_the_time(tmp_path, subtype):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 3)).astype(np.float32)
    prints = []
    for place in (tmp_path / "a", tmp_path / "b"):
        if prints:
            time.sleep(1.1)  # libsndfile writes the second into the header
        write_audio(place / "n.wav", samples, 16000, subtype)
        noise = Noise("n", place / "n.wav", 1000 / 16000)
        prints.append(fingerprint(NoiseDir(place, Info("noise", 16000), (noise,))))
    assert prints[0] == prints[1]
    written, _ = read_audio(tmp_path / "b" / "n.wav", 16000)
    np.testing.assert_allclose(written, samples, atol=1e-4)
    write_audio(tmp_path / "b" / "n.wav", -samples, 16000, subtype)
    assert fingerprint(NoiseDir(place, Info("noise", 16000), (noise,))) != prints[0]


def test_a_fingerprint_is_of_what_is_listed_not_of_places(data_dirs, tmp_path):
    directories = [data_dirs.mixtures, data_dirs.utterances, data_dirs.noise, data_dirs.rooms]
    prints = [fingerprint(directory) for directory in directories]
    assert len(set(prints)) == 4
    assert fingerprint(replace(data_dirs.utterances, path=Path("elsewhere"))) == prints[1]
    first, *others = data_dirs.utterances.utterances
    moved, remade = tmp_path / "moved.wav", tmp_path / "remade.wav"
    shutil.copy(first.path, moved)
    remade.write_bytes(first.path.read_bytes()[:-2] + b"xx")
    for changed, same in (
        (replace(first, path=moved), True),
        (replace(first, path=remade), False),
        (replace(first, text="other words"), False),
        (replace(first, duration_s=first.duration_s + 0.1), False),
    ):
        directory = replace(data_dirs.utterances, utterances=(changed, *others))
        assert (fingerprint(directory) == prints[1]) is same
    # Who is drawn to be mixed depends on them.
    for change in ({"similar": {"fa": ("fb",)}}, {"genders": {}}):
        assert fingerprint(replace(data_dirs.utterances, **change)) != prints[1]
    fewer = replace(data_dirs.rooms, rooms=data_dirs.rooms.rooms[1:])
    assert fingerprint(fewer) != prints[3]
