from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hand_made import FS, MIXTURES, make_corpora, signals, write_wav

from sepasr.bin.main import main
from sepasr.data import whamr_tree
from sepasr.data.audio import read_mono
from sepasr.data.datadir import Info, Mixture, MixtureDir, NoiseDir, RoomDir, UtteranceDir
from sepasr.data.utterances import read_noise, read_rirs
from sepasr.data.validate import validate
from sepasr.data.whamr import SPOKEN_PUNCTUATION, STYLES, of_style, read_material, read_sets
from sepasr.data.whamr_audio import likeness, si_sdr
from sepasr.data.whamr_tree import Whamr, utterances_of
from sepasr.data.wsj0 import Wsj0
from sepasr.errors import UserError

FIRST, SECOND = sorted(MIXTURES)


def read(corpora, out, sets=("cv", "tt"), text=True, styles=(), corpus="whamr", **version):
    return read_sets(
        Whamr(corpora.whamr, **version),
        Wsj0(corpora.wsj0),
        out,
        sets,
        allow_partial=True,
        text=text,
        styles=styles,
        corpus=corpus,
    )


def prepare(corpora, out, *more):
    """The command; its exit status."""
    return main(
        [
            *("prepare", "whamr", "--whamr", str(corpora.whamr), "--wsj0", str(corpora.wsj0)),
            *("--corpus", "whamr", "--out", str(out), "--sets", "cv", "tt", "--allow-partial"),
            *more,
        ]
    )


