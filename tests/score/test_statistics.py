import numpy as np
import pytest
import scipy.stats

from sepasr.score.statistics import (
    Interval,
    Ratio,
    Resampling,
    mean,
    mean_difference,
    rate,
    relative_gain,
)


def skewed_errors(generator: np.random.Generator, mixtures: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors and words of mixtures; now and then a hallucination of 30 words."""
    words = generator.integers(8, 25, mixtures)
    errors = generator.binomial(words, 0.3) + 30 * (generator.random(mixtures) < 0.03)
    return errors, words


@pytest.mark.parametrize("kind", ["rate", "mean", "relative_gain"])
def test_interval_agrees_with_scipy(kind):
    generator = np.random.default_rng(1)
    errors, words = skewed_errors(generator, 80)
    other, _ = skewed_errors(generator, 80)
    statistic, ratio = {
        "rate": (lambda e, _, w: e.sum(-1) / w.sum(-1), rate(errors, words)),
        "mean": (lambda e, _, w: e.mean(-1), mean(errors.astype(float))),
        "relative_gain": (
            lambda e, o, _: 1 - e.sum(-1) / o.sum(-1),
            relative_gain(errors, other),
        ),
    }[kind]
    data = (errors, other, words)
    expected = scipy.stats.bootstrap(
        data, lambda *x, axis: statistic(*x), paired=True, n_resamples=10_000, rng=0
    )
    low, high = expected.confidence_interval
    interval = Resampling(80).interval(ratio)
    assert interval.value == pytest.approx(statistic(*data))
    # Two sets of 10,000 draws differ by a few percent of the width.
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_interval_covers_the_truth():
    """Of 95 % intervals on skewed word errors, 92 to 98 % hold the true rate."""
    generator = np.random.default_rng(2)
    truth = 0.3 + 30 * 0.03 / np.mean(np.arange(8, 25))
    resampling = Resampling(150, draws=1_000)
    hits = 0
    for _ in range(500):
        interval = resampling.interval(rate(*skewed_errors(generator, 150)))
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / 500 <= 0.98


def test_permutation_test_agrees_with_scipy():
    generator = np.random.default_rng(3)
    for shift in (0.0, 0.3, 0.6):
        a, b = generator.normal([[shift], [0]], size=(2, 12))
        exact = scipy.stats.permutation_test(  # all 4096 sign patterns
            (a, b),
            lambda x, y, axis: (x - y).mean(axis),
            permutation_type="samples",
            vectorized=True,
        )
        assert Resampling(12).p_value(a - b) == pytest.approx(exact.pvalue, abs=0.015)


def test_permutation_test_keeps_its_level():
    """Systems that are alike reach p <= 0.05 in some 5 % of the cases."""
    generator = np.random.default_rng(4)
    resampling = Resampling(60, draws=500)
    errors = [[skewed_errors(generator, 60)[0] for _ in range(2)] for _ in range(400)]
    rejected = np.mean([resampling.p_value(a - b) <= 0.05 for a, b in errors])
    assert 0.02 <= rejected <= 0.08


def test_exact_cases_of_the_test():
    resampling = Resampling(40, draws=1_000)
    assert resampling.p_value(np.zeros(40)) == 1.0
    assert resampling.p_value(np.ones(40)) == pytest.approx(1 / 1_001)
    differences = np.random.default_rng(0).standard_normal(40)
    assert resampling.p_value(differences) == resampling.p_value(-differences)
    # One pair has two sign patterns, both as far from 0.
    assert Resampling(1, draws=100).p_value(np.array([3.0])) == 1.0


def test_exact_cases_of_the_interval():
    resampling = Resampling(30, draws=1_000)
    words = np.full(30, 10)
    assert resampling.interval(rate(np.zeros(30), words)) == Interval(0.0, 0.0, 0.0)
    assert resampling.interval(rate(0.3 * words, words)).low == pytest.approx(0.3)
    errors = np.random.default_rng(0).binomial(words, 0.4)
    assert resampling.interval(relative_gain(errors, errors)) == Interval(0.0, 0.0, 0.0)
    halved = resampling.interval(relative_gain(errors, 2 * errors))
    assert (halved.value, halved.low, halved.high) == pytest.approx((0.5, 0.5, 0.5))


def test_undefined_cases():
    resampling = Resampling(5, draws=100)
    for ratio in (
        rate(np.ones(5), np.zeros(5)),
        relative_gain(np.ones(5), np.zeros(5)),
        mean(np.full(5, np.nan)),
    ):
        interval = resampling.interval(ratio)
        assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert np.isnan(resampling.p_value(np.full(5, np.nan)))
    single = Resampling(1).interval(Ratio(np.array([1]), np.array([4])))
    assert single.value == 0.25
    assert np.isnan([single.low, single.high]).all()


def test_undefined_pairs_are_left_out():
    generator = np.random.default_rng(5)
    a, b = generator.standard_normal((2, 50))
    a[:10], b[40:] = np.nan, np.nan
    interval = Resampling(50).interval(mean_difference(a, b))
    assert interval.value == pytest.approx(np.mean(a[10:40] - b[10:40]))
    assert interval.low < interval.value < interval.high


def test_the_same_seed_gives_the_same_interval():
    errors, words = skewed_errors(np.random.default_rng(6), 50)
    first, second, other = (
        Resampling(50, 500, seed).interval(rate(errors, words)) for seed in (1, 1, 2)
    )
    assert first == second != other
