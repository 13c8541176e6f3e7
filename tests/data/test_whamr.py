from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hand_made import FS, MIXTURES, write_wav

from sepasr.data import whamr
from sepasr.data.audio import read_mono
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.validate import validate
from sepasr.data.whamr import prepare_whamr, utterances_of
from sepasr.errors import UserError

FIRST, SECOND = sorted(MIXTURES)


def prepare(corpora, out, sets=("cv", "tt"), **options):
    options = {"allow_partial": True} | options
    return prepare_whamr(corpora.whamr, corpora.wsj0, out, sets, **options)


def test_every_value_of_stage_1(corpora, tmp_path):
    written = prepare(corpora, tmp_path / "data")
    assert [directory.path for directory in written] == [tmp_path / "data/cv", tmp_path / "data/tt"]
    assert FIRST.startswith("22g")
    for directory in written:
        top = corpora.folder(directory.path.name)

        def files(name, top=top):
            wav = f"{name}.wav"
            return {
                "mixture": top / "mix_both_reverb" / wav,
                "references": (top / "s1_anechoic" / wav, top / "s2_anechoic" / wav),
                "noise": top / "noise" / wav,
            }

        expected = MixtureDir(
            directory.path,
            Info("whamr", 16000, "max", "mix_both_reverb", "anechoic"),
            (
                Mixture(
                    id="22go010b_1.2_445c0206_-1.2",
                    texts=("THIRD ONE .PERIOD", 'THE "DOUBLE-QUOTE FIRST ONE <NOISE>'),
                    speakers=("22g", "445"),
                    duration_s=0.15025,  # 2404 samples
                    **files(FIRST),
                ),
                Mixture(
                    id="445c0206_0.60431_22gc0105_-0.60431",
                    texts=('THE "DOUBLE-QUOTE FIRST ONE <NOISE>', "SECOND, ONE PERCENT"),
                    speakers=("445", "22g"),
                    duration_s=0.1,  # 1600 samples
                    **files(SECOND),
                ),
            ),
        )
        assert directory == expected
        assert MixtureDir.load(directory.path) == expected
        assert validate(directory.path, samples=True) == []


def test_the_options_choose_folders(corpora, tmp_path):
    (directory,) = prepare(
        corpora, tmp_path, ["tt"], cut="min", reference="reverb", text=False, corpus="mini"
    )
    assert directory.info == Info("mini", FS, "min", "mix_both_reverb", "reverb")
    (mixture, _) = directory.mixtures
    top = corpora.folder("tt", "min")
    assert mixture.references == tuple(top / f"s{s}_reverb" / f"{FIRST}.wav" for s in (1, 2))
    assert mixture.texts is None
    assert sorted(file.name for file in (tmp_path / "tt").iterdir()) == [
        "info.yaml", "noise1.scp", "spk1.scp", "spk2.scp", "spk2utt", "utt2dur", "utt2spk",
        "wav.scp",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "speakers", "noise"),
    [("mix_single_reverb", ("22g",), True), ("mix_clean_reverb", ("22g", "445"), False)],
)
def test_a_condition_has_only_what_is_in_its_mixtures(
    corpora, tmp_path, condition, speakers, noise
):
    (directory,) = prepare(corpora, tmp_path, ["tt"], condition=condition)
    mixture = directory.mixtures[0]
    assert mixture.mixture.parent.name == condition
    assert mixture.speakers == speakers
    assert len(mixture.references) == len(mixture.texts) == len(speakers)
    assert (mixture.noise is not None) == noise
    assert MixtureDir.load(directory.path) == directory


def test_relative_paths_are_made_absolute(corpora, tmp_path, monkeypatch):
    monkeypatch.chdir(corpora.whamr.parent)
    prepare_whamr("whamr", "wsj0", tmp_path, ["tt"], allow_partial=True)
    assert MixtureDir.load(tmp_path / "tt").mixtures[0].mixture.is_absolute()


def test_a_complete_corpus_is_counted(corpora, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"mix_both_reverb: 2 mixtures where .* has 3000"):
        prepare(corpora, tmp_path, ["tt"], allow_partial=False)
    monkeypatch.setitem(whamr.COUNTS, "tt", 2)
    prepare(corpora, tmp_path, ["tt"], allow_partial=False)
    assert whamr.COUNTS["tr"] == 20_000


def rate(folder):
    write_wav(folder / "s2_anechoic" / f"{FIRST}.wav", MIXTURES[FIRST], fs=8000)


