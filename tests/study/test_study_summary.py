"""From rows to figures, and from figures to finalists."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from small_study import make_study

from sepasr.errors import UserError
from sepasr.score.multiple import benjamini_hochberg, holm
from sepasr.score.result import RecogniserInfo
from sepasr.score.statistics import Resampling, over_seeds, rate, relative_gain
from sepasr.study.facts import EncoderInfo, Facts, family_weights
from sepasr.study.finalists import choose_finalists
from sepasr.study.rows import (
    FAMILY_MEAN,
    StudyRow,
    read_study_results,
    read_study_rows,
    write_study,
)
from sepasr.study.summary import summarise_study

READERS = (
    RecogniserInfo("tiny", "whisper", "whisper-tiny"),
    RecogniserInfo("base", "whisper", "whisper-base"),
    RecogniserInfo("mini", "wav2vec2", "mini"),
    RecogniserInfo("sphinx", "gmm", "sphinx"),
)
FACTS = Facts(
    study="small",
    order=("sisdr", "slow", "wav2vec2"),
    against={"sisdr": "sisdr", "slow": "sisdr", "wav2vec2": "sisdr"},
    encoders={
        "wav2vec2": (EncoderInfo("a", "wav2vec2", "mini"), EncoderInfo("b", "whisper", "other"))
    },
    recognisers=READERS,
)
MIXTURES = 12


def rows(variant: str, steps: int, seed: int | None, errors: dict[str, int], **changes):
    """So many errors in each mixture, and one more in every other one."""
    return [
        StudyRow(
            variant, steps, seed, "cv", reader, f"m{m}", 10, count + m % 2, count, 5.0, 7.0, 2.0,
            0.8, 0.7, math.nan, **changes,
        )
        for reader, count in errors.items()
        for m in range(MIXTURES)
    ]  # fmt: skip


def find(results, variant, reader, steps=2, seed=None):
    return next(
        r
        for r in results
        if (r.variant, r.recogniser, r.steps, r.seed) == (variant, reader, steps, seed)
    )


def test_a_family_counts_once():
    assert family_weights(READERS) == pytest.approx([1 / 6, 1 / 6, 1 / 3, 1 / 3])


def test_figures_of_one_seed():
    control = rows("sisdr", 2, 0, {"tiny": 4, "base": 4, "mini": 4, "sphinx": 8})
    slow = rows("slow", 2, 0, {"tiny": 2, "base": 2, "mini": 2, "sphinx": 8})
    results = summarise_study([*slow, *control], FACTS, draws=500)
    assert [r.variant for r in results][:5] == ["sisdr"] * 5  # by the order of the facts
    tiny = find(results, "slow", "tiny", seed=0)
    assert tiny.cpwer == pytest.approx(0.25)
    assert tiny.gain == pytest.approx(1 - 2.5 / 4.5)
    assert tiny.gain_low <= tiny.gain <= tiny.gain_high
    assert (tiny.against, tiny.against_steps, tiny.si_sdr, tiny.mixtures) == ("sisdr", 2, 5.0, 12)
    assert math.isnan(tiny.srmr)
    assert (tiny.orcwer, tiny.orc_gain) == pytest.approx((0.2, 0.5))
    assert (tiny.orc_gain_low, tiny.orc_gain_high) == pytest.approx((0.5, 0.5))
    assert tiny.orc_p < 0.05
    mean = find(results, "slow", FAMILY_MEAN, seed=0)
    assert mean.cpwer == pytest.approx((0.25 + 0.25 + 0.85) / 3)
    assert mean.gain == pytest.approx((2 * (1 - 2.5 / 4.5) + 0) / 3)
    assert (mean.orcwer, mean.orc_gain) == pytest.approx((0.4, 1 / 3))
    assert math.isnan(mean.words)
    control = find(results, "sisdr", "tiny", seed=0)
    assert control.against == ""
    assert math.isnan(control.p)
    # Four readers are compared; the family mean is corrected apart from them.
    single = [find(results, "slow", r.name, seed=0) for r in READERS]
    assert [r.p_holm for r in single] == pytest.approx(holm(np.array([r.p for r in single])))
    expected = benjamini_hochberg(np.array([r.p for r in single]))
    assert [r.p_bh for r in single] == pytest.approx(expected)
    assert mean.p_holm == mean.p


def test_several_seeds_are_averaged_first_and_drawn_by_mixture():
    generator = np.random.default_rng(0)
    errors = generator.integers(0, 9, (2, 3, MIXTURES))
    table = [
        replace(row, cp_errors=int(errors[v, seed, int(row.mixture[1:])]))
        for v, variant in enumerate(("slow", "sisdr"))
        for seed in range(3)
        for row in rows(variant, 2, seed, {"tiny": 0})
    ]
    results = summarise_study(table, FACTS, draws=700)
    average = find(results, "slow", "tiny")
    order = [int(m[1:]) for m in sorted(f"m{m}" for m in range(MIXTURES))]
    mine, theirs = (over_seeds(x)[order] for x in errors.astype(float))
    resampling = Resampling(MIXTURES, 700)
    gain = resampling.interval(relative_gain(mine, theirs))
    assert (average.gain, average.gain_low, average.gain_high) == (gain.value, gain.low, gain.high)
    assert average.cpwer_low == resampling.interval(rate(mine, np.full(MIXTURES, 10.0))).low
    assert average.p == resampling.p_value(mine - theirs)
    assert average.seeds == 3
    assert [find(results, "slow", "tiny", seed=s).against for s in range(3)] == [""] * 3


def test_the_control_after_as_many_steps_else_after_its_most():
    table = [*rows("sisdr", 2, 0, {"tiny": 4}), *rows("sisdr", 4, 0, {"tiny": 2})]
    table += [*rows("slow", 2, 0, {"tiny": 4}), *rows("slow", 9, 0, {"tiny": 2})]
    results = summarise_study(table, FACTS, draws=50)
    assert find(results, "slow", "tiny", 2, 0).gain == 0
    later = find(results, "slow", "tiny", 9, 0)
    assert (later.against_steps, later.gain) == (4, 0)


def test_a_seed_is_compared_with_the_same_seed():
    table = [row for s in range(3) for row in rows("sisdr", 2, s, {"tiny": 4 + 2 * s})]
    table += [*rows("slow", 2, 1, {"tiny": 6}), *rows("wav2vec2", 2, 7, {"tiny": 0})]
    results = summarise_study(table, FACTS, draws=50)
    assert find(results, "slow", "tiny", seed=1).gain == 0
    assert find(results, "wav2vec2", "tiny", seed=7).against == ""  # there is no such control


def test_what_is_not_trained_is_compared_with_an_average():
    table = [row for s in range(2) for row in rows("sisdr", 2, s, {"tiny": 2 + 4 * s})]
    results = summarise_study([*table, *rows("slow", 0, None, {"tiny": 4})], FACTS, draws=50)
    assert find(results, "slow", "tiny", 0).gain == 0


def test_relations():
    relations = [FACTS.relation("wav2vec2", reader) for reader in READERS]
    assert relations == ["kin", "kin", "seen", "unseen"]
    assert FACTS.relation("sisdr", READERS[0]) == ""


def test_rows_that_do_not_fit_are_refused():
    table = rows("sisdr", 2, 0, {"tiny": 4})
    with pytest.raises(UserError, match="two rows"):
        summarise_study([*table, table[0]], FACTS)
    with pytest.raises(UserError, match="other mixtures"):
        summarise_study([*table, *rows("slow", 2, 0, {"tiny": 1})[:-1]], FACTS)


def test_tables_are_read_as_they_were_written(tmp_path):
    table = [*rows("sisdr", 2, 0, {"tiny": 4}), *rows("slow", 0, None, {"tiny": 2})]
    results = summarise_study(table, FACTS, draws=50)
    write_study(tmp_path, "small", table, results)
    assert repr(list(read_study_rows(tmp_path, "small"))) == repr(table)
    assert repr(list(read_study_results(tmp_path, "small"))) == repr(results)


def screened(**errors: dict[int, dict[str, int]]):
    table = [
        row
        for variant, by_steps in errors.items()
        for steps, counts in by_steps.items()
        for row in rows(variant, steps, 0, counts)
    ]
    return summarise_study(table, FACTS, draws=50)


BEST_OF_ITS_KIND = {
    "sisdr": {2: {"tiny": 5, "mini": 5}, 4: {"tiny": 4, "mini": 4}},
    # Good where its encoder is from, and bad elsewhere.
    "wav2vec2": {2: {"tiny": 3, "mini": 1, "sphinx": 7}, 4: {"tiny": 6, "mini": 0, "sphinx": 7}},
    "slow": {2: {"tiny": 3, "mini": 4, "sphinx": 5}, 4: {"tiny": 3, "mini": 4, "sphinx": 5}},
}


def chosen(tmp_path, errors, **rule):
    study = make_study(tmp_path, finalists={"choose": 1, "seeds": [1], **rule})
    return [(f.variant, f.steps, f.reason) for f in choose_finalists(study, screened(**errors))]


def test_the_rule_of_the_family_mean(tmp_path):
    errors = {k: {s: {"tiny": c["tiny"], "mini": c["mini"]} for s, c in v.items()}
              for k, v in BEST_OF_ITS_KIND.items()}  # fmt: skip
    # Each at its own best steps, the control as well, and at those of the finalist.
    found = chosen(tmp_path, errors, among=["slow", "wav2vec2"])
    assert found == [("sisdr", 2, "control"), ("sisdr", 4, "control"), ("wav2vec2", 2, "rule")]


def test_the_rule_of_other_families(tmp_path):
    errors = {**BEST_OF_ITS_KIND}
    errors["sisdr"] = {s: {**c, "sphinx": 6} for s, c in errors["sisdr"].items()}
    study = {"among": ["slow", "wav2vec2"]}
    assert chosen(tmp_path, errors, by="other_families", **study)[2] == ("slow", 2, "rule")


def test_a_control_of_a_control_goes_on_at_the_same_steps(tmp_path):
    errors = {
        "sisdr": {2: {"tiny": 5}, 4: {"tiny": 4}},
        "slow": {2: {"tiny": 3}, 4: {"tiny": 2}},
        "wav2vec2": {2: {"tiny": 1}, 4: {"tiny": 3}},
    }
    variants = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "slow", "encoders": ["a"]},
        {"name": "wav2vec2", "encoders": ["b"], "against": "slow"},
    ]
    rule = {"choose": 1, "seeds": [1], "among": ["wav2vec2"]}
    study = make_study(tmp_path, variants=variants, finalists=rule)
    found = {(f.variant, f.steps) for f in choose_finalists(study, screened(**errors))}
    # slow is the finalist's control at 2, and best at 4; sisdr is slow's at both.
    assert found == {("wav2vec2", 2), ("slow", 2), ("slow", 4), ("sisdr", 2), ("sisdr", 4)}


def test_those_that_are_kept_go_on(tmp_path):
    found = chosen(tmp_path, BEST_OF_ITS_KIND, among=["wav2vec2"], keep=["slow"])
    assert found == [
        ("sisdr", 2, "control"),
        ("sisdr", 4, "control"),
        ("wav2vec2", 2, "rule"),
        ("slow", 2, "kept"),
    ]


def test_nobody_is_chosen_without_results(tmp_path):
    with pytest.raises(UserError, match="'slow' has no results"):
        chosen(tmp_path, {"sisdr": BEST_OF_ITS_KIND["sisdr"]}, among=["slow"])


def test_without_errors_of_the_control_nothing_is_compared():
    control = rows("sisdr", 2, 0, {"tiny": 4, "mini": 0})
    control = [replace(r, cp_errors=0) if r.recogniser == "mini" else r for r in control]
    slow = rows("slow", 2, 0, {"tiny": 4, "mini": 1})
    results = summarise_study([*control, *slow], FACTS, draws=500)
    for reader in ("mini", FAMILY_MEAN):
        found = find(results, "slow", reader, seed=0)
        assert (found.against, math.isnan(found.p)) == ("", True)
    alone = find(results, "slow", "tiny", seed=0)
    assert (alone.against, alone.p) == ("sisdr", 1.0)
    assert alone.p_holm == 1.0  # the only comparison that counts


def test_seeds_that_no_reader_has_in_common_are_not_averaged():
    some = rows("sisdr", 2, 0, {"tiny": 4}) + rows("sisdr", 2, 1, {"mini": 4})
    results = summarise_study(some, FACTS, draws=500)
    assert {(r.seed, r.recogniser) for r in results} == {
        (0, "tiny"), (0, FAMILY_MEAN), (1, "mini"), (1, FAMILY_MEAN),
    }  # fmt: skip