def test_every_value_of_stage_1(corpora, tmp_path):
    assert prepare(corpora, tmp_path / "data") == 0
    assert FIRST.startswith("22g")
    for subset in ("cv", "tt"):
        top = corpora.folder(subset)

        def files(name, top=top):
            wav = f"{name}.wav"
            return {
                "mixture": top / "mix_both_reverb" / wav,
                "references": (top / "s1_anechoic" / wav, top / "s2_anechoic" / wav),
                "noise": top / "noise" / wav,
            }

        expected = MixtureDir(
            tmp_path / "data" / subset,
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
        assert MixtureDir.load(tmp_path / "data" / subset) == expected
        assert validate(tmp_path / "data" / subset, samples=True) == []


def test_the_options_choose_folders(corpora, tmp_path):
    (directory,) = read(
        corpora, tmp_path, ["tt"], cut="min", reference="reverb", text=False, corpus="mini"
    )
    assert directory.info == Info("mini", FS, "min", "mix_both_reverb", "reverb")
    (mixture, _) = directory.mixtures
    top = corpora.folder("tt", "min")
    assert mixture.references == tuple(top / f"s{s}_reverb" / f"{FIRST}.wav" for s in (1, 2))
    assert mixture.texts is None
    directory.write()
    assert sorted(file.name for file in (tmp_path / "tt").iterdir()) == [
        "info.yaml", "noise1.scp", "spk1.scp", "spk2.scp", "spk2utt", "utt2dur", "utt2spk",
        "wav.scp",
    ]  # fmt: skip


@pytest.mark.parametrize("room", ["anechoic", "reverb"])
@pytest.mark.parametrize(
    ("kind", "speakers", "noise"),
    [
        ("both", ("22g", "445"), True),
        ("single", ("22g",), True),
        ("clean", ("22g", "445"), False),
    ],
)
def test_a_condition_has_only_what_is_in_its_mixtures(
    corpora, tmp_path, kind, room, speakers, noise
):
    condition = f"mix_{kind}_{room}"
    (directory,) = read(corpora, tmp_path, ["tt"], condition=condition)
    mixture = directory.mixtures[0]
    assert mixture.mixture.parent.name == condition
    assert mixture.speakers == speakers
    assert len(mixture.references) == len(mixture.texts) == len(speakers)
    assert (mixture.noise is not None) == noise
    directory.write()
    assert MixtureDir.load(directory.path) == directory


def test_relative_paths_are_made_absolute(corpora, tmp_path, monkeypatch):
    monkeypatch.chdir(corpora.whamr.parent)
    (directory,) = read_sets(
        Whamr(Path("whamr")), Wsj0("wsj0"), tmp_path, ["tt"], allow_partial=True
    )
    assert directory.mixtures[0].mixture.is_absolute()


def test_styles_are_subsets(corpora, tmp_path):
    assert prepare(corpora, tmp_path, "--styles", "nvp", "vp") == 0
    # `o` in either utterance is spoken punctuation; no mixture has it in both.
    assert [m.id for m in MixtureDir.load(tmp_path / "tt_nvp").mixtures] == [SECOND]
    assert not (tmp_path / "tt_vp").exists()
    assert not (tmp_path / "cv_nvp").exists()
    whamr, (directory,) = Whamr(corpora.whamr), read(corpora, tmp_path, ["tt"])
    assert of_style(whamr, directory.mixtures, "vp") == ()
    # By what is heard: of mix_single the first utterance alone.
    single = replace(whamr, condition="mix_single_reverb")
    heard = {style: {m.id for m in of_style(single, directory.mixtures, style)} for style in STYLES}
    spoken = {m.id for m in directory.mixtures if m.id[3] == SPOKEN_PUNCTUATION}
    assert heard == {"vp": spoken, "nvp": {m.id for m in directory.mixtures} - spoken}
    with pytest.raises(UserError, match="unknown style 'slow' \\(there are nvp, vp\\)"):
        read(corpora, tmp_path, styles=["slow"])


def test_what_training_mixes(tmp_path, capsys):
    corpora = make_corpora(tmp_path / "corpora", ["tr", "cv", "tt"])
    for subset in ("cv", "tt"):  # tr keeps both mixtures, cv has one and tt one of its own
        for file in corpora.folder(subset).rglob(f"{FIRST if subset == 'cv' else SECOND}.wav"):
            file.unlink()
    shutil.copytree(corpora.wsj0 / "wsj0" / "si_et_05", corpora.wsj0 / "a" / "si_tr_s")
    shutil.copytree(corpora.wsj0 / "11-1.1/wsj0/SI_ET_05", corpora.wsj0 / "b" / "si_tr_s")
    out = tmp_path / "data"
    training = ["--sets", "tr", "cv", "tt", "--training", "--rirs", str(corpora.rirs)]

    # All that tr is made of is heard in cv or tt.
    assert prepare(corpora, out, *training) == 2
    assert "no utterance of si_tr_s is left" in capsys.readouterr().err
    assert not out.exists()

    extra = corpora.wsj0 / "a" / "si_tr_s" / "011" / "011c0201.wav"
    write_wav(extra, 500, subtype="PCM_16")
    (corpora.wsj0 / "011c0200.dot").write_text("extra words (011c0201)\n")
    # Now the test set is of other speakers and utterances.
    name = "447c0201_1_446c0202_-1"
    for kind in ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "noise"):
        folder = corpora.folder() / kind
        (folder / f"{FIRST}.wav").rename(folder / f"{name}.wav")
    (corpora.wsj0 / "x.dot").write_text("")
    for utterance in ("447c0201", "446c0202"):
        (corpora.wsj0 / f"{utterance[:6]}00.dot").write_text(f"words ({utterance})\n")
    assert prepare(corpora, out, *training) == 0
    assert "2 utterances not in WSJ0" in capsys.readouterr().err
    tr, cv = (UtteranceDir.load(out / f"{name}_utterances") for name in ("tr", "cv"))
    assert [u.id for u in tr.utterances] == ["22go010b"]  # not 011c0201, which no mixture has
    assert [u.id for u in cv.utterances] == ["22gc0105", "445c0206"]
    assert tr.info == Info("whamr", FS)
    assert tr.utterances[0].path == corpora.wsj0 / "a/si_tr_s/22g/22go010b.wav"
    noises = NoiseDir.load(out / "tr_noise").noises
    assert [n.path for n in noises] == [
        corpora.folder("tr") / "noise" / f"{name}.wav" for name in (FIRST, SECOND)
    ]
    assert len(RoomDir.load(out / "tr_rooms").rooms) == 2
    for directory in out.iterdir():
        assert validate(directory, samples=True) == []

    # Without tr, all of si_tr_s that is heard in neither; what has become surplus is removed.
    partial = ["--sets", "cv", "tt", "--training", "--rirs", str(corpora.rirs)]
    partial += ["--noise", str(corpora.noise)]
    assert prepare(corpora, out, *partial) == 0
    assert sorted(directory.name for directory in out.iterdir()) == [
        "cv", "cv_utterances", "tr_noise", "tr_rooms", "tr_utterances", "tt",
    ]  # fmt: skip
    tr = UtteranceDir.load(out / "tr_utterances")
    assert [u.id for u in tr.utterances] == ["011c0201", "22go010b"]
    assert len(NoiseDir.load(out / "tr_noise").noises) == 2

    # A speaker of the test set is not trained on.
    (corpora.wsj0 / "011c0200.dot").write_text("extra (011c0201)\nmore (011c0202)\n")
    for kind in ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "noise"):
        folder = corpora.folder() / kind
        (folder / f"{name}.wav").rename(folder / "447c0201_1_011c0202_-1.wav")
    assert prepare(corpora, out, *partial) == 0
    assert [u.id for u in UtteranceDir.load(out / "tr_utterances").utterances] == ["22go010b"]

    # Where the mixtures have neither rooms nor noise, training hears none.
    for condition, heard in (
        ("mix_clean_anechoic", []),
        ("mix_single_anechoic", ["tr_noise"]),
        ("mix_clean_reverb", ["tr_rooms"]),
    ):
        sets = [replace(d, info=replace(d.info, condition=condition)) for d in read(corpora, out)]
        given = {"noise": corpora.noise, "rirs": corpora.rirs}
        material = read_material(sets, Wsj0(corpora.wsj0), out, **given)
        assert [d.path.name for d in material] == ["tr_utterances", "cv_utterances", *heard]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rirs", "sets cv tt: mixtures of mix_both_reverb have noise, and there is none to train"),
        ("noise", "mixtures of mix_both_reverb are reverberant, and there are no rooms to train"),
    ],
)
def test_training_does_not_go_without_what_mixtures_have(corpora, tmp_path, capsys, given, message):
    out, place = tmp_path / "data", getattr(corpora, given)
    for more in ([], ["--check"]):
        assert prepare(corpora, out, "--training", f"--{given}", str(place), *more) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(UserError, match=message.split(":")[-1]):
        read_material(read(corpora, out), Wsj0(corpora.wsj0), out, **{given: place})


