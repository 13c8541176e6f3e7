"""Sets on request beside the embedded corpus: more speakers, other voices, long mixtures."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr.bin.main import main
from sepasr.data.audio import read_mono, write_audio
from sepasr.data.datadir import MixtureDir, UtteranceDir
from sepasr.data.mixture_folder import read_mixture_folder
from sepasr.data.segments import read_segment_texts
from sepasr.errors import UserError
from sepasr.simulate import extra, text, voices
from sepasr.simulate.corpus import CorpusConfig, build_corpus
from sepasr.simulate.extra import EXTRA, build_extra_sets
from sepasr.simulate.mixture import draw_group, draw_plan, sound, too_similar
from sepasr.simulate.voices import FS, TEST, Speaker

CONFIG = CorpusConfig(
    num_train_hibari=1,
    num_train_joe=0,
    num_train_espeak=1,
    num_dev=1,
    num_test=2,
    num_rooms=1,
    num_noises_train=1,
    num_noises=1,
)


def beep(speaker: Speaker, sentence: str, rng: np.random.Generator) -> np.ndarray:
    """Noise in the place of speech, which takes most of a test's time."""
    samples = rng.standard_normal(FS // 2 + 100 * len(sentence)).astype(np.float32)
    return voices.SPEECH_RMS * samples


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of noise, with all extra sets; and a list of its files before they were made."""
    out = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sepasr.simulate.corpus.speak", beep)
        patch.setattr("sepasr.simulate.extra.speak", beep)
        patch.setattr(extra, "LONG_UTTERANCES", 3)
        patch.setattr(extra, "LONG_ROOMS", 2)
        build_corpus(CONFIG, out)
        before = snapshot(out)
        build_extra_sets(CONFIG, list(EXTRA), out)
        assert {
            path: content for path, content in snapshot(out).items() if path in before
        } == before
        build_corpus(CONFIG, out)  # which leaves the sets alone
    return out


def snapshot(out: Path) -> dict[Path, bytes]:
    return {
        path: soundfile.read(path)[0].tobytes() if path.suffix == ".wav" else path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("name", "subset", "speakers", "mixtures"),
    [
        ("3speakers", "cv", 3, 1),
        ("3speakers", "tt", 3, 2),
        ("4speakers", "tt", 4, 2),
        ("espeak", "tt", 2, 2),
    ],
)
def test_a_set_becomes_a_data_directory(
    corpus: Path, tmp_path: Path, name: str, subset: str, speakers: int, mixtures: int
) -> None:
    folder, out = corpus / "extra" / name / subset, tmp_path / f"{subset}_{name}"
    options = ["--mixtures", folder, "--out", out, "--corpus", "tiny"]
    assert main(["prepare", "mixtures", *map(str, options)]) == 0
    data = MixtureDir.load(out)
    assert len(data.mixtures) == mixtures
    assert (data.info.condition, data.info.reference) == ("mix_both_reverb", "anechoic")
    part = next(part for part in EXTRA[name] if part.set == subset)
    known = {speaker.id: speaker for speaker in part.speakers}
    for mixture in data.mixtures:
        assert len(mixture.references) == len(set(mixture.texts)) == speakers
        assert {text.part_of(said.lower()) for said in mixture.texts} == {part.sentences}
        chosen = [known[speaker] for speaker in mixture.speakers]
        assert len(set(chosen)) == speakers
        assert not any(too_similar(a, b) for a, b in combinations(chosen, 2))
        named = [utterance[:3] for utterance in mixture.id.split("_")[::2]]
        assert tuple(named) == mixture.speakers
        sources = [
            read_mono(folder / f"s{s}_reverb" / f"{mixture.id}.wav") for s in range(1, speakers + 1)
        ]
        total = sources[0]
        for source in sources[1:]:
            total = total + source
        np.testing.assert_array_equal(read_mono(mixture.mixture), total + read_mono(mixture.noise))


def test_sets_go_on_and_keep_what_others_may_use(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sepasr.simulate.extra.speak", beep)
    before = snapshot(corpus)
    folder = corpus / "extra" / "3speakers" / "tt"
    (folder / "noise" / ".leftover.part.wav").write_bytes(b"")
    min(folder.glob("mix_both_reverb/*.wav")).unlink()
    build_extra_sets(CONFIG, ["3speakers"], corpus)
    assert snapshot(corpus) == before
    monkeypatch.setattr(extra, "MOST", 1)
    with pytest.raises(UserError, match="holds more than is asked for"):
        build_extra_sets(CONFIG, ["3speakers"], corpus)
    monkeypatch.undo()
    monkeypatch.setattr("sepasr.simulate.extra.speak", beep)
    with pytest.raises(UserError, match=r"3speakers: holds more .* num_test=1.*: 8 WAV files"):
        build_extra_sets(replace(CONFIG, num_test=1), ["3speakers"], corpus)
    assert snapshot(corpus) == before


def test_the_material_of_long_mixtures(corpus: Path, tmp_path: Path) -> None:
    folder = corpus / "extra" / "long"
    named = ["--corpus", "tiny"]
    heard = set()
    for subset, wsj0 in (("cv", "si_dt_05"), ("tt", "si_et_05")):
        out = tmp_path / subset
        speech = ["--wsj0", folder / "wsj0", "--subset", wsj0, "--out", f"{out}_utterances"]
        speech += ["--similar", folder / "similar_speakers"]
        speech += ["--genders", corpus / "speaker_genders"]
        assert main(["prepare", "utterances", *named, *map(str, speech)]) == 0
        rooms = ["--rirs", folder / "rirs" / subset, "--out", f"{out}_rooms"]
        assert main(["prepare", "rooms", *named, *map(str, rooms)]) == 0
        found = UtteranceDir.load(f"{out}_utterances")
        assert len(found.utterances) == 3 * 11
        part = "dev" if subset == "cv" else "test"
        assert {text.part_of(u.text.lower()) for u in found.utterances} == {part}
        assert found.similar["h25" if subset == "tt" else "h27"]
        assert not heard & set(found.genders)
        heard |= set(found.genders)
    options = ["--utterances", f"{out}_utterances", "--rooms", f"{out}_rooms", "--count", 2]
    options += ["--audio", tmp_path / "audio", "--out", tmp_path / "long"]
    settings = ["--set", "utterances=2", "same_gender=0.5", "speed_percent=[100,100]"]
    assert main(["lengthen", *named, *map(str, [*options, *settings])]) == 0
    data = MixtureDir.load(tmp_path / "long")
    assert {len(texts) for texts in read_segment_texts(data).values()} == {4}


def test_what_is_mixed_beside_the_material_stays(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "LONG_UTTERANCES", 3)
    monkeypatch.setattr(extra, "LONG_ROOMS", 2)
    folder = corpus / "extra" / "long"
    kept, left = (
        folder / "tt" / "long00000_mixture.wav",
        folder / "rirs" / "tt" / ".room9_reverb.part.wav",
    )
    for path in (kept, left):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    build_extra_sets(CONFIG, ["long"], corpus)
    assert kept.exists()
    assert not left.exists()
    kept.unlink()


def test_an_unknown_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown extra set '5speakers'"):
        build_extra_sets(CONFIG, ["espeak", "5speakers"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_part_draws_of_its_own() -> None:
    tags = [part.tag for parts in EXTRA.values() for part in parts] + list(
        extra._ROOM_TAGS.values()
    )
    assert len(set(tags)) == len(tags)
    assert min(tags) > 30  # those of the corpus


def test_other_voices_are_in_nothing_else() -> None:
    everyone = [s for engine in voices.TRAIN.values() for s in engine]
    everyone += [*voices.DEV, *voices.TEST]
    heard = {s.voice for s in everyone} | {v for vs in voices.BABBLE_VOICES.values() for v in vs}
    variants = {voice.partition("+")[2] for voice in heard}
    for speaker in voices.TEST_ESPEAK:
        assert speaker.voice.partition("+")[2] not in variants
        assert len(speaker.id) == 3
    assert not {s.id for s in voices.TEST_ESPEAK} & {s.id for s in everyone}
    assert {s.gender for s in voices.TEST_ESPEAK} == {"f", "m"}


def test_groups_can_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    for count in (3, 4):
        groups = [draw_group(rng, TEST, count) for _ in range(10)]
        assert all(len({s.id for s in group}) == count for group in groups)
        assert not any(too_similar(a, b) for group in groups for a, b in combinations(group, 2))
    with pytest.raises(ValueError, match="no 5 of these"):
        draw_group(rng, TEST, 5)


def test_more_than_two_sources_have_gains_and_places_of_their_own() -> None:
    plan = draw_plan(
        np.random.default_rng(1),
        7,
        part="test",
        speakers=TEST,
        rt60_s=(0.1, 0.2),
        snr_db=(10.0, 10.0),
        gain_db=2.5,
        num_noises=1,
        num_speakers=4,
    )
    assert [u[4:] for u in plan.utterances] == ["0028", "0029", "0030", "0031"]
    assert len(set(plan.gains_db)) == len(set(plan.room.sources)) == 4
    assert max(map(abs, plan.gains_db)) <= 2.5
    rng = np.random.default_rng(2)
    dry = [0.05 * rng.standard_normal(FS).astype(np.float32) for _ in range(4)]
    signals = sound(plan, dry, rng.standard_normal(3 * FS).astype(np.float32))
    energy = [np.sum(signals[f"s{s}_anechoic"].astype(np.float64) ** 2) for s in range(1, 5)]
    expected = np.array(plan.gains_db) - plan.gains_db[0]
    np.testing.assert_allclose(10 * np.log10(np.array(energy) / energy[0]), expected, atol=0.3)


@pytest.mark.parametrize("damage", ["table", "audio", "more"])
def test_a_folder_that_does_not_agree_with_its_tables(tmp_path: Path, damage: str) -> None:
    for signal in ("mix_both_reverb", "noise", "s1_anechoic", "s2_anechoic", "s3_anechoic"):
        for name in ("m1", "m2"):
            write_audio(tmp_path / signal / f"{name}.wav", np.ones(100, np.float32), FS)
    (tmp_path / "utt2spk").write_text("m1 a_b_c\nm2 b_c_a\n")
    for s in (1, 2, 3):
        (tmp_path / f"text_spk{s}").write_text(f"m1 ONE {s}\nm2 TWO {s}\n")
    good = read_mixture_folder(tmp_path, tmp_path / "out", corpus="tiny")
    assert [m.texts for m in good.mixtures] == [
        ("ONE 1", "ONE 2", "ONE 3"),
        ("TWO 1", "TWO 2", "TWO 3"),
    ]
    assert good.mixtures[1].speakers == ("b", "c", "a")
    if damage == "table":
        (tmp_path / "text_spk3").write_text("m1 ONE\n")
        cause = "text_spk3: no entry for id 'm2'"
    elif damage == "audio":
        (tmp_path / "s3_anechoic" / "m2.wav").unlink()
        cause = r"s3_anechoic/m2\.wav: no such file"
    else:
        for name in ("utt2spk", "text_spk1", "text_spk2", "text_spk3"):
            path = tmp_path / name
            path.write_text(path.read_text().splitlines(keepends=True)[0])
        cause = "m2.wav: not in the table utt2spk"
    with pytest.raises(UserError, match=cause):
        read_mixture_folder(tmp_path, tmp_path / "out", corpus="tiny")
