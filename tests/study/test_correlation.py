"""Which measures go with word errors: exact cases, and a study's own streams."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, spearmanr
from small_study import Ear, Pretended, make_place, make_study, quick_measures

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Mixture, MixtureDir, UtteranceDir
from sepasr.encoder.base import load_encoder
from sepasr.errors import UserError
from sepasr.study.analysis_plots import plot_correlations
from sepasr.study.config import Correlation, Probe
from sepasr.study.correlation import (
    MeasuredRow,
    correlate,
    correlations,
    read_correlations,
    within_mixtures,
)
from sepasr.study.meters import embedding_distance, probe_name
from sepasr.study.permutations import (
    ALL,
    ChoiceRow,
    compare_permutations,
    permutation_table,
    permutations_differ,
)
from sepasr.study.rows import StudyRow
from sepasr.study.runner import Runner

SYSTEMS, MIXTURES = 5, 30


def made_rows() -> tuple[list[StudyRow], list[MeasuredRow]]:
    """Errors = difficulty + badness; SI-SDR knows the difficulty alone, the probe the badness."""
    rng = np.random.default_rng(0)
    difficulty, badness = rng.uniform(0, 20, MIXTURES), np.arange(SYSTEMS)
    rows, measured = [], []
    for s in range(SYSTEMS):
        for m in range(MIXTURES):
            errors = int(10 * (difficulty[m] + 2 * badness[s]))
            key = (f"v{s}", 3, 0, "cv")
            quality = -difficulty[m] + rng.normal(0, 1e-3)
            rows.append(
                StudyRow(
                    *key, "tiny", f"m{m:02}", 1000, errors, 0, quality, 0, np.nan, 0.1, 0.1, 0.1
                )
            )
            measured.append(MeasuredRow(*key, "probe", f"m{m:02}", float(badness[s])))
    return rows, measured


def test_the_two_kinds_of_correlation_differ():
    rows, measured = made_rows()
    names = ["si_sdr", "pesq", "stoi", "probe"]
    table = correlations(rows, measured, names, draws=300)
    found = {(row.measure, row.kind): row for row in table}
    # Between systems of a mixture only the probe tells which is read better, and it always does.
    assert found["probe", "systems"].correlation == pytest.approx(1)
    assert abs(found["si_sdr", "systems"].correlation) < 0.25
    # Between mixtures, SI-SDR is the one.
    assert found["si_sdr", "mixtures"].correlation < -0.8
    assert found["si_sdr", "mixtures"].high < found["si_sdr", "mixtures"].low + 1
    assert 0.1 < found["probe", "mixtures"].correlation < 0.6
    for kind in ("mixtures", "systems"):
        assert np.isnan(found["pesq", kind].correlation)  # undefined
        assert np.isnan(found["stoi", kind].correlation)  # the same everywhere
        assert found["pesq", kind].mixtures == 0
    assert found["probe", "systems"].systems == SYSTEMS


def test_all_correlations_are_over_the_systems_that_have_every_measure():
    """The mixture and the references have no probe: with SI-SDR alone they'd count, and mislead."""
    rows, measured = made_rows()
    names = ["si_sdr", "pesq", "probe"]
    mixture = [
        replace(row, variant="mixture", seed=None, cp_errors=999, si_sdr=-50.0 - n)
        for n, row in enumerate(row for row in rows if row.variant == "v0")
    ]
    found = correlations(rows + mixture, measured, names, draws=100)
    assert repr(found) == repr(correlations(rows, measured, names, draws=100))
    assert {row.systems for row in found if row.measure != "pesq"} == {SYSTEMS}
    alone = correlations(rows + mixture, [], ["si_sdr"], draws=100)
    assert {row.systems for row in alone} == {SYSTEMS + 1}


def test_within_mixtures_agrees_with_scipy():
    rng = np.random.default_rng(1)
    values, errors = rng.normal(size=(2, 6, 8))
    values[2, :4] = np.nan
    found = within_mixtures(values, errors)
    for mine, theirs, correlation in zip(values, errors, found, strict=True):
        both = ~np.isnan(mine)
        assert correlation == pytest.approx(spearmanr(mine[both], theirs[both]).statistic)
    assert np.isnan(within_mixtures(values * np.nan, errors)).all()


@pytest.fixture
def mixture(tmp_path) -> Mixture:
    rng = np.random.default_rng(2)
    sources = 0.1 * rng.standard_normal((2, 9000)).astype(np.float32)
    paths = [tmp_path / f"s{i}.wav" for i in range(2)]
    for path, source in zip(paths, sources, strict=True):
        write_audio(path, source, 16000)
    write_audio(tmp_path / "mix.wav", sources.sum(0), 16000)
    return Mixture("m", tmp_path / "mix.wav", (*paths,), None, ("a", "b"), ("x", "y"), 9 / 16)


def test_distances_of_an_encoder(mixture):
    encoder = load_encoder("wav2vec2_mini")
    streams = list(mixture.references)
    perfect = embedding_distance(encoder, mixture, streams, 16000)
    assert perfect == pytest.approx(0, abs=1e-6)
    assert embedding_distance(encoder, mixture, streams[::-1], 16000) == pytest.approx(perfect)
    worse = embedding_distance(encoder, mixture, [mixture.mixture, mixture.mixture], 16000)
    assert worse > 1e-3
    assert not permutations_differ(encoder, mixture, streams[::-1], 16000)


