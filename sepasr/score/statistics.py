"""Intervals and tests for what is measured on a set of mixtures.

The mixture is the unit that is drawn: its speakers are scored together, and with several seeds of
training its values are first averaged over the seeds (:func:`over_seeds`). For sums, which all
figures here are made of, that is the bootstrap clustered by mixture: drawing a mixture draws its
values of every seed. Intervals and p-values thus speak of other mixtures of the same kind, not of
other trainings, voices or rooms than those of the set. What many comparisons ask for on top is in
:mod:`sepasr.score.multiple`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

DRAWS = 10_000
_CELLS_AT_A_TIME = 4_000_000
"""Of samples by pairs, those whose ranks are held in memory together: 32 MB an array."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, all in the value's own unit; NaN where undefined."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """The columns of a table that hold it: ``name``, ``name_low`` and ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over mixtures: every figure of a table is one.

    Attributes:
        numerator: (mixtures,).
        denominator: (mixtures,), none negative.
    """

    numerator: np.ndarray
    denominator: np.ndarray


def rate(errors: np.ndarray, words: np.ndarray) -> Ratio:
    """Word errors per word; both (mixtures,)."""
    return Ratio(errors, words)


def mean(values: np.ndarray) -> Ratio:
    """Mean of (mixtures,) over the mixtures where it is defined, that is, not NaN."""
    defined = ~np.isnan(values)
    return Ratio(np.where(defined, values, 0.0), defined.astype(float))


def mean_difference(values: np.ndarray, against: np.ndarray) -> Ratio:
    """Mean of ``values - against`` over the mixtures where both are defined; both (mixtures,)."""
    return mean(values - against)


def relative_gain(errors: np.ndarray, against: np.ndarray) -> Ratio:
    """1 - rate / rate of the other on the same words: 0.2 is a fifth fewer errors."""
    return Ratio(against - errors, against)


def over_seeds(values: np.ndarray) -> np.ndarray:
    """Mean over the seeds for which a value is defined: (seeds, ..., mixtures) to (..., mixtures).

    NaN where it is defined for none.
    """
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=0) / np.sum(~np.isnan(values), axis=0)