def test_a_file_in_the_making_is_no_part_of_a_corpus(corpora, tmp_path):
    before = [directory.mixtures for directory in read(corpora, tmp_path)]
    noises = read_noise(corpora.noise, tmp_path).noises
    folders = [path.parent for path in corpora.whamr.parent.rglob("*.[wW][aA][vV]")]
    for folder in {*folders, corpora.noise, corpora.rirs}:
        (folder / ".22gc0105.part.wav").write_bytes(b"")
    assert [directory.mixtures for directory in read(corpora, tmp_path)] == before
    assert read_noise(corpora.noise, tmp_path).noises == noises
    assert len(read_rirs(corpora.rirs, tmp_path).rooms) == 2
    found = Wsj0(corpora.wsj0).utterances("si_et_05")
    assert all(not path.name.startswith(".") for path in found.values())


def test_a_training_utterance_without_audio_is_named(tmp_path, capsys):
    corpora = make_corpora(tmp_path / "corpora", ["tr", "cv", "tt"])
    write_wav(corpora.wsj0 / "si_tr_s" / "011" / "011c0201.wav", 500, subtype="PCM_16")
    material = ["--noise", str(corpora.noise), "--rirs", str(corpora.rirs)]
    assert prepare(corpora, tmp_path / "data", "--training", *material) == 2
    error = capsys.readouterr().err
    assert "si_tr_s/**: no audio of '22gc0105', which is heard in cv (3 like it)" in error
    assert not (tmp_path / "data").exists()


def test_a_complete_corpus_is_counted(corpora, tmp_path, monkeypatch):
    def read_all():
        return read_sets(Whamr(corpora.whamr), Wsj0(corpora.wsj0), tmp_path, ["tt"])

    with pytest.raises(UserError, match=r"mix_both_reverb: 2 mixtures where .* has 3000"):
        read_all()
    monkeypatch.setitem(whamr_tree.COUNTS, "tt", 2)
    read_all()
    assert {"tr": 20_000, "cv": 5_000}.items() <= whamr_tree.COUNTS.items()


def test_a_check_reads_no_audio(corpora, tmp_path, capsys):
    (corpora.folder() / "mix_both_reverb" / f"{FIRST}.wav").write_bytes(b"")
    assert prepare(corpora, tmp_path / "data", "--check") == 0
    (corpora.folder() / "noise" / f"{FIRST}.wav").unlink()
    assert prepare(corpora, tmp_path / "data", "--check") == 2
    assert f"/noise/{FIRST}.wav: no such file" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def rewrite(path, samples, fs=FS):
    soundfile.write(path, samples, fs, subtype="FLOAT")


def rate(corpora):
    write_wav(corpora.folder() / "s2_anechoic" / f"{FIRST}.wav", MIXTURES[FIRST], fs=8000)


def length(corpora):
    write_wav(corpora.folder() / "s1_anechoic" / f"{SECOND}.wav", MIXTURES[SECOND] - 1)


def truncate(corpora):
    path = corpora.folder() / "mix_both_reverb" / f"{SECOND}.wav"
    path.write_bytes(path.read_bytes()[:-4])