class Squares(torch.nn.Module):
    """An encoder that can't tell a sign, and so takes each of two voices for the other."""

    fs, name, distance = 16000, "squares", "mse"

    def forward(self, waveform, lengths):
        return waveform.unfold(-1, 10, 10).square(), lengths // 10


def test_permutations_that_differ_are_seen(tmp_path):
    said = np.array([[1, -1] * 200, [2, 2, -2, -2] * 100], np.float32) / 10
    files = {}
    for name, signals in (("s", said), ("e", np.stack([said[1] / 2, 2 * said[0]]))):
        files[name] = tuple(tmp_path / f"{name}{n}.wav" for n in range(2))
        for file, signal in zip(files[name], signals, strict=True):
            write_audio(file, signal, 16000)
    mixture = Mixture("m", files["s"][0], files["s"], None, None, ("x", "y"), 0.025)
    assert permutations_differ(Squares(), mixture, files["e"], 16000)
    assert not permutations_differ(Squares(), mixture, files["s"], 16000)


@pytest.fixture
def runner(data_dirs, tmp_path, monkeypatch) -> Runner:
    """A small study that has run."""
    monkeypatch.setattr("sepasr.score.measures.measure", quick_measures)
    study = make_study(tmp_path, finalists=None, steps=[2])
    place = make_place(tmp_path, data_dirs)
    found = Runner("small", study, place, train=Pretended(), reader_of=Ear)
    found.run()
    return found


def test_correlations_of_a_study(runner, monkeypatch, tmp_path):
    dnsmos = SimpleNamespace(run=lambda samples, fs: {"ovrl_mos": float(np.abs(samples).mean())})
    module = ModuleType("speechmos")
    module.dnsmos = dnsmos
    monkeypatch.setitem(sys.modules, "speechmos", module)
    probe = Probe("wav2vec2_mini", {"layer": 1})
    config = Correlation(["si_sdr", "dnsmos"], [probe])
    table = correlate(runner, config, draws=100)
    assert {row.measure for row in table} == {"si_sdr", "dnsmos", "wav2vec2_mini layer=1"}
    path = runner.place.out / "small_correlations.csv"
    assert repr(list(read_correlations(path))) == repr(table)
    # Four systems, three mixtures, two measures; the second time nothing is measured.
    measured = (runner.place.out / "small_measures.csv").read_text().splitlines()
    assert len(measured) == 1 + 4 * 3 * 2
    del dnsmos.run
    assert repr(correlate(runner, config, draws=100)) == repr(table)
    plot_correlations(runner.study, table, tmp_path / "c.svg")
    assert "wav2vec2_mini layer=1" in (tmp_path / "c.svg").read_text()
    assert probe_name(probe) == "wav2vec2_mini layer=1"


def test_what_is_missing_for_correlations_is_said(runner, monkeypatch):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(UserError, match="speechmos"):
        correlate(runner, Correlation(["dnsmos"]))
    with pytest.raises(UserError, match="unknown measure 'mos'"):
        correlate(runner, Correlation(["mos"]))


def test_permutations_of_a_study(runner):
    table = compare_permutations(runner, ["wav2vec2_mini"])
    # Genders of cv's speakers are not known here.
    assert [row.kind for row in table] == [ALL] * 4
    assert all(0 <= row.low <= row.differ <= row.high <= 1 for row in table)
    assert {row.mixtures for row in table} == {3}


def test_permutations_that_differ_are_counted_by_kind(runner, monkeypatch):
    data = runner.place.exp / "data"
    utterances = UtteranceDir.load(data / "tr_utterances")
    mixtures = MixtureDir.load(data / "cv").mixtures
    speakers = sorted({speaker for mixture in mixtures for speaker in mixture.speakers})
    genders = {speaker: "fm"[n % 2] for n, speaker in enumerate(speakers)}
    one = utterances.utterances[0]
    said = tuple(replace(one, id=speaker, speaker=speaker) for speaker in speakers)
    named = {"path": data / "cv_utterances", "utterances": said, "genders": genders}
    replace(utterances, similar={}, **named).write()
    chosen = mixtures[1].id
    monkeypatch.setattr(
        "sepasr.study.permutations.permutations_differ",
        lambda _, mixture, *__: mixture.id == chosen,
    )
    table = compare_permutations(runner, ["wav2vec2_mini"])
    kinds = {m.id: "+".join(sorted(genders[s] for s in m.speakers)) for m in mixtures}
    for row in table:
        mine = [key for key in kinds if row.kind in (ALL, kinds[key])]
        assert row.mixtures == len(mine)
        assert row.differ == (chosen in mine) / len(mine)
        assert (row.low, row.high) == binomtest(int(chosen in mine), len(mine)).proportion_ci()
    assert {row.kind for row in table} == {ALL, *kinds.values()}


@pytest.mark.parametrize("differs", [0, 1])
def test_mixtures_that_are_all_alike_leave_a_share_open(differs):
    choices = [ChoiceRow("v", 2, 0, "cv", "a", f"m{n}", ALL, differs) for n in range(48)]
    (row,) = permutation_table(choices)
    assert row.differ == differs
    assert row.high - row.low == pytest.approx(0.074, abs=1e-3)
