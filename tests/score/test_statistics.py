import numpy as np
import pytest
import scipy.stats

from sepasr.score import statistics
from sepasr.score.statistics import (
    Interval,
    Ratio,
    Resampling,
    mean,
    mean_difference,
    over_seeds,
    rank_correlation,
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


def seeded_errors(generator: np.random.Generator, mixtures: int) -> np.ndarray:
    """Errors of (2 systems, 3 seeds, mixtures) on 16 words each: mixtures differ in difficulty.

    A system's seeds share its errors of a mixture for the most part, as trainings do.
    """
    difficulty = generator.beta(2, 5, mixtures)
    chance = np.clip(difficulty * generator.uniform(0.6, 1.4, (2, 1, mixtures)), 0, 1)
    chance = chance * np.array([0.8, 1.0])[:, None, None]
    return generator.binomial(16, np.broadcast_to(chance, (2, 3, mixtures)))


def correlated(generator: np.random.Generator, mixtures: int) -> np.ndarray:
    """Pairs (2, mixtures) of standard normal values that correlate by 0.5."""
    a, b = generator.standard_normal((2, mixtures))
    return np.stack([a, 0.5 * a + np.sqrt(0.75) * b])


COVERAGE = {
    "rate": (
        lambda resampling, g: resampling.interval(rate(*skewed_errors(g, 200))),
        0.3 + 30 * 0.03 / np.mean(np.arange(8, 25)),
    ),
    "gain over three seeds": (
        lambda resampling, g: resampling.interval(
            relative_gain(*map(over_seeds, seeded_errors(g, 200)))
        ),
        0.2,
    ),
    "difference": (
        lambda resampling, g: resampling.interval(mean_difference(*g.gamma(2.0, size=(2, 200)))),
        0.0,
    ),
    # Of normal pairs: Pearson's coefficient r is Spearman's 6 / pi * asin(r / 2).
    "rank correlation": (
        lambda resampling, g: resampling.spearman(*correlated(g, 200)),
        6 / np.pi * np.arcsin(0.25),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COVERAGE)
def test_95_percent_intervals_cover_the_truth(kind):
    """Of 95 % intervals on 200 mixtures, 93 to 97 % hold the truth.

    With fewer than some 100 mixtures and rates this skewed they are a percent or two too short.
    """
    measured, truth = COVERAGE[kind]
    generator = np.random.default_rng(2)
    cases, hits = 1_500 if kind != "rank correlation" else 600, 0
    for case in range(cases):
        if case % 50 == 0:  # the draws too are a matter of chance
            resampling = Resampling(200, draws=1_000, seed=case)
        interval = measured(resampling, generator)
        hits += interval.low <= truth <= interval.high
    assert 0.93 <= hits / cases <= 0.97


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


def test_one_mixture_that_carries_a_value_has_no_interval():
    """All draws agree where only one mixture is defined: that is no certainty."""
    resampling = Resampling(20, draws=200)
    alone = np.full(20, np.nan)
    alone[3] = 2.5
    one = resampling.interval(mean(alone))
    assert one.value == 2.5
    assert np.isnan([one.low, one.high]).all()
    both = resampling.interval(mean(np.arange(20.0)), mean(alone))
    assert both.value == pytest.approx((9.5 + 2.5) / 2)
    assert np.isnan([both.low, both.high]).all()
    alone[4] = 3.5
    assert np.isfinite(resampling.interval(mean(alone)).low)
    pairs = np.full((20, 6), np.nan)
    pairs[3] = np.arange(6)
    rank = resampling.spearman(pairs, pairs)
    assert rank.value == pytest.approx(1)
    assert np.isnan([rank.low, rank.high]).all()


def test_ranks_are_held_in_memory_in_parts(monkeypatch):
    x, y = np.random.default_rng(12).standard_normal((2, 40, 5))
    whole = Resampling(40, draws=300).spearman(x, y)
    shapes = []

    def noted(first, second, counts):
        shapes.append(counts.shape)
        return rank_correlation(first, second, counts)

    monkeypatch.setattr(statistics, "rank_correlation", noted)
    monkeypatch.setattr(statistics, "_CELLS_AT_A_TIME", 1_500)
    assert Resampling(40, draws=300).spearman(x, y) == whole
    assert all(samples * pairs <= 1_500 for samples, pairs in shapes)
    assert sum(samples for samples, _ in shapes) == 1 + 40 + 300


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


def test_averaging_over_seeds_is_the_bootstrap_clustered_by_mixture():
    """Rows of three seeds, drawn by mixture with all their seeds, give the same interval."""
    generator = np.random.default_rng(7)
    errors = seeded_errors(generator, 40)
    interval = Resampling(40).interval(relative_gain(*map(over_seeds, errors)))
    drawn = generator.integers(40, size=(10_000, 40))
    # All rows of the drawn mixtures, those of every seed.
    mine, theirs = (system[:, drawn].sum((0, 2)) for system in errors)
    assert interval.value == pytest.approx(1 - errors[0].sum() / errors[1].sum())
    plain = np.quantile(1 - mine / theirs, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx(plain, abs=0.1 * np.ptp(plain))
    # Rows taken for independent of each other would give a far narrower one.
    naive = Resampling(120).interval(relative_gain(*errors.reshape(2, -1)))
    assert naive.high - naive.low < 0.85 * (interval.high - interval.low)


def test_over_seeds_takes_those_that_are_defined():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    assert over_seeds(values) == pytest.approx([2.0, 4.0, np.nan], nan_ok=True)


def test_the_mean_of_several_ratios():
    generator = np.random.default_rng(8)
    ratios = [rate(*skewed_errors(generator, 60)) for _ in range(3)]
    resampling = Resampling(60, draws=2_000)
    values = [resampling.interval(ratio).value for ratio in ratios]
    both = resampling.interval(*ratios, weights=[1, 1, 2])
    assert both.value == pytest.approx((values[0] + values[1] + 2 * values[2]) / 4)
    same = resampling.interval(ratios[0], ratios[0])
    alone = resampling.interval(ratios[0])
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))
    # Independent ones vary less together.
    assert both.high - both.low < alone.high - alone.low


def test_rank_correlations_agree_with_scipy():
    generator = np.random.default_rng(9)
    x, y = generator.integers(6, size=(2, 50)).astype(float)  # with ties
    counts = generator.integers(3, size=(20, 50))
    found = rank_correlation(x, y, counts)
    for sample, correlation in zip(counts, found, strict=True):
        expected = scipy.stats.spearmanr(np.repeat(x, sample), np.repeat(y, sample))
        assert correlation == pytest.approx(expected.statistic)
    assert np.isnan(rank_correlation(x, np.ones(50), counts)).all()


def test_interval_of_a_rank_correlation_agrees_with_scipy():
    x, y = correlated(np.random.default_rng(10), 60)
    expected = scipy.stats.bootstrap(
        (x, y),
        lambda a, b, axis: rank_correlation_of_rows(a, b),
        paired=True,
        n_resamples=5_000,
        rng=0,
    )
    low, high = expected.confidence_interval
    interval = Resampling(60).spearman(x, y)
    assert interval.value == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def rank_correlation_of_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's coefficient along the last axis, by ranks and Pearson's."""
    first, second = (scipy.stats.rankdata(values, axis=-1) for values in np.broadcast_arrays(a, b))
    first, second = (r - r.mean(-1, keepdims=True) for r in (first, second))
    return (first * second).sum(-1) / np.sqrt((first**2).sum(-1) * (second**2).sum(-1))


def test_observations_of_a_mixture_are_drawn_together():
    """Each mixture three times is no more evidence than once, and NaN pairs are left out."""
    x, y = correlated(np.random.default_rng(11), 40)
    resampling = Resampling(40, draws=2_000)
    once = resampling.spearman(x, y)
    thrice = resampling.spearman(*(np.repeat(values[:, None], 3, axis=1) for values in (x, y)))
    assert thrice.value == pytest.approx(once.value)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=0.01)
    padded = np.stack([x, np.full(40, np.nan)], axis=1), np.stack([y, y], axis=1)
    assert resampling.spearman(*padded) == once
    assert np.isnan(resampling.spearman(np.ones(40), y).value)
    assert np.isnan(resampling.spearman(np.full(40, np.nan), y).value)


def test_differences_are_one_for_each_mixture():
    """Those of several seeds, side by side, would count as so many tests, of which one may win."""
    resampling = Resampling(5, draws=100)
    for wrong in (np.ones((5, 3)), np.ones(4), np.array([1, 2, 3, 4, np.inf])):
        with pytest.raises(ValueError, match="a finite one for each of 5 mixtures"):
            resampling.p_value(wrong)