def both_channels(corpora):
    write_wav(corpora.folder() / "noise" / f"{FIRST}.wav", MIXTURES[FIRST], channels=2)


def other_channel(corpora):
    """The mixture is of the right microphone, its parts of the left."""
    made = signals(corpora, FIRST, MIXTURES[FIRST])
    mixture = np.roll(made["s1_reverb"], -3) + np.roll(made["s2_reverb"], 3) + made["noise"]
    rewrite(corpora.folder() / "mix_both_reverb" / f"{FIRST}.wav", mixture)


def second_microphone(corpora):
    """Another microphone hears the same from elsewhere in the room, with its echoes and noise."""
    file = corpora.wsj0 / "wsj0/si_et_05/22g/22go010b.wav"
    samples = soundfile.read(file)[0]
    rng = np.random.default_rng(0)
    room = rng.standard_normal(200) * np.exp(-np.arange(200) / 50)
    file.unlink()
    elsewhere = 0.2 * np.convolve(samples, room)[: len(samples)]
    soundfile.write(file, elsewhere + 0.01 * rng.standard_normal(len(samples)), FS)


def only_second_microphone(corpora):
    for file in [f for f in corpora.wsj0.rglob("*") if f.suffix.lower() == ".wav"]:
        file.rename(file.with_suffix(".wv2"))


def min_as_max(corpora):
    for kind in (
        "mix_both_reverb",
        "s1_anechoic",
        "s2_anechoic",
        "noise",
        "s1_reverb",
        "s2_reverb",
    ):
        path = corpora.folder() / kind / f"{SECOND}.wav"
        rewrite(path, soundfile.read(path)[0][:850])  # its utterances have 900 and 800 samples


def five_fields(corpora):
    for kind in ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "noise"):
        write_wav(corpora.folder() / kind / "445c0206_1_22gc0105_-1_2.wav", 10)


def missing(kind, name):
    return lambda corpora: (corpora.folder() / kind / f"{name}.wav").unlink()


