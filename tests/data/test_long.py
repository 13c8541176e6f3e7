"""Long mixtures: who says what where, on the fly and as a set on disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sepasr.bin.main import main
from sepasr.data.audio import read_mono
from sepasr.data.batch import collate
from sepasr.data.datadir import MixtureDir
from sepasr.data.dynamic import DynamicMixtures, MixingConfig
from sepasr.data.long import LongMixtures
from sepasr.data.scp import read_table
from sepasr.errors import UserError

FS = 16000
LEVEL = 0.1  # of every sample of the sources, see data_dirs
CONFIG = MixingConfig(
    segment_s=0.5,
    utterances=3,
    pause_s=(0.01, 0.05),
    gain_db=(0.0, 0.0),
    speed_percent=(100, 100),
)


def long(data_dirs, rooms=False, noise=False, seed=0, **changes) -> LongMixtures:
    directories = (data_dirs.noise if noise else None, data_dirs.rooms if rooms else None)
    return LongMixtures(
        DynamicMixtures(data_dirs.utterances, *directories, replace(CONFIG, **changes), seed)
    )


def test_each_utterance_is_in_its_span_and_they_follow_each_other(data_dirs):
    for index in range(20):
        drawn = long(data_dirs).draw(index, each=True)
        item, samples = drawn.item, drawn.item.mixture.shape[0]
        assert item.utterances.shape == (6, samples)
        assert item.references.shape == (2, samples)
        for utterance, (start, end) in zip(item.utterances, item.spans, strict=True):
            assert np.allclose(np.abs(utterance[start:end]), LEVEL, atol=1e-6)
            assert not utterance[:start].any()
            assert not utterance[end:].any()
        for spans in np.split(item.spans, 2):
            pauses = spans[:, 0] - np.concatenate([[0], spans[:-1, 1]])
            assert (pauses >= 0.01 * FS).all()
            assert (pauses <= 0.05 * FS).all()
        np.testing.assert_array_equal(item.references[0], item.utterances[:3].sum(0))
        assert long(data_dirs).draw(index).item.utterances is None
        np.testing.assert_allclose(item.mixture, item.utterances.sum(0), atol=1e-6)
        assert samples == item.spans[:, 1].max()
        first, second = drawn.said
        assert len({u.speaker for u in first}) == len({u.speaker for u in second}) == 1
        assert first[0].speaker != second[0].speaker
        for said, spans in zip(drawn.said, np.split(item.spans, 2), strict=True):
            lengths = [round(u.duration_s * FS) for u in said]
            assert lengths == (spans[:, 1] - spans[:, 0]).tolist()
            assert len({u.id for u in said}) == 2  # of the two that there are


def test_an_item_is_the_beginning_of_the_whole(data_dirs):
    whole, item = long(data_dirs).draw(3, each=True).item, long(data_dirs, segment_s=0.2)[3]
    assert item.mixture.shape == (3200,)
    for name in ("mixture", "references", "utterances"):
        cut = getattr(whole, name)[..., :3200]
        np.testing.assert_allclose(getattr(item, name), cut, atol=1e-6)
    assert item.spans.tolist() == np.minimum(whole.spans, 3200).tolist()
    assert (item.spans[:, 0] == 3200).any()  # one that begins after the end


def test_items_depend_on_seed_and_number_alone(data_dirs):
    one, again = (long(data_dirs, rooms=True, noise=True)[5] for _ in range(2))
    for name, value in vars(one).items():
        assert np.array_equal(value, getattr(again, name))
    other = long(data_dirs, rooms=True, noise=True, seed=1)[5]
    assert not np.array_equal(one.mixture, other.mixture)


def test_a_speaker_stays_at_one_place_at_one_gain(data_dirs):
    """Each position of the room has one echo, of a strength of its own, after 20 samples."""
    for index in range(10):
        dataset = long(data_dirs, rooms=True, gain_db=(-6.0, 6.0))
        drawn = dataset.draw(index, each=True)
        responses = dataset.mixtures.draw_responses(np.random.default_rng([0, index]))
        echoes = [reverb[20] for reverb, _ in responses]
        expected = np.zeros_like(drawn.item.mixture)
        for reference, echo in zip(drawn.item.references, echoes, strict=True):
            delayed = np.concatenate([np.zeros(20), reference[:-20]])
            expected += reference + echo * delayed.astype(np.float32)
        np.testing.assert_allclose(drawn.item.mixture, expected, atol=1e-5)
        for utterances in np.split(drawn.item.utterances, 2):
            levels = np.abs(utterances).max(1)
            assert levels == pytest.approx(levels[0], rel=1e-4)


def test_noise_is_at_its_level_below_the_louder_speaker_of_the_whole(data_dirs):
    def power(signal) -> float:
        return np.square(signal, dtype=np.float64).mean()

    for index in range(5):
        drawn = long(data_dirs, noise=True, snr_db=(5, 5), gain_db=(-6.0, 6.0)).draw(index)
        references = drawn.item.references
        np.testing.assert_allclose(drawn.item.mixture - references.sum(0), drawn.noise, atol=1e-6)
        snr_db = 10 * np.log10(max(map(power, references)) / power(drawn.noise))
        assert snr_db == pytest.approx(5, abs=0.01)


def test_items_are_stacked_with_their_utterances(data_dirs):
    dataset = long(data_dirs)
    batch = collate([dataset[0], dataset[1]]).to(torch.device("cpu"))
    assert batch.utterances.shape == (2, 6, 8000)
    assert batch.spans.tolist() == [dataset[0].spans.tolist(), dataset[1].spans.tolist()]
    assert collate([dataset.mixtures[0]]).utterances is None


@pytest.fixture
def lengthen(data_dirs, tmp_path, capsys):
    def run(*options: object) -> tuple[int, str]:
        given = ["--utterances", data_dirs.utterances.path, "--noise", data_dirs.noise.path]
        given += ["--rooms", data_dirs.rooms.path, "--corpus", "tiny", "--out", tmp_path / "long"]
        given += ["--audio", tmp_path / "audio", "--count", 3, *options]
        return main(["lengthen", *map(str, given)]), capsys.readouterr().err

    return run


def test_a_set_on_disk(lengthen, data_dirs, tmp_path):
    assert lengthen("--set", "utterances=2", "gain_db=[0,0]")[0] == 0
    data = MixtureDir.load(tmp_path / "long")
    assert [m.id for m in data.mixtures] == ["long00000", "long00001", "long00002"]
    assert (data.info.condition, data.info.reference) == ("mix_both_reverb", "anechoic")
    config = MixingConfig(utterances=2, gain_db=(0.0, 0.0))
    mixtures = DynamicMixtures(
        data_dirs.utterances, data_dirs.noise, data_dirs.rooms, config, 0, FS
    )
    segments = read_table(tmp_path / "long" / "segments")
    words = read_table(tmp_path / "long" / "segment_text")
    for index, mixture in enumerate(data.mixtures):
        drawn = LongMixtures(mixtures).draw(index)
        assert np.array_equal(read_mono(mixture.mixture), drawn.item.mixture)
        for path, reference in zip(mixture.references, drawn.item.references, strict=True):
            assert np.array_equal(read_mono(path), reference)
        np.testing.assert_allclose(read_mono(mixture.noise), drawn.noise, atol=1e-7)
        assert mixture.texts == ("SOME WORDS SOME WORDS",) * 2
        for number, (start, end) in enumerate(drawn.item.spans / FS):
            key = f"{mixture.id}_spk{number // 2 + 1}_{number % 2 + 1}"
            assert segments[key] == f"{mixture.id} {start:.6f} {end:.6f}"
            assert words[key] == "SOME WORDS"


def test_a_file_says_how_many_utterances_unless_an_option_does(lengthen, tmp_path):
    (tmp_path / "mixing.yaml").write_text("utterances: 1\n")
    for given, count in (
        ((), 3),
        (("--config", tmp_path / "mixing.yaml"), 1),
        (("--config", tmp_path / "mixing.yaml", "--set", "utterances=2"), 2),
    ):
        status, _ = lengthen(*given, "--audio", tmp_path / f"audio{count}")
        assert status == 0
        mixture = MixtureDir.load(tmp_path / "long").mixtures[0]
        assert mixture.texts == (" ".join(["SOME WORDS"] * count),) * 2


def test_a_set_goes_on_and_is_not_mixed_with_another(lengthen, tmp_path):
    assert lengthen()[0] == 0
    kept = sorted((tmp_path / "audio").glob("*.wav"))
    times = [path.stat().st_mtime_ns for path in kept]
    kept[0].unlink()
    assert lengthen("--count", 4)[0] == 0
    assert len(MixtureDir.load(tmp_path / "long").mixtures) == 4
    assert [path.stat().st_mtime_ns for path in kept[1:]] == times[1:]
    for change in (("--seed", 1), ("--set", "pause_s=[0,9]")):
        status, said = lengthen(*change)
        assert status == 2
        assert "audio/made_of.yaml: the mixtures here were made of something else" in said
    status, said = lengthen("--audio", tmp_path / "long" / "audio")
    assert status == 2
    assert "the audio is in its data directory" in said


@pytest.mark.parametrize("change", [{"utterances": 0}, {"pause_s": (-1.0, 1.0)}])
def test_settings_that_make_no_sense(change):
    with pytest.raises(UserError, match=rf"mixing\.{next(iter(change))}"):
        MixingConfig(**change)
