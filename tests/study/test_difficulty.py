"""Conditions of mixtures whose conditions are known, and word errors along them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.errors import UserError
from sepasr.score.rows import UtteranceRow, write_rows
from sepasr.study.analysis_plots import plot_difficulty
from sepasr.study.config import Difficulty, StudyConfig
from sepasr.study.difficulty import (
    Conditions,
    analyse_difficulty,
    difficulty_table,
    groups,
    measure_conditions,
    read_difficulty,
)
from sepasr.study.place import Place

FS = 16000


def make_mixture(folder: Path, name: str, sources: np.ndarray, snr_db: float) -> Mixture:
    """A mixture of (speakers, samples) in white noise."""
    noise = np.random.default_rng(0).standard_normal(sources.shape[1])
    power = np.mean(sources.sum(0) ** 2)
    noise *= np.sqrt(power / np.mean(noise**2) / 10 ** (snr_db / 10))
    files = {"mix": sources.sum(0) + noise, "noise": noise, "s1": sources[0], "s2": sources[1]}
    paths = {kind: folder / "tt" / kind / f"{name}.wav" for kind in files}
    for kind, samples in files.items():
        write_audio(paths[kind], samples.astype(np.float32), FS)
    references = (paths["s1"], paths["s2"])
    texts, speakers = ("one", "two"), ("a", "b")
    seconds = sources.shape[1] / FS
    return Mixture(name, paths["mix"], references, paths["noise"], texts, speakers, seconds)


def bursts(start: int, stop: int, low: float, high: float, gain: float = 0.1) -> np.ndarray:
    """A second of noise in a band, silent outside of ``start`` to ``stop``."""
    samples = np.random.default_rng(start + stop).standard_normal(FS)
    sos = scipy.signal.butter(4, [low, high], "bandpass", fs=FS, output="sos")
    samples = gain * scipy.signal.sosfilt(sos, samples)
    samples[:start] = samples[stop:] = 0
    return samples


@pytest.fixture
def data(tmp_path) -> MixtureDir:
    dark, bright = (200, 800), (2000, 6000)
    mixtures = [
        # Half of the time both speak; voices in different bands; equal band noise twice as strong.
        make_mixture(
            tmp_path,
            "a",
            np.stack([bursts(0, 12000, *dark), bursts(4000, 16000, *bright)]),
            10.0,
        ),
        # One after the other, with one voice; the first is 6 dB louder.
        make_mixture(
            tmp_path,
            "b",
            np.stack([bursts(0, 8000, *dark, 0.2), bursts(8000, 16000, *dark)]),
            0.0,
        ),
    ]
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "reverb_params_tt.csv").write_text(
        "utterance_id,room_x,T60\na.wav,5.0,0.300\nb.wav,5.0,0.150\n"
    )
    directory = MixtureDir(tmp_path / "data" / "tt", Info("x", FS, "max", "m", "r"), (*mixtures,))
    directory.write()
    return directory


def test_conditions_of_known_mixtures(data):
    a, b = measure_conditions(data)
    assert a.snr_db == pytest.approx(10, abs=0.01)
    assert b.snr_db == pytest.approx(0, abs=0.01)
    assert (a.t60_s, b.t60_s) == (0.3, 0.15)
    assert a.overlap == pytest.approx(0.5, abs=0.03)
    assert b.overlap == pytest.approx(0, abs=0.03)
    assert b.level_db == pytest.approx(6.0, abs=0.5)
    assert a.voices_db > 10 > 5 > b.voices_db


def test_what_is_not_known_is_empty(data, tmp_path):
    (tmp_path / "metadata" / "reverb_params_tt.csv").unlink()
    without = replace(data, mixtures=tuple(replace(m, noise=None) for m in data.mixtures))
    for condition in measure_conditions(without):
        assert np.isnan([condition.snr_db, condition.t60_s]).all()
        assert condition.overlap >= 0


def test_one_speaker_has_no_other_voice(data):
    alone = [replace(m, references=m.references[:1]) for m in data.mixtures]
    for condition in measure_conditions(replace(data, mixtures=tuple(alone))):
        assert np.isnan(condition.voices_db)
        assert (condition.overlap, condition.level_db) == (0, 0)


def test_a_broken_table_is_named(data, tmp_path):
    (tmp_path / "metadata" / "reverb_params_tt.csv").write_text("utterance_id,T60\na.wav,long\n")
    with pytest.raises(UserError, match=r"reverb_params_tt.csv.*2.*T60"):
        measure_conditions(data)


def many(number: int) -> tuple[list[Conditions], list[UtteranceRow]]:
    """Errors rise with the noise and don't care for reverberation."""
    rng = np.random.default_rng(0)
    conditions = [
        Conditions(f"m{i:02}", float(i), float(rng.uniform(0.1, 0.4)), 0.8, 1.0, np.nan)
        for i in range(number)
    ]
    rows = [
        UtteranceRow("sisdr", seed, "tiny", c.mixture, 20, max(0, 10 - i // 3 + seed), 0, 5.0, 7.0)
        for seed in (1, 2)
        for i, c in enumerate(conditions)
    ]
    return conditions, rows


def test_word_errors_along_a_condition():
    conditions, rows = many(30)
    config = Difficulty(systems=["sisdr", "absent"], recognisers=["tiny"], bins=3)
    table = difficulty_table("d", config, rows, conditions, draws=300)
    snr = {row.bin: row for row in table if row.condition == "snr_db"}
    assert snr[0].spearman < -0.95
    assert snr[0].spearman_low <= snr[0].spearman <= snr[0].spearman_high
    assert [snr[b].cpwer for b in (1, 2, 3)] == sorted(snr[b].cpwer for b in (1, 2, 3))[::-1]
    first = np.mean([max(0, 10 - i // 3 + 1.5) for i in range(10)]) / 20  # the mean over seeds
    assert snr[1].cpwer == pytest.approx(first)
    assert (snr[1].lower, snr[1].upper, snr[1].mixtures) == (0.0, 9.0, 10)
    t60 = next(row for row in table if row.condition == "t60_s" and row.bin == 0)
    assert t60.spearman_low < 0 < t60.spearman_high
    assert not [row for row in table if row.condition == "voices_db"]  # known of no mixture
    assert {row.system for row in table} == {"sisdr"}


def test_groups_hold_all_that_is_defined():
    values = np.array([3.0, np.nan, 1.0, 2.0, 5.0])
    found = groups(values, 2)
    assert [values[group].tolist() for group in found] == [[1.0, 2.0], [3.0, 5.0]]
    assert len(groups(np.array([1.0]), 4)) == 1


def test_from_a_run_s_rows_to_table_and_plot(data, tmp_path):
    rows = [UtteranceRow("sisdr", 1, "tiny", m, 9, 3, 3, 5.0, 7.0) for m in ("a", "b")]
    place = Place("none", tmp_path, tmp_path / "data", tmp_path / "start", tmp_path / "out")
    write_rows(place.out / "utterances.csv", UtteranceRow, rows)
    config = Difficulty(systems=["sisdr"], recognisers=["tiny"], bins=2)
    table = analyse_difficulty("d", config, place, draws=50)
    assert repr(list(read_difficulty(place.out / "d.csv"))) == repr(table)
    plot_difficulty(StudyConfig("Why?", difficulty=config), table, tmp_path / "d.svg")
    assert "reverberation time" in (tmp_path / "d.svg").read_text()
    write_rows(place.out / "utterances.csv", UtteranceRow, rows[:1])
    with pytest.raises(UserError, match="rows of other mixtures"):
        analyse_difficulty("d", config, place)
    write_rows(place.out / "utterances.csv", UtteranceRow, rows)
    with pytest.raises(UserError, match="there are sisdr"):
        analyse_difficulty("d", replace(config, systems=["none"]), place)