TRAPS = {
    "a missing reference": (missing("s2_anechoic", FIRST), f"/s2_anechoic/{FIRST}.wav: no such fi"),
    "a missing mixture": (
        missing("mix_both_reverb", FIRST),
        f"/mix_both_reverb/{FIRST}.wav: no such file, but it is in",
    ),
    "missing noise": (missing("noise", FIRST), f"/noise/{FIRST}.wav: no such file"),
    "a missing folder": (
        lambda c: (c.folder() / "s1_anechoic").rename(c.folder() / "s1"),
        "/s1_anechoic: no such folder (there are m",
    ),
    "an empty folder": (
        lambda c: [f.unlink() for f in (c.folder() / "mix_both_reverb").iterdir()],
        "/mix_both_reverb: no WAV files",
    ),
    "the wrong rate": (
        rate,
        f"/s2_anechoic/{FIRST}.wav: sampling rate is 8000 Hz where 16000 Hz is expected",
    ),
    "another length": (length, f"/s1_anechoic/{SECOND}.wav: 1599 samples, its mixture has 1600"),
    "a truncated file": (
        truncate,
        f"/mix_both_reverb/{SECOND}.wav: truncated: 6400 bytes of samples by its header",
    ),
    "two channels": (both_channels, f"/noise/{FIRST}.wav: 2 channels where 1 is expected"),
    "the other channel": (
        other_channel,
        f"/mix_both_reverb/{FIRST}.wav: not the sum of s1_reverb, s2_reverb, noise: ",
    ),
    "another microphone": (second_microphone, f"/s1_anechoic/{FIRST}.wav: not the recording of "),
    "min where max should be": (
        min_as_max,
        f"/mix_both_reverb/{SECOND}.wav: 850 samples, but ",
    ),
    "five fields": (five_fields, "445c0206_1_22gc0105_-1_2: the name is not of the form"),
    "only .wv2": (only_second_microphone, "/wsj0: 3 utterances are there by the second microphone"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_named_and_nothing_is_written(corpora, tmp_path, capsys, trap):
    damage, message = TRAPS[trap]
    damage(corpora)
    assert prepare(corpora, tmp_path / "data") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert str(corpora.whamr) in error or trap in ("five fields", "only .wv2")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fs", "8000"], "wav8k: no such folder (there are wav16k)"),
        (["--fs", "44100"], "WHAMR has no fs '44100' (it is one of 16000, 8000)"),
        (["--cut", "mid"], "WHAMR has no cut 'mid'"),
        (["--condition", "mix_all"], "WHAMR has no condition 'mix_all'"),
        (["--reference", "dry"], "WHAMR has no reference 'dry'"),
        (["--sets", "tr"], "max/tr: no such folder (there are cv, tt)"),
        (["--cut", "min"], "cut min: transcripts do not match"),
    ],
)
def test_an_option_that_does_not_fit_is_named(corpora, tmp_path, capsys, options, message):
    assert prepare(corpora, tmp_path / "data", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("level", ["", "whamr/wav16k", "whamr/wav16k/max", "whamr/wav16k/max/tt"])
def test_the_wrong_level_is_named_with_the_right_one(corpora, level):
    given = corpora.whamr.parent / level
    with pytest.raises(UserError) as error:
        _ = Whamr(given).top
    assert str(error.value) == (
        f"{given}: not the folder that holds wav16k or wav8k (give {corpora.whamr})"
    )


def test_a_missing_corpus_is_named(corpora, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        read_sets(
            Whamr(tmp_path / "nowhere"), Wsj0(corpora.wsj0), tmp_path, ["tt"], allow_partial=True
        )


def test_text_needs_wsj0(corpora, tmp_path):
    with pytest.raises(UserError, match="without the folder of WSJ0"):
        read_sets(Whamr(corpora.whamr), None, tmp_path, ["tt"], allow_partial=True)


def test_a_missing_transcript_is_named(corpora, tmp_path, capsys):
    (corpora.wsj0 / "wsj0/transcrp/dots/si_et_05/22g/22go0100.dot").unlink()
    assert prepare(corpora, tmp_path / "data") == 2
    assert "22go01*.dot: no transcript of '22go010b'" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_failed_preparation_leaves_the_directories_of_the_last(corpora, tmp_path):
    assert prepare(corpora, tmp_path) == 0
    before = [MixtureDir.load(tmp_path / name) for name in ("cv", "tt")]
    length(corpora)
    assert prepare(corpora, tmp_path, "--reference", "anechoic") == 2
    assert [MixtureDir.load(tmp_path / name) for name in ("cv", "tt")] == before


def test_the_mixtures_are_told_by_si_sdr_for_si_sdri_to_count_from(corpora, tmp_path, capsys):
    assert prepare(corpora, tmp_path) == 0
    pairs = [
        (m["mix_both_reverb"], m[f"s{s}_anechoic"])
        for m in (signals(corpora, name, frames) for name, frames in MIXTURES.items())
        for s in (1, 2)
    ]
    level = np.mean([si_sdr(mixture, reference) for mixture, reference in pairs])
    assert abs(level) > 1
    assert f"tt: mixtures have an SI-SDR of {level:.1f} dB, from which" in capsys.readouterr().err


def test_si_sdr_is_that_of_the_projection():
    rng = np.random.default_rng(0)
    reference, noise = rng.standard_normal((2, 4000))
    reference -= reference.mean()
    noise -= noise.mean() + reference * (noise @ reference) / (reference @ reference)
    expected = 10 * np.log10(np.sum((2 * reference) ** 2) / np.sum(noise**2))
    assert si_sdr(3 + 2 * reference + noise, reference) == pytest.approx(expected)


@pytest.mark.parametrize("delay", [0.0, 12.25, 40.5, 7.1])
def test_a_delayed_copy_is_like_its_original_and_nothing_else_is(delay):
    rng = np.random.default_rng(0)
    size = 4096
    # Speech-like: weaker towards high frequencies, within an utterance.
    original = np.convolve(rng.standard_normal(size), [1, 1.8, 1, 0.2])[:size] * np.hanning(size)
    shift = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * size) * delay)
    copy = 0.3 * np.fft.irfft(np.fft.rfft(original, 2 * size) * shift)
    assert likeness(copy, original) > 0.995
    assert likeness(copy[: size // 2], original) > 0.98  # cut
    assert likeness(-copy, original) > 0.99
    assert likeness(rng.standard_normal(size), original) < 0.3
    assert likeness(np.zeros(size), original) == 0


def test_the_two_utterances_of_a_name():
    assert utterances_of("445c0206_0.60431_22gc0105_-0.60431") == ("445c0206", "22gc0105")
    with pytest.raises(UserError, match=r"445c0206_1_22g_-1: the name is not of the form"):
        utterances_of("445c0206_1_22g_-1")


def test_the_samples_are_those_of_the_files(corpora, tmp_path):
    mixture = read(corpora, tmp_path, ["tt"])[0].mixtures[1]
    expected, fs = soundfile.read(corpora.folder() / "s2_anechoic" / f"{mixture.id}.wav")
    np.testing.assert_array_equal(read_mono(mixture.references[1], fs), expected)
