import csv
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.simulate import text, voices
from sepasr.simulate.corpus import CorpusConfig, build_corpus
from sepasr.simulate.extra import build_extra_sets
from sepasr.simulate.tasks import making

LOCAL = REPOSITORY / "conf" / "cluster" / "local.yaml"
CONFIG = CorpusConfig(
    num_train_hibari=6,
    num_train_joe=2,
    num_train_espeak=4,
    num_dev=1,
    num_test=2,
    num_rooms=2,
    num_noises_train=5,
    num_noises=2,
)
SIGNALS = ["mix_both_reverb", "noise", "s1_anechoic", "s1_reverb", "s2_anechoic", "s2_reverb"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus")
    build_corpus(CONFIG, out)
    return out


def snapshot(out):
    """Every file of a corpus."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def transcripts(out):
    lines = [
        line
        for path in sorted(out.glob("wsj0/transcrp/dots/*/*/*.dot"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {line[line.index("(") + 1 : -1]: line[: line.index(" (")] for line in lines}


def test_speech_is_laid_out_as_wsj0(corpus):
    paths = sorted(corpus.glob("wsj0/si_*/*/*.wav"))
    assert len(paths) == 6 + 2 + 4 + 2 * (1 + 2)
    for path in paths:
        assert path.stem[:4] == f"{path.parent.name}c"
        assert len(path.stem) == 8
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)
    dots = transcripts(corpus)
    assert set(dots) == {path.stem for path in paths}
    words = {word.upper() for word in text.words()}
    assert all(set(sentence.split()) <= words for sentence in dots.values())


def test_sentences_and_speakers_of_the_sets_are_disjoint(corpus):
    dots = transcripts(corpus)
    parts = {"si_tr_s": "train", "si_dt_05": "dev", "si_et_05": "test"}
    speakers = []
    for folder, part in parts.items():
        paths = list(corpus.glob(f"wsj0/{folder}/*/*.wav"))
        assert {text.part_of(dots[path.stem].lower()) for path in paths} == {part}
        speakers.append({path.parent.name for path in paths})
    assert not speakers[0] & speakers[1]
    assert not speakers[0] & speakers[2]
    assert not speakers[1] & speakers[2]


@pytest.mark.parametrize(("split", "count"), [("cv", 1), ("tt", 2)])
@pytest.mark.parametrize("cut", ["min", "max"])
def test_mixtures_are_laid_out_as_whamr(corpus, cut, split, count):
    root = corpus / "whamr" / "wav16k" / cut / split
    assert sorted(folder.name for folder in root.iterdir()) == SIGNALS
    names = sorted(path.name for path in (root / "noise").iterdir())
    assert len(names) == count
    for name in names:
        part = {
            folder: soundfile.read(root / folder / name, dtype="float32")[0] for folder in SIGNALS
        }
        total = (part["s1_reverb"] + part["s2_reverb"]) + part["noise"]
        np.testing.assert_array_equal(part["mix_both_reverb"], total)
        assert np.abs(total).max() < 0.901
        assert len({len(signal) for signal in part.values()}) == 1
        assert soundfile.info(root / "noise" / name).subtype == "FLOAT"


def test_there_are_no_training_mixtures(corpus):
    assert not list(corpus.glob("whamr/wav16k/*/tr"))


@pytest.mark.parametrize("split", ["cv", "tt"])
def test_metadata_names_existing_files(corpus, split):
    folder = corpus / "whamr" / "metadata"
    with open(folder / f"mix_2_spk_filenames_{split}.csv", encoding="utf-8") as stream:
        names = list(csv.DictReader(stream))
    with open(folder / f"reverb_params_{split}.csv", encoding="utf-8") as stream:
        rooms = list(csv.DictReader(stream))
    mixtures = corpus / "whamr" / "wav16k" / "max" / split / "mix_both_reverb"
    assert [row["output_filename"] for row in names] == sorted(p.name for p in mixtures.iterdir())
    assert [row["utterance_id"] for row in rooms] == [row["output_filename"] for row in names]
    for row in names:
        assert (corpus / row["s1_path"]).is_file()
        assert (corpus / row["s2_path"]).stem == row["output_filename"].split("_")[2]
    for row in rooms:
        low, high = CONFIG.rt60_s
        assert low <= float(row["T60"]) <= high
        assert 0 < float(row["s1_x"]) < float(row["room_x"])


def test_rooms_and_noise_for_training(corpus):
    rirs = sorted(corpus.glob("rirs/tr/*_reverb.wav"))
    assert len(rirs) == 2
    for path in rirs:
        anechoic = path.with_name(path.name.replace("_reverb", "_anechoic"))
        assert soundfile.info(path).channels == soundfile.info(anechoic).channels == 4
        assert soundfile.info(path).frames == soundfile.info(anechoic).frames
    for split, count in (("tr", 5), ("cv", 2), ("tt", 2)):
        paths = list((corpus / "wham_noise" / split).iterdir())
        assert len(paths) == count
        assert all(soundfile.info(path).duration >= 12 for path in paths)


def test_no_noise_is_heard_twice(corpus):
    noises = [soundfile.read(path)[0].tobytes() for path in corpus.glob("wham_noise/*/*.wav")]
    assert len(noises) == len(set(noises)) == 5 + 2 + 2


def test_a_complete_corpus_is_left_alone(corpus):
    times = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.wav")}
    build_corpus(CONFIG, corpus)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*.wav")} == times


@pytest.mark.slow
def test_processes_interruption_and_size_change_no_sample(corpus, tmp_path):
    before = snapshot(corpus)
    build_corpus(replace(CONFIG, num_test=3, num_train_hibari=8), tmp_path, jobs=2, cluster=LOCAL)
    larger = snapshot(tmp_path)
    assert {name: larger[name] for name in before if name.endswith(".wav")} == {
        name: content for name, content in before.items() if name.endswith(".wav")
    }
    for path in sorted(tmp_path.rglob("*.wav"))[::3]:
        path.unlink()
    (tmp_path / "wsj0" / "si_tr_s" / "h24" / ".h24c0000.torso.wav").write_bytes(b"RIFF")
    build_corpus(replace(CONFIG, num_test=3, num_train_hibari=8), tmp_path)
    assert snapshot(tmp_path) == larger


def test_a_smaller_corpus_takes_nothing_from_a_larger_one(corpus):
    """Data directories of another experiment may list it."""
    before = snapshot(corpus)
    for smaller in ({"num_test": 1}, {"num_rooms": 1}, {"num_train_joe": 1, "num_dev": 5}):
        with pytest.raises(UserError, match=f"holds more .* {min(smaller)}=") as error:
            build_corpus(replace(CONFIG, **smaller), corpus)
        assert str(corpus) in str(error.value)
        assert "another experiment" in str(error.value)
        assert snapshot(corpus) == before


def test_two_runs_in_one_directory_do_not_meet(corpus):
    before = snapshot(corpus)
    with (
        making(corpus),
        pytest.raises(UserError, match=r"another run is making this corpus \(wait"),
    ):
        build_corpus(replace(CONFIG, num_test=CONFIG.num_test + 1), corpus)
    assert snapshot(corpus) == before
    with making(corpus), pytest.raises(UserError, match="another run is making this corpus"):
        build_extra_sets(CONFIG, ["espeak"], corpus)
    assert snapshot(corpus) == before


def test_another_seed_in_the_same_directory_is_refused(corpus):
    with pytest.raises(UserError, match="other conditions"):
        build_corpus(replace(CONFIG, seed=1), corpus)


@pytest.mark.parametrize("name", ["wsj0/disc1/011c0201.wv1", "whamr/wav16k/max/a.wav"])
def test_a_corpus_from_elsewhere_is_refused_and_left_alone(tmp_path, name):
    real = tmp_path / name
    real.parent.mkdir(parents=True)
    real.write_bytes(b"NIST_1A")
    with pytest.raises(UserError, match="not of a corpus that this command made"):
        build_corpus(CONFIG, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [real]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"num_test": -1}, "num_test"),
        ({"snr_db": (20.0, 8.0)}, "snr_db"),
        ({"rt60_s": (0.0, 0.3)}, "rt60_s: 0.0 s is not above 0"),
        ({"rt60_s": (0.01, 0.05)}, "rt60_s: in no room does sound decay within 0.05 s"),
    ],
)
def test_a_senseless_configuration_is_refused(tmp_path, change, cause):
    with pytest.raises(UserError, match=cause):
        build_corpus(replace(CONFIG, **change), tmp_path)
    assert not list(tmp_path.iterdir())


def test_configuration_comes_from_yaml(tmp_path):
    (tmp_path / "corpus.yaml").write_text("num_test: 3\nsnr_db: [5.0, 6.0]\n", encoding="utf-8")
    config = load_config(CorpusConfig, [tmp_path / "corpus.yaml"], ["num_dev=1"])
    assert (config.num_test, config.num_dev, list(config.snr_db)) == (3, 1, [5.0, 6.0])


def test_default_training_speech_suffices():
    config = CorpusConfig()
    count = config.num_train_hibari + config.num_train_joe + config.num_train_espeak
    mean_s = 2.75  # of an utterance; 2.83 s in the corpus that the default seed gives
    assert count * mean_s > 2.3 * 3600
    assert config.num_train_espeak < count / 2
    assert all(len(speakers) >= 12 for speakers in voices.TRAIN.values())