def length(folder):
    write_wav(folder / "s1_anechoic" / f"{SECOND}.wav", MIXTURES[SECOND] - 1)


def truncate(folder):
    path = folder / "mix_both_reverb" / f"{SECOND}.wav"
    path.write_bytes(path.read_bytes()[:-4])


def stereo(folder):
    write_wav(folder / "noise" / f"{FIRST}.wav", MIXTURES[FIRST], channels=2)


def five_fields(folder):
    for kind in ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "noise"):
        write_wav(folder / kind / "445c0206_1_22gc0105_-1_2.wav", 10)


DAMAGES = [
    (lambda d: (d / f"s2_anechoic/{FIRST}.wav").unlink(), f"/s2_anechoic/{FIRST}.wav: no such"),
    (lambda d: (d / f"mix_both_reverb/{FIRST}.wav").unlink(), f"reverb/{FIRST}.wav: no such file"),
    (lambda d: (d / f"noise/{FIRST}.wav").unlink(), f"/noise/{FIRST}.wav: no such file"),
    (lambda d: (d / "s1_anechoic").rename(d / "s1"), "/s1_anechoic: no such folder (there are m"),
    (lambda d: [f.unlink() for f in (d / "mix_both_reverb").iterdir()], "/mix_both_reverb: no WAV"),
    (rate, f"/s2_anechoic/{FIRST}.wav: sampling rate is 8000 Hz where 16000 Hz is expected"),
    (length, f"/s1_anechoic/{SECOND}.wav: 1599 samples, its mixture has 1600"),
    (truncate, f"/mix_both_reverb/{SECOND}.wav: truncated: 6400 bytes of samples by its header"),
    (stereo, f"/noise/{FIRST}.wav: 2 channels where 1 is expected"),
    (five_fields, "445c0206_1_22gc0105_-1_2: the name is not of the form"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[message for _, message in DAMAGES])
def test_a_trap_is_named_and_nothing_is_written(corpora, tmp_path, damage, message):
    damage(corpora.folder("tt"))
    with pytest.raises(UserError) as error:
        prepare(corpora, tmp_path / "data")
    assert message in str(error.value)
    assert str(error.value).startswith(str(corpora.folder("tt"))) or damage is five_fields
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fs": 8000}, "wav8k: no such folder (there are wav16k)"),
        ({"cut": "mid"}, "wav16k/mid: no such folder (there are max, min)"),
        ({"condition": "mix_all"}, "mix_all: no such folder"),
        ({"reference": "dry"}, "s1_dry: no such folder"),
        ({"sets": ["tr"]}, "max/tr: no such folder (there are cv, tt)"),
        ({"cut": "min"}, "cut min: transcripts do not match"),
    ],
)
def test_an_option_that_does_not_fit_is_named(corpora, tmp_path, options, message):
    with pytest.raises(UserError) as error:
        prepare(corpora, tmp_path / "data", **options)
    assert message in str(error.value)
    assert not (tmp_path / "data").exists()


def test_text_needs_wsj0(corpora, tmp_path):
    with pytest.raises(UserError, match="without the folder of WSJ0"):
        prepare_whamr(corpora.whamr, None, tmp_path, ["tt"], allow_partial=True)


def test_a_missing_corpus_is_named(corpora, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        prepare_whamr(tmp_path / "nowhere", corpora.wsj0, tmp_path, ["tt"], allow_partial=True)


def test_a_missing_transcript_is_named(corpora, tmp_path):
    (corpora.wsj0 / "wsj0/transcrp/dots/si_et_05/22g/22go0100.dot").unlink()
    with pytest.raises(UserError, match=r"22go01\*\.dot: no transcript of '22go010b'"):
        prepare(corpora, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_failed_preparation_leaves_the_directories_of_the_last(corpora, tmp_path):
    before = prepare(corpora, tmp_path)
    length(corpora.folder("tt"))
    with pytest.raises(UserError):
        prepare(corpora, tmp_path, reference="anechoic")
    assert [MixtureDir.load(tmp_path / name) for name in ("cv", "tt")] == before


def test_the_two_utterances_of_a_name():
    assert utterances_of("445c0206_0.60431_22gc0105_-0.60431") == ("445c0206", "22gc0105")


def test_the_samples_are_those_of_the_files(corpora, tmp_path):
    mixture = prepare(corpora, tmp_path, ["tt"])[0].mixtures[1]
    expected, fs = soundfile.read(corpora.folder() / "s2_anechoic" / f"{mixture.id}.wav")
    np.testing.assert_array_equal(read_mono(mixture.references[1], fs), expected)
