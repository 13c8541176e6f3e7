import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sepasr.errors import UserError
from sepasr.score.result import RecogniserInfo, Results, Run, SystemInfo, relation
from sepasr.score.rows import GuardRow, MeasureRow, Scores, UtteranceRow
from sepasr.score.summary import summarise

MIXTURES = [f"m{n:02d}" for n in range(20)]
BASE = RecogniserInfo("base", "whisper", "whisper-base")
TINY = RecogniserInfo("tiny", "whisper", "whisper-tiny")
CTC = RecogniserInfo("ctc", "wav2vec2", "w2v2-mini")
RECOGNISERS = [BASE, TINY, CTC]
RUN = Run("mini", "abc", "123", "2026-11-01", (1, 2), 16_000, "max", "anechoic", 20, 2)
ENCODER = {"encoder": "tiny", "encoder_family": "whisper", "encoder_weights": "whisper-tiny"}
SYSTEMS = [
    SystemInfo("mixture", "mixture"),
    SystemInfo("clean", "clean"),
    SystemInfo("pretrained", "pretrained", seed=0, steps=100),
    SystemInfo("sisdr", "sisdr_1", seed=1, steps=10),
    SystemInfo("sisdr", "sisdr_2", seed=2, steps=10),
    SystemInfo("ae_tiny", "ae_tiny_1", seed=1, steps=10, **ENCODER),
    SystemInfo("ae_tiny", "ae_tiny_2", seed=2, steps=10, **ENCODER),
]


def words(mixture: int) -> int:
    return 10 + mixture % 3


def cp_errors(system: SystemInfo, recogniser: RecogniserInfo, mixture: int) -> int:
    """The encoder's system saves half of the control's errors with base, nothing with ctc."""
    if system.name == "clean":
        return 0
    seed = system.seed or 0
    errors = 4 + (mixture + seed) % 5
    if system.name == "ae_tiny" and recogniser is not CTC:
        return errors // 2
    return 2 * errors if system.name in ("mixture", "pretrained") else errors


@pytest.fixture(scope="module")
def scores() -> Scores:
    utterances, measures = [], []
    for system in SYSTEMS:
        for mixture, name in enumerate(MIXTURES):
            value = math.nan if system.name == "clean" else mixture + (system.seed or 0)
            srmr = 3.0 + (system.name == "ae_tiny")
            measured = (value, value, value, value, value, srmr)
            measures.append(MeasureRow(system.name, system.seed, name, *measured))
            for recogniser in RECOGNISERS:
                errors = cp_errors(system, recogniser, mixture)
                counts = (words(mixture), errors, max(0, errors - 1))
                utterances.append(
                    UtteranceRow(
                        system.name, system.seed, recogniser.name, name, *counts, value, value
                    )
                )
    guard = [
        GuardRow("sisdr", 1, "base", "m00", 1, "length"),
        GuardRow("sisdr", 1, "base", "m00", 1, "repetition"),  # the same stream
        GuardRow("sisdr", 2, "base", "m00", 1, "length"),
        GuardRow("mixture", None, "ctc", "m03", 1, "length"),
    ]
    return Scores(tuple(utterances), tuple(measures), tuple(guard))


def summary(scores: Scores, **options) -> Results:
    options = {"primary": [("ae_tiny", "base")], "draws": 500} | options
    return summarise(scores, SYSTEMS, RECOGNISERS, RUN, **options)


@pytest.fixture(scope="module")
def results(scores) -> Results:
    return summary(scores)


def test_relations():
    assert [relation(SYSTEMS[-1], r) for r in RECOGNISERS] == ["kin", "seen", "unseen"]
    assert relation(SYSTEMS[3], BASE) is None


def test_the_average_of_the_seeds_leads(results):
    names = [(s.name, s.seed, s.seeds) for s in results.systems]
    assert names[:4] == [
        ("mixture", None, ()),
        ("clean", None, ()),
        ("pretrained", 0, (0,)),
        ("sisdr", None, (1, 2)),
    ]
    assert [s.seed for s in results.systems if s.name == "ae_tiny"] == [None, 1, 2]
    assert [s.name for s in results.lines] == ["mixture", "clean", "pretrained", "sisdr", "ae_tiny"]


def test_rates_are_errors_over_words(results):
    total = sum(map(words, range(20)))
    for system in results.systems:
        seeds = system.seeds or (None,)
        for recogniser in RECOGNISERS:
            expected = np.mean(
                [
                    sum(
                        cp_errors(SystemInfo(system.name, "", seed=s), recogniser, m)
                        for m in range(20)
                    )
                    for s in seeds
                ]
            )
            interval = system.wer[recogniser.name].cpwer
            assert interval.value == pytest.approx(expected / total)
            assert interval.low <= interval.value <= interval.high


def test_measures_are_means_over_mixtures_and_seeds(results):
    found = {(s.name, s.seed): s for s in results.systems}
    assert found["sisdr", 1].si_sdr.value == pytest.approx(np.mean(range(20)) + 1)
    assert found["sisdr", None].si_sdr.value == pytest.approx(np.mean(range(20)) + 1.5)
    assert math.isnan(found["clean", None].si_sdr.value)
    assert found["clean", None].srmr.value == 3