class Resampling:
    """Intervals and tests over one set of mixtures, all from the same random draws.

    Args:
        mixtures: their number.
        draws: bootstrap samples, and sign patterns of the test.
        seed: of the draws.
    """

    def __init__(self, mixtures: int, draws: int = DRAWS, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        signs = generator.integers(2, size=(draws, mixtures), dtype=np.int8)
        self._signs = 2 * signs.astype(np.float32) - 1
        drawn = generator.integers(mixtures, size=(draws, mixtures), dtype=np.int32)
        # Single precision for memory and speed: it holds sums of words exactly up to 16 million.
        self._counts = np.empty((draws, mixtures), dtype=np.float32)
        for counts, row in zip(self._counts, drawn, strict=True):
            counts[:] = np.bincount(row, minlength=mixtures)

    def interval(self, *ratios: Ratio, weights: Sequence[float] | None = None) -> Interval:
        """A ratio with its 95 % interval, by a bootstrap that draws mixtures.

        Of several ratios it is that of their weighted mean, such as the mean over the families of
        recognisers: each draw takes the same mixtures for all of them.

        Bias-corrected and accelerated (BCa; Efron, "Better bootstrap confidence intervals", 1987),
        as word errors are skewed. Draws in which the denominator is 0 are left out. Where all draws
        agree, as for a system without errors, the interval is its value.

        Args:
            ratios: at least one, all over the mixtures in the same order.
            weights: of the ratios; equal ones by default.

        Returns:
            NaN for what is undefined: all of it where a denominator is 0, the bounds where there
            is but one mixture, or but one that has a part in a denominator.
        """
        shares = np.ones(len(ratios)) if weights is None else np.asarray(weights, dtype=float)
        shares = shares / shares.sum()
        value, drawn, others = 0.0, np.zeros(len(self._counts)), np.zeros(self._counts.shape[1])
        for share, ratio in zip(shares, ratios, strict=True):
            parts = np.stack([ratio.numerator, ratio.denominator], axis=1).astype(float)
            value += share * float(_divide(parts.sum(0)))
            others += share * _divide(parts.sum(0) - parts)
            drawn += share * _divide((self._counts @ parts.astype(np.float32)).astype(float))
        carrying = min(np.count_nonzero(ratio.denominator > 0) for ratio in ratios)
        return _interval(float(value), drawn, others, int(carrying))

    def spearman(self, x: np.ndarray, y: np.ndarray) -> Interval:
        """Spearman's rank correlation with its 95 % interval, by the same bootstrap.

        A mixture that is drawn brings all its observations, so that those of several systems on
        one mixture aren't taken for independent ones. Ties have their mean rank.

        Args:
            x: (mixtures,) or (mixtures, observations).
            y: likewise. Pairs in which one is NaN are left out.

        Returns:
            NaN for what is undefined: all of it where x or y is the same throughout, the bounds
            where there is but one mixture with pairs.
        """
        shape = (len(x), -1)
        first, second = (np.asarray(values, dtype=float).reshape(shape) for values in (x, y))
        mixture, observation = np.nonzero(~(np.isnan(first) | np.isnan(second)))
        if not len(mixture):
            return Interval(np.nan, np.nan, np.nan)
        pairs = first[mixture, observation], second[mixture, observation]
        value = float(rank_correlation(*pairs, np.ones((1, len(mixture))))[0])

        def in_parts(samples: int, counts: Callable[[slice], np.ndarray]) -> np.ndarray:
            # Thousands of mixtures of a dozen systems would take tens of GB at once.
            size = max(1, _CELLS_AT_A_TIME // len(mixture))
            parts = (slice(start, start + size) for start in range(0, samples, size))
            return np.concatenate([rank_correlation(*pairs, counts(part)) for part in parts])

        numbers = np.arange(len(first))
        others = in_parts(len(first), lambda part: numbers[part, None] != mixture)
        drawn = in_parts(len(self._counts), lambda part: self._counts[part][:, mixture])
        return _interval(value, drawn, others, len(np.unique(mixture)))

    def p_value(self, differences: np.ndarray) -> float:
        """Two-sided p-value of paired differences, by a permutation test over mixtures.

        If two systems are alike, the sign of their difference on a mixture is a coin's. The p-value
        is the share of sign patterns, the observed one among them, whose sum is at least as far
        from 0; the least is 1 / (draws + 1).

        Args:
            differences: (mixtures,), seeds averaged before (:func:`over_seeds`); NaN where a pair
                is undefined, it is left out.

        Returns:
            NaN where no pair is defined.

        Raises:
            ValueError: they are of another shape, or one is infinite.
        """
        differences = np.asarray(differences, dtype=float)
        if differences.shape != self._signs.shape[1:] or np.isinf(differences).any():
            raise ValueError(
                f"differences of shape {differences.shape}: a finite one for each of "
                f"{self._signs.shape[1]} mixtures is wanted; average over seeds before"
            )
        pairs = np.where(np.isnan(differences), 0.0, differences)
        if np.isnan(differences).all():
            return np.nan
        # Sums of the same numbers in another order differ by rounding.
        observed = abs(pairs.sum()) - 1e-6 * np.abs(pairs).sum()
        reached = np.abs(self._signs @ pairs.astype(np.float32)) >= observed
        return float((reached.sum() + 1) / (len(reached) + 1))


def rank_correlation(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Spearman's rank correlations of samples in which pairs stand several times.

    Args:
        x: (pairs,).
        y: (pairs,).
        counts: (samples, pairs), how often each pair stands in each sample.

    Returns:
        (samples,); NaN where x or y is the same throughout a sample.
    """
    counts = counts.astype(float)
    ranks = [_ranks(values, counts) for values in (x, y)]
    total = counts.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (r - (counts * r).sum(1, keepdims=True) / total for r in ranks)
        spread = (counts * first**2).sum(1) * (counts * second**2).sum(1)
        correlation = (counts * first * second).sum(1) / np.sqrt(spread)
    return np.where(spread > 1e-9, correlation, np.nan)


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean ranks, from 1, of (values,) in samples with ``counts`` (samples, values) of each.

    No sample is sorted: the order of the values is that of every sample.
    """
    order = np.argsort(values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # of equal values
    upper = np.cumsum(counts[:, order], axis=1)[:, ends]
    lower = np.concatenate([np.zeros((len(counts), 1)), upper[:, :-1]], axis=1)
    group = np.searchsorted(ends, np.arange(len(values)))
    ranks = np.empty_like(counts)
    ranks[:, order] = ((lower + upper + 1) / 2)[:, group]
    return ranks


def _interval(value: float, drawn: np.ndarray, others: np.ndarray, carrying: int) -> Interval:
    """The interval of a value from its draws and from the values without one mixture each.

    Args:
        value: over all mixtures.
        drawn: (draws,).
        others: (mixtures,).
        carrying: how many mixtures the value rests on. Where it is one, all draws agree, which says
            nothing of other mixtures.
    """
    if not np.isfinite(value):
        return Interval(np.nan, np.nan, np.nan)
    if carrying < 2:
        return Interval(value, np.nan, np.nan)
    low, high = _bca(value, drawn[np.isfinite(drawn)], others[np.isfinite(others)])
    return Interval(value, low, high)


def _divide(parts: np.ndarray) -> np.ndarray:
    """Quotient of (..., 2); not finite where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return parts[..., 0] / parts[..., 1]


def _bca(value: float, drawn: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Bounds from the draws and from the values without one mixture each."""
    if not len(drawn) or np.ptp(drawn) <= 1e-6 * abs(value):
        return value, value
    # Bias: the share of draws below the value, ties by half.
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    bias = ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    # Acceleration: a sixth of the skewness.
    deviation = others.mean() - others
    spread = np.sum(deviation**2)
    acceleration = np.sum(deviation**3) / (6 * spread**1.5) if spread > 0 else 0.0
    shifted = bias + ndtri([0.025, 0.975])
    low, high = np.quantile(drawn, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
