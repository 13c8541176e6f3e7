"""Corrections for many comparisons, against scipy, exact cases and simulation."""

import numpy as np
import pytest
import scipy.stats

from sepasr.score.multiple import benjamini_hochberg, holm


def test_benjamini_hochberg_agrees_with_scipy():
    generator = np.random.default_rng(0)
    for comparisons in (1, 2, 17):
        p = np.round(generator.random(comparisons) ** 3, 2)  # with ties
        expected = scipy.stats.false_discovery_control(p)
        assert benjamini_hochberg(p) == pytest.approx(expected)


def test_an_exact_case_of_holm():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_is_undefined_does_not_count():
    p = np.array([0.01, np.nan, 0.04])
    for correct in (holm, benjamini_hochberg):
        corrected = correct(p)
        assert np.isnan(corrected[1])
        assert corrected[[0, 2]] == pytest.approx(correct(p[[0, 2]]))
        assert np.isnan(correct(np.full(2, np.nan))).all()
        assert len(correct(np.empty(0))) == 0


def test_false_findings_are_as_rare_as_promised():
    """Of 20 comparisons 15 are null: Holm finds any of them wrongly in at most 5 % of the cases."""
    generator = np.random.default_rng(1)
    z = generator.standard_normal((2_000, 20)) + 3.0 * (np.arange(20) >= 15)
    p = 2 * scipy.stats.norm.sf(np.abs(z))
    found = {f: np.array([f(row) for row in p]) <= 0.05 for f in (holm, benjamini_hochberg)}
    false = {f: hits[:, :15].sum(1) for f, hits in found.items()}
    assert 0.02 <= np.mean(false[holm] > 0) <= 0.06
    share = false[benjamini_hochberg] / np.maximum(found[benjamini_hochberg].sum(1), 1)
    assert 0.02 <= share.mean() <= 0.05
    assert found[benjamini_hochberg].sum() > found[holm].sum()


def test_what_is_no_p_value_is_refused():
    assert holm([0.01, 0.04]) == pytest.approx([0.02, 0.04])
    for correct in (holm, benjamini_hochberg):
        for p in ([0.1, -0.01], [1.1], [[0.1]]):
            with pytest.raises(ValueError, match="between 0 and 1"):
                correct(p)