def test_comparisons_against_the_control(results):
    found = {(c.system, c.recogniser): c for c in results.comparisons}
    assert set(found) == {("ae_tiny", r.name) for r in RECOGNISERS}
    assert {c.relation for c in results.comparisons} == {"kin", "seen", "unseen"}
    gain = found["ae_tiny", "base"]
    mine, theirs = (s.wer["base"].cpwer.value for s in (results.lines[4], results.lines[3]))
    assert gain.relative_gain == pytest.approx(1 - mine / theirs)
    assert 0 < gain.low <= gain.relative_gain <= gain.high < 1
    assert gain.p == pytest.approx(1 / 501)
    orc = (s.wer["base"].orcwer.value for s in (results.lines[4], results.lines[3]))
    assert gain.orcwer.relative_gain == pytest.approx(1 - next(orc) / next(orc))
    nothing = found["ae_tiny", "ctc"]
    assert (nothing.relative_gain, nothing.low, nothing.high, nothing.p) == (0, 0, 0, 1)
    assert [(c.system, c.recogniser) for c in results.comparisons if c.primary] == [
        ("ae_tiny", "base")
    ]


def test_other_systems_against_the_control(results):
    assert {(c.system, c.relation) for c in results.other_comparisons} == {("pretrained", None)}
    assert all(c.high < 0 for c in results.other_comparisons)


def test_measure_differences(results):
    found = {(d.system, d.measure): d for d in results.measure_differences}
    assert {system for system, _ in found} == {"pretrained", "ae_tiny"}
    assert found["pretrained", "si_sdr"].difference == pytest.approx(-1.5)
    assert found["ae_tiny", "si_sdr"].difference == 0
    assert found["ae_tiny", "srmr"].difference == 1
    assert found["ae_tiny", "srmr"].p == pytest.approx(1 / 501)


def test_guard_hits_are_streams(results):
    lines = {s.name: s.wer for s in results.lines}
    assert (lines["sisdr"]["base"].guard_hits, lines["sisdr"]["base"].streams) == (2, 80)
    assert (lines["mixture"]["ctc"].guard_hits, lines["mixture"]["ctc"].streams) == (1, 20)
    assert lines["ae_tiny"]["base"].guard_hits == 0


def test_the_same_from_the_files(tmp_path, scores, results):
    scores.write(tmp_path)
    assert repr(summary(Scores.read(tmp_path))) == repr(results)


def test_json(tmp_path, results):
    results.write(tmp_path / "results.json")
    assert repr(Results.read(tmp_path / "results.json")) == repr(results)
    content = json.loads((tmp_path / "results.json").read_text())
    top = "recipe commit config_sha date seeds fs cut reference mixtures systems comparisons"
    assert set(top.split()) <= set(content)
    assert content["seeds"] == [1, 2]
    clean = content["systems"][1]
    assert clean["si_sdr"] == {"value": None, "low": None, "high": None}
    assert {"name", "encoder", "seed", "steps", "wer"} <= set(clean)
    assert clean["wer"]["base"]["cpwer"] == {"value": 0, "low": 0, "high": 0}
    assert set(clean["wer"]["base"]) >= {"orcwer", "guard_hits"}
    keys = "system against recogniser relation relative_gain low high p primary"
    assert set(keys.split()) <= set(content["comparisons"][0])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": "mini"}'])
def test_not_a_results_file(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json: not a results file"):
        Results.read(tmp_path / "results.json")


def test_without_a_control(scores):
    results = summary(scores, control=None)
    assert results.comparisons == results.other_comparisons == results.measure_differences == ()


def test_a_control_that_was_not_scored(scores):
    with pytest.raises(UserError, match="control 'sdr' is not among the systems"):
        summary(scores, control="sdr")


@pytest.mark.parametrize(("name", "value"), [("steps", 9), ("encoder_weights", "other")])
def test_seeds_that_were_not_trained_alike(scores, name, value):
    systems = [*SYSTEMS[:-1], replace(SYSTEMS[-1], **{name: value})]
    with pytest.raises(UserError, match=f"ae_tiny_1 and ae_tiny_2 are no seeds.*{name}"):
        summarise(scores, systems, RECOGNISERS, RUN)


def test_rows_that_are_missing_or_double(scores):
    for broken in (
        replace(scores, utterances=scores.utterances[1:]),
        replace(scores, measures=scores.measures[:-1]),
        replace(scores, utterances=scores.utterances + scores.utterances[:1]),
        replace(scores, measures=scores.measures[20:]),
    ):
        with pytest.raises(UserError, match="score again"):
            summary(broken)
    fewer = [row for row in scores.utterances if row.mixture != "m19"]
    with pytest.raises(UserError, match="20 mixtures"):
        summary(replace(scores, utterances=tuple(fewer)))
