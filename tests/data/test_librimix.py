from __future__ import annotations

from dataclasses import replace

import pytest
import soundfile
from librimix_tree import make_librimix, make_librispeech, mixtures, utterances

from sepasr.data import librimix, librispeech
from sepasr.data.datadir import Info, Mixture, MixtureDir, NoiseDir, UtteranceDir
from sepasr.data.librimix import LibriMix, check_tree, prepare_librimix
from sepasr.data.validate import validate
from sepasr.errors import UserError

FIRST, SECOND = sorted(mixtures("dev", 2))
DEV = "Libri2Mix/wav16k/max/dev"
TABLE = "Libri2Mix/wav16k/max/metadata/mixture_dev_mix_both.csv"


@pytest.fixture
def storage(tmp_path):
    """A folder with LibriSpeech and Libri2Mix."""
    make_librispeech(tmp_path / "storage")
    return make_librimix(tmp_path / "storage")


def prepare(storage, out, *, speech=None, train="train-100", partial=True, **version):
    version = LibriMix(storage, **version)
    speech = speech or storage / "LibriSpeech"
    prepare_librimix(version, speech, out, train=train, allow_partial=partial)


@pytest.mark.parametrize(("num_speakers", "fs"), [(2, 16000), (3, 8000)])
def test_every_value_of_stage_1(tmp_path, num_speakers, fs):
    speech = make_librispeech(tmp_path)
    top = make_librimix(tmp_path, num_speakers, fs) / f"Libri{num_speakers}Mix"
    out = tmp_path / "data"
    prepare(top.parent, out, num_speakers=num_speakers, fs=fs)
    assert sorted(path.name for path in out.iterdir()) == sorted(librimix.DIRECTORIES)
    for name in librimix.DIRECTORIES:
        assert validate(out / name, samples=True) == []
    for name, subset in {"tr": "train-100", "cv": "dev", "tt": "test"}.items():
        audio = top / f"wav{fs // 1000}k/max/{subset}"
        found = MixtureDir.load(out / name)
        assert found.info == Info("librimix", fs, "max", "mix_both", "anechoic")
        assert found.mixtures == tuple(
            Mixture(
                id=mixture,
                mixture=audio / "mix_both" / f"{mixture}.wav",
                references=tuple(audio / s / f"{mixture}.wav" for s in ("s1", "s2", "s3"))[
                    :num_speakers
                ],
                noise=audio / "noise" / f"{mixture}.wav",
                texts=tuple(utterances(subset)[u] for u in mixture.split("_")),
                speakers=tuple(u.split("-")[0] for u in mixture.split("_")),
                duration_s=soundfile.info(audio / "s1" / f"{mixture}.wav").frames / fs,
            )
            for mixture in sorted(mixtures(subset, num_speakers))
        )
    noise, mixed = NoiseDir.load(out / "tr_noise"), MixtureDir.load(out / "tr")
    assert noise.info == Info("librimix", fs)
    assert [n.path for n in noise.noises] == [m.noise for m in mixed.mixtures]
    for name, subset in {"tr": "train-100", "cv": "dev"}.items():
        found = UtteranceDir.load(out / f"{name}_utterances")
        assert found.info == Info("librimix", 16000)
        assert {u.id: u.text for u in found.utterances} == utterances(subset)
        assert all(u.path.is_relative_to(speech) for u in found.utterances)
    assert UtteranceDir.load(out / "tr_utterances").genders == {"19": "f", "60": "m", "103": "f"}


@pytest.mark.parametrize(
    ("condition", "speakers", "noise"), [("mix_clean", 2, False), ("mix_single", 1, True)]
)
def test_a_condition_has_only_what_is_in_its_mixtures(
    storage, tmp_path, condition, speakers, noise
):
    out = tmp_path / "data"
    prepare(storage, out)  # its noise must not stay
    prepare(storage / "Libri2Mix", out, speech=storage, condition=condition)
    for mixture in MixtureDir.load(out / "cv").mixtures:
        assert mixture.mixture.parent.name == condition
        assert len(mixture.references) == len(mixture.texts) == len(mixture.speakers) == speakers
        assert (mixture.noise is not None) == noise
    assert (out / "tr_noise").exists() == noise
    assert all(validate(path) == [] for path in out.iterdir())


def test_cut_sources_have_no_text_and_whole_utterances_do(storage, tmp_path):
    prepare(storage, tmp_path / "data", cut="min")
    for name in ("tr", "cv", "tt"):
        assert all(m.texts is None for m in MixtureDir.load(tmp_path / "data" / name).mixtures)
    assert UtteranceDir.load(tmp_path / "data/tr_utterances").utterances[0].text


def test_complete_corpora_are_counted(storage, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"train-100_mix_both\.csv: 2 mixtures .* has 13900"):
        prepare(storage, tmp_path / "data", partial=False)
    monkeypatch.setitem(librimix.COUNTS, 2, {"train-100": 2, "dev": 2, "test": 2})
    with pytest.raises(UserError, match=r"train-clean-100: 6 utterances .* has 28539"):
        check_tree(LibriMix(storage), storage)
    with pytest.raises(UserError, match=r"train-clean-100: 6 utterances .* has 28539"):
        prepare(storage, tmp_path / "data", partial=False)
    assert not (tmp_path / "data").exists()
    monkeypatch.setattr(librispeech, "COUNTS", {"train-clean-100": 6, "dev-clean": 6})
    prepare(storage, tmp_path / "data", partial=False)


def write(path, **options):
    soundfile.write(path, [0.1] * soundfile.info(path).frames, **({"samplerate": 16000} | options))


def edit(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def shorter(path):
    samples, fs = soundfile.read(path)
    soundfile.write(path, samples[:-1], fs)


def all_shorter(folder):
    for kind in ("mix_both", "s1", "s2", "noise"):
        shorter(folder / kind / f"{FIRST}.wav")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-4])


UTTERANCE = FIRST.split("_")[0]
PLACE = "LibriSpeech/dev-clean/" + "/".join(UTTERANCE.split("-")[:2])
TRANSCRIPTS = f"{PLACE}/{UTTERANCE.rpartition('-')[0]}.trans.txt"
DAMAGES = [
    (lambda s: (s / TABLE).unlink(), f"{TABLE}: no such file (LibriMix's generator writes it last"),
    (lambda s: edit(s / TABLE, "source_2_path", "path"), f"{TABLE}:2: no value of 'source_2_path'"),
    (lambda s: edit(s / TABLE, "noise_path", "source_3_path"), ":2: a 'source_3_path' where "),
    (lambda s: edit(s / TABLE, FIRST, SECOND), f":3: '{SECOND}' is there twice"),
    (lambda s: edit(s / TABLE, f"\n{FIRST},", "\nabc,"), "'abc' is not 2 utterances joined by '_'"),
    (lambda s: edit(s / TABLE, ".wav,", ".wav,-"), ":2: the length '-"),
    (lambda s: (s / TABLE).write_text("mixture_ID,length\n"), f"{TABLE}: no rows"),
    (lambda s: (s / TABLE).write_bytes(b"\xff\xfe"), f"{TABLE}: not a table"),
    (lambda s: (s / DEV / f"s2/{FIRST}.wav").unlink(), f"{DEV}/s2/{FIRST}.wav: no such file, but"),
    (lambda s: (s / DEV / "noise").rename(s / DEV / "n"), f"{DEV}/noise: no such folder (there a"),
    (lambda s: write(s / DEV / f"s1/{FIRST}.wav", samplerate=8000), "sampling rate is 8000 Hz wh"),
    (lambda s: truncate(s / DEV / f"mix_both/{FIRST}.wav"), f"mix_both/{FIRST}.wav: truncated"),
    (lambda s: shorter(s / DEV / f"s1/{FIRST}.wav"), f"{DEV}/s1/{FIRST}.wav: "),
    (lambda s: all_shorter(s / DEV), f"samples where {{storage}}/{TABLE} has "),
    (lambda s: (s / TRANSCRIPTS).unlink(), f"{TRANSCRIPTS}: no transcript of '{UTTERANCE}'"),
    (lambda s: edit(s / TRANSCRIPTS, UTTERANCE, "1-2-3"), f"{TRANSCRIPTS}:2: '1-2-3 "),
    (lambda s: (s / PLACE / f"{UTTERANCE}.flac").unlink(), f"{UTTERANCE}.flac: no such file, but"),
    (lambda s: (s / "LibriSpeech/SPEAKERS.TXT").unlink(), "LibriSpeech/SPEAKERS.TXT: no such file"),
    (lambda s: edit(s / "LibriSpeech/SPEAKERS.TXT", "60  ", "61  "), "SPEAKERS.TXT: no speaker '6"),
    (lambda s: edit(s / "LibriSpeech/SPEAKERS.TXT", "| M", "| X"), "SPEAKERS.TXT:3: '60 | X |"),
    (lambda s: (s / "LibriSpeech/dev-clean").rename(s / "d"), "LibriSpeech/dev-clean: no such fo"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[message for _, message in DAMAGES])
def test_a_trap_is_named_and_nothing_is_written(storage, tmp_path, damage, message):
    damage(storage)
    with pytest.raises(UserError) as error:
        prepare(storage, tmp_path / "data")
    assert message.replace("{storage}", str(storage)) in str(error.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_speakers": 3}, "/Libri2Mix/wav16k/max/train-100/s3: no such folder (there are mix_"),
        ({"fs": 8000}, "Libri2Mix/wav8k: no such folder (there are wav16k)"),
        (
            {"train": "train-360"},
            "train-clean-360: no such folder (get it from https://www.openslr",
        ),
        ({"train": "tr"}, "LibriMix has no 'tr' (it has train-100 and train-360)"),
        ({"condition": "mix_both_reverb"}, "LibriMix has no condition 'mix_both_reverb' (it is on"),
        ({"num_speakers": 4}, "LibriMix has no num_speakers '4' (it is one of 2, 3)"),
        ({"cut": "mid"}, "LibriMix has no cut 'mid'"),
        ({"fs": 44100}, "LibriMix has no fs '44100'"),
        ({"reference": "reverb"}, "LibriMix has no reference 'reverb' (it is one of anechoic)"),
    ],
)
def test_an_option_that_does_not_fit_is_named(storage, tmp_path, options, message):
    storage = storage / "Libri2Mix" if options == {"num_speakers": 3} else storage
    with pytest.raises(UserError) as error:
        prepare(storage, tmp_path / "data", speech=tmp_path / "storage", **options)
    assert message in str(error.value)
    assert not (tmp_path / "data").exists()


def test_without_a_corpus_it_says_where_to_get_it(storage, tmp_path):
    version = LibriMix(storage, num_speakers=3)
    with pytest.raises(UserError, match=r"Libri3Mix: no such folder \(make it with https://git"):
        check_tree(version, storage)
    with pytest.raises(UserError, match=r"train-clean-100: no such folder \(get it from https://w"):
        check_tree(replace(version, num_speakers=2), tmp_path)
    names = check_tree(replace(version, num_speakers=2), storage, allow_partial=True)
    assert sorted(names["dev"]) == [FIRST, SECOND]
